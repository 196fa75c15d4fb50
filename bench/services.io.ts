// bench/services.io.ts - the services that every supervisor is given, and the FIFO through which they say that they run.
//
// Owns: service directories as daemontools has them, and the report of a start. A service is a shell that writes one
// line into the FIFO and becomes sleep: what is measured up to that line is the same work for all.

import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, constants, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';

export type Started = { readonly name: string; readonly pid: number; readonly atMs: number };

/** Reports of starts; `onStart` is called as they arrive. */
export class Reports {
  readonly path: string;
  readonly #socket: Socket;
  readonly #listeners = new Set<(started: Started) => void>();

  constructor(folder: string) {
    this.path = join(folder, 'started.fifo');
    execFileSync('mkfifo', [this.path]);
    // Read and write: no end of file while nobody writes.
    const fd = openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd, readable: true, writable: false });
    let text = '';
    this.#socket.on('data', (chunk: Buffer) => {
      const atMs = performance.now();
      const lines = (text + chunk.toString('latin1')).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const [name = '', pid = ''] = line.split(' ');
        for (const listener of this.#listeners) listener({ name, pid: Number(pid), atMs });
      }
    });
  }

  listen(listener: (started: Started) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The next report for which `is` holds. @returns undefined after the time. */
  next(is: (started: Started) => boolean, timeoutMs: number): Promise<Started | undefined> {
    return new Promise((resolve) => {
      const done = (started: Started | undefined): void => {
        clearTimeout(timer);
        stop();
        resolve(started);
      };
      const timer = setTimeout(() => done(undefined), timeoutMs);
      const stop = this.listen((started) => {
        if (is(started)) done(started);
      });
    });
  }

  close(): void {
    this.#socket.destroy();
    rmSync(this.path, { force: true });
  }
}

/** Writes an executable file. */
export function writeProgram(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

/** The run script of a service that does nothing. */
export function idleScript(name: string, fifo: string): string {
  return `#!/bin/sh\necho "${name} $$" > '${fifo}'\necho started\nexec sleep 86400\n`;
}

/** What a service of the log benchmark says: `lines` lines of LINE_BYTES each, in writes of `linesPerWrite`. */
export const LINE_BYTES = 100;
export function talkScript(name: string, fifo: string, go: string, lines: number, linesPerWrite: number): string {
  const perl = [
    `my $text = ("x" x ${LINE_BYTES - 1} . "\\n") x ${linesPerWrite};`,
    `for (1 .. ${Math.ceil(lines / linesPerWrite)}) {`,
    'my $at = 0; while ($at < length $text) { $at += syswrite STDOUT, $text, length($text) - $at, $at }',
    linesPerWrite === 1 ? 'select undef, undef, undef, 0.00005' : '',
    '}',
  ].join(' ');
  return `#!/bin/sh
echo "${name} $$" > '${fifo}'
read go < '${go}'
perl -e '${perl}'
echo "${name}-said $$" > '${fifo}'
exec sleep 86400
`;
}

/** One service directory; `log` is the text of its files below log/, by name. */
export function writeService(folder: string, run: string, log: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true });
  writeProgram(join(folder, 'run'), run);
  for (const [name, text] of Object.entries(log)) {
    mkdirSync(join(folder, 'log'), { recursive: true });
    if (name === 'run') writeProgram(join(folder, 'log', name), text);
    else writeFileSync(join(folder, 'log', name), text);
  }
}

/** Opens a FIFO and closes it again: lets one `read` of a service go on. */
export function letGo(path: string): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  writeFileSync(fd, 'go\n');
  setTimeout(() => closeSync(fd), 1000);
}
