// netboot/store/store.worker.io.ts - the thread that holds the store's file: SQLite, one transaction per batch.
//
// Owns: the tables, their version, checksums, what is deleted when. Does not own batching (store.io.ts) or the records'
// meaning (records.ts). WAL with synchronous=FULL: a commit that returned survives SIGKILL and power loss. SQLite does
// not notice flipped bits in a row, hence the checksum of each lease; a damaged one is left out and told, not fatal.
// locking_mode=EXCLUSIVE keeps a second boot server off the file for as long as this one lives, however it dies.
//
// To change the tables: raise VERSION and add the step to MIGRATIONS; a newer file is refused, never guessed at.
// Sources: sqlite.org/pragma.html, sqlite.org/wal.html.

import { chmodSync, closeSync, existsSync, openSync } from 'node:fs';
import { backup, DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { reasonOf } from '../../formats/errors.ts';
import type { BootEvent } from '../journal/journal.ts';
import type { Lease } from './leases.ts';
import type { NodeState } from '../fleet/nodestate.ts';
import type { Order } from '../fleet/orders.ts';
import type { MachineRecord } from '../site/inventory.ts';
import type { StoreContent, StoredBoot, StoreRecord } from './records.ts';

/** A lease as it crosses to this thread: its address, a blank, and its JSON. */
type PackedLease = `${string} ${string}`;

type OtherRecord = Exclude<StoreRecord, { kind: 'lease' }>;
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

const VERSION = 3;

/** By the version that a step leads to. */
const MIGRATIONS: Readonly<Record<number, string>> = {
  1: `
    CREATE TABLE leases (address TEXT PRIMARY KEY, lease TEXT NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE boots (
      seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, token_sha256 TEXT NOT NULL, mac TEXT NOT NULL, address TEXT NOT NULL,
      node TEXT NOT NULL, profile TEXT NOT NULL, started_at_ms INTEGER NOT NULL, plan TEXT NOT NULL,
      overlay_sha256 TEXT NOT NULL, overlay BLOB
    ) STRICT;
    CREATE INDEX boots_by_mac ON boots (mac, seq);
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, at_ms REAL NOT NULL, mac TEXT NOT NULL, event TEXT NOT NULL) STRICT;
  `,
  2: `
    ALTER TABLE boots ADD COLUMN live TEXT NOT NULL DEFAULT '{"image":{"templates":[],"vars":{}}}';
    CREATE TABLE nodes (node TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE orders (
      boot TEXT NOT NULL, number INTEGER NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (boot, number)
    ) STRICT, WITHOUT ROWID;
  `,
  3: `CREATE TABLE machines (mac TEXT PRIMARY KEY, at_ms REAL NOT NULL, machine TEXT NOT NULL) STRICT, WITHOUT ROWID;`,
};

/** What is kept: enough for weeks of a rack of 2,000, some hundred megabytes at most. */
const KEPT_BOOTS = 20_000;
const KEPT_BOOTS_PER_MACHINE = 20;
const KEPT_EVENTS = 400_000;
const KEPT_MACHINES = 20_000;
/** Loaded at start: boots per machine, and events in all. */
const LOADED_BOOTS_PER_MACHINE = 3;
const LOADED_EVENTS = 50_000;
const TRIM_EVERY_COMMITS = 5000;
const PAGES_AT_ONCE = 500;

type Row = Record<string, string | number | bigint | Uint8Array | null>;

function main({ file, trimEveryCommits = TRIM_EVERY_COMMITS }: StoreWorkerData): void {
  const port = parentPort;
  if (port === null) throw new Error('runs as a worker thread only');
  const say = (reply: StoreReply): void => port.postMessage(reply);
  let database: DatabaseSync;
  let content: StoreContent;
  try {
    database = new DatabaseSync(file);
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    database.exec('PRAGMA secure_delete = ON; PRAGMA busy_timeout = 2000;');
    const known = Number((database.prepare('PRAGMA user_version').get() as Row)['user_version']);
    if (known > VERSION) {
      return say({
        kind: 'refused',
        why: `it is of version ${known} and this rouse knows versions up to ${VERSION}`,
        todo: 'run the newer rouse, or restore the copy that it made when it took over',
      });
    }
    // The way back to the rouse before: what it left, as it left it.
    if (known > 0 && known < VERSION) keepCopy(database, copyOf(file, known));
    for (let version = known + 1; version <= VERSION; version += 1) {
      database.exec(`BEGIN IMMEDIATE; ${MIGRATIONS[version] ?? ''} PRAGMA user_version = ${version}; COMMIT;`);
    }
    trim(database);
    content = load(database);
  } catch (error) {
    const why = reasonOf(error);
    const todo = /locked|busy/.test(why)
      ? 'another boot server has it open: stop that one first'
      : 'move the file away (leases and the journal begin anew; nodes keep their reserved addresses) or restore a copy';
    return say({ kind: 'refused', why, todo });
  }
  const commit = committerOf(database);
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

/** A name that is free: SQLite refuses to write over a copy. */
function copyOf(file: string, version: number): string {
  for (let number = 1; ; number += 1) {
    const name = `${file}.v${version}${number === 1 ? '' : `.${number}`}`;
    if (!existsSync(name)) return name;
  }
}

function keepCopy(database: DatabaseSync, copy: string): void {
  database.exec(`VACUUM INTO '${copy.replaceAll("'", "''")}'`);
  chmodSync(copy, 0o600);
}

/** Some pages at a time: leases are committed between them. */
async function copyTo(database: DatabaseSync, file: string): Promise<void> {
  closeSync(openSync(file, 'wx', 0o600));
  await backup(database, file, { rate: PAGES_AT_ONCE });
}

/** Writes a batch in one transaction: all of it or nothing. */
function committerOf(database: DatabaseSync): (records: Batch) => StoreReply {
  const begin = database.prepare('BEGIN IMMEDIATE');
  const end = database.prepare('COMMIT');
  const putLease = database.prepare('INSERT OR REPLACE INTO leases (address, lease, crc) VALUES (?, ?, ?)');
  const write = writerOf(database);
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
    return { kind: 'done' };
  };
}

/** Upkeep: what it cannot do now (a full disk) it does the next time, and a commit that fails tells of the disk. */
function attempt(upkeep: () => unknown): void {
  try {
    upkeep();
  } catch {
    // As above.
  }
}

function writerOf(database: DatabaseSync): (record: OtherRecord) => void {
  const dropLease = database.prepare('DELETE FROM leases WHERE address = ?');
  const putBoot = database.prepare(
    `INSERT INTO boots (id, token_sha256, mac, address, node, profile, started_at_ms, plan, overlay_sha256, overlay, live)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const spend = database.prepare('UPDATE boots SET overlay = NULL WHERE id = ?');
  const putEvent = database.prepare('INSERT INTO journal (at_ms, mac, event) VALUES (?, ?, ?)');
  const putNode = database.prepare('INSERT OR REPLACE INTO nodes (node, state) VALUES (?, ?)');
  const putOrder = database.prepare('INSERT OR REPLACE INTO orders (boot, number, entry) VALUES (?, ?, ?)');
  const putMachine = database.prepare('INSERT OR REPLACE INTO machines (mac, at_ms, machine) VALUES (?, ?, ?)');
  return (record) => {
    switch (record.kind) {
      case 'lease-forgotten':
        dropLease.run(record.address);
        return;
      case 'boot': {
        const { id, tokenSha256, mac, address, startedAtMs, plan, overlaySha256, overlay } = record.boot;
        const { image, filesRevision, insteadOf } = record.boot;
        putBoot.run(
          id,
          tokenSha256,
          mac,
          address,
          plan.node.name,
          plan.profile.name,
          Math.round(startedAtMs),
          JSON.stringify(plan),
          overlaySha256,
          overlay ?? null,
          JSON.stringify({ image, filesRevision, insteadOf }),
        );
        return;
      }
      case 'overlay-spent':
        spend.run(record.bootId);
        return;
      case 'event':
        putEvent.run(record.event.atMs, record.event.mac, JSON.stringify(record.event));
        return;
      case 'node':
        putNode.run(record.state.node, JSON.stringify(record.state));
        return;
      case 'order':
        putOrder.run(record.order.bootId, record.order.number, JSON.stringify(record.order));
        return;
      case 'machine':
        putMachine.run(record.machine.mac, record.machine.atMs, JSON.stringify(record.machine));
        return;
    }
  };
}

function trim(database: DatabaseSync): void {
  database.exec(`DELETE FROM journal WHERE seq <= (SELECT max(seq) FROM journal) - ${KEPT_EVENTS}`);
  // Of each machine first: one that asks for script after script must not push out the boots of all others.
  database.exec(
    `DELETE FROM boots WHERE seq IN (SELECT seq FROM (
       SELECT seq, row_number() OVER (PARTITION BY mac ORDER BY seq DESC) AS place FROM boots
     ) WHERE place > ${KEPT_BOOTS_PER_MACHINE})`,
  );
  database.exec(`DELETE FROM boots WHERE seq <= (SELECT max(seq) FROM boots) - ${KEPT_BOOTS}`);
  database.exec(
    `DELETE FROM machines WHERE mac IN (SELECT mac FROM machines ORDER BY at_ms DESC LIMIT -1 OFFSET ${KEPT_MACHINES})`,
  );
  database.exec('DELETE FROM orders WHERE boot NOT IN (SELECT id FROM boots)');
}

function load(database: DatabaseSync): StoreContent {
  const leases: Lease[] = [];
  const damaged: string[] = [];
  for (const row of database.prepare('SELECT address, lease, crc FROM leases').iterate() as Iterable<Row>) {
    const text = String(row['lease']);
    if (crc32(text) === Number(row['crc'])) leases.push(JSON.parse(text) as Lease);
    else damaged.push(`the lease of ${String(row['address'])} does not fit its checksum and was left out`);
  }
  const bootRows = database
    .prepare(
      `SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY mac ORDER BY seq DESC) AS place FROM boots)
       WHERE place <= ${LOADED_BOOTS_PER_MACHINE} ORDER BY seq`,
    )
    .iterate() as Iterable<Row>;
  const boots: StoredBoot[] = [];
  for (const row of bootRows) {
    boots.push({
      ...(JSON.parse(String(row['live'])) as Pick<StoredBoot, 'image' | 'filesRevision' | 'insteadOf'>),
      id: String(row['id']),
      tokenSha256: String(row['token_sha256']),
      mac: String(row['mac']) as StoredBoot['mac'],
      address: String(row['address']) as StoredBoot['address'],
      startedAtMs: Number(row['started_at_ms']),
      plan: JSON.parse(String(row['plan'])) as StoredBoot['plan'],
      overlaySha256: String(row['overlay_sha256']),
      overlay: row['overlay'] instanceof Uint8Array ? row['overlay'] : undefined,
    });
  }
  const eventRows = database
    .prepare(`SELECT event FROM (SELECT seq, event FROM journal ORDER BY seq DESC LIMIT ${LOADED_EVENTS}) ORDER BY seq`)
    .iterate() as Iterable<Row>;
  const events: BootEvent[] = [];
  for (const row of eventRows) events.push(JSON.parse(String(row['event'])) as BootEvent);
  const nodes: NodeState[] = [];
  for (const row of database.prepare('SELECT state FROM nodes').iterate() as Iterable<Row>) {
    nodes.push(JSON.parse(String(row['state'])) as NodeState);
  }
  const orders: Order[] = [];
  const orderOf = database.prepare('SELECT entry FROM orders WHERE boot = ? ORDER BY number');
  for (const { id } of boots) {
    for (const row of orderOf.iterate(id) as Iterable<Row>) orders.push(JSON.parse(String(row['entry'])) as Order);
  }
  const machines: MachineRecord[] = [];
  for (const row of database.prepare('SELECT machine FROM machines').iterate() as Iterable<Row>) {
    machines.push(JSON.parse(String(row['machine'])) as MachineRecord);
  }
  return { leases, boots, events, nodes, orders, machines, damaged };
}

main(workerData as StoreWorkerData);
