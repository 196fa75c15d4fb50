// The store's file: what is committed is there again, what is damaged is left out and told, what is newer is refused.

import { chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ipv4FromNumber } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import type { Lease } from '../../../netboot/store/leases.ts';
import { freshState } from '../../../netboot/fleet/nodestate.ts';
import type { Order } from '../../../netboot/fleet/orders.ts';
import type { MachineRecord } from '../../../netboot/site/inventory.ts';
import type { StoredBoot } from '../../../netboot/store/records.ts';
import { openStore } from '../../../netboot/store/store.io.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-store-'));
  file = join(folder, 'lib', 'store.sqlite');
});
afterEach(() => rmSync(folder, { recursive: true }));

const lease = (index: number, over: Partial<Lease> = {}): Lease => ({
  address: ipv4FromNumber(0x0a000001 + index),
  mac: '52:54:00:77:00:01' as MacAddress,
  subnet: 'rack1',
  state: 'bound',
  expiresAtS: 1000,
  ...over,
});
const boot = (id: string, mac = '52:54:00:77:00:01'): StoredBoot => ({
  id,
  tokenSha256: 'h',
  mac: mac as MacAddress,
  address: ipv4FromNumber(0x0a000001),
  startedAtMs: 5,
  plan: { node: { name: 'web1' }, profile: { name: 'web' } } as StoredBoot['plan'],
  overlaySha256: 'o',
  overlay: Uint8Array.of(1, 2, 3),
  image: { templates: [], vars: {} },
  filesRevision: undefined,
  insteadOf: undefined,
});

const ORDER: Order = {
  bootId: 'a',
  number: 1,
  verb: 'files',
  argument: 'r',
  madeAtMs: 1,
  outcome: { kind: 'waiting' },
};

const MACHINE: MachineRecord = {
  mac: lease(0).mac,
  atMs: 1,
  inventory: {
    vendor: 'QEMU',
    product: 'pc',
    serial: 'S1',
    uuid: 'u',
    cpus: 1,
    cpuModel: 'x',
    memoryKb: 1,
    firmware: 'bios',
    secureBoot: false,
    bmc: lease(1).address,
    disks: [],
    nics: [],
  },
};

test('leases, boots and events are there again, for their owner alone', async () => {
  const store = await openStore(file);
  expect(store.content).toEqual({
    leases: [],
    boots: [],
    events: [],
    nodes: [],
    orders: [],
    machines: [],
    damaged: [],
  });
  const event = { kind: 'ignored', atMs: 1.5, mac: lease(0).mac, why: 'x' } as const;
  await store.commit([
    { kind: 'lease', lease: lease(1) },
    { kind: 'boot', boot: boot('a') },
    { kind: 'event', event },
    { kind: 'node', state: freshState('web1') },
    { kind: 'node', state: { ...freshState('web1'), draining: 'operator' } },
    { kind: 'order', order: ORDER },
    { kind: 'order', order: { ...ORDER, outcome: { kind: 'done', atMs: 2, detail: '' } } },
    { kind: 'machine', machine: MACHINE },
    { kind: 'machine', machine: { ...MACHINE, atMs: 2 } },
    // Of a boot that is not there any more.
    { kind: 'order', order: { ...ORDER, bootId: 'gone' } },
  ]);
  await store.commit([
    { kind: 'lease', lease: lease(1, { state: 'released' }) },
    { kind: 'lease', lease: lease(2) },
  ]);
  await store.commit([{ kind: 'node', state: freshState('node-9') }]);
  await store.commit([
    { kind: 'lease-forgotten', address: lease(2).address },
    { kind: 'node-forgotten', node: 'node-9' },
  ]);
  await store.close();
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const again = await openStore(file);
  expect(again.content).toEqual({
    leases: [lease(1, { state: 'released' })],
    boots: [boot('a')],
    events: [event],
    nodes: [{ ...freshState('web1'), draining: 'operator' }],
    orders: [{ ...ORDER, outcome: { kind: 'done', atMs: 2, detail: '' } }],
    machines: [{ ...MACHINE, atMs: 2 }],
    damaged: [],
  });
  await again.close();
});

test('a spent overlay is gone from the file, and the token in it', async () => {
  const store = await openStore(file);
  // Longer than a page, so that its pages are freed rather than written over.
  const secret = new TextEncoder().encode('token-token-token-token-token-token'.repeat(600));
  await store.commit([{ kind: 'boot', boot: { ...boot('a'), overlay: secret } }]);
  await store.commit([{ kind: 'overlay-spent', bootId: 'a' }]);
  await store.close();
  const again = await openStore(file);
  expect(again.content.boots).toEqual([{ ...boot('a'), overlay: undefined }]);
  await again.close();
  expect(readFileSync(file).includes('token-token-token')).toBe(false);
});

test('of each machine the latest boots are loaded, the oldest first', async () => {
  const store = await openStore(file);
  for (const id of ['a', 'b', 'c', 'd']) await store.commit([{ kind: 'boot', boot: boot(id) }]);
  await store.commit([{ kind: 'boot', boot: boot('z', '52:54:00:77:00:02') }]);
  await store.close();
  const again = await openStore(file);
  expect(again.content.boots.map(({ id }) => id)).toEqual(['b', 'c', 'd', 'z']);
  await again.close();
});

test('a commit is all or nothing, and the store goes on after a failed one', async () => {
  const store = await openStore(file);
  await store.commit([{ kind: 'boot', boot: boot('a') }]);
  const twice = store.commit([
    { kind: 'lease', lease: lease(1) },
    { kind: 'boot', boot: boot('a') },
  ]);
  await expect(twice).rejects.toMatchObject({ code: 'E_STORE' });
  await store.commit([{ kind: 'lease', lease: lease(2) }]);
  await store.close();
  const again = await openStore(file);
  expect(again.content.leases).toEqual([lease(2)]);
  await again.close();
});

test('a thousand commits at once are all durable when they resolve, in their order', async () => {
  const store = await openStore(file);
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 1000 }, (_, index) =>
      store.commit([{ kind: 'lease', lease: lease(index % 100, { expiresAtS: index }) }]).then(() => order.push(index)),
    ),
  );
  await store.close();
  expect(order).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  const again = await openStore(file);
  expect(again.content.leases.map(({ expiresAtS }) => expiresAtS).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 100 }, (_, index) => 900 + index),
  );
  await again.close();
});

test('closing waits for what was handed over; afterwards nothing is taken', async () => {
  const store = await openStore(file);
  const late = store.commit([{ kind: 'lease', lease: lease(1) }]);
  await store.close();
  await late;
  await expect(store.commit([{ kind: 'lease', lease: lease(2) }])).rejects.toMatchObject({ code: 'E_STORE' });
  const again = await openStore(file);
  expect(again.content.leases).toEqual([lease(1)]);
  await again.close();
});

test('a lease whose bytes were flipped is left out and named; the others stay', async () => {
  const store = await openStore(file);
  await store.commit([
    { kind: 'lease', lease: lease(1) },
    { kind: 'lease', lease: lease(2) },
  ]);
  await store.close();
  const database = new DatabaseSync(file);
  database.exec(`UPDATE leases SET lease = replace(lease, 'rack1', 'rock1') WHERE address = '10.0.0.2'`);
  database.close();
  const again = await openStore(file);
  expect(again.content.leases).toEqual([lease(2)]);
  expect(again.content.damaged).toEqual(['the lease of 10.0.0.2 does not fit its checksum and was left out']);
  await again.close();
});

test('a second boot server is kept off the file, in words', async () => {
  const store = await openStore(file);
  await expect(openStore(file)).rejects.toMatchObject({
    code: 'E_STORE',
    message: `cannot open ${file}: database is locked; another boot server has it open: stop that one first`,
  });
  await store.close();
});

test('a file of version 1 is changed over: its leases and boots stay, nothing is known of nodes', async () => {
  const store = await openStore(file);
  await store.commit([
    { kind: 'lease', lease: lease(1) },
    { kind: 'boot', boot: boot('a') },
  ]);
  await store.close();
  const database = new DatabaseSync(file);
  database.exec(
    'ALTER TABLE boots DROP COLUMN live; DROP TABLE nodes; DROP TABLE orders; DROP TABLE machines; PRAGMA user_version = 1;',
  );
  database.close();
  const again = await openStore(file);
  const { leases, boots, nodes, orders } = again.content;
  expect({ leases, boots, nodes, orders }).toEqual({ leases: [lease(1)], boots: [boot('a')], nodes: [], orders: [] });
  await again.commit([{ kind: 'node', state: freshState('web1') }]);
  // The way back: the store as it was, for its owner alone.
  const copy = new DatabaseSync(`${file}.v1`);
  expect(copy.prepare('PRAGMA user_version').get()).toEqual({ user_version: 1 });
  expect(copy.prepare('SELECT count(*) AS leases FROM leases').get()).toEqual({ leases: 1 });
  copy.close();
  expect(statSync(`${file}.v1`).mode & 0o777).toBe(0o600);
  await again.close();
});

test('a file of a newer rouse is refused, one that is none too', async () => {
  await (await openStore(file)).close();
  const database = new DatabaseSync(file);
  database.exec('PRAGMA user_version = 99');
  database.close();
  await expect(openStore(file)).rejects.toThrow(
    /is of version 99 and this rouse knows versions up to 3; run the newer rouse/,
  );
  const { writeFileSync } = await import('node:fs');
  writeFileSync(file, 'not a database, '.repeat(100));
  await expect(openStore(file)).rejects.toThrow(/cannot open .*: file is not a database; move the file away/);
});

test('the file and what SQLite puts beside it are for their owner alone from the first moment, the folder too', async () => {
  const oldMask = process.umask(0);
  try {
    const store = await openStore(file);
    await store.commit([{ kind: 'boot', boot: boot('a') }]);
    for (const name of [file, `${file}-wal`]) expect(statSync(name).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'lib')).mode & 0o777).toBe(0o700);
    await store.close();
    chmodSync(file, 0o644);
    const again = await openStore(file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await again.close();
  } finally {
    process.umask(oldMask);
  }
});

test('once its spending is acknowledged, an overlay is in no file, while the store stays open', async () => {
  const store = await openStore(file);
  const secret = new TextEncoder().encode('token-token-token-token-token-token'.repeat(600));
  await store.commit([{ kind: 'boot', boot: { ...boot('a'), overlay: secret } }]);
  expect(readFileSync(`${file}-wal`).includes('token-token-token')).toBe(true);
  await store.commit([{ kind: 'overlay-spent', bootId: 'a' }]);
  for (const name of [file, `${file}-wal`]) expect(readFileSync(name).includes('token-token-token')).toBe(false);
  await store.close();
});

test('upkeep that fails takes no answer away from what is committed behind it', async () => {
  await (await openStore(file)).close();
  const database = new DatabaseSync(file);
  database.exec(`CREATE TRIGGER no_trim BEFORE DELETE ON orders BEGIN SELECT RAISE(ABORT, 'on purpose'); END`);
  database.close();
  const store = await openStore(file, { trimEveryCommits: 1 });
  // An order of no boot: upkeep would delete it, and may not.
  await store.commit([{ kind: 'order', order: { ...ORDER, bootId: 'gone' } }]);
  const twice = store.commit([
    { kind: 'boot', boot: boot('a') },
    { kind: 'boot', boot: boot('a') },
  ]);
  await expect(twice).rejects.toMatchObject({ code: 'E_STORE' });
  await store.commit([{ kind: 'lease', lease: lease(1) }]);
  await expect(store.commit([{ kind: 'boot', boot: boot('b') }])).resolves.toBeUndefined();
  await store.close();
});

test('one machine that makes boot after boot does not push out the boot of another', async () => {
  const store = await openStore(file, { trimEveryCommits: 1 });
  await store.commit([{ kind: 'boot', boot: boot('web2', '52:54:00:77:00:02') }]);
  await store.commit(Array.from({ length: 100 }, (_, index) => ({ kind: 'boot', boot: boot(String(index)) }) as const));
  await store.commit([{ kind: 'lease', lease: lease(1) }]);
  await store.close();
  const database = new DatabaseSync(file);
  const rows = database.prepare('SELECT mac, count(*) AS boots FROM boots GROUP BY mac ORDER BY mac').all();
  database.close();
  expect(rows.map((row) => row['boots'])).toEqual([20, 1]);
});

test('what a node runs stays, and is loaded, however many boots come after it; of strangers the latest stay', async () => {
  const store = await openStore(file, { trimEveryCommits: 1 });
  const stranger = (index: number): StoredBoot => {
    const made = boot(`s${index}`, `52:54:00:99:${(index >> 8).toString(16)}:${(index & 255).toString(16)}`);
    return { ...made, plan: { ...made.plan, node: { ...made.plan.node, known: false } } };
  };
  await store.commit(['old', 'runs'].map((id) => ({ kind: 'boot', boot: boot(id) }) as const));
  await store.commit(['old', 'runs'].map((bootId) => ({ kind: 'overlay-spent', bootId }) as const));
  await store.commit(Array.from({ length: 100 }, (_, index) => ({ kind: 'boot', boot: boot(`n${index}`) }) as const));
  await store.commit(Array.from({ length: 20_100 }, (_, index) => ({ kind: 'boot', boot: stranger(index) }) as const));
  await store.commit([{ kind: 'lease', lease: lease(1) }]);
  await store.close();
  const again = await openStore(file);
  const ids = again.content.boots.map(({ id }) => id);
  expect(ids.filter((id) => !id.startsWith('s'))).toEqual(['runs']);
  expect(ids.length).toBe(2001);
  expect(ids.at(-1)).toBe('s20099');
  await again.close();
});

test('trouble is told while it lasts: a commit that failed, a file that was taken away', async () => {
  const store = await openStore(file);
  expect(await store.trouble()).toBeUndefined();
  await store.commit([{ kind: 'boot', boot: boot('a') }]);
  await store.commit([{ kind: 'boot', boot: boot('a') }]).catch(() => undefined);
  expect(await store.trouble()).toMatch(/^cannot write .*UNIQUE/);
  await store.commit([{ kind: 'boot', boot: boot('b') }]);
  expect(await store.trouble()).toBeUndefined();
  renameSync(file, `${file}.old`);
  expect(await store.trouble()).toMatch(/was removed or replaced while it is in use/);
  // What is written now is in a file without a name: to say that it is kept would be a lie.
  await expect(store.commit([{ kind: 'lease', lease: lease(1) }])).rejects.toThrow(/was removed or replaced/);
  renameSync(`${file}.old`, file);
  await store.commit([{ kind: 'lease', lease: lease(1) }]);
  expect(await store.trouble()).toBeUndefined();
  renameSync(`${file}-wal`, `${file}-wal.old`);
  await expect(store.commit([{ kind: 'lease', lease: lease(1) }])).rejects.toThrow(/-wal was removed or replaced/);
  await store.close();
});
