// netboot/site/checks.ts - what must hold between the files of a site.
//
// Owns: subnets apart and pools inside them, names that exist, one MAC and one address for one node, addresses inside
// subnets. Does not own the shape of one file (schema.ts) or profiles that extend each other (site.ts).
//
// To add a check, write a function and add it to CHECKS. Pure.

import { type Ipv4Address, ipv4ToNumber, isHostAddress, networkContains, renderNetwork } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { unknownName } from '../../formats/nearest.ts';
import { type Position, type Positions, type Problem } from '../../formats/yaml/document.ts';
import { keysOf } from '../dhcp/reservations.ts';
import type { ParsedSite } from './files.ts';
import type { RouseFile } from './schema.ts';

/** The profile that machines boot where their subnet says `unknown: discover`: the site's own, else the role's. */
export const DISCOVER_PROFILE = 'discover';

/** What a check looks at; it pushes problems with the position of the value to change. */
export type CheckContext = {
  readonly rouse: RouseFile;
  readonly at: Positions;
  readonly parsed: ParsedSite;
  readonly problems: Problem[];
};

export const CHECKS: readonly ((context: CheckContext) => void)[] = [
  checkSubnets,
  checkProfileNames,
  checkMacs,
  checkAddresses,
  checkReservations,
];

function checkSubnets({ rouse: { subnets }, at, problems }: CheckContext): void {
  for (const [index, subnet] of subnets.entries()) {
    const text = renderNetwork(subnet.network);
    const twin = subnets.slice(0, index).find(({ name }) => name === subnet.name);
    if (twin !== undefined) {
      problems.push({
        ...at.of(['subnets', index, 'name']),
        message: `subnets[${index}].name: '${subnet.name}' is the name of an earlier subnet, expected another`,
      });
    }
    for (const earlier of subnets.slice(0, index)) {
      const overlaps =
        networkContains(earlier.network, subnet.network.address) ||
        networkContains(subnet.network, earlier.network.address);
      if (overlaps) {
        problems.push({
          ...at.of(['subnets', index, 'network']),
          message: `subnets[${index}].network: ${text} overlaps ${renderNetwork(earlier.network)} of subnet '${earlier.name}'`,
        });
      }
    }
    for (const [poolIndex, { first, last }] of subnet.pools.entries()) {
      if (!isHostAddress(subnet.network, first) || !isHostAddress(subnet.network, last)) {
        problems.push({
          ...at.of(['subnets', index, 'pools', poolIndex]),
          message: `subnets[${index}].pools[${poolIndex}]: ${first}-${last} does not lie inside ${text}, its first and last address left out`,
        });
      }
      const overlapping = subnet.pools
        .slice(0, poolIndex)
        .find(
          (other) => ipv4ToNumber(other.first) <= ipv4ToNumber(last) && ipv4ToNumber(first) <= ipv4ToNumber(other.last),
        );
      if (overlapping !== undefined) {
        problems.push({
          ...at.of(['subnets', index, 'pools', poolIndex]),
          message: `subnets[${index}].pools[${poolIndex}]: ${first}-${last} overlaps ${overlapping.first}-${overlapping.last}`,
        });
      }
    }
    if (subnet.router !== undefined && !isHostAddress(subnet.network, subnet.router)) {
      problems.push({
        ...at.of(['subnets', index, 'router']),
        message: `subnets[${index}].router: ${subnet.router} is no host address of ${text}`,
      });
    }
  }
}

function checkProfileNames({ rouse, at, parsed, problems }: CheckContext): void {
  const known = [...parsed.profiles.keys()];
  const { defaultProfile } = rouse;
  if (defaultProfile !== undefined && !parsed.profiles.has(defaultProfile)) {
    problems.push({
      ...at.of(['defaultProfile']),
      message: `defaultProfile: ${unknownName('profile', defaultProfile, known)}`,
    });
  }
  for (const [index, { unknown }] of rouse.subnets.entries()) {
    const here = at.of(['subnets', index, 'unknown']);
    if (unknown === 'default' && defaultProfile === undefined) {
      problems.push({ ...here, message: `subnets[${index}].unknown: 'default' needs the key defaultProfile` });
    }
    if (unknown === 'discover' && !parsed.profiles.has(DISCOVER_PROFILE) && !parsed.roles.has(DISCOVER_PROFILE)) {
      problems.push({
        ...here,
        message: `subnets[${index}].unknown: 'discover' boots the profile '${DISCOVER_PROFILE}', expected profiles/${DISCOVER_PROFILE}.yaml`,
      });
    }
  }
  for (const [pool, { match }] of Object.entries(rouse.pools)) {
    if (match.profile !== undefined && !parsed.profiles.has(match.profile)) {
      problems.push({
        ...at.of(['pools', pool, 'match', 'profile']),
        message: `pools.${pool}.match.profile: ${unknownName('profile', match.profile, known)}`,
      });
    }
  }
}

function checkMacs({ parsed, problems }: CheckContext): void {
  const owners = new Map<MacAddress, { node: string; at: Position }>();
  for (const [node, file] of parsed.nodes) {
    if (!file.ok) continue;
    for (const [index, mac] of file.value.macs.entries()) {
      const at = file.positions.of(['macs', index]);
      const owner = owners.get(mac);
      if (owner === undefined) owners.set(mac, { node, at });
      else {
        problems.push({
          ...at,
          message: `macs[${index}]: ${mac} is already a MAC of node '${owner.node}' (${owner.at.file}:${owner.at.line}:${owner.at.column})`,
        });
      }
    }
  }
}

function checkAddresses({ rouse: { subnets }, parsed, problems }: CheckContext): void {
  const owners = new Map<Ipv4Address, { node: string; at: Position }>();
  for (const [node, file] of parsed.nodes) {
    if (!file.ok || file.value.address === undefined) continue;
    const { address } = file.value;
    const at = file.positions.of(['address']);
    const owner = owners.get(address);
    if (owner === undefined) owners.set(address, { node, at });
    else {
      problems.push({
        ...at,
        message: `address: ${address} is already the address of node '${owner.node}' (${owner.at.file}:${owner.at.line}:${owner.at.column})`,
      });
    }
    const subnet = subnets.find(({ network }) => networkContains(network, address));
    if (subnet === undefined) {
      const known = subnets.map(({ name, network }) => `${name} ${renderNetwork(network)}`).join(', ');
      problems.push({ ...at, message: `address: ${address} lies in no subnet, expected one of ${known}` });
    } else if (!isHostAddress(subnet.network, address)) {
      problems.push({
        ...at,
        message: `address: ${address} is the first or last address of ${renderNetwork(subnet.network)}, expected one between`,
      });
    } else if (subnet.router === address) {
      problems.push({
        ...at,
        message: `address: ${address} is the router of subnet '${subnet.name}', expected another`,
      });
    }
  }
}

/** Reservations lie in their subnet, and neither an address nor a machine has two. */
function checkReservations({ rouse: { subnets }, at, parsed, problems }: CheckContext): void {
  const owners = new Map<Ipv4Address, string>();
  for (const [node, file] of parsed.nodes) {
    if (file.ok && file.value.address !== undefined) owners.set(file.value.address, `node '${node}'`);
  }
  for (const [index, { network, reservations, router, name }] of subnets.entries()) {
    const machines = new Set<string>();
    for (const [number, reservation] of reservations.entries()) {
      const { address } = reservation;
      const path = `subnets[${index}].reservations[${number}]`;
      const complain = (message: string): void => {
        problems.push({ ...at.of(['subnets', index, 'reservations', number]), message: `${path}: ${message}` });
      };
      const owner = address === router ? `the router of subnet '${name}'` : owners.get(address);
      if (!isHostAddress(network, address)) complain(`${address} is no host address of ${renderNetwork(network)}`);
      else if (owner !== undefined) complain(`${address} is already the address of ${owner}`);
      owners.set(address, path);
      const keys = keysOf(reservation);
      if (keys.some((key) => machines.has(key)))
        complain('an earlier reservation of the subnet is for the same machine');
      for (const key of keys) machines.add(key);
    }
  }
}
