// netboot/site/balancers.ts - profiles that answer for virtual addresses: what they claim, and what must hold of it.
//
// Owns: the one shape of vars that the boot server itself understands: `virtualServices` (a list of maps with vip, pool,
// mode), beside it `insideVip`, `vrid`, `insideVrid`, `advertIntervalS`; the allocation of VRIDs; the checks across files.
// Does not own: the other keys of these maps (the recipe's fields, vars.ts), what is made of them (the role's templates).
// Any role that declares these vars is a balancer; no role has a special case.
//
// A VRID counts on one wire, and the boot server does not know which subnets share a wire: it is unique in the whole site.
// Source: RFC 3768 5.2.3 (VRID 1 to 255). Pure.

import { type Ipv4Address, isHostAddress, networkContains, parseIpv4, rangeContains } from '../../formats/ipv4.ts';
import { unknownName } from '../../formats/nearest.ts';
import type { Position, Positions, Problem } from '../../formats/yaml/document.ts';
import type { ParsedSite } from './files.ts';
import type { RouseFile, VarValue } from './schema.ts';
import type { Effective, Sourced } from './settings.ts';

type VirtualService = {
  readonly vip: Ipv4Address;
  readonly pool: string;
  /** Direct: the real servers answer clients themselves and hold the VIP on their loopback. */
  readonly isDirect: boolean;
};

/** What a profile with virtual services claims. */
export type Balancer = {
  readonly profile: string;
  readonly services: readonly VirtualService[];
  /** Every address that VRRP hands over, the inside one too, each once. */
  readonly vips: readonly Ipv4Address[];
  readonly vrid: number;
  readonly insideVrid: number;
  readonly advertIntervalS: number;
};

type Claimant = {
  readonly name: string;
  readonly chain: readonly string[];
  readonly effective: Effective;
};

const MOST_VRID = 255;

type Maps = readonly Readonly<Record<string, VarValue>>[];

function servicesIn(effective: Effective): { readonly maps: Maps; readonly sourced: Sourced<VarValue> } | undefined {
  const sourced = effective.vars['virtualServices'];
  if (sourced === undefined || !Array.isArray(sourced.value) || sourced.value.length === 0) return undefined;
  const maps = (sourced.value as readonly VarValue[]).filter(
    (item): item is Readonly<Record<string, VarValue>> =>
      typeof item === 'object' && item !== null && !Array.isArray(item),
  );
  return maps.length === 0 ? undefined : { maps, sourced };
}

function addressOf(value: VarValue | undefined): Ipv4Address | undefined {
  return typeof value === 'string' ? parseIpv4(value) : undefined;
}

function numberOf(effective: Effective, name: string, otherwise: number): number {
  const value = effective.vars[name]?.value;
  return typeof value === 'number' ? value : otherwise;
}

/**
 * Every balancer by its profile's name.
 *
 * The numbers depend on the names and on the explicit numbers alone, so that every boot server, and the same one
 * tomorrow, allocates the same.
 */
export function balancersOf(profiles: Iterable<Claimant>): Map<string, Balancer> {
  const claimants = [...profiles].filter(({ effective }) => servicesIn(effective) !== undefined);
  claimants.sort((a, b) => (a.name < b.name ? -1 : 1));
  const taken = new Set<number>();
  for (const { effective } of claimants) {
    for (const name of ['vrid', 'insideVrid']) taken.add(numberOf(effective, name, 0));
  }
  const allocate = (seed: string): number => {
    let hash = 0;
    for (const character of seed) hash = (Math.imul(hash, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
    for (let step = 0; step < MOST_VRID; step += 1) {
      const vrid = ((hash + step) % MOST_VRID) + 1;
      if (taken.has(vrid)) continue;
      taken.add(vrid);
      return vrid;
    }
    return 0;
  };
  const balancers = new Map<string, Balancer>();
  for (const { name, effective } of claimants) {
    const services = (servicesIn(effective)?.maps ?? []).flatMap((map): VirtualService[] => {
      const vip = addressOf(map['vip']);
      const { pool, mode } = map;
      return vip === undefined || typeof pool !== 'string' ? [] : [{ vip, pool, isDirect: mode === 'dr' }];
    });
    const inside = addressOf(effective.vars['insideVip']?.value);
    const vips = new Set([...services.map(({ vip }) => vip), ...(inside === undefined ? [] : [inside])]);
    balancers.set(name, {
      profile: name,
      services,
      vips: [...vips],
      vrid: numberOf(effective, 'vrid', 0) || allocate(name),
      insideVrid: numberOf(effective, 'insideVrid', 0) || allocate(`${name} inside`),
      advertIntervalS: numberOf(effective, 'advertIntervalS', 1),
    });
  }
  return balancers;
}

export type BalancerChecks = {
  readonly rouse: RouseFile;
  readonly parsed: ParsedSite;
  readonly profiles: readonly Claimant[];
  readonly balancers: ReadonlyMap<string, Balancer>;
  /** Names of profiles that a node has. */
  readonly used: ReadonlySet<string>;
  readonly problems: Problem[];
};

/** What must hold of virtual addresses between the files of a site. */
export function checkBalancers(checks: BalancerChecks): void {
  const { profiles, balancers, problems } = checks;
  const owners = new Map<string, { profile: string; at: Position }>();
  const claim = (key: string, what: string, profile: string, at: Position): void => {
    const owner = owners.get(key);
    if (owner === undefined) {
      owners.set(key, { profile, at });
      return;
    }
    if (owner.profile === profile) return;
    const isInherited = owner.at.file === at.file && owner.at.line === at.line && owner.at.column === at.column;
    // A profile that others extend claims nothing while no node has it.
    if (isInherited && !(checks.used.has(profile) && checks.used.has(owner.profile))) return;
    problems.push({
      ...at,
      message: `${what} is already claimed by profile '${owner.profile}' (${owner.at.file}:${owner.at.line}:${owner.at.column})`,
    });
  };
  for (const profile of [...profiles].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const balancer = balancers.get(profile.name);
    const found = servicesIn(profile.effective);
    if (balancer === undefined || found === undefined) continue;
    const placeOf = (path: readonly (string | number)[]): Position => positionOf(checks.parsed, profile, path);
    for (const [index, map] of found.maps.entries()) {
      const where = `vars.virtualServices[${index}]`;
      const vip = addressOf(map['vip']);
      const vipAt = placeOf(['virtualServices', index, 'vip']);
      if (vip !== undefined) {
        checkVip(checks, `${where}.vip`, vip, vipAt);
        claim(`vip ${vip}`, `${where}.vip: ${vip}`, profile.name, vipAt);
      }
      checkPool(checks, where, map, placeOf(['virtualServices', index, 'pool']));
    }
    const inside = addressOf(profile.effective.vars['insideVip']?.value);
    if (inside !== undefined) {
      const at = placeOf(['insideVip']);
      checkVip(checks, 'vars.insideVip', inside, at);
      claim(`vip ${inside}`, `vars.insideVip: ${inside}`, profile.name, at);
    }
    for (const key of ['vrid', 'insideVrid'] as const) {
      const given = numberOf(profile.effective, key, 0);
      if (given === 0) continue;
      const at = placeOf([key]);
      if (!Number.isInteger(given) || given < 1 || given > MOST_VRID) {
        problems.push({ ...at, message: `vars.${key}: expected a VRID, 1 to ${MOST_VRID}, got ${given}` });
      } else claim(`vrid ${given}`, `vars.${key}: VRID ${given}`, profile.name, at);
    }
    if (numberOf(profile.effective, 'vrid', 0) !== 0 && balancer.vrid === balancer.insideVrid) {
      problems.push({ ...placeOf(['insideVrid']), message: 'vars.insideVrid: expected another VRID than vars.vrid' });
    }
  }
}

function checkVip({ rouse, parsed, problems }: BalancerChecks, where: string, vip: Ipv4Address, at: Position): void {
  const subnet = rouse.subnets.find(({ network }) => networkContains(network, vip));
  if (subnet === undefined || !isHostAddress(subnet.network, vip)) {
    problems.push({ ...at, message: `${where}: ${vip} is no host address of any subnet in rouse.yaml` });
    return;
  }
  if (subnet.router === vip) {
    problems.push({ ...at, message: `${where}: ${vip} is the router of subnet '${subnet.name}', expected another` });
  }
  const range = subnet.pools.find((one) => rangeContains(one, vip));
  if (range !== undefined) {
    const message = `${where}: ${vip} lies in ${range.first}-${range.last}, which subnet '${subnet.name}' gives to machines`;
    problems.push({ ...at, message });
  }
  for (const [node, file] of parsed.nodes) {
    if (!file.ok || file.value.address !== vip) continue;
    const { line, column } = file.positions.of(['address']);
    problems.push({
      ...at,
      message: `${where}: ${vip} is the address of node '${node}' (nodes/${node}.yaml:${line}:${column})`,
    });
  }
}

function checkPool(
  { rouse, problems }: BalancerChecks,
  where: string,
  map: Readonly<Record<string, VarValue>>,
  at: Position,
): void {
  const known = Object.keys(rouse.pools);
  const { pool } = map;
  if (typeof pool !== 'string') {
    problems.push({
      ...at,
      message: `${where}: missing key 'pool', expected the name of a pool (${known.join(', ') || 'rouse.yaml has none yet'})`,
    });
  } else if (!Object.hasOwn(rouse.pools, pool)) {
    problems.push({ ...at, message: `${where}.pool: ${unknownName('pool', pool, known)}` });
  }
}

/** Where a part of a var stands: in the nearest file of the profile's chain that sets it. */
function positionOf({ profiles, roles }: ParsedSite, profile: Claimant, path: readonly (string | number)[]): Position {
  const [name = ''] = path;
  for (const link of profile.chain) {
    const file = link.startsWith('role/') ? roles.get(link.slice('role/'.length)) : profiles.get(link);
    if (file?.ok !== true || !Object.hasOwn(file.value.vars ?? {}, name)) continue;
    const positions: Positions = file.positions;
    return positions.of(['vars', ...path]);
  }
  return (
    profile.effective.vars[String(name)]?.source.position ?? {
      file: `profiles/${profile.name}.yaml`,
      line: 1,
      column: 1,
    }
  );
}
