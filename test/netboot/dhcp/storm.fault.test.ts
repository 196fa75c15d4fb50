// A storm of 10,000 exchanges, and the boot server killed in it three times: every lease that was acknowledged is there
// afterwards, and no address was given twice.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStore } from '../../../netboot/store/store.io.ts';
import { writeTree } from '../home.ts';
import { Rack } from './rack.ts';

const EXCHANGES = 10_000;
const KILLED_AT = [2000, 4500, 7000];

let rack: Rack;
let home: string;
beforeEach(() => {
  rack = new Rack();
  home = mkdtempSync(join(tmpdir(), 'rouse-storm-'));
  writeTree(home, {
    'etc/rouse.yaml':
      'version: 1\nsubnets:\n  - {name: rack1, interface: v1, network: 10.77.0.0/16, pools: [10.77.64.0-10.77.127.255], unknown: default}\ndefaultProfile: web\n',
    'etc/profiles/web.yaml': 'boot: local\n',
  });
});
afterEach(async () => {
  await rack.take();
  rmSync(home, { recursive: true });
});

test(`${EXCHANGES} exchanges, the server killed ${KILLED_AT.length} times: every ACK is on disk`, async () => {
  await rack.make(['10.77.0.1/16'], ['52:54:00:77:00:01']);
  const { client } = rack.wires[0]!;
  await rack.in(client, 'ip', ['address', 'add', '10.77.0.2/16', 'dev', 'c0']);
  const start = async () => {
    const child = rack.start(rack.server, process.execPath, [join(import.meta.dirname, '../run-netboot.ts'), home]);
    let log = '';
    child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
    child.stdout?.resume();
    await expect.poll(() => log, { timeout: 60_000 }).toMatch(/serving DHCP/);
    return child;
  };
  let server = await start();
  const storm = rack.start(client, process.execPath, [
    join(import.meta.dirname, 'storm-client.ts'),
    ...['10.77.0.2', '10.77.0.1', String(EXCHANGES), '200'],
  ]);
  let said = '';
  let lines = 0;
  let errors = '';
  storm.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  storm.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    lines += chunk.toString().split('\n').length - 1;
  });
  const ended = once(storm, 'close');
  for (const count of KILLED_AT) {
    await expect.poll(() => lines, { timeout: 120_000, interval: 5 }).toBeGreaterThan(count);
    server.kill('SIGKILL');
    await once(server, 'exit');
    server = await start();
  }
  await ended;
  expect(errors).toBe('');
  server.kill('SIGKILL');
  await once(server, 'exit');

  const given = said
    .trim()
    .split('\n')
    .map((line) => line.split(' ') as [string, string]);
  expect(given.length).toBe(EXCHANGES);
  expect(new Set(given.map(([, address]) => address)).size).toBe(EXCHANGES);
  const store = await openStore(join(home, 'lib/store.sqlite'));
  const kept = new Map(store.content.leases.map((lease) => [lease.address as string, lease]));
  await store.close();
  expect(store.content.damaged).toEqual([]);
  const missing = given.filter(
    ([mac, address]) => kept.get(address)?.mac !== mac || kept.get(address)?.state !== 'bound',
  );
  expect(missing).toEqual([]);
});
