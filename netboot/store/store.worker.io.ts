// netboot/store/store.worker.io.ts - the thread that holds the store's file: one transaction per batch.
//
// Owns: carrying out what is asked for, in order. Does not own batching (store.io.ts) or the tables (tables.io.ts).

import { closeSync, openSync, statSync } from 'node:fs';
import { backup, type DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { reasonOf } from '../../formats/errors.ts';
import type { StoreContent } from './records.ts';
import { openTables } from './open.io.ts';
import { attempt, type Opened, type OtherRecord, PUT_LEASE, Refusal, trim, writerOf } from './tables.io.ts';

/** A lease as it crosses to this thread: its address, a blank, and its JSON. */
type PackedLease = `${string} ${string}`;

export type Batch = readonly (OtherRecord | PackedLease)[];

export type StoreRequest =
  | { readonly kind: 'commit'; readonly records: Batch }
  | { readonly kind: 'copy'; readonly file: string }
  | { readonly kind: 'close' };

export type StoreWorkerData = {
  readonly file: string;
  /** TRIM_EVERY_COMMITS, except in tests. */
  readonly trimEveryCommits?: number | undefined;
};

export type StoreReply =
  | { readonly kind: 'opened'; readonly content: StoreContent }
  | { readonly kind: 'refused'; readonly why: string; readonly todo: string }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly why: string }
  /** Comes between the others, whenever the copy is whole; `why` where there is none. */
  | { readonly kind: 'copied'; readonly file: string; readonly why: string | undefined };

const TRIM_EVERY_COMMITS = 5000;
const PAGES_AT_ONCE = 500;

function main({ file, trimEveryCommits = TRIM_EVERY_COMMITS }: StoreWorkerData): void {
  const port = parentPort;
  if (port === null) throw new Error('runs as a worker thread only');
  const say = (reply: StoreReply): void => port.postMessage(reply);
  let opened: Opened;
  try {
    opened = openTables(file);
  } catch (error) {
    const todo = error instanceof Refusal ? error.todo : 'see its reason';
    return say({ kind: 'refused', why: reasonOf(error), todo });
  }
  const { database, content } = opened;
  const commit = committerOf(database, file);
  let commits = 0;
  port.on('message', (request: StoreRequest) => {
    if (request.kind === 'close') {
      // What is closed badly is mended by the next opening; whoever waits for the end is answered in any case.
      attempt(() => database.close());
      say({ kind: 'done' });
      port.close();
      return;
    }
    if (request.kind === 'copy') {
      copyTo(database, request.file).then(
        () => say({ kind: 'copied', file: request.file, why: undefined }),
        (error: unknown) => say({ kind: 'copied', file: request.file, why: reasonOf(error) }),
      );
      return;
    }
    // Replies are told apart by their order alone: exactly one for each request, whatever goes wrong behind it.
    say(commit(request.records));
    commits += 1;
    if (commits % trimEveryCommits === 0) attempt(() => trim(database));
  });
  say({ kind: 'opened', content });
}

/** Some pages at a time: leases are committed between them. */
async function copyTo(database: DatabaseSync, file: string): Promise<void> {
  closeSync(openSync(file, 'wx', 0o600));
  await backup(database, file, { rate: PAGES_AT_ONCE });
}

/** Writes a batch in one transaction: all of it or nothing. */
function committerOf(database: DatabaseSync, file: string): (records: Batch) => StoreReply {
  const begin = database.prepare('BEGIN IMMEDIATE');
  const end = database.prepare('COMMIT');
  const putLease = database.prepare(PUT_LEASE);
  const write = writerOf(database);
  const files = [file, `${file}-wal`].map((name) => ({ name, identity: identityOf(name) }));
  return (records) => {
    let isSpent = false;
    try {
      begin.run();
      for (const record of records) {
        if (typeof record === 'string') {
          const blank = record.indexOf(' ');
          const text = record.slice(blank + 1);
          putLease.run(record.slice(0, blank), text, crc32(text));
        } else {
          write(record);
          isSpent ||= record.kind === 'overlay-spent';
        }
      }
      end.run();
    } catch (error) {
      // A failed COMMIT (disk full) may have rolled back by itself.
      attempt(() => database.isTransaction && database.exec('ROLLBACK'));
      return { kind: 'failed', why: reasonOf(error) };
    }
    // The log beside the file still has the overlay, and the token in it, until it is written back and cut off.
    if (isSpent) attempt(() => database.exec('PRAGMA wal_checkpoint(TRUNCATE)'));
    // The kernel writes to a deleted file as to any other; with this process it would be gone.
    const gone = files.find(({ name, identity }) => identityOf(name) !== identity);
    return gone === undefined ? { kind: 'done' } : { kind: 'failed', why: `${gone.name} ${GONE}` };
  };
}

const GONE =
  'was removed or replaced while it is in use: nothing can be kept, so no lease is given, until the boot server is restarted';

/** Which file a name stands for now; undefined where for none. */
function identityOf(name: string): string | undefined {
  const stat = statSync(name, { bigint: true, throwIfNoEntry: false });
  return stat && `${stat.dev} ${stat.ino}`;
}

main(workerData as StoreWorkerData);
