// netboot/dhcp/server.io.ts - the sockets of the DHCP server: receive, decode, decide, commit, send, tell.
//
// Owns: UDP 67 and 4011 of the served interfaces. Does not own any decision (decide.ts), the world it is made in, or the
// journal. Plain sockets, no native code:
//   one socket on 255.255.255.255:67 hears all broadcasts, without knowing their interface; with several interfaces a
//   broadcast is decided once for each, and the client hears only its own segment;
//   one socket on each interface's address hears unicast and sends everything: a broadcast leaves by the interface that
//   owns the socket's address. Unicast to an address that has no ARP entry would be lost, hence destination.ts.
//
// Sources: facts measured on Linux 6.18 with udhcpc, dhclient and dhcpcd; udp(7), ip(7).

import type { Socket } from 'node:dgram';
import { type Ipv4Address, IPV4_BROADCAST, parseIpv4 } from '../../formats/ipv4.ts';
import { reasonOf } from '../../formats/errors.ts';
import type { Lease } from '../store/leases.ts';
import { claimedMac, decide } from './decide.ts';
import { PROXY_PORT, SERVER_PORT } from './destination.ts';
import { type DhcpEvent, eventOf } from './event.ts';
import { decodeMessage, type DhcpMessage, encodeMessage, macOf, messageTypeOf, replyLimit } from './message.ts';
import { ClientPacer } from './pace.ts';
import { bindUdp } from '../ports.io.ts';
import { probeAddress } from './probe.io.ts';
import { conflictOf, isProbed } from './probe.ts';
import type { Decision, DhcpRequest, DhcpWorld } from './world.ts';

type ServedInterface = { readonly name: string; readonly address: Ipv4Address };

export type DhcpServerOptions = {
  readonly interfaces: readonly ServedInterface[];
  /** The world as the interface sees it now; asked for every message. */
  readonly world: (interfaceName: string) => DhcpWorld;
  /** Keeps an offer in memory: the world's lookups must show it from here on. */
  readonly hold: (lease: Lease) => void;
  /**
   * Makes a lease durable. The world's lookups must show it before this returns; it resolves once it is on disk; calls
   * become durable in their order.
   */
  readonly commit: (lease: Lease) => Promise<void>;
  readonly onEvent: (event: DhcpEvent) => void;
};

/** Addresses looked at for one DISCOVER; after that the client's own ARP check has to do. */
const MOST_PROBES = 4;

export type RunningServer = { readonly close: () => Promise<void> };

/**
 * Serves DHCP and the PXE boot server protocol on the interfaces until closed.
 * @throws Fault E_PORT_TAKEN or E_PRIVILEGE, with nothing left open.
 */
export async function serveDhcp(options: DhcpServerOptions): Promise<RunningServer> {
  const { interfaces, world, hold, commit, onEvent } = options;
  const pacer = new ClientPacer();
  const open: Socket[] = [];
  const senders = new Map<string, { 67: Socket; 4011: Socket }>();

  /** The decision, after a look at whether an address that nobody vouches for is in use. */
  const decideSafely = async (served: ServedInterface, request: DhcpRequest): Promise<Decision> => {
    const socket = senders.get(served.name)?.[SERVER_PORT];
    const client = macOf(request.message);
    for (let attempt = 1; ; attempt += 1) {
      const current = world(served.name);
      const decision = decide(current, request);
      if (decision.kind !== 'ignore' && decision.kind !== 'record' && decision.hold !== undefined) hold(decision.hold);
      if (!isProbed(decision) || attempt > MOST_PROBES || socket === undefined || client === undefined) return decision;
      const holder = await probeAddress(socket, decision.message.yiaddr, served.name);
      const conflict = conflictOf(decision, client, holder, current.nowS);
      if (conflict === undefined) return decision;
      // In memory only: what strangers' DISCOVERs bring about never reaches the disk.
      hold(conflict.commit);
      onEvent(eventOf(served.name, request.message, conflict));
    }
  };

  const answer = async (served: ServedInterface, request: DhcpRequest): Promise<void> => {
    const decision = await decideSafely(served, request);
    const tell = (outcome: Decision): void => onEvent(eventOf(served.name, request.message, outcome));
    if (decision.kind === 'ignore') return tell(decision);
    if (decision.commit !== undefined) {
      try {
        await commit(decision.commit);
      } catch (thrown) {
        return tell({ kind: 'ignore', why: 'commit-failed', detail: reasonOf(thrown) });
      }
    }
    if (decision.kind === 'record') return tell(decision);
    const packet = encodeMessage(decision.message, replyLimit(request.message));
    const { address, port } = decision.to;
    // A reply that the kernel refuses (no route to a relay) is lost like one on the wire: the client asks again.
    senders.get(served.name)?.[request.port].send(packet, port, address, (error) => {
      if (error === null) tell(decision);
      else onEvent({ ...eventOf(served.name, request.message, decision), text: `not sent: ${reasonOf(error)}` });
    });
  };

  const receive = (
    packet: Uint8Array,
    from: { address: string; port: number },
    port: 67 | 4011,
    heardBy: readonly ServedInterface[],
    isUnicast: boolean,
  ): void => {
    const name = heardBy.map((served) => served.name).join(',');
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
    const source = { address: parseIpv4(from.address) ?? IPV4_BROADCAST, port: from.port };
    for (const served of heardBy) {
      const interfaceKnown = isUnicast || interfaces.length === 1;
      const request: DhcpRequest = { message: decoded.message, port, from: source, interfaceKnown, isUnicast };
      // Whatever one client's message trips over, the others are still served.
      answer(served, request).catch((thrown: unknown) =>
        say(decoded.message, { kind: 'ignore', why: 'internal', detail: reasonOf(thrown) }),
      );
    }
  };

  const close = async (): Promise<void> => {
    await Promise.all(open.splice(0).map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
  };
  const listen = async (address: Ipv4Address, port: number, where: string): Promise<Socket> => {
    const socket = await bindUdp(address, port, where);
    open.push(socket);
    socket.setBroadcast(true);
    return socket;
  };
  try {
    const all = interfaces.map((served) => served.name).join(', ');
    const broadcasts = await listen(IPV4_BROADCAST, SERVER_PORT, all);
    broadcasts.on('message', (packet, from) => receive(packet, from, SERVER_PORT, interfaces, false));
    for (const served of interfaces) {
      const where = `${served.name} (${served.address})`;
      const dhcp = await listen(served.address, SERVER_PORT, where);
      dhcp.on('message', (packet, from) => receive(packet, from, SERVER_PORT, [served], true));
      const bootServer = await listen(served.address, PROXY_PORT, where);
      bootServer.on('message', (packet, from) => receive(packet, from, PROXY_PORT, [served], true));
      senders.set(served.name, { 67: dhcp, 4011: bootServer });
    }
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { close };
}
