// netboot/site/site.ts - the site: every node with its profile, or everything that is wrong with the files.
//
// Owns: joining parsed files: profiles with their chains, nodes with their groups, vars against what images declare; and the
// lookups that the boot server uses.
// Does not own: the shape of one file (schema.ts), what must hold between files (checks.ts), merging (settings.ts), what a
// node boots now (plan.ts).
//
// To add a check between files, add a function to CHECKS (checks.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { unknownName } from '../../formats/nearest.ts';
import type { Parsed, Position, Positions, Problem } from '../../formats/yaml/document.ts';
import type { Manifest } from '../../images/manifest.ts';
import { type Balancer, balancersOf, checkBalancers } from './balancers.ts';
import { CHECKS, type CheckContext, DISCOVER_PROFILE } from './checks.ts';
import { type ParsedSite, parseProblems } from './files.ts';
import type { ProfileFile, RouseFile, Subnet } from './schema.ts';
import { DEFAULTS, type Effective, overlaySettings, type Sourced } from './settings.ts';
import { resolveVars } from './vars.ts';

/** What is known of an image when it is asked for. */
export type ImageState =
  | { readonly kind: 'built'; readonly manifest: Manifest }
  | { readonly kind: 'missing' }
  | { readonly kind: 'broken'; readonly why: string };

/** By image name; one that is not in the map is missing. */
export type Images = ReadonlyMap<string, ImageState>;

export type Profile = {
  readonly name: string;
  /** From the profile itself to the root of its chain: ["web", "role/web"]. */
  readonly chain: readonly string[];
  readonly effective: Effective;
  readonly position: Position;
};

export type SiteNode = {
  readonly name: string;
  readonly macs: readonly MacAddress[];
  readonly address: Ipv4Address | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly note: string;
  readonly profile: Profile;
  readonly effective: Effective;
  readonly position: Position;
  /** Where the node file names its profile. */
  readonly profilePosition: Position;
};

export type Site = {
  readonly rouse: RouseFile;
  readonly subnets: readonly Subnet[];
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly nodes: ReadonlyMap<string, SiteNode>;
  readonly byMac: ReadonlyMap<MacAddress, SiteNode>;
  readonly byAddress: ReadonlyMap<Ipv4Address, SiteNode>;
  /** By the name of the profile. */
  readonly balancers: ReadonlyMap<string, Balancer>;
};

export type SiteResult =
  | { readonly ok: true; readonly site: Site; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Joins parsed files into a site.
 *
 * @param images what is built now; only profiles that a node uses are checked against it.
 * @returns the site with warnings (an image that is not built: its nodes' boots are refused until it is), or every
 *   problem, sorted by file and line. Nothing is half accepted.
 */
export function buildSite(parsed: ParsedSite, images: Images): SiteResult {
  const problems = parseProblems(parsed);
  const { rouse } = parsed;
  if (rouse === undefined) {
    problems.unshift({
      file: 'rouse.yaml',
      line: 1,
      column: 1,
      message: 'is missing, expected a file with version and subnets',
    });
  }
  const wantsDiscover = rouse?.ok === true && rouse.value.subnets.some(({ unknown }) => unknown === 'discover');
  const profiles = resolveProfiles(parsed, wantsDiscover, problems);
  const groups = rouse?.ok === true ? { list: rouse.value.groups, at: rouse.positions } : undefined;
  const nodes = resolveNodes(parsed, profiles, groups, problems);
  if (rouse?.ok === true) {
    const context: CheckContext = { rouse: rouse.value, at: rouse.positions, parsed, problems };
    for (const check of CHECKS) check(context);
  }
  const balancers = balancersOf(profiles.values());
  if (rouse?.ok === true) {
    const used = new Set(Array.from(nodes.values(), ({ profile }) => profile.name));
    checkBalancers({ rouse: rouse.value, parsed, profiles: [...profiles.values()], balancers, used, problems });
  }
  const warnings: Problem[] = [];
  checkImages(nodes, profiles, images, problems, warnings);
  if (problems.length > 0 || rouse === undefined || !rouse.ok) return { ok: false, problems: sortProblems(problems) };
  const byMac = new Map<MacAddress, SiteNode>();
  const byAddress = new Map<Ipv4Address, SiteNode>();
  for (const node of nodes.values()) {
    for (const mac of node.macs) byMac.set(mac, node);
    if (node.address !== undefined) byAddress.set(node.address, node);
  }
  const site = { rouse: rouse.value, subnets: rouse.value.subnets, profiles, nodes, byMac, byAddress, balancers };
  return { ok: true, site, warnings: sortProblems(warnings) };
}

/** By file, line and column; each problem once, though many nodes share the profile that has it. */
function sortProblems(problems: readonly Problem[]): Problem[] {
  const unique = new Map(problems.map((problem) => [JSON.stringify(problem), problem]));
  return [...unique.values()].sort((a, b) =>
    a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line || a.column - b.column,
  );
}

function resolveProfiles(
  { profiles, roles }: ParsedSite,
  wantsDiscover: boolean,
  problems: Problem[],
): Map<string, Profile> {
  const resolved = new Map<string, Profile>();
  const fileOf = (name: string): Parsed<ProfileFile> | undefined =>
    name.startsWith('role/') ? roles.get(name.slice('role/'.length)) : profiles.get(name);
  const broken = new Set<string>();
  const known = [...profiles.keys(), ...Array.from(roles.keys(), (role) => `role/${role}`)];
  const resolve = (name: string, below: readonly string[]): Profile | undefined => {
    const done = resolved.get(name);
    if (done !== undefined || broken.has(name)) return done;
    const file = fileOf(name);
    if (file === undefined || !file.ok) {
      broken.add(name);
      return undefined;
    }
    const { value, positions } = file;
    let parent: Profile | undefined;
    if (value.extends !== undefined) {
      const at = positions.of(['extends']);
      const chain = [...below, name, value.extends];
      if ([...below, name].includes(value.extends)) {
        problems.push({ ...at, message: `extends: profile '${value.extends}' extends itself (${chain.join(' → ')})` });
        broken.add(name);
        return undefined;
      }
      if (fileOf(value.extends) === undefined) {
        problems.push({ ...at, message: `extends: ${unknownName('profile', value.extends, known)}` });
        broken.add(name);
        return undefined;
      }
      parent = resolve(value.extends, [...below, name]);
      if (parent === undefined) {
        broken.add(name);
        return undefined;
      }
    }
    const { extends: _, ...settings } = value;
    const layer = name.startsWith('role/') ? 'role' : 'profile';
    const profile: Profile = {
      name,
      chain: [name, ...(parent?.chain ?? [])],
      effective: overlaySettings(parent?.effective ?? DEFAULTS, settings, layer, positions),
      position: positions.of([]),
    };
    resolved.set(name, profile);
    return profile;
  };
  for (const name of profiles.keys()) {
    const profile = resolve(name, []);
    if (profile !== undefined) checkProfile(profile, problems);
  }
  // It comes with the role: unknown machines are discovered without a file of the operator's.
  if (wantsDiscover && !profiles.has(DISCOVER_PROFILE)) {
    const role = resolve(`role/${DISCOVER_PROFILE}`, []);
    if (role !== undefined) resolved.set(DISCOVER_PROFILE, { ...role, name: DISCOVER_PROFILE });
  }
  for (const name of resolved.keys()) if (name.startsWith('role/')) resolved.delete(name);
  return resolved;
}

/** What a profile must have to boot what it says. */
function checkProfile({ name, effective, position }: Profile, problems: Problem[]): void {
  const at = effective.boot.source.position ?? position;
  if (effective.boot.value === 'linux' && effective.image === undefined) {
    problems.push({ ...at, message: `profile '${name}' boots linux but names no image: missing key 'image'` });
  }
  if (effective.boot.value === 'chain' && effective.url === undefined) {
    problems.push({ ...at, message: `profile '${name}' chains but not whereto: missing key 'url'` });
  }
}

type Groups = { readonly list: RouseFile['groups']; readonly at: Positions };

function resolveNodes(
  parsed: ParsedSite,
  profiles: ReadonlyMap<string, Profile>,
  groups: Groups | undefined,
  problems: Problem[],
): Map<string, SiteNode> {
  const nodes = new Map<string, SiteNode>();
  for (const [name, file] of parsed.nodes) {
    if (!file.ok) continue;
    const { value, positions } = file;
    const profile = profiles.get(value.profile);
    const profilePosition = positions.of(['profile']);
    if (profile === undefined) {
      if (!parsed.profiles.has(value.profile)) {
        const hint = parsed.roles.has(value.profile)
          ? `unknown profile '${value.profile}', make profiles/${value.profile}.yaml with: extends: role/${value.profile}`
          : unknownName('profile', value.profile, [...parsed.profiles.keys()]);
        problems.push({ ...profilePosition, message: `profile: ${hint}` });
      }
      continue;
    }
    let { effective } = profile;
    for (const [index, { match, vars }] of (groups?.list ?? []).entries()) {
      if (!labelsMatch(match, value.labels)) continue;
      if (groups !== undefined) effective = overlaySettings(effective, { vars }, 'group', groups.at, ['groups', index]);
    }
    const { macs, address, labels, note, profile: _, ...settings } = value;
    // A key of node files that is neither the node's own nor a profile's does not compile here.
    type Known = { [Key in keyof typeof settings]: Key extends keyof ProfileFile ? unknown : never };
    effective = overlaySettings(effective, settings satisfies Known, 'node', positions);
    nodes.set(name, {
      name,
      macs,
      address,
      labels,
      note,
      profile,
      effective,
      position: positions.of([]),
      profilePosition,
    });
  }
  return nodes;
}

/** Whether the labels contain every pair of the match. */
export function labelsMatch(
  match: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(match).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

function checkImages(
  nodes: ReadonlyMap<string, SiteNode>,
  profiles: ReadonlyMap<string, Profile>,
  images: Images,
  problems: Problem[],
  warnings: Problem[],
): void {
  const consumers = [...profiles.values(), ...nodes.values()];
  for (const { effective, position } of consumers) {
    const { image } = effective;
    if (effective.boot.value !== 'linux' || image === undefined) continue;
    const state = images.get(image.value) ?? { kind: 'missing' };
    switch (state.kind) {
      case 'built':
        problems.push(
          ...resolveVars(effective, state.manifest.vars, image.value).problems,
          ...memoryProblems(effective, state.manifest),
        );
        break;
      case 'missing':
      case 'broken':
        warnings.push(imageProblem(image, position, state));
        break;
    }
  }
}

/** Why a machine has too little memory for an image; none where it has enough or nobody said how much. */
export function memoryProblems(
  { memoryMb }: Pick<Effective, 'memoryMb'>,
  { image, generation, memoryMb: neededMb }: Pick<Manifest, 'image' | 'generation' | 'memoryMb'>,
): Problem[] {
  const position = memoryMb?.source.position;
  if (memoryMb === undefined || position === undefined || neededMb === undefined || memoryMb.value >= neededMb)
    return [];
  const message = `memoryMb: ${memoryMb.value} MiB are too little for image '${image}' generation ${generation}, which needs ${neededMb} MiB`;
  return [{ ...position, message }];
}

/**
 * Why an image cannot be booted, and what to do: the same words for `rouse check`, explain and a refused boot.
 *
 * @param position of the profile or node, where the image was not named by a file.
 */
export function imageProblem(
  { value: name, source }: Sourced<string>,
  position: Position,
  state: Exclude<ImageState, { kind: 'built' }>,
): Problem {
  const message =
    state.kind === 'missing'
      ? `image '${name}' is not built; build it with: rouse image build ${name}`
      : `image '${name}' cannot be booted (${state.why}); build it again with: rouse image build ${name}`;
  return { ...(source.position ?? position), message: `image: ${message}` };
}
