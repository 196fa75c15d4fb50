// netboot/dhcp/event.ts - what the journal is told of each DHCP message: one record, one sentence.
//
// Owns: DhcpEvent and its rendering. Does not own storing it (the journal) nor the reasons' words (why.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { type ClientKind, describeClient, clientOf } from './clients.ts';
import { claimedMac } from './decide.ts';
import { addressTaken } from './heard.ts';
import type { BootAnswer } from './loaders.ts';
import { type DhcpMessage, macOf, type MessageType, messageTypeOf } from './message.ts';
import { printableAscii } from '../../formats/printable.ts';
import { sentenceOf, type WhyCode } from './why.ts';
import type { Decision } from './world.ts';

export type DhcpEvent = {
  readonly interfaceName: string;
  /** "52:54:00:77:00:01", or the raw hardware address in hexadecimal; undefined where the packet could not be read. */
  readonly mac?: string | undefined;
  /** The same where it is the address of a network card. */
  readonly machine?: MacAddress | undefined;
  /** As 8 hexadecimal digits: ties the messages of one exchange together. */
  readonly xid?: string | undefined;
  readonly type?: MessageType | undefined;
  readonly clientKind?: ClientKind | undefined;
  /** "efi-x64 firmware (architecture 7)". */
  readonly client?: string | undefined;
  /** Option 93, the first of it that is known; undefined for what is no firmware. */
  readonly architecture?: number | undefined;
  readonly outcome: 'offer' | 'ack' | 'nak' | 'record' | 'ignore';
  readonly why: WhyCode;
  /** The whole of it for people: "ACK 10.77.0.11: the node file gives it this address; TFTP undionly.kpxe: loader: undionly". */
  readonly text: string;
  /** What was offered, acknowledged, declined or released. */
  readonly address?: Ipv4Address | undefined;
  readonly boot?: BootAnswer | undefined;
  /** The address that the client says it takes or has. */
  readonly taken?: Ipv4Address | undefined;
};

/** The event of a decision. @param message what was decided about; undefined where it could not be read. */
export function eventOf(interfaceName: string, message: DhcpMessage | undefined, decision: Decision): DhcpEvent {
  const client = message && clientOf(message);
  return {
    interfaceName,
    mac: message && claimedMac(message),
    machine: message && macOf(message),
    xid: message?.xid.toString(16).padStart(8, '0'),
    type: message && messageTypeOf(message),
    clientKind: client?.kind,
    // Worded when somebody reads it: of most messages nobody does.
    get client() {
      return client && describeClient(client);
    },
    architecture: client === undefined || client.kind === 'system' ? undefined : client.architecture,
    outcome: decision.kind,
    why: decision.why,
    get text() {
      return describeDecision(decision);
    },
    address: addressOf(decision),
    boot: decision.kind === 'offer' || decision.kind === 'ack' ? decision.boot : undefined,
    taken: message && addressTaken(message),
  };
}

function addressOf(decision: Decision): Ipv4Address | undefined {
  switch (decision.kind) {
    case 'record':
      return decision.commit.address;
    case 'offer':
    case 'ack':
      return decision.message.yiaddr;
    case 'nak':
    case 'ignore':
      return undefined;
  }
}

/** One sentence without a full stop; safe to print. */
export function describeDecision(decision: Decision): string {
  const detail = decision.detail === undefined ? undefined : printableAscii(decision.detail);
  const why = sentenceOf(decision.why, detail);
  switch (decision.kind) {
    case 'ignore': {
      const would = decision.would === undefined ? '' : `; otherwise: ${describeDecision(decision.would)}`;
      return `ignored: ${why}${would}`;
    }
    case 'record':
      return `noted: ${why}`;
    case 'nak':
      return `NAK: ${why}`;
    case 'offer':
    case 'ack':
      return `${decision.kind.toUpperCase()} ${decision.message.yiaddr}: ${why}; ${describeBoot(decision.boot)}`;
  }
}

/** "TFTP snponly.efi: snponly is what efi-x64 takes first". */
function describeBoot(boot: BootAnswer): string {
  switch (boot.kind) {
    case 'tftp':
      return `TFTP ${boot.file}: ${boot.why}`;
    case 'script':
    case 'http':
      return `${boot.url}: ${boot.why}`;
    case 'nothing':
      return `nothing to boot: ${boot.why}`;
  }
}
