// netboot/dhcp/why.ts - every reason for which a DHCP message is answered or not, and the words for it.
//
// Owns: codes and sentences. The log, the journal and `rouse explain` print these and no others. Does not own when each
// applies (decide.ts, ../store/leases.ts, pace.ts). To add a reason, add a row. Pure.

import type { Hold } from './foreign.ts';

export const WHY = {
  // Answered.
  reservation: 'the node file gives it this address',
  reserved: 'rouse.yaml reserves this address for it',
  'last-address': 'it had this address last',
  'requested-address': 'it asked for this address, which is free',
  'from-pool': 'the address is free in the pool',
  'lease-known': 'the address is leased to it',
  'pool-address-free': 'nobody else has the address, so its word is taken for it',
  inform: 'it has an address and asks for the settings only',
  'proxy-boot': 'another DHCP server gives the address, this one what to boot',

  // Refused (NAK).
  'wrong-network': 'the address is not of this network',
  'reserved-for-another': 'the address is reserved for another node',
  'leased-to-another': 'the address is leased to another client',
  'address-declined': 'a client found the address in use',
  'reservation-differs': 'its node file gives it another address',
  'not-ours': 'the address is neither in a pool nor reserved for it',
  adopted: 'it has become a node since it was given this address, and is to boot as that',

  // Recorded, without a reply.
  declined: 'the client found its address in use; nobody gets it for ten minutes',
  released: 'the client gave its address back',
  conflict: 'another machine answers for the address; nobody gets it for a minute',
  'still-there': 'the machine that had the address last still answers for it and keeps it',

  // Not answered.
  'too-short': 'the packet is too short for DHCP',
  'not-dhcp': 'the packet is not DHCP',
  'options-truncated': 'an option ends outside the packet',
  'option-value': 'an option has an impossible length',
  'not-a-request': 'the packet is a reply, not a request',
  bootp: 'the packet has no message type (BOOTP)',
  'unexpected-type': 'a client does not send this type of message',
  'no-hardware-address': 'the packet names no Ethernet address',
  'no-subnet': 'no subnet of rouse.yaml fits where it came from',
  'unknown-machine': 'no node file names this MAC, and the subnet says unknown: ignore',
  'other-server': 'the client chose another DHCP server',
  'no-record': 'nothing is known of this client here, so RFC 2131 asks for silence',
  'nothing-requested': 'the request names no address',
  'not-its-lease': 'the address is not leased to this client',
  'pool-full': 'every address of the pool is in use',
  'all-in-use': 'other machines answer for every address that it was about to get; others are tried when it asks again',
  'no-pool': 'the subnet has no pool and the node file no address',
  'reservation-in-use': "another client has the node's address, and there is no free one in a pool",
  'no-boot': 'there is nothing for it to boot, and another server gives the addresses',
  'not-pxe': 'it does not ask to be booted, and another server gives the addresses',
  looking: 'this server has just started and first looks for another DHCP server; it answers within seconds',
  'foreign-server':
    'another DHCP server answers here, and the subnet does not say answerBesideOthers: true, so this one does not',
  'foreign-reply': 'another DHCP server answered it',
  observe: 'the subnet says mode: observe, so nothing is sent',
  flood: 'it sends more than a client does; answers resume when it slows down',
  internal: 'a bug in rouse kept it from being answered; please report it',
  'commit-failed': 'its lease could not be written to disk',
} as const;

export type WhyCode = keyof typeof WHY;

/** "every address of the pool is in use (rack1)". */
export function sentenceOf(why: WhyCode, detail?: string): string {
  return detail === undefined ? WHY[why] : `${WHY[why]} (${detail})`;
}

/** For the log: another server showed itself on an interface. @param hold whether that keeps this server silent. */
export function describeForeign(interfaceName: string, server: string, hold: Hold | undefined): string {
  const consequence =
    hold?.kind === 'foreign'
      ? 'subnets of mode dhcp without answerBesideOthers: true give nobody an address here until it is gone; stop it, or use mode: proxy or observe'
      : 'this one goes on answering, so machines may get an address from either; stop it, or use mode: proxy or observe';
  return `dhcp: another DHCP server, ${server}, answers on ${interfaceName}: ${consequence}`;
}

/** For the log: the other server is gone. */
export function describeAlone(interfaceName: string): string {
  return `dhcp: no other DHCP server answers on ${interfaceName} any more: this one does`;
}

/** What DHCP does on an interface now, in words: "answers", or why not. */
export function describeHold(hold: Hold | undefined): string {
  if (hold === undefined) return 'answers';
  return hold.kind === 'looking' ? WHY.looking : sentenceOf('foreign-server', hold.server);
}
