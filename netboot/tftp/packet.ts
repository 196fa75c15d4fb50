// netboot/tftp/packet.ts - TFTP packets: octets to values and back.
//
// Owns: the six kinds of packet and the options' names and bounds. Does not own which options are granted (transfer.ts).
// To understand another option, add a row to OPTION_BOUNDS.
// Sources: RFC 1350 (packets), RFC 2347 (options, OACK), RFC 2348 (blksize), RFC 2349 (tsize, timeout), RFC 7440
// (windowsize). Pure.

/** RFC 1350 section 4. */
export const TFTP_PORT = 69;

const OPCODE = { rrq: 1, wrq: 2, data: 3, ack: 4, error: 5, oack: 6 } as const;

/** RFC 1350 appendix, RFC 2347 section 5 (8). */
export const ERROR_CODES = {
  undefined: 0,
  'not-found': 1,
  'access-violation': 2,
  'illegal-operation': 4,
  'unknown-tid': 5,
  options: 8,
} as const;

/** The options that are understood, with the values that their RFCs allow. */
export const OPTION_BOUNDS = {
  blksize: [8, 65464],
  tsize: [0, Number.MAX_SAFE_INTEGER],
  timeout: [1, 255],
  windowsize: [1, 65535],
} as const satisfies Record<string, readonly [least: number, most: number]>;

type OptionName = keyof typeof OPTION_BOUNDS;
export type TftpOptions = { readonly [N in OptionName]?: number };

type TftpMode = 'octet' | 'netascii';

export type Request = {
  readonly kind: 'rrq' | 'wrq';
  /** As sent, one character per octet; names.ts cleans it. */
  readonly name: string;
  readonly mode: TftpMode;
  /** Unknown options and values outside their bounds are left out: the RFCs have them ignored, not refused. */
  readonly options: TftpOptions;
};

export type TftpPacket =
  | Request
  | { readonly kind: 'data'; readonly block: number; readonly data: Uint8Array }
  | { readonly kind: 'ack'; readonly block: number }
  | { readonly kind: 'error'; readonly code: number; readonly message: string }
  | { readonly kind: 'oack'; readonly options: TftpOptions };

export type PacketProblem = 'too-short' | 'unknown-opcode' | 'unterminated' | 'unknown-mode' | 'no-name' | 'too-long';

/** A request longer than this is nobody's: RFC 2347 section 3 allows 512 octets. */
const MOST_REQUEST_BYTES = 512;

/** Never throws; keeps a view of `octets` in `data`. */
export function decodePacket(octets: Uint8Array): { ok: true; packet: TftpPacket } | { ok: false; why: PacketProblem } {
  if (octets.length < 4) return { ok: false, why: 'too-short' };
  const number = readU16(octets, 2);
  switch (readU16(octets, 0)) {
    case OPCODE.rrq:
      return decodeRequest('rrq', octets);
    case OPCODE.wrq:
      return decodeRequest('wrq', octets);
    case OPCODE.data:
      return { ok: true, packet: { kind: 'data', block: number, data: octets.subarray(4) } };
    case OPCODE.ack:
      return { ok: true, packet: { kind: 'ack', block: number } };
    case OPCODE.error: {
      // Several clients leave out the message's terminator.
      const message = readTexts(octets.subarray(4)).texts[0] ?? '';
      return { ok: true, packet: { kind: 'error', code: number, message } };
    }
    case OPCODE.oack: {
      const { texts, isTerminated } = readTexts(octets.subarray(2));
      if (!isTerminated) return { ok: false, why: 'unterminated' };
      return { ok: true, packet: { kind: 'oack', options: readOptions(texts) } };
    }
    default:
      return { ok: false, why: 'unknown-opcode' };
  }
}

function decodeRequest(kind: 'rrq' | 'wrq', octets: Uint8Array): ReturnType<typeof decodePacket> {
  if (octets.length > MOST_REQUEST_BYTES) return { ok: false, why: 'too-long' };
  const { texts, isTerminated } = readTexts(octets.subarray(2));
  const [name = '', modeText, ...rest] = texts;
  if (modeText === undefined) return { ok: false, why: 'unterminated' };
  // A request cut off inside its options is read up to the cut: RFC 1350 servers never looked behind the mode.
  if (!isTerminated && rest.length === 0) return { ok: false, why: 'unterminated' };
  if (name === '') return { ok: false, why: 'no-name' };
  const mode = modeText.toLowerCase();
  if (mode !== 'octet' && mode !== 'netascii') return { ok: false, why: 'unknown-mode' };
  return { ok: true, packet: { kind, name, mode, options: readOptions(rest) } };
}

/** NUL-terminated texts, one character per octet. */
function readTexts(octets: Uint8Array): { texts: string[]; isTerminated: boolean } {
  const texts: string[] = [];
  let text = '';
  for (const octet of octets) {
    if (octet === 0) {
      texts.push(text);
      text = '';
    } else text += String.fromCharCode(octet);
  }
  const isTerminated = octets.length > 0 && octets[octets.length - 1] === 0;
  if (!isTerminated) texts.push(text);
  return { texts, isTerminated };
}

function readOptions(texts: readonly string[]): TftpOptions {
  const options: Partial<Record<OptionName, number>> = {};
  for (let index = 0; index + 1 < texts.length; index += 2) {
    const name = texts[index]?.toLowerCase() ?? '';
    const text = texts[index + 1] ?? '';
    if (!isOptionName(name) || !/^\d{1,15}$/.test(text)) continue;
    const [least, most] = OPTION_BOUNDS[name];
    const value = Number(text);
    if (value >= least && value <= most && options[name] === undefined) options[name] = value;
  }
  return options;
}

function isOptionName(name: string): name is OptionName {
  return Object.hasOwn(OPTION_BOUNDS, name);
}

/** @param packet with a block number below 65536 and text of octet characters. */
export function encodePacket(packet: TftpPacket): Uint8Array {
  switch (packet.kind) {
    case 'rrq':
    case 'wrq':
      return packTexts(OPCODE[packet.kind], [packet.name, packet.mode, ...optionTexts(packet.options)]);
    case 'data': {
      const octets = new Uint8Array(4 + packet.data.length);
      putData(octets, 0, packet.block, packet.data);
      return octets;
    }
    case 'ack': {
      const octets = new Uint8Array(4);
      writeU16(octets, 0, OPCODE.ack);
      writeU16(octets, 2, packet.block);
      return octets;
    }
    case 'error': {
      const octets = new Uint8Array(5 + packet.message.length);
      writeU16(octets, 0, OPCODE.error);
      writeU16(octets, 2, packet.code);
      for (let index = 0; index < packet.message.length; index += 1)
        octets[4 + index] = packet.message.charCodeAt(index);
      return octets;
    }
    case 'oack':
      return packTexts(OPCODE.oack, optionTexts(packet.options));
  }
}

/** Writes a DATA packet into `octets`. @returns where the next one goes. */
export function putData(octets: Uint8Array, at: number, block: number, data: Uint8Array): number {
  writeU16(octets, at, OPCODE.data);
  writeU16(octets, at + 2, block);
  octets.set(data, at + 4);
  return at + 4 + data.length;
}

function optionTexts(options: TftpOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) => [name, String(value)]);
}

function packTexts(opcode: number, list: readonly string[]): Uint8Array {
  const body = list.map((one) => `${one}\0`).join('');
  const octets = new Uint8Array(2 + body.length);
  writeU16(octets, 0, opcode);
  for (let index = 0; index < body.length; index += 1) octets[2 + index] = body.charCodeAt(index);
  return octets;
}

function readU16(octets: Uint8Array, at: number): number {
  return (octets[at] ?? 0) * 256 + (octets[at + 1] ?? 0);
}

function writeU16(octets: Uint8Array, at: number, value: number): void {
  octets[at] = value >>> 8;
  octets[at + 1] = value & 255;
}
