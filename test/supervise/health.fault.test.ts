// Health checks against real listeners: a service that runs but is of no use is restarted, and only then.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serviceHistory } from '../../supervise/client.io.ts';
import { endpointOf, parseHealth, refusalOfStatus } from '../../supervise/health.ts';
import { probe } from '../../supervise/probe.io.ts';
import type { Health } from '../../supervise/health.ts';
import { Rig } from './rig.ts';

const health = (kind: Health['kind'], target: string, timeoutMs = 2000): Health => ({
  kind,
  target,
  intervalMs: 100,
  timeoutMs,
  threshold: 2,
});

const ask = (of: Health): Promise<string | undefined> => new Promise((resolve) => probe(of, '/', resolve));

test('each kind tells an answer from none', async () => {
  let answer = 200;
  const server = createServer((request, response) => {
    if (request.url === '/hangs') return;
    response.writeHead(answer).end('x');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    expect(await ask(health('tcp', `127.0.0.1:${port}`))).toBeUndefined();
    expect(await ask(health('tcp', '127.0.0.1:1'))).toContain('ECONNREFUSED');
    expect(await ask(health('http', `http://127.0.0.1:${port}/`))).toBeUndefined();
    answer = 503;
    expect(await ask(health('http', `http://127.0.0.1:${port}/`))).toBe('answered 503');
    expect(await ask(health('http', `http://127.0.0.1:${port}/hangs`, 50))).toBe('no answer within 50 ms');
    expect(await ask(health('exec', 'exit 0'))).toBeUndefined();
    expect(await ask(health('exec', 'exit 3'))).toBe('/bin/sh exited 3');
    expect(await ask(health('exec', 'sleep 1000', 50))).toBe('no answer within 50 ms');
    expect(await ask(health('icmp', '127.0.0.1'))).toBeUndefined();
    expect(await ask(health('icmp', '240.0.0.1', 500))).toBeDefined();
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('threshold failures in a row restart a service, over the death of the supervisor too; it is said why', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\nrm -f sick\nexec sleep 1000\n',
    'web/health': 'kind exec\ntarget echo >>asked; ! test -f sick\nintervalMs 100\nthreshold 3\n',
    // Does not listen to TERM: it is ended all the same.
    'deaf/run': '#!/bin/sh\ntrap "" TERM\nwhile :; do sleep 1; done\n',
    'deaf/health': 'kind tcp\ntarget 127.0.0.1:1\nintervalMs 100\nthreshold 1\n',
    'deaf/timeout-kill': '200\n',
  });
  rig.start();
  const first = await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.end('SIGKILL');
  rig.start();
  await rig.until('web', 'adopted', ({ adopted }) => adopted);
  rig.write({ 'web/sick': '' });
  const second = await rig.until('web', 'restarted', (view) => view.ready && view.pid !== first.pid);
  expect(second.starts).toBe(2);
  expect(second.lastDeath?.why).toBe('health check failed 3 times: /bin/sh exited 1');
  const told = (await serviceHistory(rig.socketPath, 'web')).filter(({ what }) => what === 'unhealthy');
  expect(told.map(({ detail }) => detail)).toEqual(['health check failed 3 times: /bin/sh exited 1']);
  const asked = readFileSync(join(rig.folder, 'web/asked'), 'utf8').length;
  expect(asked).toBeGreaterThanOrEqual(3);
  const deaf = await rig.until('deaf', 'ended', ({ lastDeath }) => lastDeath !== undefined);
  expect(deaf.lastDeath?.signal).toBe('SIGKILL');
});

test('health: words, defaults, and what is refused', () => {
  expect(parseHealth(['kind tcp', 'target [::1]:80', 'threshold 5'])).toEqual({
    health: { kind: 'tcp', target: '[::1]:80', intervalMs: 10_000, timeoutMs: 5000, threshold: 5 },
  });
  expect(endpointOf('[::1]:80')).toEqual({ host: '::1', port: 80 });
  expect(endpointOf('db.lan:5432')).toEqual({ host: 'db.lan', port: 5432 });
  expect([199, 200, 399, 400].map(refusalOfStatus)).toEqual(['answered 199', undefined, undefined, 'answered 400']);
  for (const [lines, problem] of [
    [['target x'], 'kind is missing'],
    [['kind tcp'], 'target is missing'],
    [['kind udp'], 'kind expected icmp, tcp, http, exec, got "udp"'],
    [['kind tcp', 'target 80'], 'target of tcp expected HOST:PORT, got "80"'],
    [['kind icmp', 'target -f'], 'target of icmp expected an address, got "-f"'],
    [['every 5'], 'unknown word "every", expected kind, target, intervalMs, timeoutMs, threshold'],
    [['intervalMs 5'], 'intervalMs expected a whole number from 100 to 86400000, got "5"'],
  ] as const) {
    expect(parseHealth(lines)).toEqual({ problem });
  }
});
