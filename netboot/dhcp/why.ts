// netboot/dhcp/why.ts - every reason for which a DHCP message is answered or not, and the words for it.
//
// Owns: codes and sentences. The log, the journal and `rouse explain` print these and no others. Does not own when each
// applies (decide.ts, ../leases.ts, pace.ts). To add a reason, add a row. Pure.

export const WHY = {
  // Answered.
  reservation: 'the node file gives it this address',
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

  // Recorded, without a reply.
  declined: 'the client found its address in use; nobody gets it for ten minutes',
  released: 'the client gave its address back',
  conflict: 'another machine answers for the address; nobody gets it for a minute',

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
  'other-interface': 'the message belongs to another interface of this server',
  'no-record': 'nothing is known of this client here, so RFC 2131 asks for silence',
  'nothing-requested': 'the request names no address',
  'not-its-lease': 'the address is not leased to this client',
  'pool-full': 'every address of the pool is in use',
  'no-pool': 'the subnet has no pool and the node file no address',
  'reservation-in-use': "another client has the node's address, and there is no free one in a pool",
  'no-boot': 'there is nothing for it to boot, and another server gives the addresses',
  'not-pxe': 'it does not ask to be booted, and another server gives the addresses',
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
