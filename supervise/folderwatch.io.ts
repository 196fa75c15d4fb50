// supervise/folderwatch.io.ts - being told that the folder of service directories has changed.
//
// Owns: the watch, following the folder's name to another folder, letting several changes settle. Does not own: looking (scan.ts).
// A watch may not be had (no inotify watch left, the folder is away): the scan every 5 s is the net under it.

import { statSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { reasonOf } from '../formats/errors.ts';

/** After the first of several changes. */
const SETTLE_MS = 50;
const NONE = 'none';

export class FolderWatch {
  readonly #folder: string;
  readonly #onChange: () => void;
  readonly #log: (line: string) => void;
  #watcher: FSWatcher | undefined;
  /** "device:inode" of what is watched. */
  #watched = '';
  #settling: NodeJS.Timeout | undefined;

  constructor(folder: string, onChange: () => void, log: (line: string) => void) {
    this.#folder = folder;
    this.#onChange = onChange;
    this.#log = log;
  }

  /** Watches the folder, and the new one where another has taken its name. */
  renew(): void {
    try {
      const { dev, ino } = statSync(this.#folder, { bigint: true });
      const id = `${dev}:${ino}`;
      if (id === this.#watched) return;
      this.#watcher?.close();
      this.#watcher = watch(this.#folder, () => this.wake());
      this.#watcher.on('error', (error) => {
        this.#say(error);
        this.#watcher?.close();
      });
      this.#watched = id;
    } catch (thrown) {
      if (this.#watched !== NONE) this.#say(thrown);
      this.#watched = NONE;
    }
  }

  /** As if something had changed. */
  wake(): void {
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      this.#onChange();
    }, SETTLE_MS);
  }

  close(): void {
    clearTimeout(this.#settling);
    this.#watcher?.close();
  }

  #say(thrown: unknown): void {
    this.#log(`cannot watch ${this.#folder}: ${reasonOf(thrown)}; looking every 5 s`);
  }
}
