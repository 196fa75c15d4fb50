// netboot/api/explain.ts - what a machine would boot, and why: a dry run of the functions that answer the wire.
//
// Owns: making up the packets that a machine of a given firmware would send, asking decide, resolve and the script, and
// showing the answers with the file and line that each value came from.
// Does not own: any of those answers. Nothing is allocated, written or sent.
//
// To explain another kind of client, add its row to DHCP_CLIENTS. Pure.

import { type Ipv4Address, IPV4_ANY } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { decide } from '../dhcp/decide.ts';
import { describeDecision } from '../dhcp/event.ts';
import { loaderFiles } from '../dhcp/loaders.ts';
import { BROADCAST_FLAG, type DhcpMessage, MESSAGE_TYPES, requestFrom } from '../dhcp/message.ts';
import { describeClient, clientOf } from '../dhcp/clients.ts';
import type { Hold } from '../dhcp/foreign.ts';
import { toHex } from '../dhcp/values.ts';
import type { Decision, DhcpWorld } from '../dhcp/world.ts';
import { type LeaseLookup } from '../store/leases.ts';
import { bootScript, refusalScript } from '../boots/script.ts';
import { resolve, type Resolution } from '../site/plan.ts';
import { renderSource, type Sourced } from '../site/settings.ts';
import type { VarValue } from '../site/schema.ts';
import type { Images, Site } from '../site/site.ts';
import { inputsFor } from '../fleet/inputs.ts';
import type { States } from '../fleet/pools.ts';
import { renderTemplateProblems, renderTemplates, valuesOf } from '../boots/templates.ts';
import { dhcpWorld, type HostAddress, subnetAt } from '../world.ts';

/** The firmware that `--arch` may name, by option 93. */
const DHCP_CLIENTS = {
  bios: { architecture: 0, vendor: 'PXEClient' },
  'efi-ia32': { architecture: 6, vendor: 'PXEClient' },
  'efi-x64': { architecture: 7, vendor: 'PXEClient' },
  'efi-arm64': { architecture: 11, vendor: 'PXEClient' },
  'efi-x64-http': { architecture: 16, vendor: 'HTTPClient' },
  'efi-arm64-http': { architecture: 19, vendor: 'HTTPClient' },
} as const satisfies Record<string, { architecture: number; vendor: string }>;

export type ArchName = keyof typeof DHCP_CLIENTS;
export const ARCH_NAMES = Object.keys(DHCP_CLIENTS) as ArchName[];

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
  readonly nowMs: number;
};

/** One question and its answer. */
type Step = { readonly title: string; readonly answer: string; readonly lines: readonly string[] };

export type EffectiveValue = { readonly name: string; readonly value: string; readonly source: string };

export type Explanation = {
  readonly mac: MacAddress;
  readonly arch: ArchName;
  readonly node: string | undefined;
  readonly profile: string | undefined;
  /** Whether it would boot something. */
  readonly boots: boolean;
  readonly why: string;
  readonly steps: readonly Step[];
  readonly values: readonly EffectiveValue[];
  readonly script: string | undefined;
};

/** Asks everything that a boot of this machine would ask, in protocol order. */
export function explain(facts: ExplainFacts, mac: MacAddress, arch: ArchName): Explanation {
  const { site, images, interfaces } = facts;
  const served = servedFor(facts, mac);
  const subnet = served === undefined ? undefined : subnetAt(site, served.address);
  const resolution = resolve(site, mac, { images, subnet });
  const steps: Step[] = [];
  if (served === undefined) {
    steps.push({
      title: 'DHCP',
      answer: interfaces.length === 0 ? 'no served interface has an address now' : 'no subnet of rouse.yaml fits',
      lines: [],
    });
  } else steps.push(...dhcpSteps(facts, served, mac, arch));
  const server = served === undefined ? undefined : { address: served.address, port: site.rouse.http.port };
  const planStep: Step = { title: 'plan', answer: planAnswer(resolution), lines: planLines(resolution) };
  const templateProblem = templateRefusal(resolution, facts);
  const script =
    server === undefined
      ? undefined
      : resolution.kind === 'boot' && templateProblem === undefined
        ? bootScript(resolution.plan, server, PLACEHOLDERS)
        : resolution.kind === 'ignore'
          ? undefined
          : refusalScript(templateProblem ?? resolution.why, server, mac);
  const match =
    resolution.kind === 'boot' ? resolution.plan : resolution.kind === 'refuse' ? resolution.match : undefined;
  const boots = resolution.kind === 'boot' && templateProblem === undefined;
  return {
    mac,
    arch,
    node: match?.node.name,
    profile: match?.profile.name,
    boots,
    why: templateProblem === undefined ? resolution.why : `${resolution.why}; but ${templateProblem}`,
    steps: [...steps, planStep],
    values: resolution.kind === 'boot' ? effectiveValues(resolution) : [],
    script,
  };
}

/** Stand for what only a real boot has. */
const PLACEHOLDERS = { bootId: 'BOOT-ID', overlaySha256: 'OVERLAY-SHA256' } as const;

/** The interface that the machine is behind: where its address or its lease is, else the first. */
function servedFor({ site, interfaces, leases }: ExplainFacts, mac: MacAddress): HostAddress | undefined {
  const address = site.byMac.get(mac)?.address ?? leases.byMac(mac)[0]?.address;
  const name = address === undefined ? undefined : subnetAt(site, address)?.interface;
  return interfaces.find((one) => one.name === name) ?? interfaces[0];
}

function dhcpSteps(facts: ExplainFacts, served: HostAddress, mac: MacAddress, arch: ArchName): Step[] {
  const { site, leases, nowMs } = facts;
  const world = (hasLoader: boolean): DhcpWorld =>
    dhcpWorld({
      site,
      interfaceName: served.name,
      serverAddress: served.address,
      leases,
      loaderFetchedRecently: () => hasLoader,
      rung: facts.rung,
      nowS: Math.floor(nowMs / 1000),
    });
  const first = discover(mac, arch, 'firmware');
  const held = facts.held(served.name);
  const decision = ask(world(false), first, held);
  const steps: Step[] = [dhcpStep(`DISCOVER of ${describeClient(clientOf(first))} on ${served.name}`, decision)];
  if (decision.kind !== 'offer') return steps;
  if (decision.boot.kind === 'tftp' || decision.boot.kind === 'http') {
    const file = decision.boot.kind === 'tftp' ? decision.boot.file : (decision.boot.url.split('/').at(-1) ?? '');
    if (facts.loaders !== undefined && loaderFiles().includes(file)) {
      const answer = facts.loaders.has(file)
        ? `${file} is on disk`
        : `${file} is not on disk: the request will be refused`;
      steps.push({ title: decision.boot.kind === 'tftp' ? 'TFTP' : 'HTTP', answer, lines: [] });
    }
    const second = discover(mac, arch, 'ipxe');
    steps.push(dhcpStep(`DISCOVER of the loader, ${describeClient(clientOf(second))}`, ask(world(true), second, held)));
  }
  return steps;
}

function dhcpStep(title: string, decision: Decision): Step {
  if (decision.kind !== 'offer') return { title, answer: describeDecision(decision), lines: [] };
  const { yiaddr, siaddr, file, options } = decision.message;
  const shown = Object.entries(options).flatMap(([name, value]) =>
    value === undefined || value instanceof Uint8Array ? [] : [`${name} ${showOption(value)}`],
  );
  return {
    title,
    answer: describeDecision(decision),
    lines: [`yiaddr ${yiaddr}`, `siaddr ${siaddr}`, `file ${file}`, ...shown],
  };
}

function showOption(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value, (_key, part: unknown) => (part instanceof Uint8Array ? toHex(part) : part)) ?? '';
}

function ask(world: DhcpWorld, message: DhcpMessage, held: Hold | undefined): Decision {
  return decide(world, {
    message,
    port: 67,
    from: { address: IPV4_ANY, port: 68 },
    isUnicast: false,
    held,
  });
}

/** The packet that firmware, or the iPXE that it loaded, would send. */
function discover(mac: MacAddress, arch: ArchName, who: 'firmware' | 'ipxe'): DhcpMessage {
  const { architecture, vendor } = DHCP_CLIENTS[arch];
  const number = String(architecture).padStart(5, '0');
  const isIpxe = who === 'ipxe';
  return requestFrom(mac, {
    flags: BROADCAST_FLAG,
    options: {
      messageType: MESSAGE_TYPES.discover,
      vendorClass: `${isIpxe ? 'PXEClient' : vendor}:Arch:${number}:UNDI:003000`,
      clientArchitectures: [architecture],
      ...(isIpxe
        ? {
            userClass: new TextEncoder().encode('iPXE'),
            // What the iPXE of Debian's package says of itself: HTTP, bzImage (BIOS) or EFI.
            ipxe: [0x13, architecture === 0 ? 0x18 : 0x24].map((code) => ({ code, octets: Uint8Array.of(1) })),
          }
        : {}),
    },
  });
}

function planAnswer(resolution: Resolution): string {
  switch (resolution.kind) {
    case 'ignore':
      return `boots nothing: ${resolution.why}`;
    case 'refuse':
      return `refused: ${resolution.why}`;
    case 'boot':
      return `boots: ${resolution.why}`;
  }
}

function planLines(resolution: Resolution): string[] {
  if (resolution.kind !== 'boot') return [];
  const { plan } = resolution;
  const { target } = plan;
  if (target.kind === 'local') return ["the machine's own disk"];
  if (target.kind === 'chain') return [`chain to ${target.url}`];
  return [
    `profile chain ${plan.profile.chain.join(' → ')}`,
    `image ${target.image}, generation ${target.generation}`,
    `kernel ${target.kernel.sha256} (${target.kernel.bytes} bytes)`,
    ...target.layers.map(({ name, sha256, servedBytes }) => `layer ${name} ${sha256} (${servedBytes} bytes)`),
  ];
}

/** Why the templates would refuse the boot, tried with made-up boot facts. */
function templateRefusal(
  resolution: Resolution,
  { site, states, nowMs }: Pick<ExplainFacts, 'site' | 'states' | 'nowMs'>,
): string | undefined {
  if (resolution.kind !== 'boot') return undefined;
  const { plan, templates } = resolution;
  const { name, address, labels } = plan.node;
  const inputs = inputsFor(site, states, { name, profile: plan.profile.name, labels, address });
  const facts = { address: address ?? '', bootId: '0'.repeat(16), startedAtMs: nowMs };
  const rendered = renderTemplates(templates, valuesOf(plan, facts, inputs));
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
export function renderExplanation({ mac, node, profile, why, steps, values, script }: Explanation): string[] {
  const heading = node === undefined ? mac : `${mac}  node ${node}  profile ${profile ?? ''}`;
  const nameWidth = Math.max(0, ...values.map(({ name }) => name.length));
  const valueWidth = Math.min(40, Math.max(0, ...values.map(({ value }) => value.length)));
  return [
    heading,
    `why: ${why}`,
    ...steps.flatMap(({ title, answer, lines }) => ['', title, `  ${answer}`, ...lines.map((line) => `    ${line}`)]),
    ...(values.length === 0 ? [] : ['', 'values']),
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

/** The address that a lease or a node file gives a machine. */
export function knownAddress(site: Site, leases: LeaseLookup, mac: MacAddress): Ipv4Address | undefined {
  return leases.byMac(mac).find(({ state }) => state === 'bound')?.address ?? site.byMac.get(mac)?.address;
}
