// netboot/dhcp/server.io.ts - the sockets of the DHCP server: receive, decode, decide, commit, send, tell.
//
// Owns: UDP 67, 68 and 4011 of one served interface. Does not own any decision (judge.ts), the world it is made in, or the
// journal. No native code:
//   two sockets bound to the device hear its broadcasts: clients' and other servers' (broadcast.io.ts);
//   one socket on the interface's address hears unicast and sends everything: a broadcast leaves by the interface that
//   owns the socket's address. Unicast to an address that has no ARP entry would be lost, hence destination.ts.
//
// Sources: facts measured on Linux 6.18 with udhcpc, dhclient and dhcpcd; udp(7), ip(7).

import { randomInt } from 'node:crypto';
import type { Socket } from 'node:dgram';
import { type Ipv4Address, IPV4_BROADCAST } from '../../formats/ipv4.ts';
import { reasonOf } from '../../formats/errors.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { Lease } from '../store/leases.ts';
import { bindUdp } from '../ports.io.ts';
import { type BroadcastSockets, openBroadcasts } from './broadcast.io.ts';
import { claimedMac } from './decide.ts';
import { PROXY_PORT, SERVER_PORT } from './destination.ts';
import { type DhcpEvent, eventOf } from './event.ts';
import { type Judgement, judge } from './judge.ts';
import { foreignReply, type Hold, questions, Segment, type SegmentView } from './foreign.ts';
import { decodeMessage, type DhcpMessage, encodeMessage, macOf, messageTypeOf, replyLimit } from './message.ts';
import { ClientPacer } from './pace.ts';
import { probeRouted, probeSegment } from './probe.io.ts';
import { describeAlone, describeForeign } from './why.ts';
import type { Decision, DhcpRequest, DhcpWorld } from './world.ts';

type ServedInterface = {
  readonly name: string;
  readonly address: Ipv4Address;
  /** Its own; without one (a tunnel) other servers are not asked for. */
  readonly mac?: MacAddress | undefined;
};

export type DhcpServerOptions = {
  readonly served: ServedInterface;
  /** The world as the interface sees it now; asked for every message. */
  readonly world: () => DhcpWorld;
  /** Whether an address is this machine's, on whatever interface. */
  readonly isOwn: (address: Ipv4Address) => boolean;
  /** Keeps an offer in memory: the world's lookups must show it from here on. */
  readonly hold: (lease: Lease) => void;
  /**
   * Makes a lease durable. The world's lookups must show it before this returns; it resolves once it is on disk; calls
   * become durable in their order.
   */
  readonly commit: (lease: Lease) => Promise<void>;
  readonly onEvent: (event: DhcpEvent) => void;
  /** What an operator must know of the segment, a line each time. */
  readonly log: (line: string) => void;
};

const LOOK_EVERY_MS = 500;

export type RunningDhcp = {
  readonly close: () => Promise<void>;
  /** The other DHCP servers there, and whether they keep this one from answering. */
  readonly segment: () => SegmentView;
};

/**
 * Serves DHCP and the PXE boot server protocol on an interface until closed.
 * @throws Fault E_PORT_TAKEN, E_PRIVILEGE or E_MISSING_TOOL, with nothing left open.
 */
export async function serveDhcp(options: DhcpServerOptions): Promise<RunningDhcp> {
  const { served, world, isOwn, hold, commit, onEvent, log } = options;
  const { name } = served;
  const pacer = new ClientPacer();
  const segment = new Segment(performance.now());
  const sockets = await openSockets(served);
  const { requests, replies, unicast, bootServer } = sockets;

  const tell = (request: DhcpRequest, outcome: Decision): void => onEvent(eventOf(name, request.message, outcome));

  /** Judged now, what it promises kept in memory. */
  const judged = (request: DhcpRequest, looks: number): Judgement => {
    const judgement = judge(world(), request, looks);
    if (judgement.hold !== undefined) hold(judgement.hold);
    return judgement;
  };

  /** One address after another, until nobody else answers for one. */
  const settle = async (request: DhcpRequest, first: Judgement): Promise<Decision> => {
    let judgement = first;
    for (let looks = 1; judgement.look !== undefined; looks += 1) {
      const { address, isRelayed, conflict } = judgement.look;
      const found = conflict(await (isRelayed ? probeRouted(address) : probeSegment(unicast, address, name)));
      if (found === undefined) break;
      // In memory only: what strangers' DISCOVERs bring about never reaches the disk.
      hold(found.commit);
      tell(request, found);
      judgement = judged(request, looks);
    }
    return judgement.decision;
  };

  /** Carries a decision out: to disk first, then to the client. */
  const carryOut = (request: DhcpRequest, decision: Decision): Promise<void> | undefined => {
    if (decision.kind === 'ignore') tell(request, decision);
    else if (decision.commit === undefined) finish(request, decision);
    else {
      return commit(decision.commit).then(
        () => finish(request, decision),
        (thrown: unknown) => tell(request, { kind: 'ignore', why: 'commit-failed', detail: reasonOf(thrown) }),
      );
    }
    return undefined;
  };
  const finish = (request: DhcpRequest, decision: Exclude<Decision, { kind: 'ignore' }>): void => {
    if (decision.kind === 'record') return tell(request, decision);
    const packet = encodeMessage(decision.message, replyLimit(request.message));
    const { address, port } = decision.to;
    // A reply that the kernel refuses (no route to a relay) is lost like one on the wire: the client asks again.
    (request.port === PROXY_PORT ? bootServer : unicast).send(packet, port, address, (error) => {
      if (error === null) tell(request, decision);
      else onEvent({ ...eventOf(name, request.message, decision), text: `not sent: ${reasonOf(error)}` });
    });
  };

  /** Whatever one client's message trips over, the others are still served. */
  const answer = (request: DhcpRequest): void => {
    const failed = (thrown: unknown): void =>
      tell(request, { kind: 'ignore', why: 'internal', detail: reasonOf(thrown) });
    try {
      const judgement = judged(request, 0);
      // Most are answered without waiting for anything but the disk.
      const done =
        judgement.look === undefined ? carryOut(request, judgement.decision) : carryOutLooked(request, judgement);
      done?.catch(failed);
    } catch (thrown) {
      failed(thrown);
    }
  };
  const carryOutLooked = async (request: DhcpRequest, first: Judgement): Promise<void> =>
    carryOut(request, await settle(request, first));

  const receive = (
    packet: Uint8Array,
    from: { address: string; port: number },
    port: 67 | 4011,
    isUnicast: boolean,
  ): void => {
    const decoded = decodeMessage(packet);
    const client = decoded.ok ? claimedMac(decoded.message) : `${from.address} unreadable`;
    const type = decoded.ok ? (messageTypeOf(decoded.message) ?? 'none') : 'unreadable';
    const xid = decoded.ok ? decoded.message.xid : undefined;
    const pace = pacer.admit(client, type, xid, performance.now());
    const say = (message: DhcpMessage | undefined, decision: Decision): void =>
      onEvent(eventOf(name, message, decision));
    if (pace !== 'pass') {
      if (pace === 'drop-first') {
        say(decoded.ok ? decoded.message : undefined, { kind: 'ignore', why: 'flood', detail: client });
      }
      return;
    }
    if (!decoded.ok) return say(undefined, { kind: 'ignore', why: decoded.why, detail: decoded.detail });
    // The kernel's own writing of an address.
    const source = { address: from.address as Ipv4Address, port: from.port };
    const held = segment.hold(performance.now());
    answer({ message: decoded.message, port, from: source, isUnicast, held });
  };

  /** What another server on the segment says, to whomever. */
  const overhear = (packet: Uint8Array): void => {
    const decoded = decodeMessage(packet);
    const reply = decoded.ok ? foreignReply(decoded.message) : undefined;
    if (!decoded.ok || reply === undefined || isOwn(reply.server)) return;
    const { message } = decoded;
    const isNews = segment.heard(reply.server, performance.now());
    if (isNews) log(describeForeign(name, reply.server, segment.hold(performance.now())));
    if (macOf(message) === served.mac) return;
    onEvent(eventOf(name, message, { kind: 'ignore', why: 'foreign-reply', detail: reply.words }));
  };

  requests.on('message', (packet, from) => receive(packet, from, SERVER_PORT, false));
  unicast.on('message', (packet, from) => receive(packet, from, SERVER_PORT, true));
  bootServer.on('message', (packet, from) => receive(packet, from, PROXY_PORT, true));
  replies?.on('message', overhear);
  if (replies === undefined) log(`dhcp: cannot look for other DHCP servers on ${name}: another program has port 68`);

  let said: Hold | undefined;
  const look = (): void => {
    const nowMs = performance.now();
    const held = segment.hold(nowMs);
    if (said?.kind === 'foreign' && held === undefined) log(describeAlone(name));
    said = held;
    const { address, mac } = served;
    if (mac === undefined || replies === undefined || !segment.isLookDue(nowMs)) return;
    for (const question of questions({ address, mac }, randomInt(2 ** 32))) {
      replies.send(encodeMessage(question), SERVER_PORT, IPV4_BROADCAST, () => undefined);
    }
  };
  look();
  const looking = setInterval(look, LOOK_EVERY_MS);
  const close = async (): Promise<void> => {
    clearInterval(looking);
    await sockets.close();
  };
  return { close, segment: () => segment.view(performance.now()) };
}

type Sockets = BroadcastSockets & {
  /** On the interface's own address, 67 and 4011: all replies leave by these. */
  readonly unicast: Socket;
  readonly bootServer: Socket;
  readonly close: () => Promise<void>;
};

async function openSockets({ name, address }: ServedInterface): Promise<Sockets> {
  const broadcasts = await openBroadcasts(name, address);
  const open = [broadcasts.requests, ...(broadcasts.replies === undefined ? [] : [broadcasts.replies])];
  const close = async (): Promise<void> => {
    await Promise.all(open.splice(0).map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
  };
  const listen = async (port: number): Promise<Socket> => {
    const socket = await bindUdp(address, port, `${name} (${address})`);
    open.push(socket);
    socket.setBroadcast(true);
    return socket;
  };
  try {
    return { ...broadcasts, unicast: await listen(SERVER_PORT), bootServer: await listen(PROXY_PORT), close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}
