// netboot/dhcp/options.ts - the DHCPv4 options this server understands: one table.
//
// Owns: option codes, their kinds, and the walk over code, length, value (0 pads, 255 ends). Does not own the kinds
// themselves (values.ts), the fixed header and overloading (message.ts), or which options a reply carries (reply.ts).
//
// To add an option, add a row. The decoder, the encoder, the types and the round-trip tests follow from the rows.
// Rows stand in the order in which a message of ours carries them: EDK2 writes a NUL behind option 67's value in place,
// so that nothing but 82 may follow it; 82 must be last (RFC 3046 section 2.2).
//
// Sources: RFC 2132; RFC 3396 (one option in several parts); RFC 4578 and the PXE 2.1 specification (60, 43, 93, 94, 97).
// Pure.

import {
  concatOctets,
  domainList,
  ipv4,
  ipv4List,
  octets,
  pxeSubOptions,
  routes,
  subOptions,
  text,
  u8,
  u8List,
  u16,
  u16List,
  u32,
  type ValueKind,
} from './values.ts';

export type OptionRow<T> = {
  readonly code: number;
  readonly kind: ValueKind<T>;
  readonly rfc: string;
  /** A message whose option of this row has an illegal value is not understood at all; otherwise only the option is dropped. */
  readonly strict: boolean;
};

function row<T>(code: number, kind: ValueKind<T>, rfc: string, strict = false): OptionRow<T> {
  return { code, kind, rfc, strict };
}

export const OPTIONS = {
  messageType: row(53, u8, 'RFC 2132 9.6', true),
  serverIdentifier: row(54, ipv4, 'RFC 2132 9.7', true),
  requestedAddress: row(50, ipv4, 'RFC 2132 9.1', true),
  leaseTimeS: row(51, u32, 'RFC 2132 9.2'),
  renewalTimeS: row(58, u32, 'RFC 2132 9.11'),
  rebindingTimeS: row(59, u32, 'RFC 2132 9.12'),
  overload: row(52, u8, 'RFC 2132 9.3', true),
  parameterRequestList: row(55, u8List, 'RFC 2132 9.8'),
  message: row(56, text, 'RFC 2132 9.9'),
  maxMessageBytes: row(57, u16, 'RFC 2132 9.10'),
  subnetMask: row(1, ipv4, 'RFC 2132 3.3'),
  routers: row(3, ipv4List, 'RFC 2132 3.5'),
  dnsServers: row(6, ipv4List, 'RFC 2132 3.8'),
  logServers: row(7, ipv4List, 'RFC 2132 3.9'),
  hostname: row(12, text, 'RFC 2132 3.14'),
  domainName: row(15, text, 'RFC 2132 3.17'),
  rootPath: row(17, text, 'RFC 2132 3.19'),
  mtuBytes: row(26, u16, 'RFC 2132 5.1'),
  broadcastAddress: row(28, ipv4, 'RFC 2132 5.3'),
  ntpServers: row(42, ipv4List, 'RFC 2132 8.3'),
  domainSearch: row(119, domainList, 'RFC 3397'),
  classlessRoutes: row(121, routes, 'RFC 3442'),
  subnetSelection: row(118, ipv4, 'RFC 3011', true),
  clientIdentifier: row(61, octets, 'RFC 2132 9.14'),
  // Not length-prefixed as RFC 3004 has it: iPXE and most others send bare text (clients.ts reads both).
  userClass: row(77, octets, 'RFC 3004'),
  clientArchitectures: row(93, u16List, 'RFC 4578 2.1'),
  clientInterface: row(94, octets, 'RFC 4578 2.2'),
  vendorClass: row(60, text, 'RFC 2132 9.13'),
  clientMachineId: row(97, octets, 'RFC 4578 2.3'),
  vendorInformation: row(43, pxeSubOptions, 'RFC 2132 8.4, PXE 2.1 table 2-1'),
  ipxe: row(175, subOptions, 'ipxe.org/howto/dhcpd, src/include/ipxe/dhcp.h'),
  tftpServerName: row(66, text, 'RFC 2132 9.4'),
  bootFile: row(67, text, 'RFC 2132 9.5'),
  // Octets, because it is echoed as it came; relaySubOption() of reply.ts reads inside.
  relayAgent: row(82, octets, 'RFC 3046'),
} as const satisfies Record<string, Omit<OptionRow<unknown>, 'kind'>>;

export type OptionName = keyof typeof OPTIONS;
type OptionValue<N extends OptionName> = (typeof OPTIONS)[N] extends OptionRow<infer T> ? T : never;

/** The options of a message by name. */
export type DhcpOptions = { readonly [N in OptionName]?: OptionValue<N> | undefined };

/** An option by its number: those that have no row, and those whose value is none of their kind. */
export type RawOption = { readonly code: number; readonly octets: Uint8Array };

const PAD = 0;
const END = 255;

const NAMES = Object.keys(OPTIONS) as OptionName[];
const NAME_OF_CODE: ReadonlyMap<number, OptionName> = new Map(NAMES.map((name) => [OPTIONS[name].code, name]));

/** @returns the row's name, or undefined for a code without a row. */
export function optionName(code: number): OptionName | undefined {
  return NAME_OF_CODE.get(code);
}

export type WalkResult =
  | { readonly ok: true; readonly options: readonly RawOption[] }
  | { readonly ok: false; readonly why: 'options-truncated'; readonly offset: number };

/**
 * Cuts an options field into its options, in order of first appearance, parts of one option joined (RFC 3396 section 7).
 *
 * @param fields plain Uint8Arrays, of which copies are kept: the options field and, when option 52 says so, file and sname: in that order (RFC 3396 section 5).
 * A missing END is accepted: several PXE ROMs omit it. @returns `options-truncated` with the offset in its field where a
 * length is missing or points outside. Never throws.
 */
export function walkOptions(fields: readonly Uint8Array[]): WalkResult {
  const options: RawOption[] = [];
  const continued = new Map<number, Uint8Array[]>();
  for (const field of fields) {
    for (let at = 0; at < field.length; ) {
      const code = field[at] ?? END;
      if (code === PAD) {
        at += 1;
        continue;
      }
      if (code === END) break;
      const length = field[at + 1];
      if (length === undefined || at + 2 + length > field.length) {
        return { ok: false, why: 'options-truncated', offset: at };
      }
      const part = field.slice(at + 2, at + 2 + length);
      if (!options.some((one) => one.code === code)) options.push({ code, octets: part });
      else if (continued.get(code)?.push(part) === undefined) continued.set(code, [part]);
      at += 2 + length;
    }
  }
  if (continued.size === 0) return { ok: true, options };
  const whole = ({ code, octets: first }: RawOption): RawOption => ({
    code,
    octets: concatOctets([first, ...(continued.get(code) ?? [])]),
  });
  return { ok: true, options: options.map(whole) };
}

export type OptionsResult =
  | {
      readonly ok: true;
      readonly options: DhcpOptions;
      /** What this table does not list, and what has an illegal value for its row, in order of appearance. */
      readonly others: readonly RawOption[];
    }
  | { readonly ok: false; readonly why: 'option-value'; readonly option: OptionName };

/** Gives the options of a walk their names and values. Never throws. */
export function nameOptions(raw: readonly RawOption[]): OptionsResult {
  const options: Record<string, unknown> = {};
  const others: RawOption[] = [];
  for (const option of raw) {
    const name = optionName(option.code);
    const value = name === undefined ? undefined : OPTIONS[name].kind.decode(option.octets);
    if (name !== undefined && value !== undefined) options[name] = value;
    else if (name !== undefined && OPTIONS[name].strict) return { ok: false, why: 'option-value', option: name };
    else others.push(option);
  }
  return { ok: true, options, others };
}

/** The options of a message of ours by number, in the table's order; undefined ones are left out. */
export function numberOptions(options: DhcpOptions, others: readonly RawOption[] = []): RawOption[] {
  const named: RawOption[] = [];
  for (const name of NAMES) {
    const value = options[name];
    if (value === undefined) continue;
    const { code, kind } = OPTIONS[name] as OptionRow<unknown>;
    named.push({ code, octets: kind.encode(value) });
  }
  if (others.length === 0) return named;
  const at = named.findIndex(({ code }) => code === OPTIONS.relayAgent.code);
  return at < 0 ? [...named, ...others] : [...named.slice(0, at), ...others, ...named.slice(at)];
}

const MOST_PART_BYTES = 255;

/** The options field, END included; an option longer than 255 octets travels in parts (RFC 3396 section 6). */
export function packOptions(options: readonly RawOption[]): Uint8Array {
  let sizeBytes = 1;
  for (const { octets: value } of options) {
    sizeBytes += value.length + 2 * Math.max(1, Math.ceil(value.length / MOST_PART_BYTES));
  }
  const field = new Uint8Array(sizeBytes);
  let at = 0;
  for (const { code, octets: value } of options) {
    for (let from = 0; from < value.length || from === 0; from += MOST_PART_BYTES) {
      const part = value.length <= MOST_PART_BYTES ? value : value.subarray(from, from + MOST_PART_BYTES);
      field[at] = code;
      field[at + 1] = part.length;
      field.set(part, at + 2);
      at += 2 + part.length;
    }
  }
  field[at] = END;
  return field;
}
