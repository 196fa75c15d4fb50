// What of what is heard is told: boots' steps are kept, daily talk is not, and what anybody can make up gets few lines and begins
// no boot.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import type { DhcpEvent } from '../../../netboot/dhcp/event.ts';
import { Journal } from '../../../netboot/journal/attempts.ts';
import { Worth } from '../../../netboot/journal/worth.ts';
import type { TftpEvent } from '../../../netboot/tftp/event.ts';

const WEB1 = '52:54:00:77:00:01' as MacAddress;
const STRANGER = '02:00:00:00:00:09' as MacAddress;
const PEER = { address: '10.0.0.11' as Ipv4Address, port: 2000 };

function rig() {
  const journal = new Journal();
  const worth = new Worth({ isKnown: (mac) => mac === WEB1, latestOf: (mac) => journal.ofMac(mac)[0] });
  return { journal, worth };
}

const dhcp = (over: Partial<DhcpEvent>): DhcpEvent => ({
  interfaceName: 'eth0',
  type: 'discover',
  outcome: 'offer',
  why: 'reservation',
  text: 'OFFER 10.0.0.11',
  ...over,
});
const firmware = dhcp({ boot: { kind: 'tftp', file: 'undionly.kpxe', why: 'bios' } });
const ended = (over: Partial<Extract<TftpEvent, { kind: 'ended' }>> = {}): TftpEvent => ({
  kind: 'ended',
  interfaceName: 'eth0',
  file: 'undionly.kpxe',
  peer: PEER,
  outcome: 'complete',
  isProven: true,
  fileBytes: 70_000,
  bytesSent: 70_000,
  repeatedBlocks: 0,
  blockBytes: 1432,
  windowBlocks: 1,
  durationMs: 40.4,
  ...over,
});
const refused: TftpEvent = { kind: 'refused', interfaceName: 'eth0', file: 'undionly.kpxe', peer: PEER, why: 'gone' };

test("firmware's DHCP is a step of a boot; a running system's renewal is nothing, and its NAK a line", () => {
  const { worth } = rig();
  expect(worth.ofDhcp(WEB1, firmware, 1)).toMatchObject({
    lines: [`dhcp: ${WEB1} OFFER 10.0.0.11`],
    event: { kind: 'dhcp', client: 'firmware', message: 'offer' },
    isKept: true,
  });
  expect(worth.ofDhcp(WEB1, dhcp({ outcome: 'ack', type: 'request', text: 'ACK' }), 2)).toEqual({ lines: [] });
  expect(worth.ofDhcp(WEB1, dhcp({ outcome: 'nak', text: 'NAK' }), 3)).toEqual({ lines: [`dhcp: ${WEB1} NAK`] });
});

test('while a machine boots, what its system asks belongs to the boot', () => {
  const { worth, journal } = rig();
  journal.put(worth.ofDhcp(WEB1, firmware, 1).event!);
  expect(worth.ofDhcp(WEB1, dhcp({ outcome: 'ack' }), 2).event).toMatchObject({ kind: 'dhcp', client: 'system' });
});

test("ignored messages are told once a minute for each reason; a stranger's never goes to disk", () => {
  const { worth } = rig();
  const ignored = (type: 'discover' | 'request') =>
    dhcp({ outcome: 'ignore', why: 'unknown-machine', type, text: 'ignored' });
  expect(worth.ofDhcp(STRANGER, ignored('discover'), 1e6)).toMatchObject({ event: { kind: 'ignored' }, isKept: false });
  expect(worth.ofDhcp(STRANGER, ignored('discover'), 1e6 + 59_000)).toEqual({ lines: [] });
  expect(worth.ofDhcp(STRANGER, ignored('request'), 1e6).lines).toHaveLength(1);
  expect(worth.ofDhcp(STRANGER, ignored('discover'), 1e6 + 60_000).lines).toHaveLength(1);
  expect(worth.ofDhcp(WEB1, ignored('discover'), 1e6).isKept).toBe(true);
});

test('a loader that was sent is kept; a question for its size and files asked for by habit are lines alone', () => {
  const { worth } = rig();
  expect(worth.ofTftp(ended(), WEB1, 5)).toEqual({
    lines: ['tftp: 10.0.0.11 undionly.kpxe complete, 70000 bytes in 40 ms'],
    event: {
      kind: 'loader',
      atMs: 5,
      mac: WEB1,
      file: 'undionly.kpxe',
      bytes: 70_000,
      durationMs: 40,
      outcome: 'done',
      why: 'complete',
    },
    isKept: true,
  });
  expect(worth.ofTftp(ended({ outcome: 'probed' }), WEB1, 5).event).toBeUndefined();
  expect(worth.ofTftp(ended({ file: 'autoexec.ipxe' }), WEB1, 5).event).toBeUndefined();
  expect(worth.ofTftp(ended(), undefined, 5).event).toBeUndefined();
});

test('what nobody acknowledged says something of a machine that boots, and begins no boot of one that does not', () => {
  const { worth, journal } = rig();
  const lost = ended({ outcome: 'timeout', isProven: false });
  expect(worth.ofTftp(lost, WEB1, 5).event).toBeUndefined();
  expect(worth.ofTftp(refused, WEB1, 5).event).toBeUndefined();
  journal.put(worth.ofDhcp(WEB1, firmware, 6).event!);
  expect(worth.ofTftp(lost, WEB1, 7).event).toMatchObject({ kind: 'loader', outcome: 'failed', why: 'timeout' });
  expect(worth.ofTftp(refused, WEB1, 8).event).toMatchObject({ kind: 'loader', outcome: 'failed', why: 'gone' });
});

test("forged requests, of strangers or in a node's name, fill no log: the rest is counted", () => {
  const { worth } = rig();
  const lost = ended({ outcome: 'timeout', isProven: false });
  const lines = (mac: MacAddress | undefined) =>
    Array.from({ length: 5000 }, (_, index) => worth.ofTftp(lost, mac, 1000 + index / 100).lines).flat();
  const strangers = lines(undefined);
  expect(strangers.filter((line) => line.startsWith('many messages'))).toHaveLength(1);
  const told = strangers.length - 1 + lines(WEB1).length;
  expect(told).toBeLessThan(200);
  expect(worth.leftOut()).toEqual([
    `${10_000 - told} more lines about unknown machines or unconfirmed requests were left out`,
  ]);
  expect(worth.leftOut()).toEqual([]);
  // What a node does acknowledge is told all the same.
  expect(worth.ofTftp(ended(), WEB1, 1000).lines).toHaveLength(1);
});
