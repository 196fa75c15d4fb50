// netboot/store/tables.io.ts - the store's file: its tables, their version, what is read and written.
//
// Owns: SQL. Does not own threads and batches (store.worker.io.ts, store.io.ts), the records' meaning (records.ts) or damage
// (open.io.ts). WAL with synchronous=FULL: a commit that returned survives SIGKILL and power loss.
// locking_mode=EXCLUSIVE keeps a second boot server off the file for as long as this one lives, however it dies.
//
// To change the tables: raise VERSION and add the step to MIGRATIONS; a newer file is refused, never guessed at.
// Sources: sqlite.org/pragma.html, sqlite.org/wal.html, sqlite.org/rescode.html.

import { chmodSync, existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { reasonOf } from '../../formats/errors.ts';
import type { NodeState } from '../fleet/nodestate.ts';
import type { Order } from '../fleet/orders.ts';
import type { BootEvent } from '../journal/journal.ts';
import type { MachineRecord } from '../site/inventory.ts';
import type { Lease } from './leases.ts';
import type { StoreContent, StoredBoot, StoreRecord } from './records.ts';

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
const KEPT_BOOTS_OF_STRANGERS = 2000;
const KEPT_EVENTS = 400_000;
const KEPT_MACHINES = 20_000;
/** Loaded at start: boots per machine, and events in all. */
const LOADED_BOOTS_PER_MACHINE = 3;
const LOADED_EVENTS = 50_000;

/** Of machines that no node file names: anybody can make up their MACs. A damaged row is nobody's. */
const IS_STRANGERS = `CASE WHEN json_valid(plan) THEN json_extract(plan, '$.node.known') = 0 END`;
/** What each node runs: the last boot that spoke, for with that its overlay is spent. */
const RUNNING = `SELECT max(seq) FROM boots WHERE overlay IS NULL AND (${IS_STRANGERS}) IS NOT 1 GROUP BY mac`;

export type Row = Record<string, string | number | bigint | Uint8Array | null>;

/** Why a store is not opened at all, and what to do about it. */
export class Refusal extends Error {
  readonly todo: string;

  constructor(why: string, todo: string) {
    super(why);
    this.todo = todo;
  }
}

/** What SQLite would read on over: a damaged table of leases. */
export class Damage extends Error {}

export type Opened = { readonly database: DatabaseSync; readonly content: StoreContent };

/** Opens or makes the file and brings it up to VERSION; a copy of what was there is kept beside it. @throws Refusal, what SQLite throws, and Damage where it would read on over a damaged table of leases. */
export function openSound(file: string): Opened {
  const database = new DatabaseSync(file);
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    database.exec('PRAGMA secure_delete = ON; PRAGMA busy_timeout = 2000;');
    const known = Number((database.prepare('PRAGMA user_version').get() as Row)['user_version']);
    if (known > VERSION) {
      throw new Refusal(
        `it is of version ${known} and this rouse knows versions up to ${VERSION}`,
        'run the newer rouse, or restore the copy that it made when it took over',
      );
    }
    // The way back to the rouse before: what it left, as it left it.
    if (known > 0 && known < VERSION) keepCopy(database, copyOf(file, known));
    migrate(database, known);
    // A page that was changed in a plausible way hides rows without an error.
    const check = database.prepare('PRAGMA quick_check(leases)').get() as Row;
    if (check['quick_check'] !== 'ok') throw new Damage(String(check['quick_check']).split('\n')[0]);
    trim(database);
    return { database, content: load(database) };
  } catch (error) {
    attempt(() => database.close());
    throw error;
  }
}

function migrate(database: DatabaseSync, known: number): void {
  for (let version = known + 1; version <= VERSION; version += 1) {
    database.exec(`BEGIN IMMEDIATE; ${MIGRATIONS[version] ?? ''} PRAGMA user_version = ${version}; COMMIT;`);
  }
}

/** Address, JSON, CRC-32 of the JSON. */
export const PUT_LEASE = 'INSERT OR REPLACE INTO leases (address, lease, crc) VALUES (?, ?, ?)';

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

/** Every record but leases, which have a statement of their own. */
export type OtherRecord = Exclude<StoreRecord, { kind: 'lease' }>;

/** Writes one record, within whatever transaction is open. */
export function writerOf(database: DatabaseSync): (record: OtherRecord) => void {
  const dropLease = database.prepare('DELETE FROM leases WHERE address = ?');
  const putBoot = database.prepare(
    `INSERT INTO boots (id, token_sha256, mac, address, node, profile, started_at_ms, plan, overlay_sha256, overlay, live)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const spend = database.prepare('UPDATE boots SET overlay = NULL WHERE id = ?');
  const putEvent = database.prepare('INSERT INTO journal (at_ms, mac, event) VALUES (?, ?, ?)');
  const putNode = database.prepare('INSERT OR REPLACE INTO nodes (node, state) VALUES (?, ?)');
  const dropNode = database.prepare('DELETE FROM nodes WHERE node = ?');
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
      case 'node-forgotten':
        dropNode.run(record.node);
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

/** Deletes what is kept no longer. */
export function trim(database: DatabaseSync): void {
  database.exec(`DELETE FROM journal WHERE seq <= (SELECT max(seq) FROM journal) - ${KEPT_EVENTS}`);
  // Of each machine first: one that asks for script after script must not push out the boots of all others.
  database.exec(
    `DELETE FROM boots WHERE seq IN (SELECT seq FROM (
       SELECT seq, row_number() OVER (PARTITION BY mac ORDER BY seq DESC) AS place FROM boots
     ) WHERE place > ${KEPT_BOOTS_PER_MACHINE}) AND seq NOT IN (${RUNNING})`,
  );
  database.exec(
    `DELETE FROM boots WHERE seq IN (
       SELECT seq FROM boots WHERE (${IS_STRANGERS}) = 1 ORDER BY seq DESC LIMIT -1 OFFSET ${KEPT_BOOTS_OF_STRANGERS}
     )`,
  );
  database.exec(
    `DELETE FROM boots WHERE seq <= (SELECT max(seq) FROM boots) - ${KEPT_BOOTS} AND seq NOT IN (${RUNNING})`,
  );
  database.exec(
    `DELETE FROM machines WHERE mac IN (SELECT mac FROM machines ORDER BY at_ms DESC LIMIT -1 OFFSET ${KEPT_MACHINES})`,
  );
  database.exec('DELETE FROM orders WHERE boot NOT IN (SELECT id FROM boots)');
}

/** Everything that the boot server keeps in memory. */
export function load(database: DatabaseSync): StoreContent {
  const damaged: string[] = [];
  /** The rows of a query as `make` has them; one that makes no sense is left out and said. */
  const rowsOf = <T>(what: string, make: (row: Row) => T, sql: string, ...values: string[]): T[] => {
    const list: T[] = [];
    for (const row of database.prepare(sql).iterate(...values) as Iterable<Row>) {
      try {
        list.push(make(row));
      } catch (error) {
        damaged.push(`${what} does not make sense and was left out: ${reasonOf(error)}`);
      }
    }
    return list;
  };
  const leases = rowsOf('a lease', (row) => row, 'SELECT address, lease, crc FROM leases').flatMap((row) => {
    const text = String(row['lease']);
    if (crc32(text) === Number(row['crc'])) return [JSON.parse(text) as Lease];
    damaged.push(`the lease of ${String(row['address'])} does not fit its checksum and was left out`);
    return [];
  });
  const boots = rowsOf(
    'a boot',
    bootOf,
    `SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY mac ORDER BY seq DESC) AS place FROM boots)
     WHERE place <= ${LOADED_BOOTS_PER_MACHINE} OR seq IN (${RUNNING}) ORDER BY seq`,
  );
  const events = rowsOf(
    'a line of the journal',
    (row) => JSON.parse(String(row['event'])) as BootEvent,
    `SELECT event FROM (SELECT seq, event FROM journal ORDER BY seq DESC LIMIT ${LOADED_EVENTS}) ORDER BY seq`,
  );
  const nodes = rowsOf(
    'the state of a node',
    (row) => JSON.parse(String(row['state'])) as NodeState,
    'SELECT state FROM nodes',
  );
  const orders = boots.flatMap(({ id }) =>
    rowsOf(
      'an order',
      (row) => JSON.parse(String(row['entry'])) as Order,
      'SELECT entry FROM orders WHERE boot = ? ORDER BY number',
      id,
    ),
  );
  const machines = rowsOf(
    'the inventory of a machine',
    (row) => JSON.parse(String(row['machine'])) as MachineRecord,
    'SELECT machine FROM machines',
  );
  return { leases, boots, events, nodes, orders, machines, damaged };
}

function bootOf(row: Row): StoredBoot {
  return {
    ...(JSON.parse(String(row['live'])) as Pick<StoredBoot, 'image' | 'filesRevision' | 'insteadOf'>),
    id: String(row['id']),
    tokenSha256: String(row['token_sha256']),
    mac: String(row['mac']) as StoredBoot['mac'],
    address: String(row['address']) as StoredBoot['address'],
    startedAtMs: Number(row['started_at_ms']),
    plan: JSON.parse(String(row['plan'])) as StoredBoot['plan'],
    overlaySha256: String(row['overlay_sha256']),
    overlay: row['overlay'] instanceof Uint8Array ? row['overlay'] : undefined,
  };
}

/** Upkeep: what it cannot do now (a full disk) it does the next time, and a commit that fails tells of the disk. */
export function attempt(upkeep: () => unknown): void {
  try {
    upkeep();
  } catch {
    // As above.
  }
}
