// Every DHCP packet that real firmware and loaders sent, read as text beside the captures and written again.
//
// UPDATE_GOLDEN=1 rewrites test/fixtures/captures/*.txt: read the difference before committing it.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { clientOf, describeClient } from '../../../netboot/dhcp/clients.ts';
import {
  decodeMessage,
  type DhcpMessage,
  encodeMessage,
  HEADER_BYTES,
  macOf,
  messageTypeOf,
} from '../../../netboot/dhcp/message.ts';
import { optionName, packOptions, type RawOption } from '../../../netboot/dhcp/options.ts';
import { toHex } from '../../../netboot/dhcp/values.ts';
import { type IpPacket, readUdp } from './pcap.ts';

const FOLDER = new URL('../../fixtures/captures', import.meta.url).pathname;
const CAPTURES = readdirSync(FOLDER).filter((name) => name.endsWith('.pcap'));
const PORTS = [67, 68, 4011];
const HEADER_FIELDS = [
  ...(['op', 'htype', 'hlen', 'hops', 'xid', 'secs', 'flags'] as const),
  ...(['ciaddr', 'yiaddr', 'siaddr', 'giaddr', 'sname', 'file'] as const),
];

function dhcpOf(file: string): IpPacket[] {
  return readUdp(join(FOLDER, file)).filter(({ toPort }) => PORTS.includes(toPort));
}

function render(packet: IpPacket): string {
  const decoded = decodeMessage(packet.payload);
  const route = `${packet.from}:${packet.fromPort} > ${packet.to}:${packet.toPort} ${packet.payload.length} octets`;
  if (!decoded.ok) return `${route}\n  ${decoded.why}: ${decoded.detail}\n`;
  const { message, raw } = decoded;
  const header = HEADER_FIELDS.map(
    (name) => `${name}=${name === 'xid' ? message.xid.toString(16) : message[name]}`,
  ).join(' ');
  const options = raw.map(({ code, octets }) => `  ${renderOption(code, message) ?? `${code} ${toHex(octets)}`}`);
  const about = `${messageTypeOf(message)} ${macOf(message)} ${describeClient(clientOf(message))}`;
  return [route, `  ${about}`, `  ${header}`, ...options, ''].join('\n');
}

function renderOption(code: number, { options }: DhcpMessage): string | undefined {
  const name = optionName(code);
  const value = name === undefined ? undefined : options[name];
  if (value === undefined) return undefined;
  const text = JSON.stringify(value, (_, inner: unknown) => (inner instanceof Uint8Array ? toHex(inner) : inner));
  return `${code} ${name} ${text}`;
}

/** Without what only the sender's layout says: pads, and the order of repeated parts. */
function canonical(raw: readonly RawOption[]): string[] {
  return raw.map(({ code, octets }) => `${code} ${toHex(octets)}`);
}

test('there are captures, with packets of every kind of client in them', () => {
  const kinds = CAPTURES.flatMap(dhcpOf).map(({ payload }) => {
    const decoded = decodeMessage(payload);
    return decoded.ok && decoded.message.op === 1 ? clientOf(decoded.message).kind : 'reply';
  });
  expect(CAPTURES.length).toBeGreaterThanOrEqual(18);
  expect(new Set(kinds)).toEqual(new Set(['pxe', 'http', 'ipxe', 'reply']));
});

for (const file of CAPTURES) {
  test(`${file} reads as its golden text`, () => {
    const text = dhcpOf(file).map(render).join('\n');
    const golden = join(FOLDER, file.replace('.pcap', '.txt'));
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(golden, text);
    expect(existsSync(golden), `${golden} exists; UPDATE_GOLDEN=1 writes it`).toBe(true);
    expect(text).toBe(readFileSync(golden, 'utf8'));
  });

  test(`${file} is written again octet for octet`, () => {
    const packets = dhcpOf(file);
    for (const { payload } of packets) {
      const decoded = decodeMessage(payload);
      if (!decoded.ok) throw new Error(`${decoded.why}: ${decoded.detail}`);
      // The header and the options in the sender's own order, up to END.
      const ours = packOptions(decoded.raw);
      expect(toHex(payload.subarray(HEADER_BYTES, HEADER_BYTES + ours.length))).toBe(toHex(ours));
      const again = encodeMessage(decoded.message, 65_535);
      expect(toHex(again.subarray(0, HEADER_BYTES))).toBe(toHex(payload.subarray(0, HEADER_BYTES)));
      const twice = decodeMessage(again);
      if (!twice.ok) throw new Error(twice.why);
      expect(twice.message).toEqual(decoded.message);
      expect(canonical(twice.raw).sort()).toEqual(canonical(decoded.raw).sort());
    }
  });
}
