// The limit on messages of one client, the words of decisions, and the reading of /proc/net.

import { expect, test } from 'vitest';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { describeDecision, eventOf } from '../../../netboot/dhcp/event.ts';
import { BURST, Pacer, REFILL_PER_S } from '../../../netboot/dhcp/pace.ts';
import { inodesOnPort, portTaken } from '../../../netboot/ports.ts';
import { printable } from '../../../netboot/dhcp/why.ts';
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
    xid: '12345678',
    type: 'discover',
    client: 'efi-x64 firmware (architecture 7)',
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
  expect(printable('a\x1b[31mb\nc\u202e')).toBe('a?[31mb?c?');
  expect(printable('x'.repeat(100))).toBe(`${'x'.repeat(64)}…`);
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
  expect(portTaken(67, { pid: 812, command: 'dnsmasq' }).why).toBe('dnsmasq (pid 812) has it');
});
