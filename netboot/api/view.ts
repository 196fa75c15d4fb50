// netboot/api/view.ts - what commands and the page are shown: profiles, configuration, served segments, as plain JSON.
//
// Owns: the shapes of these answers, each made by one function, so that a command reads the same from the daemon and, where there
// is none, from the files. Does not own nodes (nodeview.ts), transport (api.io.ts) or layout on a terminal (bin/). Pure.

import { renderProblem } from '../../formats/yaml/document.ts';
import type { EffectiveValue } from './explain.ts';
import { MAINTENANCE_PROFILE } from '../fleet/nodestate.ts';
import type { SegmentView } from '../dhcp/foreign.ts';
import { describeHold } from '../dhcp/why.ts';
import type { Subnet } from '../site/schema.ts';
import { renderSource } from '../site/settings.ts';
import type { Profile, Site } from '../site/site.ts';

export type ServedSegment = {
  /** "answers", or why not. */
  readonly dhcp: string;
  /** Whether it would give addresses, and another DHCP server keeps it from that. */
  readonly isHeld: boolean;
  readonly otherServers: readonly string[];
};

/**
 * What DHCP does on an interface, and which other DHCP servers were seen there of late.
 *
 * @param subnets those of the interface: only one that gives addresses, and not beside others, is held back.
 */
export function segmentView(
  segment: SegmentView | undefined,
  subnets: readonly Pick<Subnet, 'mode' | 'answerBesideOthers'>[],
): ServedSegment {
  if (segment === undefined) return { dhcp: 'is not served', isHeld: false, otherServers: [] };
  const otherServers = segment.others.map(({ address }) => address);
  if (subnets.length > 0 && subnets.every(({ mode }) => mode === 'observe')) {
    return { dhcp: 'answers nobody: mode: observe', isHeld: false, otherServers };
  }
  const isHoldable = subnets.some(({ mode, answerBesideOthers }) => mode === 'dhcp' && !answerBesideOthers);
  const held = isHoldable ? segment.held : undefined;
  return { dhcp: describeHold(held), isHeld: held?.kind === 'foreign', otherServers };
}

/** Settings and vars as the files give them, without the image's declarations. */
export function settingsOf(effective: Profile['effective']): EffectiveValue[] {
  const { vars, ...settings } = effective;
  const rows = [
    ...Object.entries(settings),
    ...Object.entries(vars).map(([name, value]) => [`vars.${name}`, value] as const),
  ];
  return rows.flatMap(([name, sourced]) =>
    sourced === undefined
      ? []
      : [{ name, value: JSON.stringify(sourced.value) ?? '', source: renderSource(sourced.source) }],
  );
}

export type ProfileView = {
  readonly name: string;
  readonly chain: readonly string[];
  readonly nodes: readonly string[];
  readonly values: readonly EffectiveValue[];
};

export function profileView(site: Site, profile: Profile): ProfileView {
  return {
    name: profile.name,
    chain: profile.chain,
    nodes: [...site.nodes.values()].filter((node) => node.profile.name === profile.name).map(({ name }) => name),
    values: settingsOf(profile.effective),
  };
}

export type ConfigView = {
  readonly state: 'good' | 'last-good';
  /** ISO 8601: since when what is in force is. */
  readonly since: string;
  readonly nodes: number;
  readonly profiles: number;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
  /** What one may like to know, though nothing is wrong. */
  readonly notes: readonly string[];
};

export function configView(
  site: Site | undefined,
  state: {
    readonly isGood: boolean;
    readonly problems: readonly Parameters<typeof renderProblem>[0][];
    readonly warnings: readonly Parameters<typeof renderProblem>[0][];
    readonly sinceMs: number;
  },
): ConfigView {
  return {
    state: state.isGood ? 'good' : 'last-good',
    since: new Date(state.sinceMs).toISOString(),
    nodes: site?.nodes.size ?? 0,
    profiles: site?.profiles.size ?? 0,
    problems: state.problems.map(renderProblem),
    warnings: state.warnings.map(renderProblem),
    notes: site === undefined ? [] : notesOn(site),
  };
}

function notesOn(site: Site): string[] {
  const isMissing = site.nodes.size > 0 && !site.profiles.has(MAINTENANCE_PROFILE);
  return isMissing
    ? [
        `there is no profile '${MAINTENANCE_PROFILE}': a node that fails three boots in a row goes on trying; ` +
          `for a rescue shell then, write profiles/${MAINTENANCE_PROFILE}.yaml with: extends: role/maintenance`,
      ]
    : [];
}
