// netboot/api/nodeview.ts - what commands and the page are shown of nodes: what each should be, is, and says of itself.
//
// Owns: the shapes of these answers, as view.ts does for all else. Does not own what is known of nodes (fleet/), their boots
// (journal/), layout on a terminal (bin/). Pure.

import type { MacAddress } from '../../formats/mac.ts';
import { effectiveValues, type EffectiveValue, knownAddress } from './explain.ts';
import type { Journal } from '../journal/attempts.ts';
import type { Attempt } from '../journal/journal.ts';
import { renderOutcome } from '../journal/progress.ts';
import type { Sighting } from '../journal/sightings.ts';
import type { LeaseLookup } from '../store/leases.ts';
import { filesBehind } from '../fleet/behind.ts';
import { type Change, renderSteps } from '../fleet/change.ts';
import { closed, type Draining, type NodeState, planKey } from '../fleet/nodestate.ts';
import type { Order } from '../fleet/orders.ts';
import { renderTarget, silentMs } from '../fleet/planview.ts';
import { chosenBoot } from '../boots/choice.ts';
import type { NodeReport } from '../fleet/reports.ts';
import type { States } from '../fleet/pools.ts';
import { resolve } from '../site/plan.ts';
import type { Images, Site, SiteNode } from '../site/site.ts';
import { vipsOf } from '../fleet/vips.ts';
import { subnetAt } from '../world.ts';
import { settingsOf } from './view.ts';

export type NodeRow = {
  readonly name: string;
  readonly macs: readonly MacAddress[];
  readonly profile: string;
  readonly address: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly note: string;
  /** What it should boot: "web generation 3", or why it cannot. */
  readonly should: string;
  /** What its latest boot is or was, in words; undefined where nothing was heard of it. */
  readonly boot: string | undefined;
  /** What it runs: "web generation 3 as web"; undefined where that is not known, or it is nothing of ours. */
  readonly runs: string | undefined;
  /** Why it runs, or would be given, something else than its file wants: a plan that failed, boots in vain. */
  readonly insteadOf: string | undefined;
  /** In words, by its last report: "ready", "not ready: nginx", "silent for 95 s". */
  readonly readiness: string | undefined;
  /** Whether a power cut would make it something else than it runs. */
  readonly isChanging: boolean;
  readonly draining: Draining;
  /** The profile of its next boot only. */
  readonly once: string | undefined;
  /** That its live files are not those that it should have, in words. */
  readonly behind: string | undefined;
  /** Why its virtual addresses need somebody at once. */
  readonly alarm: string | undefined;
  /** The change under way or the last one: "drain 0.4 s, fetch 3.1 s". */
  readonly change: string | undefined;
};

/** What a node said of itself last. */
export type ReportView = Pick<
  NodeReport,
  'uptimeMs' | 'isReady' | 'supervisor' | 'load' | 'memoryFreeKb' | 'services'
> & { readonly ageMs: number; readonly isSilent: boolean };

export type NodeView = NodeRow & {
  /** Undefined where the boot that it runs has not reported. */
  readonly report: ReportView | undefined;
  /** Its reports stopped: since when, and who else was heard since. Undefined while it reports, or never did. */
  readonly silence: string | undefined;
  readonly file: string;
  readonly values: readonly EffectiveValue[];
  readonly boots: readonly Attempt[];
};

export type ViewFacts = {
  readonly site: Site;
  readonly images: Images;
  readonly leases: LeaseLookup;
  /** Undefined without a boot server: then nothing is known of boots. */
  readonly journal: Journal | undefined;
  /** What nodes run; empty without a boot server. */
  readonly states: States;
  /** Machines that were heard; none without a boot server. */
  readonly sightings: readonly Sighting[];
  /** Since when reports can be heard at all, milliseconds since 1970. */
  readonly listeningSinceMs: number;
  /** What was ordered of a boot; nothing without a boot server. */
  readonly ordersOf: (bootId: string) => readonly Order[];
  readonly nowMs: number;
};

/** The attempts of a node by any of its cards, the latest first. */
function bootsOf({ macs }: Pick<SiteNode, 'macs'>, journal: Journal | undefined): Attempt[] {
  if (journal === undefined) return [];
  return macs.flatMap((mac) => [...journal.ofMac(mac)]).sort((a, b) => b.startedAtMs - a.startedAtMs);
}

export function nodeRow(facts: ViewFacts, node: SiteNode): NodeRow {
  const { site, images, leases, journal, states, nowMs } = facts;
  const [mac] = node.macs;
  const resolution = mac === undefined ? undefined : resolve(site, mac, { images, subnet: undefined });
  const [latest] = bootsOf(node, journal);
  const state = states.get(node.name);
  const running = state?.boot?.plan;
  const next =
    mac !== undefined && resolution?.kind === 'boot'
      ? chosenBoot(
          resolution,
          { site, images, mac, subnet: undefined },
          state === undefined ? undefined : closed(state),
        )
      : undefined;
  return {
    name: node.name,
    macs: node.macs,
    profile: node.profile.name,
    address: node.address ?? (mac === undefined ? undefined : knownAddress(site, leases, mac)),
    labels: node.labels,
    note: node.note,
    should: resolution === undefined ? '' : shouldOf(resolution),
    boot: latest === undefined ? undefined : renderOutcome(latest, nowMs),
    runs: state?.boot === undefined ? undefined : renderTarget(state.boot.plan),
    insteadOf: state?.boot?.insteadOf ?? next?.insteadOf,
    readiness: state?.boot === undefined ? undefined : renderReadiness(state, facts),
    isChanging: running !== undefined && (next === undefined || planKey(next.plan) !== planKey(running)),
    draining: state?.draining ?? 'no',
    once: state?.once,
    behind: state === undefined ? undefined : filesBehind(state, facts),
    alarm: alarmOf(facts, state),
    change: state?.change === undefined ? undefined : renderChange(state.change, nowMs),
  };
}

function alarmOf(facts: ViewFacts, state: NodeState | undefined): string | undefined {
  const { site, states } = facts;
  const profile = state?.boot?.plan.profile.name;
  if (state === undefined || profile === undefined || !site.balancers.has(profile)) return undefined;
  const isHolder = ({ node }: { readonly node: string }): boolean => node === state.node;
  const held = vipsOf(site, states).find(({ alarm, holders }) => alarm !== undefined && holders.some(isHolder));
  const behind = filesBehind(state, facts);
  if (held !== undefined || behind === undefined) return held?.alarm;
  return `${state.node} ${behind}: it may not know its peers or its pool; see: rouse node diff ${state.node}`;
}

/** A node that was not heard of for longer is said to be silent; it stays what it was. */
const SILENT_MS = 30_000;

type Hearing = Pick<ViewFacts, 'nowMs' | 'listeningSinceMs'>;

function renderReadiness({ boot, report }: NodeState, hearing: Hearing): string {
  if (report === undefined) return boot?.isReady === true ? 'was ready, no report yet' : 'not ready yet';
  if (isSilent(report, hearing)) return `silent for ${Math.round((hearing.nowMs - report.atMs) / 1000)} s`;
  if (report.report.isReady) return 'ready';
  const waiting = report.report.services.filter(({ isReady }) => !isReady).map(({ name }) => name);
  return `not ready${waiting.length === 0 ? '' : `: ${waiting.join(', ')}`}`;
}

function isSilent(report: { readonly atMs: number }, hearing: Hearing): boolean {
  return silentMs(report, hearing) > SILENT_MS;
}

const MOST_STRANGERS = 3;

/** What an operator is told of a node whose reports stopped: a machine that boots with another card is one that nobody knows. */
function silenceOf({ sightings, site, ...hearing }: ViewFacts, node: string): string | undefined {
  const report = hearing.states.get(node)?.report;
  if (report === undefined || !isSilent(report, hearing)) return undefined;
  const since = `nothing heard of it since ${new Date(report.atMs).toISOString()}`;
  const strangers = sightings.filter(({ mac, lastAtMs }) => lastAtMs > report.atMs && !site.byMac.has(mac));
  const [first] = strangers;
  if (first === undefined) return since;
  const named = strangers.slice(0, MOST_STRANGERS).map(({ mac, interfaceName }) => `${mac} on ${interfaceName}`);
  const more = strangers.length > MOST_STRANGERS ? ` and ${strangers.length - MOST_STRANGERS} more` : '';
  return (
    `${since}; heard since then and in no node file: ${named.join(', ')}${more}; ` +
    `if that is ${node} with another card: rouse node replace ${node} --with ${first.mac}`
  );
}

function renderChange(change: Change, nowMs: number): string {
  const { outcome, profile } = change;
  const steps = renderSteps(change, nowMs);
  if (outcome.kind === 'failed') return `not ${profile}: ${outcome.why} (${steps})`;
  return outcome.kind === 'done' ? `${profile}: ${steps}` : `becomes ${profile}: ${steps}`;
}

function shouldOf(resolution: ReturnType<typeof resolve>): string {
  if (resolution.kind !== 'boot') return `nothing: ${resolution.why}`;
  const { target } = resolution.plan;
  return target.kind === 'linux' ? `${target.image} generation ${target.generation}` : target.kind;
}

export function nodeView(facts: ViewFacts, node: SiteNode): NodeView {
  const { site, images } = facts;
  const [mac] = node.macs;
  const subnet = node.address === undefined ? undefined : subnetAt(site, node.address);
  const resolution = mac === undefined ? undefined : resolve(site, mac, { images, subnet });
  const values = resolution?.kind === 'boot' ? effectiveValues(resolution) : settingsOf(node.effective);
  return {
    ...nodeRow(facts, node),
    report: reportView(facts.states.get(node.name), facts),
    silence: silenceOf(facts, node.name),
    file: node.position.file,
    values: [
      { name: 'profile', value: JSON.stringify(node.profile.name), source: renderPosition(node.profilePosition) },
      ...values,
    ],
    boots: bootsOf(node, facts.journal).slice(0, 5),
  };
}

function reportView(state: NodeState | undefined, hearing: Hearing): ReportView | undefined {
  if (state?.report === undefined) return undefined;
  const { uptimeMs, isReady, supervisor, load, memoryFreeKb, services } = state.report.report;
  const ageMs = hearing.nowMs - state.report.atMs;
  return {
    ageMs,
    isSilent: isSilent(state.report, hearing),
    uptimeMs,
    isReady,
    supervisor,
    load,
    memoryFreeKb,
    services,
  };
}

function renderPosition({ file, line }: { file: string; line: number }): string {
  return `${file}:${line}`;
}
