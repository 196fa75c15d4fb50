// supervise/logwriter/main.io.ts - the log writer's process: node main.io.ts LIST.
//
// Owns: following the list (list.ts), signals, the exit status. Started and restarted by the supervisor (logs.io.ts),
// it outlives it. Signals: TERM writes what the FIFOs hold, ends all files and exits 0; ALRM begins new files.

import { readFileSync, watch, writeSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { reasonOf } from '../../formats/errors.ts';
import { printable } from '../../formats/printable.ts';
import { decodeList } from './list.ts';
import { LogWriter } from './writer.io.ts';

/** Where a watch is not to be had, or an event was lost. */
const LOOK_EVERY_MS = 5000;

const warn = (line: string): void => {
  try {
    writeSync(2, `rouse log writer: ${printable(line)}\n`);
  } catch {
    // Nobody listens, or a full pipe: logs are written all the same.
  }
};

const listPath = process.argv[2] ?? '';
const writer = new LogWriter(warn);
let seen = '';
let isEnding = false;

function look(): void {
  if (isEnding) return;
  try {
    const text = readFileSync(listPath, 'utf8');
    if (text === seen) return;
    seen = text;
    const list = decodeList(text);
    if (list === undefined) warn(`${listPath} is not a list of logs of this version; nothing changes`);
    else void writer.apply(list);
  } catch (thrown) {
    warn(`cannot read the list of logs, nothing changes: ${reasonOf(thrown)}`);
  }
}

process.on('SIGTERM', () => {
  if (isEnding) return;
  isEnding = true;
  void writer.apply([]).then(() => process.exit(0));
});
process.on('SIGALRM', () => writer.rotateAll());

// Watched before it is read for the first time, so that no change falls between.
try {
  const watcher = watch(dirname(listPath), (_event, name) => {
    if (name === basename(listPath)) look();
  });
  watcher.on('error', () => watcher.close());
} catch {
  // Out of inotify watches: the interval does it.
}
setInterval(look, LOOK_EVERY_MS);
look();
