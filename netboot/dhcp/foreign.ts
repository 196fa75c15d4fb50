// netboot/dhcp/foreign.ts - is there another DHCP server on the segment? Safe start.
//
// Owns: when to look for one, and for how long what was found keeps this server from answering. Does not own sending and
// hearing (server.io.ts), which messages are held back (decide.ts), or the words (why.ts).
//
// Two servers that do not know of each other give one address to two machines. So a server that starts asks first, as a
// client would, and says nothing while somebody else answers, unless the subnet says `answerBesideOthers: true`. One that
// shows itself later is told of and changes nothing: whoever plugs in a second server must not silence this one.
// Pure: the time is an argument.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { BROADCAST_FLAG, type DhcpMessage, MESSAGE_TYPES, messageTypeOf, requestFrom } from './message.ts';

/** A server on the segment answers an INFORM at once. */
const LOOK_MS = 1000;
/** One that first pings the address it will offer (dnsmasq: 3 s) answers the DISCOVER later; it was there all the same. */
const START_MS = 10_000;
/** While somebody else answers: asked again so often, and believed gone after two questions without an answer. */
const LOOK_AGAIN_MS = 60_000;
const GONE_MS = 150_000;
/** Servers remembered on one segment. */
const MOST_SERVERS = 16;

type ForeignServer = { readonly address: Ipv4Address; readonly lastSeenMs: number };

/** Why messages that bind a client to this server are held back now. */
export type Hold = { readonly kind: 'looking' } | { readonly kind: 'foreign'; readonly server: Ipv4Address };

/** What is known of an interface's segment now. */
export type SegmentView = { readonly held: Hold | undefined; readonly others: readonly ForeignServer[] };

/** What is known of the other servers of one interface's segment. */
export class Segment {
  readonly #startedMs: number;
  readonly #servers = new Map<Ipv4Address, number>();
  /** Those that were there when this server started. */
  readonly #early = new Set<Ipv4Address>();
  #lookedMs = Number.NEGATIVE_INFINITY;

  /** @param nowMs of any clock that only goes forward. */
  constructor(nowMs: number) {
    this.#startedMs = nowMs;
  }

  /** Whether a question goes out now; asked about every second. */
  isLookDue(nowMs: number): boolean {
    const isFirst = this.#lookedMs === Number.NEGATIVE_INFINITY;
    if (!isFirst && (this.hold(nowMs)?.kind !== 'foreign' || nowMs - this.#lookedMs < LOOK_AGAIN_MS)) return false;
    this.#lookedMs = nowMs;
    return true;
  }

  /** Another server has answered somebody. @returns whether it is news; what crowds in is remembered and not told. */
  heard(server: Ipv4Address, nowMs: number): boolean {
    const isNews = !this.#servers.has(server) || nowMs - (this.#servers.get(server) ?? 0) > GONE_MS;
    // The longest ago first: who answers is put at the end.
    this.#servers.delete(server);
    const isCrowded = this.#servers.size >= MOST_SERVERS && !this.#makeRoom(nowMs);
    this.#servers.set(server, nowMs);
    if (nowMs - this.#startedMs < START_MS) this.#early.add(server);
    return isNews && !isCrowded;
  }

  /** Those that are gone leave; else one does, an early one last. @returns whether any was gone. */
  #makeRoom(nowMs: number): boolean {
    const known = [...this.#servers];
    const gone = known.filter(([, lastSeenMs]) => nowMs - lastSeenMs > GONE_MS).map(([server]) => server);
    const oldest = (known.find(([server]) => !this.#early.has(server)) ?? known[0])?.[0];
    for (const server of gone.length > 0 || oldest === undefined ? gone : [oldest]) {
      this.#servers.delete(server);
      this.#early.delete(server);
    }
    return gone.length > 0;
  }

  hold(nowMs: number): Hold | undefined {
    for (const server of this.#early) {
      if (nowMs - (this.#servers.get(server) ?? 0) < GONE_MS) return { kind: 'foreign', server };
      this.#early.delete(server);
    }
    return nowMs - this.#startedMs < LOOK_MS ? { kind: 'looking' } : undefined;
  }

  view(nowMs: number): SegmentView {
    const others = Array.from(this.#servers, ([address, lastSeenMs]) => ({ address, lastSeenMs }));
    return { held: this.hold(nowMs), others: others.filter(({ lastSeenMs }) => nowMs - lastSeenMs < GONE_MS) };
  }
}

/**
 * What a server asks before it serves: an INFORM, which a server of this network answers at once, and a DISCOVER, which any
 * answers. @param own its address and hardware address on the interface.
 */
export function questions(own: { address: Ipv4Address; mac: MacAddress }, xid: number): DhcpMessage[] {
  const parameterRequestList = [1, 3];
  const as = { xid, flags: BROADCAST_FLAG };
  return [
    requestFrom(own.mac, {
      ...as,
      ciaddr: own.address,
      options: { messageType: MESSAGE_TYPES.inform, parameterRequestList },
    }),
    requestFrom(own.mac, { ...as, options: { messageType: MESSAGE_TYPES.discover, parameterRequestList } }),
  ];
}

/** The server that speaks in a reply heard on the wire, and what it says; undefined for what is no DHCP server's reply. */
export function foreignReply(message: DhcpMessage): { server: Ipv4Address; words: string } | undefined {
  const type = messageTypeOf(message);
  const server = message.options.serverIdentifier;
  if (server === undefined || (type !== 'offer' && type !== 'ack' && type !== 'nak')) return undefined;
  // A ProxyDHCP server gives no address and no lease; it may stand beside.
  const givesAddresses = message.yiaddr !== '0.0.0.0' || message.options.subnetMask !== undefined || type === 'nak';
  if (!givesAddresses) return undefined;
  const what = message.yiaddr === '0.0.0.0' ? '' : ` ${message.yiaddr}`;
  return { server, words: `${type.toUpperCase()}${what} of ${server}` };
}
