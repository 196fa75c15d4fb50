// Thousands of boots through the pure DHCP core, over a network that loses, doubles and reorders, a disk that is slow,
// and a server that is killed in between. Deterministic: one seed, one course of events; no sockets, no clock.
//
// What must hold whatever happens:
//   - no two living clients have one address;
//   - no ACK leaves before its lease is on disk.
// Clients follow RFC 2131 section 4.4: they count their lease from when they asked, and reboot without a word.

import { expect, test } from 'vitest';
import { type Ipv4Address, IPV4_ANY, ipv4FromNumber, parseRange } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { judge } from '../../../netboot/dhcp/judge.ts';
import { decodeMessage, encodeMessage, type MessageType, messageTypeOf } from '../../../netboot/dhcp/message.ts';
import type { Decision, DhcpNode, DhcpRequest, DhcpWorld, ReplyDecision } from '../../../netboot/dhcp/world.ts';
import { type Lease, LeaseBook } from '../../../netboot/store/leases.ts';
import { type Asked, mac, message, request, subnet, US } from './messages.ts';

const LEASE_TIME_S = 120;
const START_MS = 1_800_000_000_000;

/** mulberry32: small, seeded, good enough to shuffle a network. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** What happens when: a heap by time, and by order of entry within it. */
class Agenda {
  readonly #heap: { atMs: number; order: number; run: () => void }[] = [];
  #order = 0;
  nowMs = START_MS;

  after(delayMs: number, run: () => void): void {
    this.#order += 1;
    const heap = this.#heap;
    heap.push({ atMs: this.nowMs + delayMs, order: this.#order, run });
    for (let at = heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) break;
      [heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
      at = parent;
    }
  }

  runUntil(endMs: number): void {
    while (this.#heap[0] !== undefined && this.#heap[0].atMs <= endMs) {
      const first = this.#heap[0];
      const last = this.#heap.pop()!;
      if (this.#heap.length > 0) {
        this.#heap[0] = last;
        for (let at = 0; ; ) {
          const [left, right] = [at * 2 + 1, at * 2 + 2];
          const child = right < this.#heap.length && this.#before(right, left) ? right : left;
          if (child >= this.#heap.length || !this.#before(child, at)) break;
          [this.#heap[at], this.#heap[child]] = [this.#heap[child]!, this.#heap[at]!];
          at = child;
        }
      }
      this.nowMs = first.atMs;
      first.run();
    }
  }

  #before(a: number, b: number): boolean {
    const [one, other] = [this.#heap[a]!, this.#heap[b]!];
    return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
  }
}

type Weather = {
  seed: number;
  clients: number;
  loss: number;
  doubling: number;
  mostDelayMs: number;
  mostCommitMs: number;
  restartEveryMs: number;
  /** How long the server is away each time. */
  awayMs: number;
  /** The share of clients that keep their address when its lease runs out unanswered, as nodes do. */
  keeping: number;
  pool: string;
  durationMs: number;
};
type Tally = {
  stillThere: number;
  boots: number;
  acks: number;
  naks: number;
  declines: number;
  restarts: number;
  ignoredFull: number;
};

function simulate(weather: Weather): Tally {
  const random = randomFrom(weather.seed);
  const agenda = new Agenda();
  const tally: Tally = { stillThere: 0, boots: 0, acks: 0, naks: 0, declines: 0, restarts: 0, ignoredFull: 0 };
  const disk = new Map<Ipv4Address, Lease>();
  const living = new Map<Ipv4Address, { who: number; untilMs: number }>();
  const macs = Array.from({ length: weather.clients }, (_, index) =>
    mac(`52:54:00:${[16, 8, 0].map((shift) => ((index >>> shift) & 255).toString(16).padStart(2, '0')).join(':')}`),
  );
  const nodes = new Map<MacAddress, DhcpNode>(
    macs
      .slice(0, weather.clients / 4)
      .map((address, index) => [address, { name: `n${index}`, address: ipv4FromNumber(0x0a4d0000 + 0x2000 + index) }]),
  );
  const byAddress = new Map([...nodes.values()].map((node) => [node.address, node]));
  const served = subnet({ at: '10.77.0.0/16', pools: [parseRange(weather.pool)!], leaseTimeS: LEASE_TIME_S });
  let book = new LeaseBook();
  let life = 0;
  let isAway = false;
  let diskReadyMs = 0;

  const world = (): DhcpWorld => ({
    serverAddress: US,
    subnets: [served],
    nodeByMac: (address) => nodes.get(address),
    nodeByAddress: (address) => byAddress.get(address),
    leases: book,
    bootPolicy: () => ({ kind: 'boot', loader: 'auto', httpBase: 'http://10.77.1.1:8080' }),
    loaderFetchedRecently: () => false,
    nowS: Math.floor(agenda.nowMs / 1000),
  });

  /** A packet crosses the network: perhaps not, perhaps twice, each time after another delay. */
  const cross = (packet: Uint8Array, arrive: (packet: Uint8Array) => void): void => {
    if (random() < weather.loss) return;
    const copies = random() < weather.doubling ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      agenda.after(random() * weather.mostDelayMs, () => arrive(packet));
    }
  };

  const serverHears = (packet: Uint8Array, isUnicast: boolean): void => {
    if (isAway) return;
    const decoded = decodeMessage(packet);
    if (!decoded.ok) throw new Error(decoded.why);
    carryOut(request(decoded.message, { isUnicast }), 0);
  };

  /** As server.io.ts does it: judge, look at the network where nobody vouches for the address, write, send. */
  const carryOut = (asked: DhcpRequest, looks: number): void => {
    const { decision, hold, look } = judge(world(), asked, looks);
    if (hold !== undefined) book.put(hold);
    if (decision.kind === 'ignore') {
      if (decision.why === 'pool-full') tally.ignoredFull += 1;
      return;
    }
    if (look === undefined) return act(decision);
    const bornIn = life;
    agenda.after(20 + random() * 130, () => {
      if (bornIn !== life) return;
      const held = living.get(look.address);
      const holder = held !== undefined && held.untilMs > agenda.nowMs ? macs[held.who] : undefined;
      const conflict = look.conflict(holder === undefined ? { kind: 'free' } : { kind: 'used', holder });
      if (conflict === undefined) return act(decision);
      if (conflict.why === 'still-there') tally.stillThere += 1;
      book.put(conflict.commit);
      carryOut(asked, looks + 1);
    });
  };

  const act = (decision: Exclude<Decision, { kind: 'ignore' }>): void => {
    const { commit } = decision;
    const finish = (): void => {
      if (decision.kind !== 'record') serverSends(decision);
    };
    if (commit === undefined) return finish();
    book.put(commit);
    const bornIn = life;
    // A store commits in the order in which it was asked (server.io.ts demands it).
    diskReadyMs = Math.max(diskReadyMs, agenda.nowMs + random() * weather.mostCommitMs);
    agenda.after(diskReadyMs - agenda.nowMs, () => {
      // Killed before the disk had it: neither the record nor the ACK exists.
      if (bornIn !== life) return;
      disk.set(commit.address, commit);
      finish();
    });
  };

  const serverSends = (decision: ReplyDecision): void => {
    if (decision.kind === 'nak') tally.naks += 1;
    if (decision.kind === 'ack') {
      tally.acks += 1;
      const address = decision.message.yiaddr;
      expect(disk.get(address)?.mac, `ACK of ${address} is on disk`).toBe(decision.commit?.mac);
      expect(disk.get(address)?.expiresAtS).toBeGreaterThanOrEqual(decision.commit!.expiresAtS);
    }
    const packet = encodeMessage(decision.message);
    const who = macs.indexOf(decision.message.chaddr.length === 0 ? macs[0]! : macOfChaddr(decision.message.chaddr));
    cross(packet, (arrived) => clients[who]?.hear(arrived));
  };

  const restart = (): void => {
    life += 1;
    tally.restarts += 1;
    isAway = true;
    agenda.after(weather.awayMs, () => {
      isAway = false;
      book = new LeaseBook(disk.values());
      diskReadyMs = 0;
      agenda.after(weather.restartEveryMs * (0.5 + random()), restart);
    });
  };

  const clients = macs.map((address, who) => {
    const keeps = who < weather.clients * weather.keeping;
    let xid = 0;
    let session = 0;
    let state: 'off' | 'selecting' | 'requesting' | 'bound' | 'renewing' = 'off';
    let mine: Ipv4Address = IPV4_ANY;
    let askedAtMs = 0;

    const send = (type: MessageType, asked: Asked, isUnicast = false): void => {
      askedAtMs = agenda.nowMs;
      const sent = message(type, { from: address, xid, ...asked });
      cross(encodeMessage(sent), (packet) => serverHears(packet, isUnicast));
    };
    const leave = (): void => {
      if (living.get(mine)?.who === who) living.delete(mine);
      mine = IPV4_ANY;
      state = 'off';
    };
    const boot = (): void => {
      leave();
      session += 1;
      tally.boots += 1;
      discover(session);
    };
    const discover = (mySession: number): void => {
      if (mySession !== session) return;
      state = 'selecting';
      xid = Math.floor(random() * 0xffffffff);
      send('discover', {});
      agenda.after(4000 + random() * 4000, () => {
        if (state === 'selecting' || state === 'requesting') discover(mySession);
      });
    };
    const bind = (addressGiven: Ipv4Address): void => {
      const held = living.get(addressGiven);
      if (held !== undefined && held.who !== who && held.untilMs > agenda.nowMs) {
        throw new Error(
          `${addressGiven} is client ${held.who}'s and was given to client ${who} (seed ${weather.seed})`,
        );
      }
      if (random() < 0.01) {
        // It found the address in use.
        tally.declines += 1;
        send('decline', { options: { serverIdentifier: US, requestedAddress: addressGiven } });
        leave();
        agenda.after(10_000, () => state === 'off' && boot());
        return;
      }
      const untilMs = keeps ? Number.POSITIVE_INFINITY : askedAtMs + LEASE_TIME_S * 1000;
      living.set(addressGiven, { who, untilMs });
      mine = addressGiven;
      state = 'bound';
      const mySession = session;
      agenda.after(LEASE_TIME_S * (random() < 0.2 ? 1100 : 500), () => renew(mySession));
    };
    const renew = (mySession: number): void => {
      if (mySession !== session || state === 'off') return;
      const held = living.get(mine);
      // Its lease is over and nobody answered: it begins anew.
      if (held === undefined || held.untilMs <= agenda.nowMs) return boot();
      const fate = random();
      // What keeps its address is up for long.
      if (fate < (keeps ? 0.05 : 0.3)) return boot();
      if (fate < 0.4) {
        send('release', { ciaddr: mine, options: { serverIdentifier: US } }, true);
        leave();
        session += 1;
        agenda.after(20_000 + random() * 200_000, boot);
        return;
      }
      state = 'renewing';
      xid = Math.floor(random() * 0xffffffff);
      send('request', { ciaddr: mine }, random() < 0.7);
      agenda.after(10_000, () => state === 'renewing' && renew(mySession));
    };
    agenda.after(random() * 20_000, boot);
    return {
      hear: (packet: Uint8Array): void => {
        const decoded = decodeMessage(packet);
        if (!decoded.ok || decoded.message.xid !== xid) return;
        const { yiaddr } = decoded.message;
        const type = messageTypeOf(decoded.message);
        if (state === 'selecting' && type === 'offer') {
          state = 'requesting';
          send('request', { options: { serverIdentifier: US, requestedAddress: yiaddr } });
        } else if ((state === 'requesting' || state === 'renewing') && type === 'ack') bind(yiaddr);
        else if ((state === 'requesting' || state === 'renewing') && type === 'nak') boot();
      },
    };
  });
  agenda.after(weather.restartEveryMs, restart);
  agenda.runUntil(START_MS + weather.durationMs);
  return tally;
}

const byChaddr = new Map<string, MacAddress>();
function macOfChaddr(chaddr: Uint8Array): MacAddress {
  const key = chaddr.subarray(0, 6).toString();
  const known =
    byChaddr.get(key) ??
    mac(Array.from(chaddr.subarray(0, 6), (octet) => octet.toString(16).padStart(2, '0')).join(':'));
  byChaddr.set(key, known);
  return known;
}

const ROOMY = '10.77.64.0-10.77.67.255';
const TIGHT = '10.77.64.0-10.77.64.99';
const WEATHERS: Record<string, Omit<Weather, 'seed'>> = {
  'fair weather': {
    clients: 200,
    loss: 0,
    doubling: 0,
    mostDelayMs: 5,
    mostCommitMs: 5,
    restartEveryMs: 1e9,
    awayMs: 0,
    keeping: 0,
    pool: ROOMY,
    durationMs: 900_000,
  },
  'loss, doubling, reordering': {
    clients: 200,
    loss: 0.15,
    doubling: 0.15,
    mostDelayMs: 2500,
    mostCommitMs: 50,
    restartEveryMs: 1e9,
    awayMs: 0,
    keeping: 0,
    pool: ROOMY,
    durationMs: 900_000,
  },
  'a slow disk and a server killed every 30 s': {
    clients: 200,
    loss: 0.05,
    doubling: 0.05,
    mostDelayMs: 500,
    mostCommitMs: 3000,
    restartEveryMs: 30_000,
    awayMs: 0,
    keeping: 0,
    pool: ROOMY,
    durationMs: 900_000,
  },
  'all of it, and a pool for two thirds of the clients': {
    clients: 200,
    loss: 0.1,
    doubling: 0.1,
    mostDelayMs: 1500,
    mostCommitMs: 1000,
    restartEveryMs: 30_000,
    awayMs: 0,
    keeping: 0,
    pool: TIGHT,
    durationMs: 900_000,
  },
  'a server away for three lease times, nodes that keep their addresses, a pool too small for all': {
    clients: 200,
    loss: 0.05,
    doubling: 0.05,
    mostDelayMs: 500,
    mostCommitMs: 500,
    restartEveryMs: 200_000,
    awayMs: 3 * LEASE_TIME_S * 1000,
    keeping: 0.5,
    pool: '10.77.64.0-10.77.64.109',
    durationMs: 1_800_000,
  },
};
for (const [name, weather] of Object.entries(WEATHERS)) {
  test(`boots in ${name}: no address twice, no ACK that is not on disk`, () => {
    let boots = 0;
    for (const seed of [1, 2, 3]) {
      const tally = simulate({ ...weather, seed });
      boots += tally.boots;
      expect(tally.acks).toBeGreaterThan(weather.clients);
      if (weather.restartEveryMs < 1e9) expect(tally.restarts).toBeGreaterThan(weather.awayMs > 0 ? 2 : 10);
      if (weather.keeping > 0) expect(tally.stillThere).toBeGreaterThan(0);
      if (weather.pool === TIGHT) expect(tally.ignoredFull).toBeGreaterThan(0);
    }
    expect(boots).toBeGreaterThan(1000);
  });
}
