// test/netboot/api/explained.ts - what `rouse explain` said beside what the wire carried, in one form.
//
// Owns: the reading of both. The wire is read option by option from its octets, so that an option which explain keeps quiet
// about is a difference. Does not own getting at the wire.

import type { Explanation } from '../../../netboot/api/explain.ts';
import { type DhcpMessage, decodeMessage, messageTypeOf } from '../../../netboot/dhcp/message.ts';
import { optionName, OPTIONS } from '../../../netboot/dhcp/options.ts';
import { toHex } from '../../../netboot/dhcp/values.ts';

/** A reply: "OFFER" or "ACK", and its fields and options in the order of the wire. */
export type Reply = { readonly type: string; readonly lines: readonly string[] };

/** What repeats the client, of which explain knows no more than the MAC; option 53 is the reply's type. */
const ECHOES: readonly number[] = [
  OPTIONS.clientIdentifier.code,
  OPTIONS.relayAgent.code,
  OPTIONS.clientMachineId.code,
  OPTIONS.messageType.code,
];

export function decoded(payload: Uint8Array): DhcpMessage {
  const result = decodeMessage(payload);
  if (!result.ok) throw new Error(`${result.why}: ${result.detail}`);
  return result.message;
}

export function replyOnWire(payload: Uint8Array): Reply {
  const result = decodeMessage(payload);
  if (!result.ok) throw new Error(`${result.why}: ${result.detail}`);
  const { message, raw } = result;
  // Explain has no line for it: it is to be empty.
  if (message.sname !== '') throw new Error(`sname ${message.sname}`);
  const options = raw.filter(({ code }) => !ECHOES.includes(code));
  return {
    type: (messageTypeOf(message) ?? '').toUpperCase(),
    lines: [
      `yiaddr ${message.yiaddr}`,
      `siaddr ${message.siaddr}`,
      `file ${message.file}`,
      ...options.map(({ code, octets }) => optionLine(code, octets, message)),
    ],
  };
}

function optionLine(code: number, octets: Uint8Array, { options }: DhcpMessage): string {
  const name = optionName(code);
  const value = name === undefined ? undefined : options[name];
  if (name === undefined || value === undefined) return `${code} ${toHex(octets)}`;
  if (typeof value === 'string') return `${name} ${value}`;
  return `${name} ${JSON.stringify(value, (_key, part: unknown) => (part instanceof Uint8Array ? toHex(part) : part))}`;
}

/** The OFFERs and ACKs of an explanation, in their order. */
export function repliesExplained({ steps }: Explanation): Reply[] {
  return steps.flatMap(({ answer, lines }) => {
    const type = /^(OFFER|ACK) /.exec(answer)?.[1];
    return type === undefined ? [] : [{ type, lines }];
  });
}

/** A script as it was served, with explain's words for what each boot has of its own. */
export function scriptWithoutBoot(script: string): string {
  const bootId = /\brouse\.boot=([0-9a-f]{16})\b/.exec(script)?.[1];
  const overlay = /\brouse\.layers=\S*\b([0-9a-f]{64})(?=['\s])/.exec(script)?.[1];
  if (bootId === undefined || overlay === undefined) return script;
  return script.replaceAll(bootId, 'BOOT-ID').replaceAll(overlay, 'OVERLAY-SHA256');
}
