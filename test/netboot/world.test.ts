// The site as DHCP sees it through one interface: a machine behind a relay falls under its own subnet's rule.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { LeaseBook } from '../../netboot/store/leases.ts';
import { dhcpWorld, httpWorld } from '../../netboot/world.ts';
import { site } from './fleet/fleet-site.ts';

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

test('an address that a node file names tells nothing until it is leased', () => {
  const leases = new LeaseBook();
  const address = '10.0.0.11' as Ipv4Address;
  const mac = '52:54:00:77:00:01' as MacAddress;
  const own = site({ 'nodes/web1.yaml': `macs: [${mac}]\nprofile: web\naddress: ${address}\n` });
  const facts = { site: own, leases, images: new Map(), boots: new Map(), kept: [], loaders: new Map(), nowS: 100 };
  expect(httpWorld(facts).machineAt(address)).toBeUndefined();
  leases.put({ address, mac, subnet: 'rack1', state: 'bound', expiresAtS: 200 });
  expect(httpWorld(facts).machineAt(address)).toBe(mac);
});
