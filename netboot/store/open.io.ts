// netboot/store/open.io.ts - opening the store's file, and mending it where it is damaged.
//
// Owns: what is done about damage. Does not own the tables (tables.io.ts) or finding leases in raw octets (salvage.ts).
//
// A damaged store is no reason not to serve: what is sound is kept, what is lost is said, and the damaged file stays beside
// the new one. Source: sqlite.org/rescode.html.

import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { reasonOf } from '../../formats/errors.ts';
import type { Lease } from './leases.ts';
import { leasesIn, readWal } from './salvage.ts';
import { attempt, Damage, load, openSound, type Opened, PUT_LEASE, Refusal, type Row } from './tables.io.ts';

/**
 * Opens or makes the store's file, brings it up to VERSION (a copy of what was there is kept beside it) and reads it.
 *
 * Damage is mended: `content.damaged` says what of it is lost.
 * @throws Refusal where the file is newer than this rouse, open elsewhere, or nothing of a store.
 */
export function openTables(file: string): Opened {
  const wal = readWal(octetsOf(`${file}-wal`));
  const damaged: string[] = [];
  let opened: Opened;
  try {
    opened = openSound(file);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (!isDamage(error)) throw refusalOf(error);
    opened = rebuild(file, error, damaged);
  }
  if (wal.lostCommits === 0 || damaged.length > 0) return withDamage(opened, damaged);
  const { database } = opened;
  const leases = new Map(opened.content.leases.map((lease) => [lease.address, lease]));
  const recovered = wal.lost.flatMap((page) => leasesIn(page, crc32));
  putLeases(database, recovered);
  for (const lease of recovered) leases.set(lease.address, lease);
  damaged.push(
    `the log ${file}-wal is damaged: ${wal.lostCommits} commits behind the damage are lost, but for the leases in them that are sound, which were kept`,
  );
  return withDamage({ database, content: { ...opened.content, leases: [...leases.values()] } }, damaged);
}

function withDamage({ database, content }: Opened, more: readonly string[]): Opened {
  return { database, content: { ...content, damaged: [...content.damaged, ...more] } };
}

/** SQLite's result code: its low octet is the kind of failure. */
function isDamage(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 255 : 0;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB || error instanceof Damage;
}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

function refusalOf(error: unknown): Refusal {
  const why = reasonOf(error);
  const todo = /locked|busy/.test(why)
    ? 'another boot server has it open: stop that one first'
    : 'move the file away (leases and the journal begin anew; nodes keep their reserved addresses) or restore a copy';
  return new Refusal(why, todo);
}

/** Tables that are read row by row from a damaged file; leases are found by their checksums. */
const COPIED_TABLES = ['boots', 'journal', 'nodes', 'orders', 'machines'];

/** Puts the damaged file aside and makes a new one of what can be read of it. */
function rebuild(file: string, error: unknown, damaged: string[]): Opened {
  const raw = octetsOf(file);
  const leases = [raw, ...readEveryPage(`${file}-wal`)].flatMap((octets) => leasesIn(octets, crc32));
  const isStore = leases.length > 0 || isDamagedStore(file);
  if (!isStore) throw refusalOf(error);
  const aside = asideOf(file);
  renameSync(file, aside);
  if (existsSync(`${file}-wal`)) renameSync(`${file}-wal`, `${aside}-wal`);
  closeSync(openSync(file, 'wx', 0o600));
  const { database } = openSound(file);
  putLeases(database, leases);
  const kept = COPIED_TABLES.map((table) => `${copyRows(aside, database, table)} of ${table}`);
  const content = load(database);
  damaged.push(
    `${file} was damaged (${reasonOf(error)}) and was made anew of what can be read: ${content.leases.length} leases, ${kept.join(', ')}; the rest is lost, and the damaged file is ${aside}`,
  );
  return { database, content };
}

/** Whether a file that SQLite stumbles over has the tables of a store. */
function isDamagedStore(file: string): boolean {
  try {
    const database = new DatabaseSync(file, { readOnly: true });
    try {
      return database.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'leases'`).get() !== undefined;
    } finally {
      database.close();
    }
  } catch {
    return false;
  }
}

function readEveryPage(wal: string): readonly Uint8Array[] {
  const { sound, lost } = readWal(octetsOf(wal));
  return [...sound, ...lost];
}

/** Copies rows in both directions up to where reading fails. @returns how many. */
function copyRows(from: string, to: DatabaseSync, table: string): number {
  let copied = 0;
  for (const direction of ['ASC', 'DESC']) {
    attempt(() => {
      const source = new DatabaseSync(from, { readOnly: true });
      try {
        const keys = source
          .prepare(`SELECT name FROM pragma_table_info('${table}') WHERE pk > 0 ORDER BY pk`)
          .all() as Row[];
        const order = keys.map(({ name }) => `${String(name)} ${direction}`).join(', ');
        for (const row of source.prepare(`SELECT * FROM ${table} ORDER BY ${order}`).iterate() as Iterable<Row>) {
          const names = Object.keys(row);
          const marks = names.map(() => '?').join(', ');
          const put = to.prepare(`INSERT OR IGNORE INTO ${table} (${names.join(', ')}) VALUES (${marks})`);
          attempt(() => {
            copied += Number(put.run(...Object.values(row)).changes);
          });
        }
      } finally {
        source.close();
      }
    });
  }
  return copied;
}

function putLeases(database: DatabaseSync, leases: readonly Lease[]): void {
  const put = database.prepare(PUT_LEASE);
  database.exec('BEGIN IMMEDIATE');
  for (const lease of leases) {
    const text = JSON.stringify(lease);
    put.run(lease.address, text, crc32(text));
  }
  database.exec('COMMIT');
}

/** A name beside the file that is not taken. */
function asideOf(file: string): string {
  for (let number = 1; ; number += 1) {
    const name = `${file}.damaged-${number}`;
    if (!existsSync(name)) return name;
  }
}

function octetsOf(file: string): Uint8Array {
  return existsSync(file) ? readFileSync(file) : new Uint8Array();
}
