// netboot/store/store.io.ts - the boot server's side of the store: opening it, and natural group commit.
//
// Owns: the worker thread and the queue. While one commit is being written, and for a few milliseconds after it began, what
// arrives waits and goes into the next one together: no latency when idle, thousands of leases a second when a rack powers up.
// Does not own the tables (store.worker.io.ts) or the records (records.ts).

import { chmod, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Fault, reasonOf } from '../../formats/errors.ts';
import type { Store, StoreContent, StoreRecord } from './records.ts';
import type { Batch, StoreReply, StoreRequest, StoreWorkerData } from './store.worker.io.ts';

/** What goes into one commit; all who have a part in it share its outcome. */
type Pending = {
  readonly records: Batch[number][];
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (fault: Fault) => void;
};

/**
 * How soon after the beginning of one commit the next one begins that holds nothing but leases and lines of the journal.
 * Whoever comes alone waits for nothing; when a rack powers up, what arrives within this time shares a transaction and a
 * flush of the disk, which cost more than all else of a lease. All other records are steps of something, one after the
 * other, and are written as soon as the disk is free.
 */
const COMMITS_APART_MS = 20;

const isPatient = ({ kind }: StoreRecord): boolean => kind === 'lease' || kind === 'event';

/** A lease crosses to the worker as the text that is stored: copying the object costs several times as much. */
function packed(record: StoreRecord): Batch[number] {
  return record.kind === 'lease' ? `${record.lease.address} ${JSON.stringify(record.lease)}` : record;
}

/**
 * Opens or makes the store.
 *
 * @param file its path; it is made for its owner alone (0600), for it holds tokens of boots under way.
 * @throws Fault E_STORE where it cannot be read, is newer than this rouse, or another boot server has it.
 */
export async function openStore(file: string, options: { trimEveryCommits?: number } = {}): Promise<Store> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await makePrivate(file);
  const workerData: StoreWorkerData = { file, ...options };
  const worker = new Worker(new URL('./store.worker.io.ts', import.meta.url), { workerData });
  const content = await opened(worker, file);
  const identity = await identityOf(file);

  let queue: Pending | undefined;
  let writing: Pending | undefined;
  let broken: Fault | undefined;
  let trouble: string | undefined;
  let closing: (() => void) | undefined;
  const faultOf = (why: string): Fault =>
    new Fault('E_STORE', { what: `cannot write ${file}`, why, todo: 'see that the disk has room and is writable' });
  const post = (request: StoreRequest): void => worker.postMessage(request);
  let lastBeganMs = Number.NEGATIVE_INFINITY;
  let pause: NodeJS.Timeout | undefined;
  let isUrgent = false;
  const begin = (): void => {
    clearTimeout(pause);
    pause = undefined;
    isUrgent = false;
    lastBeganMs = performance.now();
    writing = queue;
    queue = undefined;
    post({ kind: 'commit', records: writing?.records ?? [] });
  };
  const next = (): void => {
    if (writing !== undefined || (pause !== undefined && !isUrgent)) return;
    if (queue === undefined) {
      if (closing !== undefined) post({ kind: 'close' });
      return;
    }
    const waitMs = closing === undefined && !isUrgent ? lastBeganMs + COMMITS_APART_MS - performance.now() : 0;
    if (waitMs <= 0) begin();
    else pause = setTimeout(begin, waitMs);
  };
  const copies = new Map<string, (why: string | undefined) => void>();
  worker.on('message', (reply: StoreReply) => {
    if (reply.kind === 'copied') {
      copies.get(reply.file)?.(reply.why);
      copies.delete(reply.file);
      return;
    }
    const finished = writing;
    writing = undefined;
    if (finished === undefined && closing !== undefined) return closing();
    trouble = reply.kind === 'failed' ? reply.why : undefined;
    if (reply.kind === 'done') finished?.resolve();
    else if (reply.kind === 'failed') finished?.reject(faultOf(reply.why));
    next();
  });
  const fail = (error: unknown): void => {
    trouble = error instanceof Error ? error.message : String(error);
    broken = faultOf(trouble);
    writing?.reject(broken);
    queue?.reject(broken);
    writing = undefined;
    queue = undefined;
    for (const answer of copies.values()) answer(trouble);
    closing?.();
  };
  worker.on('error', fail);
  return {
    content,
    commit: (records) => {
      if (broken !== undefined) return Promise.reject(broken);
      if (closing !== undefined) return Promise.reject(faultOf('it is being closed'));
      queue ??= { records: [], ...Promise.withResolvers<void>() };
      for (const record of records) {
        queue.records.push(packed(record));
        isUrgent ||= !isPatient(record);
      }
      const { promise } = queue;
      next();
      return promise;
    },
    copy: (copy) =>
      new Promise<void>((resolve, reject) => {
        if (broken !== undefined) return reject(broken);
        copies.set(copy, (why) => {
          if (why === undefined) resolve();
          else reject(new Fault('E_STORE', { what: `cannot copy ${file} to ${copy}`, why }));
        });
        post({ kind: 'copy', file: copy });
      }),
    trouble: async () => {
      if (trouble !== undefined) return `cannot write ${file}: ${trouble}`;
      if ((await identityOf(file)) === identity) return undefined;
      return `${file} was removed or replaced while it is in use: leases and boots are lost with the next restart; restart now, before there are more`;
    },
    close: () =>
      new Promise<void>((resolve) => {
        closing = () => {
          void worker.terminate().then(() => resolve());
        };
        if (pause !== undefined) {
          clearTimeout(pause);
          pause = undefined;
        }
        if (broken !== undefined) closing();
        else next();
      }),
  };
}

/** SQLite gives the files beside it (-wal, -shm) the mode of the file itself, so that one must be right from the start. */
async function makePrivate(file: string): Promise<void> {
  try {
    await (await open(file, 'a', 0o600)).close();
    await chmod(file, 0o600);
    for (const beside of [`${file}-wal`, `${file}-shm`]) await chmod(beside, 0o600).catch(() => undefined);
  } catch (error) {
    const todo = 'see that its folder is writable for the user of the boot server';
    throw new Fault('E_STORE', { what: `cannot open ${file}`, why: reasonOf(error), todo }, { cause: error });
  }
}

/** Which file a name stands for now; undefined where for none. */
function identityOf(file: string): Promise<string | undefined> {
  return stat(file, { bigint: true }).then(
    ({ dev, ino }) => `${dev} ${ino}`,
    () => undefined,
  );
}

function opened(worker: Worker, file: string): Promise<StoreContent> {
  return new Promise((resolve, reject) => {
    const refuse = (why: string, todo: string): void => {
      void worker.terminate();
      reject(new Fault('E_STORE', { what: `cannot open ${file}`, why, todo }));
    };
    worker.once('error', (error) => refuse(error instanceof Error ? error.message : String(error), 'see its reason'));
    worker.once('message', (reply: StoreReply) => {
      worker.removeAllListeners('error');
      if (reply.kind === 'opened') resolve(reply.content);
      else if (reply.kind === 'refused') refuse(reply.why, reply.todo);
      else refuse('the store answered out of turn', 'report this');
    });
  });
}
