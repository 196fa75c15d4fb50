// netboot/api/explain.ts - what a machine would boot, and why: a dry run of the functions that answer the wire.
//
// Owns: making up the packets that a machine of a given firmware would send, asking decide, resolve and the script, and
// showing the answers with the file and line that each value came from.
// Does not own: any of those answers. Nothing is allocated, written or sent.
//
// To explain another kind of client, add its row to DHCP_CLIENTS of explaindhcp.ts. Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { type Chosen, type ChoiceFacts, chosenBoot, wantedBoot } from '../boots/choice.ts';
import { SCRIPTS, type ScriptFormat } from '../boots/formats.ts';
import { renderTemplateProblems, renderTemplates, valuesOf } from '../boots/templates.ts';
import type { Hold } from '../dhcp/foreign.ts';
import { inputsFor } from '../fleet/inputs.ts';
import { closed } from '../fleet/nodestate.ts';
import type { States } from '../fleet/pools.ts';
import type { Resolution } from '../site/plan.ts';
import type { VarValue } from '../site/schema.ts';
import { renderSource, type Sourced } from '../site/settings.ts';
import type { Images, Site } from '../site/site.ts';
import type { LeaseLookup } from '../store/leases.ts';
import { type HostAddress, subnetAt } from '../world.ts';
import { type ArchName, dhcpSteps } from './explaindhcp.ts';

export type ExplainFacts = {
  readonly site: Site;
  readonly images: Images;
  readonly leases: LeaseLookup;
  /** The interfaces that are served, or would be. */
  readonly interfaces: readonly HostAddress[];
  /** Loader files that are on disk; undefined where that is not known. */
  readonly loaders: ReadonlySet<string> | undefined;
  /** How far `loader: auto` has climbed for a machine. */
  readonly rung: (mac: MacAddress) => number;
  /** What nodes run; empty without a boot server. */
  readonly states: States;
  /** What keeps DHCP from answering on an interface now (safe start). */
  readonly held: (interfaceName: string) => Hold | undefined;
  /** The interface that a machine was heard on. */
  readonly heardOn?: ((mac: MacAddress) => string | undefined) | undefined;
  /** What is wrong with the files, where what is in force is the last good configuration. */
  readonly configProblem?: string | undefined;
  readonly nowMs: number;
};

/** One question and its answer. */
export type Step = { readonly title: string; readonly answer: string; readonly lines: readonly string[] };

export type EffectiveValue = { readonly name: string; readonly value: string; readonly source: string };

export type Explanation = {
  readonly mac: MacAddress;
  readonly arch: ArchName;
  readonly node: string | undefined;
  readonly profile: string | undefined;
  /** Whether it would boot something. */
  readonly boots: boolean;
  readonly why: string;
  /** Why it is not given what the files want: a plan that failed, boots in vain. */
  readonly insteadOf: string | undefined;
  /** What is wrong with the files as they are: this is told of the last good ones. */
  readonly configProblem: string | undefined;
  readonly steps: readonly Step[];
  readonly values: readonly EffectiveValue[];
  readonly script: string | undefined;
};

/** Asks everything that a boot of this machine would ask, in protocol order. */
export function explain(facts: ExplainFacts, mac: MacAddress, arch: ArchName): Explanation {
  const { site, images, interfaces, states } = facts;
  const served = servedFor(facts, mac);
  const subnet = served === undefined ? undefined : subnetAt(site, served.address);
  const asked: ChoiceFacts = { site, images, mac, subnet };
  const before = states.get(site.byMac.get(mac)?.name ?? '');
  // Whoever asks for its script starts anew.
  const state = before === undefined ? undefined : closed(before);
  const wanted = wantedBoot(asked, state === undefined ? states : new Map([[state.node, state]]));
  const chosen = wanted.kind === 'boot' ? chosenBoot(wanted, asked, state) : undefined;
  const steps: Step[] = [];
  let format: ScriptFormat = 'ipxe';
  if (served === undefined) {
    steps.push({
      title: 'DHCP',
      answer: interfaces.length === 0 ? 'no served interface has an address now' : 'no subnet of rouse.yaml fits',
      lines: [],
    });
  } else {
    const byDhcp = dhcpSteps(facts, served, mac, arch);
    steps.push(...byDhcp.steps);
    format = byDhcp.format;
  }
  const server = served === undefined ? undefined : { address: served.address, port: site.rouse.http.port };
  const templateProblem = chosen === undefined ? undefined : templateRefusal(chosen, facts);
  const refusal = wanted.kind === 'refuse' ? wanted.why : templateProblem;
  const script =
    server === undefined
      ? undefined
      : refusal !== undefined
        ? SCRIPTS[format].refusal(refusal, server, mac)
        : chosen === undefined
          ? undefined
          : SCRIPTS[format].boot(chosen.plan, server, PLACEHOLDERS);
  const match = chosen?.plan ?? (wanted.kind === 'refuse' ? wanted.match : undefined);
  return {
    mac,
    arch,
    node: match?.node.name,
    profile: match?.profile.name,
    boots: chosen !== undefined && templateProblem === undefined,
    why: [
      wanted.why,
      ...(templateProblem === undefined ? [] : [`but ${templateProblem}`]),
      ...(chosen?.insteadOf === undefined
        ? []
        : [`but it boots as ${chosen.plan.profile.name} instead: ${chosen.insteadOf}`]),
    ].join('; '),
    insteadOf: chosen?.insteadOf,
    configProblem: facts.configProblem,
    steps: [...steps, planStep(wanted, chosen)],
    values: wanted.kind === 'boot' ? effectiveValues(wanted) : [],
    script,
  };
}

/** Stand for what only a real boot has. */
const PLACEHOLDERS = { bootId: 'BOOT-ID', overlaySha256: 'OVERLAY-SHA256' } as const;

/** The interface that the machine is behind: where its address or its lease is, or it was heard, else the first. */
function servedFor({ site, interfaces, leases, heardOn }: ExplainFacts, mac: MacAddress): HostAddress | undefined {
  const address = site.byMac.get(mac)?.address ?? leases.byMac(mac)[0]?.address;
  const name = address === undefined ? heardOn?.(mac) : subnetAt(site, address)?.interface;
  return interfaces.find((one) => one.name === name) ?? interfaces[0];
}

/** What it is given; why stands at the top. */
function planStep(wanted: Resolution, chosen: Chosen | undefined): Step {
  const title = 'plan';
  if (chosen === undefined) return { title, answer: wanted.kind === 'ignore' ? 'boots nothing' : 'refused', lines: [] };
  const { profile, target } = chosen.plan;
  const answer = `boots as ${profile.name}`;
  if (target.kind === 'local') return { title, answer, lines: ["the machine's own disk"] };
  if (target.kind === 'chain') return { title, answer, lines: [`chain to ${target.url}`] };
  return {
    title,
    answer,
    lines: [
      `profile chain ${profile.chain.join(' → ')}`,
      `image ${target.image}, generation ${target.generation}`,
      `kernel ${target.kernel.sha256} (${target.kernel.bytes} bytes)`,
      ...target.layers.map(({ name, sha256, servedBytes }) => `layer ${name} ${sha256} (${servedBytes} bytes)`),
    ],
  };
}

/** Why the templates would refuse the boot, tried with made-up boot facts. */
function templateRefusal(
  { plan, image }: Chosen,
  { site, states, nowMs }: Pick<ExplainFacts, 'site' | 'states' | 'nowMs'>,
): string | undefined {
  const { name, address, labels } = plan.node;
  const inputs = inputsFor(site, states, { name, profile: plan.profile.name, labels, address });
  const facts = { address: address ?? '', bootId: '0'.repeat(16), startedAtMs: nowMs };
  const rendered = renderTemplates(image.templates, valuesOf(plan, facts, inputs));
  return rendered.ok ? undefined : renderTemplateProblems(rendered.problems);
}

/** Every value in force for a machine, and where it came from. */
export function effectiveValues({ effective, vars }: Extract<Resolution, { kind: 'boot' }>): EffectiveValue[] {
  const { vars: _, ...settings } = effective;
  const rows = Object.entries(settings) as [string, Sourced<unknown> | undefined][];
  const varRows = Object.entries(vars).map(([name, value]): [string, Sourced<VarValue>] => [`vars.${name}`, value]);
  return [...rows, ...varRows].flatMap(([name, sourced]) =>
    sourced === undefined
      ? []
      : [{ name, value: JSON.stringify(sourced.value) ?? '', source: renderSource(sourced.source) }],
  );
}

/** The explanation as lines for people. */
export function renderExplanation(explanation: Explanation): string[] {
  const { mac, node, profile, why, insteadOf, configProblem, steps, values, script } = explanation;
  const heading = node === undefined ? mac : `${mac}  node ${node}  profile ${profile ?? ''}`;
  const nameWidth = Math.max(0, ...values.map(({ name }) => name.length));
  const valueWidth = Math.min(40, Math.max(0, ...values.map(({ value }) => value.length)));
  return [
    heading,
    ...(configProblem === undefined
      ? []
      : [`the files do not validate, so this is the last good configuration: ${configProblem}`]),
    `why: ${why}`,
    ...steps.flatMap((step, index) => renderStep(step, steps[index - 1])),
    ...(values.length === 0 ? [] : ['', insteadOf === undefined ? 'values' : 'values that the files want']),
    ...values.map(({ name, value, source }) => `  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${source}`),
    ...(script === undefined
      ? []
      : [
          '',
          'script',
          ...script
            .trimEnd()
            .split('\n')
            .map((line) => `  ${line}`),
        ]),
  ];
}

/** An ACK mostly carries what its OFFER did: said in words, not twice. */
function renderStep({ title, answer, lines }: Step, before: Step | undefined): string[] {
  const isRepeated = lines.length > 0 && lines.join('\n') === before?.lines.join('\n');
  const shown = isRepeated ? ['with the same fields and options'] : lines;
  return ['', title, `  ${answer}`, ...shown.map((line) => `    ${line}`)];
}

/** The address that a lease or a node file gives a machine. */
export function knownAddress(site: Site, leases: LeaseLookup, mac: MacAddress): Ipv4Address | undefined {
  return leases.byMac(mac).find(({ state }) => state === 'bound')?.address ?? site.byMac.get(mac)?.address;
}
