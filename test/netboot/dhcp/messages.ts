// test/netboot/dhcp/messages.ts - builders of what the DHCP tests decide about: a client's message, a world.

import { type Ipv4Address, parseIpv4, parseNetwork, parseRange } from '../../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../../formats/mac.ts';
import { MESSAGE_TYPES, type DhcpMessage, type MessageType, requestFrom } from '../../../netboot/dhcp/message.ts';
import type { DhcpOptions } from '../../../netboot/dhcp/options.ts';
import { subOptions, text } from '../../../netboot/dhcp/values.ts';
import type { DhcpNode, DhcpRequest, DhcpSubnet, DhcpWorld } from '../../../netboot/dhcp/world.ts';
import { LeaseBook } from '../../../netboot/store/leases.ts';

export const NOW_S = 1_800_000_000;

export function ip(value: string): Ipv4Address {
  const parsed = parseIpv4(value);
  if (parsed === undefined) throw new Error(`${value} is no address`);
  return parsed;
}

export function mac(value: string): MacAddress {
  const parsed = parseMac(value);
  if (parsed === undefined) throw new Error(`${value} is no MAC`);
  return parsed;
}

export const US = ip('10.77.1.1');
export const WEB1 = mac('52:54:00:77:00:01');
export const STRANGER = mac('52:54:00:77:00:99');

export function subnet(more: Partial<DhcpSubnet> & { at?: string; pool?: string } = {}): DhcpSubnet {
  const { at = '10.77.1.0/24', pool = '10.77.1.100-10.77.1.199', ...rest } = more;
  const network = parseNetwork(at);
  const range = parseRange(pool);
  if (network === undefined || range === undefined) throw new Error(`${at} or ${pool} does not parse`);
  return {
    name: 'rack1',
    network,
    pools: [range],
    reservations: [],
    router: US,
    dns: [ip('10.77.1.53')],
    leaseTimeS: 3600,
    unknown: 'default',
    mode: 'dhcp',
    answerBesideOthers: false,
    ...rest,
  };
}

const NODES = new Map<MacAddress, DhcpNode>([
  [WEB1, { name: 'web1', address: ip('10.77.1.11') }],
  [mac('52:54:00:77:00:02'), { name: 'web2', address: ip('10.77.1.12') }],
]);

export function world(more: Partial<DhcpWorld> = {}): DhcpWorld {
  return {
    serverAddress: US,
    subnets: [subnet()],
    nodeByMac: (address) => NODES.get(address),
    nodeByAddress: (address) => [...NODES.values()].find((node) => node.address === address),
    leases: new LeaseBook(),
    bootPolicy: () => ({ kind: 'boot', loader: 'auto', httpBase: `http://${US}:8080` }),
    loaderFetchedRecently: () => false,
    nowS: NOW_S,
    ...more,
  };
}

export type Asked = Partial<Omit<DhcpMessage, 'options' | 'chaddr'>> & { from?: MacAddress; options?: DhcpOptions };

export function message(type: MessageType, { from = WEB1, options = {}, ...header }: Asked = {}): DhcpMessage {
  return requestFrom(from, { xid: 0x12345678, options: { messageType: MESSAGE_TYPES[type], ...options }, ...header });
}

export function request(asked: DhcpMessage, more: Partial<DhcpRequest> = {}): DhcpRequest {
  return {
    message: asked,
    port: 67,
    from: { address: asked.ciaddr, port: 68 },
    isUnicast: false,
    ...more,
  };
}

/** What the kinds of client send to say what they are; from the captures. */
export const CLIENTS = {
  bios: { vendorClass: 'PXEClient:Arch:00000:UNDI:002001', clientArchitectures: [0] },
  efi: { vendorClass: 'PXEClient:Arch:00007:UNDI:003000', clientArchitectures: [7] },
  efi9: { vendorClass: 'PXEClient:Arch:00009:UNDI:003000', clientArchitectures: [9] },
  arm64: { vendorClass: 'PXEClient:Arch:00011:UNDI:003000', clientArchitectures: [11] },
  http: { vendorClass: 'HTTPClient:Arch:00016:UNDI:003000', clientArchitectures: [16] },
  // QEMU's BIOS ROM, and undionly.kpxe chain-loaded by it: the two send the same octets.
  ipxeBios: {
    vendorClass: 'PXEClient:Arch:00000:UNDI:002001',
    clientArchitectures: [0],
    userClass: text.encode('iPXE'),
    ipxe: subOptions.decode(
      Uint8Array.from(
        Buffer.from(
          'b105011af41000eb03010000170101220101130101110101270101190101290101100102210101150101180101120101',
          'hex',
        ),
      ),
    ),
  },
  ipxeEfi: {
    vendorClass: 'PXEClient:Arch:00007:UNDI:003010',
    clientArchitectures: [7],
    userClass: text.encode('iPXE'),
    ipxe: subOptions.decode(
      Uint8Array.from(
        Buffer.from('b105011af41000eb03010000170101240101130101110101270101190101290101150101120101', 'hex'),
      ),
    ),
  },
  // A ROM of old, built without HTTP.
  ipxeOld: {
    vendorClass: 'PXEClient:Arch:00000:UNDI:002001',
    clientArchitectures: [0],
    userClass: text.encode('iPXE'),
    ipxe: [{ code: 0x15, octets: Uint8Array.of(1) }],
  },
  system: {},
} satisfies Record<string, DhcpOptions>;
