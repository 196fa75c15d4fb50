// netboot/site/plan.ts - what one machine would boot now, and why.
//
// Owns: from a MAC to a boot plan: which node or policy it falls under, its image's current generation, its vars; or the
// reason why it boots nothing. The loader script, the overlay and `rouse explain` all start from this one answer.
// Does not own: DHCP (../dhcp/decide.ts), the script's text (../boots/script.ts), the overlay (../boots/overlay.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { ImageVar, Layer, Template } from '../../images/manifest.ts';
import { renderProblem } from '../../formats/yaml/document.ts';
import type { LoaderSetting } from '../dhcp/loaders.ts';
import type { Subnet, VarValue } from './schema.ts';
import type { Effective, Sourced } from './settings.ts';
import { DISCOVER_PROFILE } from './checks.ts';
import { imageProblem, type Images, memoryProblems, type Profile, type Site } from './site.ts';
import { resolveVars } from './vars.ts';

/** What a node is called and known by; goes into templates and the journal. */
type PlanNode = {
  readonly name: string;
  readonly mac: MacAddress;
  /** The reserved address; undefined where the lease alone decides. */
  readonly address: Ipv4Address | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly note: string;
  /** Whether a node file names it. A machine without one is never in a pool and gets no secret. */
  readonly known: boolean;
};

export type PlanTarget =
  | {
      readonly kind: 'linux';
      readonly image: string;
      readonly generation: number;
      readonly kernel: { readonly sha256: string; readonly bytes: number };
      /** In the order in which they are loaded. */
      readonly layers: readonly Pick<Layer, 'name' | 'sha256' | 'compression' | 'servedSha256' | 'servedBytes'>[];
    }
  | { readonly kind: 'local' }
  | { readonly kind: 'chain'; readonly url: string };

/** What a machine boots: plain data, stored with each boot. */
export type BootPlan = {
  readonly node: PlanNode;
  readonly profile: { readonly name: string; readonly chain: readonly string[] };
  readonly target: PlanTarget;
  readonly cmdline: readonly string[];
  readonly loader: LoaderSetting;
  readonly readyTimeoutS: number;
  readonly vars: Readonly<Record<string, VarValue>>;
};

/** Which rule a machine fell under; `why` says it in words with file and line. */
type Match = {
  readonly node: PlanNode;
  readonly profile: Profile;
  readonly effective: Effective;
  readonly why: string;
};

export type Matched = ({ readonly kind: 'match' } & Match) | { readonly kind: 'ignore'; readonly why: string };

export type Resolution =
  | {
      readonly kind: 'boot';
      readonly plan: BootPlan;
      readonly why: string;
      readonly effective: Effective;
      /** Every var of the image with where its value came from. */
      readonly vars: Readonly<Record<string, Sourced<VarValue>>>;
      readonly templates: readonly Template[];
      /** What the image declares of vars. */
      readonly declared: Readonly<Record<string, ImageVar>>;
    }
  /** Nobody's machine: it is not answered. */
  | { readonly kind: 'ignore'; readonly why: string }
  /** A machine of ours that cannot boot now: it is told why on its screen and tries again. */
  | { readonly kind: 'refuse'; readonly why: string; readonly match: Match };

export type PlanContext = {
  /** Boot it as this profile instead of its own: `node boot --once`, or maintenance. */
  readonly as?: Profile | undefined;
  readonly images: Images;
  /** The subnet in which the machine asks; undefined where it is not known (explain without a server). */
  readonly subnet: Subnet | undefined;
};

/** The name of a machine that no node file names: "node-525400770001". */
function nameOfStranger(mac: MacAddress): string {
  return `node-${mac.replaceAll(':', '')}`;
}

/** Which node, or which policy for unknown machines, a MAC falls under. */
export function matchMachine(site: Site, mac: MacAddress, subnet: Subnet | undefined): Matched {
  const known = site.byMac.get(mac);
  if (known !== undefined) {
    const { name, address, labels, note, profile, effective, position, profilePosition } = known;
    const node = { name, mac, address, labels, note, known: true };
    const why = `${mac} is node '${name}' (${position.file}), whose profile is '${profile.name}' (${profilePosition.file}:${profilePosition.line})`;
    return { kind: 'match', node, profile, effective, why };
  }
  const policy = subnet?.unknown ?? 'ignore';
  const stranger = `${mac} is in no node file`;
  const ruleName =
    subnet === undefined ? 'no subnet is known for it' : `subnet '${subnet.name}' says unknown: ${policy}`;
  if (policy === 'ignore') return { kind: 'ignore', why: `${stranger}, and ${ruleName}` };
  const profileName = policy === 'default' ? site.rouse.defaultProfile : DISCOVER_PROFILE;
  const profile = profileName === undefined ? undefined : site.profiles.get(profileName);
  if (profile === undefined) return { kind: 'ignore', why: `${stranger}, and ${ruleName} without such a profile` };
  const node = { name: nameOfStranger(mac), mac, address: undefined, labels: {}, note: '', known: false };
  const why = `${stranger}; ${ruleName}, that is profile '${profile.name}'`;
  return { kind: 'match', node, profile, effective: profile.effective, why };
}

/** The same machine with another profile; its own vars are for the profile that it has, so they stay out. */
function asProfile(found: Extract<Matched, { kind: 'match' }>, profile: Profile): typeof found {
  const why = `${found.why}; but it is booted as '${profile.name}'`;
  const own = found.effective.memoryMb;
  // What the node file says of the machine holds whatever it boots.
  const memoryMb = own?.source.layer === 'node' ? own : profile.effective.memoryMb;
  return { ...found, profile, effective: { ...profile.effective, memoryMb }, why };
}

/**
 * What a machine would boot now.
 *
 * @returns a plan; or ignore (not our machine) or refuse (ours, but it cannot boot now), each with the reason in words.
 */
export function resolve(site: Site, mac: MacAddress, { images, subnet, as }: PlanContext): Resolution {
  const found = matchMachine(site, mac, subnet);
  if (found.kind === 'ignore') return found;
  const matched = as === undefined || as.name === found.profile.name ? found : asProfile(found, as);
  const { node, profile, effective, why } = matched;
  const refuse = (reason: string): Resolution => ({ kind: 'refuse', why: `${why}; but ${reason}`, match: matched });
  const plan = (target: PlanTarget, vars: Readonly<Record<string, Sourced<VarValue>>>): BootPlan => ({
    node,
    profile: { name: profile.name, chain: profile.chain },
    target,
    cmdline: effective.cmdline.value,
    loader: effective.loader.value,
    readyTimeoutS: effective.readyTimeoutS.value,
    vars: Object.fromEntries(Object.entries(vars).map(([name, { value }]) => [name, value])),
  });
  switch (effective.boot.value) {
    case 'local':
      return { kind: 'boot', plan: plan({ kind: 'local' }, {}), why, effective, vars: {}, templates: [], declared: {} };
    case 'chain': {
      if (effective.url === undefined) return refuse(`profile '${profile.name}' chains but names no url`);
      const target = { kind: 'chain', url: effective.url.value } as const;
      return { kind: 'boot', plan: plan(target, {}), why, effective, vars: {}, templates: [], declared: {} };
    }
    case 'linux': {
      if (effective.image === undefined) return refuse(`profile '${profile.name}' names no image`);
      const image = effective.image.value;
      const state = images.get(image) ?? { kind: 'missing' };
      if (state.kind !== 'built') return refuse(renderProblem(imageProblem(effective.image, profile.position, state)));
      const { manifest } = state;
      const { vars, problems } = siteVars(site, profile.name, effective, manifest.vars, image);
      const [problem] = [...problems, ...memoryProblems(effective, manifest)];
      if (problem !== undefined) return refuse(renderProblem(problem));
      const target: PlanTarget = {
        kind: 'linux',
        image,
        generation: manifest.generation,
        kernel: { sha256: manifest.kernel.sha256, bytes: manifest.kernel.bytes },
        layers: manifest.layers.map(({ name, sha256, compression, servedSha256, servedBytes }) => ({
          name,
          sha256,
          compression,
          servedSha256,
          servedBytes,
        })),
      };
      const { templates, vars: declared } = manifest;
      return { kind: 'boot', plan: plan(target, vars), why, effective, vars, templates, declared };
    }
  }
}

/** The vars of an image, with the VRIDs that the site allocates where it declares them and nobody gave one. */
export function siteVars(
  { balancers }: Pick<Site, 'balancers'>,
  profile: string,
  effective: Pick<Effective, 'vars'>,
  declared: Readonly<Record<string, ImageVar>>,
  image: string,
): ReturnType<typeof resolveVars> {
  const resolved = resolveVars(effective, declared, image);
  const balancer = balancers.get(profile);
  if (balancer === undefined) return resolved;
  const vars = { ...resolved.vars };
  for (const name of ['vrid', 'insideVrid'] as const) {
    const set = vars[name];
    if (set?.value === 0) vars[name] = { value: balancer[name], source: set.source };
  }
  return { ...resolved, vars };
}
