// Who is behind an address: by the lease that we gave, or by what was overheard where another server gives them.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { HeardAddresses } from '../../netboot/dhcp/heard.ts';
import { Peers } from '../../netboot/peers.ts';
import { LeaseBook } from '../../netboot/store/leases.ts';
import { site } from './fleet/fleet-site.ts';

const OURS = '52:54:00:77:00:01' as MacAddress;
const HEARD = '02:00:00:00:00:09' as MacAddress;
const ip = (text: string): Ipv4Address => text as Ipv4Address;
const both = site({
  'rouse.yaml': `version: 1
subnets:
  - {name: rack1, interface: eth1, network: 10.0.0.0/24, pools: [10.0.0.100-10.0.0.199]}
  - {name: office, interface: eth2, network: 10.1.0.0/24, mode: proxy}
pools: {web: {match: {profile: web}}}
`,
});

function peers(isInForce = true): Peers {
  const heard = new HeardAddresses();
  heard.put(ip('10.1.0.7'), HEARD);
  heard.put(ip('10.0.0.150'), HEARD);
  const lease = { mac: OURS, subnet: 'rack1', state: 'bound', expiresAtS: 100 } as const;
  const leases = new LeaseBook([{ ...lease, address: ip('10.0.0.150') }]);
  const made = new Peers({ site: () => (isInForce ? both : undefined), leases, heard, nowS: () => 50 });
  made.interfaces = [{ name: 'eth1', address: ip('10.0.0.1') }];
  return made;
}

test('our lease counts where we give addresses, and what was overheard where another server does', () => {
  expect(peers().macAt(ip('10.0.0.150'))).toBe(OURS);
  expect(peers().macAt(ip('10.1.0.7'))).toBe(HEARD);
  // A node file's address.
  expect(peers().macAt(ip('10.0.0.11'))).toBe(OURS);
  expect(peers().macAt(ip('10.0.0.151'))).toBeUndefined();
  expect(peers(false).macAt(ip('10.0.0.150'))).toBeUndefined();
  expect([peers().isGivenElsewhere(ip('10.1.0.7')), peers().isGivenElsewhere(ip('10.0.0.150'))]).toEqual([true, false]);
});

test('a peer is behind the address of the interface of its subnet, if that is served', () => {
  expect(peers().serverFor(ip('10.0.0.150'))).toEqual({ address: '10.0.0.1', port: 8080 });
  expect(peers().serverFor(ip('10.1.0.7'))).toBeUndefined();
  expect(peers().serverFor(ip('192.168.0.1'))).toBeUndefined();
});
