// Flipped bytes anywhere in the store's file or its log: it opens all the same, no lease comes back other than it was written,
// and what is missing is said.

import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ipv4FromNumber } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import type { Lease } from '../../../netboot/store/leases.ts';
import { openTables } from '../../../netboot/store/open.io.ts';
import type { StoredBoot } from '../../../netboot/store/records.ts';
import { readWal } from '../../../netboot/store/salvage.ts';
import { openStore } from '../../../netboot/store/store.io.ts';

const LEASES = 400;
const ROUNDS = 25;
/** Leases on one page of 4096 bytes, at most. */
const LEASES_PER_PAGE = 25;

let folder: string;
let file: string;
const written = new Map<string, Lease>();
/** The file and its log while the store is open, and the file after it was closed. */
let live: { file: Uint8Array; wal: Uint8Array };
let closed: Uint8Array;

const lease = (index: number): Lease => ({
  address: ipv4FromNumber(0x0a000001 + index),
  mac: `52:54:00:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}` as MacAddress,
  subnet: 'rack1',
  state: 'bound',
  expiresAtS: 1_800_000_000 + index,
  clientId: '01'.repeat(1 + (index % 8)),
});
const boot = (id: string): StoredBoot => ({
  ...{
    id,
    tokenSha256: 'h',
    mac: '52:54:00:77:00:01' as MacAddress,
    address: ipv4FromNumber(0x0a000001),
    startedAtMs: 5,
  },
  plan: { node: { name: 'web1' }, profile: { name: 'web' } } as StoredBoot['plan'],
  ...{ overlaySha256: 'o', overlay: undefined, filesRevision: undefined, insteadOf: undefined },
  image: { templates: [], vars: {} },
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-damage-'));
  file = join(folder, 'store.sqlite');
  const store = await openStore(file);
  for (let index = 0; index < LEASES; index += 1) {
    const one = lease(index);
    written.set(one.address, one);
    const commit = store.commit([{ kind: 'lease', lease: one }]);
    // Commits of ten, so that the log has many of them.
    if (index % 10 === 9) await commit;
    else void commit;
  }
  const event = { kind: 'ignored', atMs: 1.5, mac: lease(0).mac, why: 'x'.repeat(200) } as const;
  await store.commit(Array.from({ length: 50 }, () => ({ kind: 'event', event }) as const));
  await store.commit(Array.from({ length: 20 }, (_, index) => ({ kind: 'boot', boot: boot(String(index)) }) as const));
  live = { file: readFileSync(file), wal: readFileSync(`${file}-wal`) };
  await store.close();
  closed = readFileSync(file);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Flips bytes in one to four places. @returns how many places. */
function flip(octets: Uint8Array, random: () => number): number {
  const places = 1 + Math.floor(random() * 4);
  for (let place = 0; place < places; place += 1) {
    const at = Math.floor(random() * octets.length);
    const run = random() < 0.5 ? 1 : 64;
    for (let index = at; index < Math.min(octets.length, at + run); index += 1) {
      octets[index] = (octets[index] ?? 0) ^ (1 + Math.floor(random() * 255));
    }
  }
  return places;
}

/** Opens a store made of these octets. @returns how many leases are missing. */
function check(name: string, main: Uint8Array, wal: Uint8Array | undefined): number {
  const copy = join(folder, `${name}.sqlite`);
  writeFileSync(copy, main);
  if (wal !== undefined) writeFileSync(`${copy}-wal`, wal);
  const { database, content } = openTables(copy);
  database.close();
  for (const one of content.leases) expect(one, name).toEqual(written.get(one.address));
  const missing = LEASES - new Set(content.leases.map(({ address }) => address)).size;
  if (missing > 0) expect(content.damaged.length, `${name}: ${missing} leases are missing`).toBeGreaterThan(0);
  // What was mended is whole: it opens again with the same leases, and nothing is made anew.
  const again = openTables(copy);
  again.database.close();
  expect(again.content.leases.length, name).toBe(content.leases.length);
  expect(again.content.damaged.join(), name).not.toMatch(/made anew|behind the damage/);
  return missing;
}

test(`bytes flipped in the file, ${ROUNDS} times: what is sound is kept, what is lost is said`, () => {
  let everMissing = 0;
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const octets = Uint8Array.from(closed);
    const places = flip(octets, randomFrom(seed));
    const missing = check(`file-${seed}`, octets, undefined);
    expect(missing, `seed ${seed}`).toBeLessThanOrEqual(places * LEASES_PER_PAGE);
    everMissing += missing;
  }
  expect(everMissing).toBeGreaterThan(0);
});

test('a page that claims to hold fewer leases than it does hides none of them', () => {
  const octets = Uint8Array.from(closed);
  // The leaves of a table without rowid are index leaves: type 10, number of cells at 3 (sqlite.org/fileformat2.html 1.6).
  const starts = Array.from({ length: octets.length / 4096 }, (_, page) => page * 4096);
  const holds = (start: number): boolean =>
    octets[start] === 10 && Buffer.from(octets.subarray(start, start + 4096)).includes('{"address":"');
  const start = starts.find(holds) ?? 0;
  octets[start + 4] = (octets[start + 4] ?? 0) - 1;
  expect(check('fewer', octets, undefined)).toBe(0);
});

test(`bytes flipped in the log, ${ROUNDS} times: commits behind the damage are not lost in silence, their leases not at all`, () => {
  expect(readWal(live.wal).lostCommits).toBe(0);
  let broken = 0;
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const wal = Uint8Array.from(live.wal);
    const places = flip(wal, randomFrom(1000 + seed));
    if (readWal(wal).lostCommits > 0) broken += 1;
    const missing = check(`wal-${seed}`, live.file, wal);
    expect(missing, `seed ${seed}`).toBeLessThanOrEqual(places * LEASES_PER_PAGE);
  }
  expect(broken).toBeGreaterThan(ROUNDS / 2);
});

test('a log that is torn at its end, as a crash leaves it, is no damage', () => {
  for (const cutBytes of [1, 50, 4096, 5000]) {
    const copy = join(folder, `torn-${cutBytes}.sqlite`);
    writeFileSync(copy, live.file);
    writeFileSync(`${copy}-wal`, live.wal.subarray(0, live.wal.length - cutBytes));
    const { database, content } = openTables(copy);
    database.close();
    expect(content.damaged).toEqual([]);
    expect(content.leases.length).toBe(LEASES);
  }
});

test('what is no store at all is refused and left as it is', () => {
  const other = join(folder, 'other.sqlite');
  writeFileSync(other, 'not a database, '.repeat(100));
  expect(() => openTables(other)).toThrow(/file is not a database/);
  expect(readFileSync(other, 'utf8')).toMatch(/^not a database/);
  copyFileSync(join(folder, 'store.sqlite'), join(folder, 'good.sqlite'));
  const { database, content } = openTables(join(folder, 'good.sqlite'));
  database.close();
  expect(content.damaged).toEqual([]);
});
