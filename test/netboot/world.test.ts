// The site as DHCP sees it through one interface: a machine behind a relay falls under its own subnet's rule.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { LeaseBook } from '../../netboot/leases.ts';
import { dhcpWorld } from '../../netboot/world.ts';
import { site } from './fleet-site.ts';

const STRANGER = '52:54:00:99:00:01' as MacAddress;

test('what becomes of an unknown machine is said by the subnet it asks from, not by the one of our interface', () => {
  const relayed = site({
    'rouse.yaml':
      'version: 1\ndefaultProfile: web\npools: {web: {match: {profile: web}}}\nsubnets:\n' +
      '  - {name: near, interface: eth1, network: 10.0.0.0/24}\n' +
      '  - {name: far, interface: eth1, network: 10.0.1.0/24, unknown: default}\n',
  });
  const world = dhcpWorld({
    site: relayed,
    interfaceName: 'eth1',
    serverAddress: '10.0.0.1' as Ipv4Address,
    leases: new LeaseBook(),
    loaderFetchedRecently: () => false,
    rung: () => 0,
    nowS: 0,
  });
  const kinds = world.subnets.map((subnet) => [subnet.name, world.bootPolicy(STRANGER, subnet).kind]);
  expect(kinds).toEqual([
    ['near', 'none'],
    ['far', 'boot'],
  ]);
});
