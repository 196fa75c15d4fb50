// A million mutated packets of real firmware through decoder, decision and encoder: nothing throws, nothing hangs, and
// every reply that comes out keeps RFC 2131. Seeded: the same packets each time; FUZZ_SEED and FUZZ_PACKETS change that.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { IPV4_ANY, networkContains } from '../../../formats/ipv4.ts';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { describeDecision, eventOf } from '../../../netboot/dhcp/event.ts';
import { decodeMessage, type DhcpMessage, encodeMessage, replyLimit } from '../../../netboot/dhcp/message.ts';
import type { ReplyDecision } from '../../../netboot/dhcp/world.ts';
import { type Lease, LeaseBook } from '../../../netboot/store/leases.ts';
import { decodePacket, type Request } from '../../../netboot/tftp/packet.ts';
import { beginTransfer, step } from '../../../netboot/tftp/transfer.ts';
import { ip, message, request, subnet, world } from './messages.ts';
import { readUdp } from './pcap.ts';

const FOLDER = new URL('../../fixtures/captures', import.meta.url).pathname;
const PACKETS = Number(process.env['FUZZ_PACKETS'] ?? 1_000_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? 20260401);

const captured = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.pcap'))
  .flatMap((name) => readUdp(join(FOLDER, name)));

/** xorshift32: whole numbers below a bound. */
function dice(seed: number): (sides: number) => number {
  let state = seed | 1;
  return (sides) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % sides;
  };
}

/** Octets that parsers trip over. */
const EDGES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 43, 50, 52, 53, 54, 55, 60, 61, 77, 82, 93, 97, 127, 128, 175, 254, 255];

/** Some flips, a cut, a doubled or a borrowed piece: one packet out of another. */
function mutate(packet: Uint8Array, other: Uint8Array, roll: (sides: number) => number): Uint8Array {
  let octets = packet.slice();
  for (let changes = 1 + roll(4); changes > 0; changes -= 1) {
    // The options are where the shapes are: three changes of four go there.
    const place = (): number =>
      roll(4) === 0 || octets.length <= 240 ? roll(octets.length || 1) : 240 + roll(octets.length - 240);
    switch (roll(6)) {
      case 0:
        octets[place()] = roll(256);
        break;
      case 1:
      case 2:
        octets[place()] = EDGES[roll(EDGES.length)] ?? 0;
        break;
      case 3:
        octets = octets.slice(0, place());
        break;
      case 4: {
        const from = place();
        const piece = octets.slice(from, from + roll(40));
        octets = Uint8Array.from([...octets.subarray(0, from), ...piece, ...octets.subarray(from)]);
        break;
      }
      default: {
        const from = roll(other.length || 1);
        octets.set(
          other
            .subarray(from, from + Math.min(roll(60), octets.length - Math.min(from, octets.length)))
            .subarray(0, Math.max(0, octets.length - from)),
          Math.min(from, octets.length),
        );
      }
    }
  }
  return octets;
}

const far = subnet({ name: 'far', at: '10.77.0.0/24', pool: '10.77.0.40-10.77.0.199', router: ip('10.77.0.1') });
const NETWORKS = [subnet(), far];

/** What a reply that breaks RFC 2131 breaks; undefined for a sound one. */
function fault(asked: DhcpMessage, decision: ReplyDecision): string | undefined {
  const octets = encodeMessage(decision.message, replyLimit(asked));
  if (octets.length < 300) return 'shorter than BOOTP';
  const decoded = decodeMessage(octets);
  if (!decoded.ok) return `cannot be read: ${decoded.why}`;
  const { message: reply } = decoded;
  if (reply.op !== 2 || reply.xid !== asked.xid || reply.giaddr !== asked.giaddr) return 'header not echoed';
  if (reply.chaddr.some((octet, index) => octet !== asked.chaddr[index])) return 'chaddr not echoed';
  const type = { offer: 2, ack: 5, nak: 6 }[decision.kind];
  if (reply.options.messageType !== type) return 'wrong type';
  if (reply.options.serverIdentifier === undefined) return 'no server identifier';
  if (decoded.raw.at(-1)?.code !== 82 && asked.options.relayAgent !== undefined) return 'option 82 is not last';
  const given = reply.yiaddr !== IPV4_ANY;
  if (decision.kind === 'nak' && (given || reply.options.leaseTimeS !== undefined)) return 'a NAK that gives';
  if (given !== (reply.options.leaseTimeS !== undefined)) return 'an address without a lease time, or the reverse';
  if (given && !NETWORKS.some(({ network }) => networkContains(network, reply.yiaddr)))
    return 'an address of no subnet';
  if (decision.kind === 'ack' && given && decision.commit?.address !== reply.yiaddr) return 'an ACK without its commit';
  if (![67, 68, 4011].includes(decision.to.port)) return `to port ${decision.to.port}`;
  return undefined;
}

test(`${PACKETS} mutated DHCP packets: no throw, no reply that breaks the RFC`, () => {
  const roll = dice(SEED);
  const requests = captured.filter(({ toPort }) => [67, 4011].includes(toPort)).map(({ payload }) => payload);
  expect(requests.length).toBeGreaterThan(30);
  const book = new LeaseBook();
  const asking = world({ subnets: NETWORKS, serverAddress: ip('10.77.0.1'), leases: book });
  const outcomes = new Map<string, number>();
  let latest: Lease | undefined;
  for (let count = 0; count < PACKETS; count += 1) {
    const base = requests[roll(requests.length)]!;
    // No capture gives a lease back; now and then the latest holder does, every other time unharmed.
    const isRelease = latest !== undefined && roll(500) === 0;
    const packet =
      latest !== undefined && isRelease && roll(2) === 0
        ? encodeMessage(message('release', { from: latest.mac, ciaddr: latest.address }))
        : mutate(base, requests[roll(requests.length)]!, roll);
    const decoded = decodeMessage(packet);
    if (!decoded.ok) {
      outcomes.set(decoded.why, (outcomes.get(decoded.why) ?? 0) + 1);
      continue;
    }
    const { message: asked } = decoded;
    const decision = decide(
      { ...asking, nowS: asking.nowS + Math.floor(count / 100) },
      request(asked, {
        port: roll(8) === 0 ? 4011 : 67,
        from: { address: asked.ciaddr, port: 68 },
        isUnicast: roll(2) === 0,
      }),
    );
    const key = `${decision.kind} ${decision.why}`;
    outcomes.set(key, (outcomes.get(key) ?? 0) + 1);
    // Words are made for every decision; every hundredth is looked at.
    if (
      count % 100 === 0 &&
      /[^ -~…]/.test(describeDecision(decision) + (eventOf('eth1', asked, decision).client ?? ''))
    ) {
      throw new Error(`unprintable words for ${Buffer.from(packet).toString('hex')}`);
    }
    if (decision.kind === 'ignore') continue;
    if (decision.commit !== undefined) {
      book.put(decision.commit);
      latest = decision.commit;
    }
    if (decision.kind === 'record') continue;
    if (decision.hold !== undefined) book.put(decision.hold);
    const wrong = fault(asked, decision);
    if (wrong !== undefined)
      throw new Error(`${wrong}: ${key}, packet ${count}: ${Buffer.from(packet).toString('hex')}`);
  }
  // A fuzz run that only ever meets the first check proves little.
  for (const kind of [
    'offer ',
    'ack ',
    'nak ',
    'record ',
    'options-truncated',
    'option-value',
    'not-dhcp',
    'ack proxy-boot',
  ]) {
    const met = [...outcomes.keys()].some((key) => key.startsWith(kind));
    expect(met, `${kind} among ${[...outcomes.keys()].join(', ')}`).toBe(true);
  }
});

test('300000 mutated TFTP packets: no throw, and a transfer sends no more than its window in answer to one', () => {
  const roll = dice(SEED);
  const packets = captured
    .filter(({ toPort, fromPort }) => ![67, 68, 4011].includes(toPort) && fromPort !== 68)
    .map(({ payload }) => payload);
  expect(packets.length).toBeGreaterThan(30);
  const content = new Uint8Array(100_000);
  const begin = (asked: Request) => beginTransfer(asked, content, { mostBlockBytes: 1468 }, 0)[0];
  let transfer = begin({ kind: 'rrq', name: 'f', mode: 'octet', options: { windowsize: 4 } });
  let ended = 0;
  for (let count = 0; count < 300_000; count += 1) {
    const packet = mutate(packets[roll(packets.length)]!, packets[roll(packets.length)]!, roll);
    const decoded = decodePacket(packet);
    if (!decoded.ok) continue;
    if (decoded.packet.kind === 'rrq' && transfer.outcome !== undefined) {
      transfer = begin(decoded.packet);
      ended += 1;
      continue;
    }
    const [next, sent] = step(transfer, { kind: 'packet', packet: decoded.packet }, count);
    expect(sent.length).toBeLessThanOrEqual(32);
    if (next.sent < next.acked || next.acked > next.lastBlock)
      throw new Error(`impossible state ${JSON.stringify({ ...next, content: 0 })}`);
    transfer = next;
  }
  expect(ended).toBeGreaterThan(30);
});
