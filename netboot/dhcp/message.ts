// netboot/dhcp/message.ts - one DHCPv4 message: the fixed header by named offsets, and its options.
//
// Owns: octets to DhcpMessage and back. Does not own the options' table (options.ts) or what is answered (decide.ts).
// Field names are RFC 2131's own. Sources: RFC 2131 section 2 (header), 4.1 (overload), RFC 951 and RFC 1542 (300 octets
// at least), RFC 2132 9.3 (option 52). Pure.

import { type Ipv4Address, IPV4_ANY, ipv4FromOctets, ipv4ToNumber } from '../../formats/ipv4.ts';
import { type MacAddress, macFromOctets, macToOctets } from '../../formats/mac.ts';
import {
  type DhcpOptions,
  nameOptions,
  numberOptions,
  type OptionName,
  OPTIONS,
  packOptions,
  type RawOption,
  walkOptions,
} from './options.ts';
import { text } from './values.ts';

/** Where each field of the header lies: [first octet, octet behind it]. */
const FIELD = {
  op: [0, 1],
  htype: [1, 2],
  hlen: [2, 3],
  hops: [3, 4],
  xid: [4, 8],
  secs: [8, 10],
  flags: [10, 12],
  ciaddr: [12, 16],
  yiaddr: [16, 20],
  siaddr: [20, 24],
  giaddr: [24, 28],
  chaddr: [28, 44],
  sname: [44, 108],
  file: [108, 236],
  magic: [236, 240],
} as const;

const MAGIC = 0x63825363;
export const HEADER_BYTES = 240;
/** BOOTP's least: relays and old ROMs drop what is shorter. */
const LEAST_BYTES = 300;
/** What fits an Ethernet frame: 1500 less the headers of IP and UDP. */
const MOST_BYTES = 1472;
/** Without option 57 a client takes 576 octets of IP (RFC 2131 section 2), headers included. */
const DEFAULT_BYTES = 548;
/** The longest name that the header's file field holds with its terminator. */
export const FILE_FIELD_CHARACTERS = 127;

export const BOOTREQUEST = 1;
const BOOTREPLY = 2;
export const BROADCAST_FLAG = 0x8000;

/** Values of option 53. */
export const MESSAGE_TYPES = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;
export type MessageType = keyof typeof MESSAGE_TYPES;

export type DhcpMessage = {
  readonly op: number;
  readonly htype: number;
  readonly hlen: number;
  readonly hops: number;
  readonly xid: number;
  /** As sent; firmware swaps its octets and iPXE packs state into it, so nothing depends on it. */
  readonly secs: number;
  readonly flags: number;
  readonly ciaddr: Ipv4Address;
  readonly yiaddr: Ipv4Address;
  readonly siaddr: Ipv4Address;
  readonly giaddr: Ipv4Address;
  /** All 16 octets. */
  readonly chaddr: Uint8Array;
  /** Empty when option 52 filled the field with options. */
  readonly sname: string;
  readonly file: string;
  readonly options: DhcpOptions;
  /** Options without a row, or with an illegal value. */
  readonly others: readonly RawOption[];
};

/** Why octets are no DHCP message; the sentences are in why.ts. */
type MessageProblem = 'too-short' | 'not-dhcp' | 'options-truncated' | 'option-value';

export type MessageResult =
  | { readonly ok: true; readonly message: DhcpMessage; readonly raw: readonly RawOption[] }
  | { readonly ok: false; readonly why: MessageProblem; readonly detail: string };

/**
 * Reads one UDP payload. `raw` holds the options by number in order of appearance.
 * Never throws and keeps no reference to `packet`, whatever it holds.
 */
export function decodeMessage(packet: Uint8Array): MessageResult {
  if (packet.length < HEADER_BYTES) {
    return { ok: false, why: 'too-short', detail: `${packet.length} octets of at least ${HEADER_BYTES}` };
  }
  // Not Node's Buffer, whose parts are views of the socket's memory and slow to make.
  const octets = new Uint8Array(packet.buffer, packet.byteOffset, packet.byteLength);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const magic = view.getUint32(FIELD.magic[0]);
  if (magic !== MAGIC) {
    return { ok: false, why: 'not-dhcp', detail: `magic cookie ${magic.toString(16).padStart(8, '0')}` };
  }
  const fields = optionFields(octets);
  if (!fields.ok) return { ok: false, why: 'options-truncated', detail: `at octet ${fields.offset} of the options` };
  const raw = fields.options;
  const named = nameOptions(raw);
  if (!named.ok) return { ok: false, why: 'option-value', detail: `option ${OPTIONS[named.option].code}` };
  const { overload = 0 } = named.options;
  const address = ([start]: readonly [number, number]): Ipv4Address => ipv4FromOctets(octets, start);
  const message: DhcpMessage = {
    op: view.getUint8(FIELD.op[0]),
    htype: view.getUint8(FIELD.htype[0]),
    hlen: view.getUint8(FIELD.hlen[0]),
    hops: view.getUint8(FIELD.hops[0]),
    xid: view.getUint32(FIELD.xid[0]),
    secs: view.getUint16(FIELD.secs[0]),
    flags: view.getUint16(FIELD.flags[0]),
    ciaddr: address(FIELD.ciaddr),
    yiaddr: address(FIELD.yiaddr),
    siaddr: address(FIELD.siaddr),
    giaddr: address(FIELD.giaddr),
    chaddr: octets.slice(...FIELD.chaddr),
    sname: (overload & 2) === 0 ? textField(octets, FIELD.sname) : '',
    file: (overload & 1) === 0 ? textField(octets, FIELD.file) : '',
    options: named.options,
    others: named.others,
  };
  return { ok: true, message, raw };
}

/** The walk over the options field and, where option 52 of that field says so, over file and sname. */
function optionFields(packet: Uint8Array): ReturnType<typeof walkOptions> {
  const field = packet.subarray(HEADER_BYTES);
  const first = walkOptions([field]);
  if (!first.ok) return first;
  const overload = first.options.find(({ code }) => code === OPTIONS.overload.code)?.octets[0] ?? 0;
  if ((overload & 3) === 0) return first;
  const more = [
    ...((overload & 1) === 0 ? [] : [packet.subarray(...FIELD.file)]),
    ...((overload & 2) === 0 ? [] : [packet.subarray(...FIELD.sname)]),
  ];
  return walkOptions([field, ...more]);
}

function textField(packet: Uint8Array, [start, end]: readonly [number, number]): string {
  if (packet[start] === 0) return '';
  const field = packet.subarray(start, end);
  const terminator = field.indexOf(0);
  return text.decode(terminator < 0 ? field : field.subarray(0, terminator)) ?? '';
}

/** Options that a reply gives up, the last of the table first, when it does not fit; a client can live without them. */
const DISPENSABLE: readonly OptionName[] = [
  'classlessRoutes',
  'domainSearch',
  'ntpServers',
  'rootPath',
  'logServers',
  'domainName',
  'broadcastAddress',
  'hostname',
  'message',
];

/**
 * The octets of a message, padded to 300.
 *
 * Never overloads file and sname: PXE ROMs do not look there for options. A sname or file too long for its field is left
 * out of it (option 67 carries it).
 *
 * @param mostBytes how long the result may be (replyLimit); dispensable options are left out until it fits, and the rest
 *   is sent whole even where it does not, for a reply without its mask or boot file is worse than a fragmented one.
 */
export function encodeMessage(message: DhcpMessage, mostBytes = MOST_BYTES): Uint8Array {
  let options = message.options;
  let packed = packOptions(numberOptions(options, message.others));
  for (const name of DISPENSABLE) {
    if (HEADER_BYTES + packed.length <= mostBytes) break;
    options = { ...options, [name]: undefined };
    packed = packOptions(numberOptions(options, message.others));
  }
  const packet = new Uint8Array(Math.max(LEAST_BYTES, HEADER_BYTES + packed.length));
  const view = new DataView(packet.buffer);
  view.setUint8(FIELD.op[0], message.op);
  view.setUint8(FIELD.htype[0], message.htype);
  view.setUint8(FIELD.hlen[0], message.hlen);
  view.setUint8(FIELD.hops[0], message.hops);
  view.setUint32(FIELD.xid[0], message.xid);
  view.setUint16(FIELD.secs[0], message.secs);
  view.setUint16(FIELD.flags[0], message.flags);
  for (const name of ['ciaddr', 'yiaddr', 'siaddr', 'giaddr'] as const) {
    view.setUint32(FIELD[name][0], ipv4ToNumber(message[name]));
  }
  packet.set(message.chaddr.subarray(0, 16), FIELD.chaddr[0]);
  if (message.sname.length < 64) packet.set(text.encode(message.sname), FIELD.sname[0]);
  if (message.file.length <= FILE_FIELD_CHARACTERS) packet.set(text.encode(message.file), FIELD.file[0]);
  view.setUint32(FIELD.magic[0], MAGIC);
  packet.set(packed, HEADER_BYTES);
  return packet;
}

/**
 * How many octets of UDP payload a reply to this message may have.
 *
 * Option 57 counts the headers of IP and UDP and cannot be trusted: OVMF says 65280 in its REQUEST.
 */
export function replyLimit({ options }: DhcpMessage): number {
  if (options.maxMessageBytes === undefined) return DEFAULT_BYTES;
  return Math.min(Math.max(options.maxMessageBytes - 28, DEFAULT_BYTES), MOST_BYTES);
}

const TYPE_OF_NUMBER: ReadonlyMap<number | undefined, MessageType> = new Map(
  Object.entries(MESSAGE_TYPES).map(([name, number]) => [number, name as MessageType]),
);

/** @returns undefined for a message without option 53 (BOOTP) or with a number that RFC 2132 does not list. */
export function messageTypeOf({ options }: DhcpMessage): MessageType | undefined {
  return TYPE_OF_NUMBER.get(options.messageType);
}

/** The client's Ethernet address. @returns undefined where chaddr holds something else (a UUID, InfiniBand, zeros). */
export function macOf({ htype, hlen, chaddr }: DhcpMessage): MacAddress | undefined {
  return htype === 1 && hlen === 6 ? macFromOctets(chaddr.subarray(0, 6)) : undefined;
}

/** A client's message with nothing in it but its hardware address and what is said. */
export function requestFrom(mac: MacAddress, said: Partial<Omit<DhcpMessage, 'chaddr'>>): DhcpMessage {
  const chaddr = new Uint8Array(16);
  chaddr.set(macToOctets(mac));
  return {
    op: BOOTREQUEST,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 0,
    secs: 0,
    flags: 0,
    ciaddr: IPV4_ANY,
    yiaddr: IPV4_ANY,
    siaddr: IPV4_ANY,
    giaddr: IPV4_ANY,
    sname: '',
    file: '',
    options: {},
    others: [],
    ...said,
    chaddr,
  };
}

/** A message with nothing in it but what a reply to `request` must repeat (RFC 2131 table 3). */
export function replyTo(request: DhcpMessage): DhcpMessage {
  return {
    op: BOOTREPLY,
    htype: request.htype,
    hlen: request.hlen,
    hops: 0,
    xid: request.xid,
    secs: 0,
    flags: request.flags,
    ciaddr: IPV4_ANY,
    yiaddr: IPV4_ANY,
    siaddr: IPV4_ANY,
    giaddr: request.giaddr,
    chaddr: request.chaddr,
    sname: '',
    file: '',
    options: {},
    others: [],
  };
}
