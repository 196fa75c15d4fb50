// The limit on messages of one client, the words of decisions, and the reading of /proc/net.

import { expect, test } from 'vitest';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { describeDecision, eventOf } from '../../../netboot/dhcp/event.ts';
import { BURST, ClientPacer, Pacer, REFILL_PER_S } from '../../../netboot/dhcp/pace.ts';
import { inodesOnPort, isPortTaken, portTaken, programOf, unitOf } from '../../../netboot/ports.ts';
import { printableAscii } from '../../../formats/printable.ts';
import { CLIENTS, message, request, STRANGER, subnet, WEB1, world } from './messages.ts';

test('a burst passes, then the first drop is told, then drops are silent', () => {
  const pacer = new Pacer();
  const burst = Array.from({ length: BURST }, () => pacer.admit('a', 0));
  expect(new Set(burst)).toEqual(new Set(['pass']));
  expect([pacer.admit('a', 0), pacer.admit('a', 0), pacer.admit('a', 1)]).toEqual(['drop-first', 'drop', 'drop']);
  expect(pacer.admit('b', 1)).toBe('pass');
});

test('a client that goes on at the limit is told of once, one that paused is told of anew', () => {
  const pacer = new Pacer();
  for (let index = 0; index < BURST; index += 1) pacer.admit('a', 0);
  const seen = Array.from({ length: 200 }, (_, index) => pacer.admit('a', index * 100));
  expect(seen.filter((one) => one === 'drop-first').length).toBe(1);
  expect(seen.filter((one) => one === 'pass').length).toBeGreaterThanOrEqual(Math.floor(20 * REFILL_PER_S) - 2);
  const later = Array.from({ length: BURST * 2 }, () => pacer.admit('a', 1_000_000));
  expect(later.filter((one) => one === 'drop-first').length).toBe(1);
});

test('the memory is bounded, whoever sends', () => {
  const pacer = new Pacer();
  for (let index = 0; index < 30_000; index += 1) pacer.admit(String(index), index);
  expect(pacer.size).toBe(10_000);
});

/** Somebody sends 50 DISCOVERs a second with a node's address; `own` are the node's: [second, type, xid]. */
function besideFlood(own: readonly (readonly [number, string, number])[]): { own: string[]; passed: number } {
  const pacer = new ClientPacer();
  const seen: string[] = [];
  let passed = 0;
  for (let index = 0; index < 50 * 40; index += 1) {
    const nowMs = index * 20;
    if (pacer.admit('web2', 'discover', 0x1000_0000 + index, nowMs) === 'pass') passed += 1;
    for (const [atS, type, xid] of own) {
      if (atS * 1000 === nowMs) seen.push(pacer.admit('web2', type, xid, nowMs) === 'pass' ? 'pass' : 'drop');
    }
  }
  return { own: seen, passed };
}

test('somebody who sends with a node’s address does not keep the node from its own', () => {
  // As iPXE does: the same xid again after 1, 2 and 4 s; the REQUEST in the same exchange.
  const { own, passed } = besideFlood([
    [20, 'discover', 7],
    [21, 'discover', 7],
    [21, 'request', 7],
    [23, 'discover', 7],
    [30, 'discover', 8],
    [34, 'discover', 8],
  ]);
  expect(own.filter((_, index) => index !== 0 && index !== 4)).toEqual(['pass', 'pass', 'pass', 'pass']);
  expect(passed).toBeLessThan(BURST + 40 * REFILL_PER_S + 2);
});

test('one exchange repeated without a pause is a flood like any other', () => {
  const pacer = new ClientPacer();
  const seen = Array.from({ length: 50 * 40 }, (_, index) => pacer.admit('web2', 'discover', 7, index * 20));
  expect(seen.filter((one) => one === 'pass').length).toBeLessThan(BURST + 40 * (REFILL_PER_S + 2));
  for (let index = 0; index < 50_000; index += 1) pacer.admit(`m${index % 7}`, 'discover', index, 50_000);
  expect(pacer.size).toBeLessThan(30_001);
});

test('a decision is one sentence that says everything', () => {
  const offer = decide(world(), request(message('discover', { options: CLIENTS.bios })));
  expect(describeDecision(offer)).toBe(
    'OFFER 10.77.1.11: the node file gives it this address; TFTP undionly.kpxe: undionly is what bios takes first',
  );
  const observed = decide(world({ subnets: [subnet({ mode: 'observe' })] }), request(message('discover')));
  expect(describeDecision(observed)).toMatch(
    /^ignored: the subnet says mode: observe, .*; otherwise: OFFER 10\.77\.1\.11/,
  );
});

test('an event carries what the journal needs', () => {
  const asked = message('discover', { from: STRANGER, options: CLIENTS.efi });
  const ignoring = world({ subnets: [subnet({ unknown: 'ignore' })] });
  expect(eventOf('eth1', asked, decide(ignoring, request(asked)))).toEqual({
    interfaceName: 'eth1',
    mac: STRANGER,
    machine: STRANGER,
    xid: '12345678',
    type: 'discover',
    client: 'efi-x64 firmware (architecture 7)',
    clientKind: 'pxe',
    architecture: 7,
    outcome: 'ignore',
    why: 'unknown-machine',
    text: `ignored: no node file names this MAC, and the subnet says unknown: ignore (${STRANGER})`,
  });
  expect(eventOf('eth1', message('discover'), decide(world(), request(message('discover'))))).toMatchObject({
    mac: WEB1,
    outcome: 'offer',
    address: '10.77.1.11',
  });
});

test('foreign text cannot steer a terminal', () => {
  expect(printableAscii('a\x1b[31mb\nc\u202e')).toBe('a?[31mb?c?');
  expect(printableAscii('x'.repeat(100))).toBe(`${'x'.repeat(64)}…`);
});

test('/proc/net/udp is read by local port', () => {
  const table = [
    '   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops',
    '  100: 0100007F:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000 0',
    '  101: 00000000:0045 00000000:0043 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000 0',
    '',
  ].join('\n');
  expect(inodesOnPort(table, 67)).toEqual(['4711']);
  expect(inodesOnPort(table, 69)).toEqual(['4712']);
  expect([67, 69, 70].map((port) => isPortTaken(table, 'udp', port))).toEqual([true, true, false]);
  // State 07 of TCP is a connection that closes.
  expect(isPortTaken(table, 'tcp', 67)).toBe(false);
  expect(isPortTaken(table.replace('00000000:0000 07', '00000000:0000 0A'), 'tcp', 67)).toBe(true);
  const dnsmasq = { pid: 812, program: 'dnsmasq', unit: 'dnsmasq.service' };
  expect(portTaken(67, dnsmasq)).toEqual({
    why: 'dnsmasq (pid 812) has it',
    todo: 'stop it with: systemctl stop dnsmasq.service',
  });
  expect(portTaken(67, { ...dnsmasq, unit: undefined }).todo).toBe('stop it with: kill 812');
  expect(programOf('/usr/sbin/dnsmasq\0-x\0/run/x\0', 'dnsmasq')).toBe('dnsmasq');
  expect(programOf('python3\0-m\0http.server\0--cgi\0', 'python3')).toBe('python3 -m http.server');
  expect(programOf('/usr/bin/node\0/srv/x.js\0--token=secret\0', 'node')).toBe('node /srv/x.js');
  expect(programOf('', 'kthread')).toBe('kthread');
  expect(unitOf('0::/system.slice/dnsmasq.service\n')).toBe('dnsmasq.service');
  expect(unitOf('1:name=systemd:/system.slice/x.service/worker\n0::/\n')).toBe('x.service');
  for (const none of [
    '0::/user.slice/user-0.slice/session-1.scope\n',
    '0::/user.slice/user@0.service/app.slice/a.scope\n',
    '',
  ])
    expect(unitOf(none)).toBeUndefined();
});
