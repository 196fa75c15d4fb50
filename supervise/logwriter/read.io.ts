// supervise/logwriter/read.io.ts - reading and following the log folders of a service, whoever writes them.
//
// Owns: finding the folders, reading their files in order, following over rotations.
// Does not own: which lines are asked for (read.ts).
//
// Following keeps the file it reads open. When `current` is another file, the rest of the old one is read, then every
// file that came between, by their names, then the new one: nothing is missed however fast the files change.

import { closeSync, constants, fstatSync, readdirSync, readFileSync, readSync, statSync, watch } from 'node:fs';
import { errorCode, exists, readSmallFile } from '../directory.io.ts';
import { openStateFile } from '../statefile.io.ts';
import { choose, mayHold } from './read.ts';
import type { Asked } from './read.ts';
import { oldNames } from './rotate.ts';
import { parseScript } from './script.ts';

/** Where no watch is to be had. */
const LOOK_EVERY_MS = 1000;

/** Log folders of a service directory: what log/multilog names, else the folders of log/ that hold a `current`. */
export function logFolders(directory: string): string[] {
  const log = `${directory}/log`;
  const file = readSmallFile(`${log}/multilog`);
  const parsed = file.kind === 'text' ? parseScript(file.text) : undefined;
  if (parsed?.ok === true) {
    return parsed.script.actions.flatMap((action) => {
      if (action.kind !== 'folder') return [];
      const path = action.path.startsWith('/') ? action.path : `${log}/${action.path}`;
      return exists(`${path}/current`) ? [path] : [];
    });
  }
  let names: string[];
  try {
    names = readdirSync(log);
  } catch {
    return [];
  }
  return names.filter((name) => exists(`${log}/${name}/current`)).map((name) => `${log}/${name}`);
}

/** The lines asked for, oldest first. */
export function readLog(folder: string, asked: Asked): string[] {
  const names = [
    'current',
    ...oldNames(readdirSync(folder))
      .filter((name) => mayHold(name, asked))
      .reverse(),
  ];
  const parts: string[][] = [];
  let count = 0;
  for (const name of names) {
    const text = readIfThere(`${folder}/${name}`);
    if (text === undefined) continue;
    const lines = (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
    if (text !== '') parts.unshift(lines);
    count += text === '' ? 0 : lines.length;
    if (asked.lines !== undefined && count >= asked.lines) break;
  }
  return choose(parts.flat(), asked);
}

function readIfThere(path: string): string | undefined {
  const fd = openIfThere(path);
  if (fd === undefined) return undefined;
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** A FIFO in the place of a log would be waited for. */
function openIfThere(path: string): number | undefined {
  try {
    return openStateFile(path, constants.O_RDONLY);
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** Calls back with each line written from now on. @returns how to stop. */
export function followLog(folder: string, onLine: (line: string) => void): () => void {
  const buffer = Buffer.alloc(65_536);
  const decoder = new TextDecoder();
  let fd: number | undefined;
  let rest = '';
  const drain = (from: number): void => {
    for (let length = readSync(from, buffer); length > 0; length = readSync(from, buffer)) {
      const lines = (rest + decoder.decode(buffer.subarray(0, length), { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    }
  };
  /** The file after the one with this inode: the next old one, else `current`. */
  const openNext = (inode: number): number | undefined => {
    const afterIt = (): string | undefined => {
      const names = oldNames(readdirSync(folder));
      const at = names.findIndex((name) => statSync(`${folder}/${name}`, { throwIfNoEntry: false })?.ino === inode);
      return at === -1 ? undefined : names[at + 1];
    };
    const opened = openIfThere(`${folder}/${afterIt() ?? 'current'}`);
    // It may have become an old file, and another one current, since the folder was listed.
    const next = afterIt();
    if (opened === undefined || next === undefined) return opened;
    const isNext = statSync(`${folder}/${next}`, { throwIfNoEntry: false })?.ino === fstatSync(opened).ino;
    if (isNext) return opened;
    closeSync(opened);
    return openIfThere(`${folder}/${next}`);
  };
  const look = (): void => {
    for (;;) {
      if (fd !== undefined) drain(fd);
      const current = statSync(`${folder}/current`, { throwIfNoEntry: false });
      if (current === undefined) return;
      const { ino } = fd === undefined ? { ino: -1 } : fstatSync(fd);
      if (current.ino === ino) return;
      const next = openNext(ino);
      if (next === undefined) return;
      if (fd !== undefined) {
        // What was written before the file was put away, and after it was read.
        drain(fd);
        closeSync(fd);
      }
      fd = next;
    }
  };
  fd = openIfThere(`${folder}/current`);
  // What is there now is not new.
  if (fd !== undefined) while (readSync(fd, buffer) > 0);
  const interval = setInterval(look, LOOK_EVERY_MS);
  const watcher = watchIfPossible(folder, look);
  return () => {
    clearInterval(interval);
    watcher?.close();
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  };
}

function watchIfPossible(folder: string, look: () => void): { close: () => void } | undefined {
  try {
    const watcher = watch(folder, look);
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
