// netboot/journal/journal.ts - the boot journal: what happened on the wire and on the node, folded into boots with their stages.
//
// Owns: the events, how they make up attempts (told apart when a machine restarts in the middle), each stage's time and
// bytes, and the naming of a machine that is stuck, with what usually causes that.
// Does not own: the attempts of all machines (attempts.ts), storing events (store.io.ts), making them (serve.io.ts).
//
// An attempt begins with the first packet of a machine's firmware and ends with ready, failed, or the next attempt.
// The node sends its first stages only when its network is up, each with its uptime: they are put where they happened.
// To add a stage: a row in STAGES; a cause: its row in WAITS. Source: ARCHITECTURE.md, "Node protocol". Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { asksAgainByDhcp, loaderOfFile } from '../dhcp/loaders.ts';

/** The stages that a node reports itself, in order. */
export const NODE_STAGES = ['init', 'layers', 'network', 'services', 'ready', 'failed'] as const;
export type NodeStage = (typeof NODE_STAGES)[number];

/**
 * All stages of a boot in order. drain, fetch and kexec are those of a node that was told to change; then initrd and kernel
 * lie inside fetch. initrd is the loading of the layers and the overlay; layers, their check by init.
 */
export const STAGES = [
  'drain',
  'fetch',
  'dhcp',
  'loader',
  'script',
  'kernel',
  'initrd',
  'kexec',
  'init',
  'layers',
  'network',
  'services',
  'ready',
] as const;
export type StageName = (typeof STAGES)[number];

export type BootEvent = {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly mac: MacAddress;
} & (
  | {
      readonly kind: 'dhcp';
      /** firmware and loader come before the kernel; system is what the booted node runs. */
      readonly client: 'firmware' | 'loader' | 'system';
      readonly message: 'offer' | 'ack' | 'nak';
      readonly address: Ipv4Address | undefined;
      readonly why: string;
    }
  | { readonly kind: 'ignored'; readonly why: string }
  | {
      readonly kind: 'loader';
      readonly file: string;
      readonly bytes: number;
      readonly durationMs: number;
      readonly outcome: 'done' | 'failed';
      readonly why: string;
    }
  | {
      readonly kind: 'script';
      readonly bootId: string;
      readonly node: string;
      readonly profile: string;
      /** local and chain boots report nothing: they are done when their script was fetched. */
      readonly target: 'linux' | 'local' | 'chain';
      readonly readyTimeoutS: number;
      /** Files that the script loads after the kernel. */
      readonly files: number;
    }
  /** A node in service was told to become something else and is drained. */
  | {
      readonly kind: 'switch';
      /** Undefined for a cold reboot, which makes its boot when its script is fetched. */
      readonly bootId: string | undefined;
      readonly node: string;
      readonly profile: string;
      readonly readyTimeoutS: number;
      readonly files: number;
      readonly drainStartedAtMs: number;
    }
  /** It has fetched and checked its new system and jumps into it. */
  | { readonly kind: 'kexec'; readonly bootId: string }
  | { readonly kind: 'refused'; readonly node: string; readonly why: string }
  | {
      readonly kind: 'file';
      readonly bootId: string;
      readonly part: 'kernel' | 'initrd';
      readonly name: string;
      readonly bytes: number;
      readonly durationMs: number;
      readonly outcome: 'done' | 'aborted';
    }
  | {
      readonly kind: 'stage';
      readonly bootId: string;
      readonly stage: NodeStage;
      readonly uptimeMs: number;
      readonly detail: string;
    }
);

type Stage = {
  readonly name: StageName;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** Bytes sent in this stage; 0 where none are counted. */
  readonly bytes: number;
  readonly detail: string;
};

type Outcome =
  | { readonly kind: 'running' }
  | { readonly kind: 'ready'; readonly atMs: number }
  | { readonly kind: 'failed'; readonly atMs: number; readonly why: string }
  /** The machine began anew before it was ready. */
  | { readonly kind: 'abandoned'; readonly atMs: number; readonly why: string };

type Report = {
  readonly stage: Exclude<NodeStage, 'failed'>;
  readonly atMs: number;
  readonly uptimeMs: number;
  readonly detail: string;
};

export type Attempt = {
  readonly mac: MacAddress;
  /** Undefined until a script was made. */
  readonly bootId: string | undefined;
  readonly node: string | undefined;
  readonly profile: string | undefined;
  readonly startedAtMs: number;
  readonly lastEventAtMs: number;
  readonly readyTimeoutS: number;
  /** How many files the initrd stage has in all, and how many arrived. */
  readonly filesWanted: number;
  readonly filesDone: number;
  /** The DHCP conversation as far as it matters for naming what is stuck. */
  readonly dhcp: { readonly acked: boolean; readonly loaderAcked: boolean; readonly systemSeen: boolean };
  /** What the node itself reported, one of each stage. */
  readonly reports: readonly Report[];
  readonly stages: Readonly<Partial<Record<StageName, Stage>>>;
  readonly outcome: Outcome;
};

/** What one event did: the attempt that it belongs to, and the one that it ended. */
export type Advance = { readonly attempt: Attempt; readonly ended: Attempt | undefined };

/**
 * Puts one event into the attempt it belongs to.
 *
 * @param current the machine's latest attempt, or for events with a boot ID the attempt with that ID.
 * @returns undefined where the event belongs to no boot (a stage of a boot that nobody remembers, an ignored packet).
 */
export function advance(current: Attempt | undefined, event: BootEvent): Advance | undefined {
  if (event.kind === 'ignored') return undefined;
  if (current === undefined) {
    const starts = ['script', 'switch', 'refused'].includes(event.kind) || isBeforeKernel(event);
    return starts ? { attempt: apply(freshAttempt(event), event), ended: undefined } : undefined;
  }
  if (!startsAnew(current, event)) return { attempt: apply(current, event), ended: undefined };
  const ended: Attempt =
    current.outcome.kind === 'running'
      ? { ...current, outcome: { kind: 'abandoned', atMs: event.atMs, why: 'the machine began to boot again' } }
      : current;
  return { attempt: apply(freshAttempt(event), event), ended };
}

function isBeforeKernel(event: BootEvent): boolean {
  return (event.kind === 'dhcp' && event.client !== 'system') || event.kind === 'loader';
}

function startsAnew(current: Attempt, event: BootEvent): boolean {
  if (event.kind === 'switch') return true;
  if (event.kind === 'script') return current.bootId !== undefined;
  if (!isBeforeKernel(event)) return false;
  if (current.bootId !== undefined || current.outcome.kind !== 'running') return true;
  // The same machine's firmware speaks again although it had a loader: it was reset, or the loader gave up.
  const hadLoader = current.dhcp.loaderAcked || current.stages.loader !== undefined;
  return event.kind === 'dhcp' && event.client === 'firmware' && hadLoader;
}

function freshAttempt(event: BootEvent): Attempt {
  const durationMs = event.kind === 'loader' ? event.durationMs : 0;
  return {
    mac: event.mac,
    bootId: undefined,
    node: undefined,
    profile: undefined,
    startedAtMs: event.kind === 'switch' ? event.drainStartedAtMs : event.atMs - durationMs,
    lastEventAtMs: event.atMs,
    readyTimeoutS: 300,
    filesWanted: 0,
    filesDone: 0,
    dhcp: { acked: false, loaderAcked: false, systemSeen: false },
    reports: [],
    stages: {},
    outcome: { kind: 'running' },
  };
}

function apply(attempt: Attempt, event: Exclude<BootEvent, { kind: 'ignored' }>): Attempt {
  const seen = { ...attempt, lastEventAtMs: Math.max(attempt.lastEventAtMs, event.atMs) };
  switch (event.kind) {
    case 'dhcp': {
      if (event.client === 'system') return { ...seen, dhcp: { ...seen.dhcp, systemSeen: true } };
      const acked = event.message === 'ack';
      const dhcp = {
        ...seen.dhcp,
        acked: seen.dhcp.acked || acked,
        loaderAcked: seen.dhcp.loaderAcked || (acked && event.client === 'loader'),
      };
      return extend({ ...seen, dhcp }, 'dhcp', event.atMs, event.atMs, 0, event.address ?? '');
    }
    case 'loader': {
      const detail = event.outcome === 'done' ? event.file : `${event.file}: ${event.why}`;
      return extend(seen, 'loader', event.atMs - event.durationMs, event.atMs, event.bytes, detail);
    }
    case 'script': {
      const named: Attempt = {
        ...seen,
        bootId: event.bootId,
        node: event.node,
        profile: event.profile,
        readyTimeoutS: event.readyTimeoutS,
        filesWanted: event.files,
        outcome: event.target === 'linux' ? { kind: 'running' } : { kind: 'ready', atMs: event.atMs },
      };
      return extend(named, 'script', event.atMs, event.atMs, 0, event.target === 'linux' ? '' : event.target);
    }
    case 'switch': {
      const { bootId, node, profile, readyTimeoutS, files, drainStartedAtMs, atMs } = event;
      const named: Attempt = { ...seen, bootId, node, profile, readyTimeoutS, filesWanted: files };
      return extend(named, 'drain', drainStartedAtMs, atMs, 0, '');
    }
    case 'kexec':
      return extend(seen, 'fetch', endOf(seen, 'drain') || event.atMs, event.atMs, 0, '');
    case 'refused':
      return {
        ...extend({ ...seen, node: event.node }, 'script', event.atMs, event.atMs, 0, event.why),
        outcome: { kind: 'failed', atMs: event.atMs, why: event.why },
      };
    case 'file': {
      const done = event.outcome === 'done' && event.part === 'initrd' ? 1 : 0;
      const detail = event.outcome === 'done' ? '' : `${event.name} was broken off`;
      const counted = { ...seen, filesDone: seen.filesDone + done };
      return extend(counted, event.part, event.atMs - event.durationMs, event.atMs, event.bytes, detail);
    }
    case 'stage':
      return applyNodeStage(seen, event);
  }
}

function applyNodeStage(attempt: Attempt, event: Extract<BootEvent, { kind: 'stage' }>): Attempt {
  if (event.stage === 'failed') {
    return { ...attempt, outcome: { kind: 'failed', atMs: event.atMs, why: event.detail || 'the node says so' } };
  }
  const { stage, atMs, uptimeMs, detail } = event;
  const reports = [...attempt.reports.filter((report) => report.stage !== stage), { stage, atMs, uptimeMs, detail }];
  const loadedAtMs = Math.max(
    attempt.startedAtMs,
    ...['script', 'fetch', 'kernel', 'initrd'].map((name) => endOf(attempt, name)),
  );
  // A report may have been delayed but never sent early: the earliest estimate of the kernel's start is the best.
  const kernelAtMs = Math.max(loadedAtMs, Math.min(...reports.map((report) => report.atMs - report.uptimeMs)));
  const stages = { ...attempt.stages };
  let previousAtMs = loadedAtMs;
  if (stages.fetch !== undefined) {
    stages.kexec = { name: 'kexec', startedAtMs: loadedAtMs, endedAtMs: kernelAtMs, bytes: 0, detail: '' };
    previousAtMs = kernelAtMs;
  }
  for (const name of STAGES) {
    const report = reports.find((candidate) => candidate.stage === name);
    if (report === undefined) continue;
    const endedAtMs = Math.max(previousAtMs, Math.min(report.atMs, kernelAtMs + report.uptimeMs));
    stages[name] = { name, startedAtMs: previousAtMs, endedAtMs, bytes: 0, detail: report.detail };
    previousAtMs = endedAtMs;
  }
  const readyAtMs = stages.ready?.endedAtMs;
  return {
    ...attempt,
    reports,
    stages,
    outcome: readyAtMs === undefined ? attempt.outcome : { kind: 'ready', atMs: readyAtMs },
  };
}

function endOf(attempt: Attempt, name: string): number {
  return attempt.stages[name as StageName]?.endedAtMs ?? 0;
}

function extend(
  attempt: Attempt,
  name: StageName,
  startedAtMs: number,
  endedAtMs: number,
  bytes: number,
  detail: string,
): Attempt {
  const known = attempt.stages[name];
  const stage: Stage = {
    name,
    startedAtMs: Math.min(known?.startedAtMs ?? startedAtMs, startedAtMs),
    endedAtMs: Math.max(known?.endedAtMs ?? endedAtMs, endedAtMs),
    bytes: (known?.bytes ?? 0) + bytes,
    detail: detail === '' ? (known?.detail ?? '') : detail,
  };
  return { ...attempt, stages: { ...attempt.stages, [name]: stage } };
}

/** What a machine is waiting for when nothing more is heard of it. */
type Wait = {
  readonly stage: StageName;
  readonly isHere: (attempt: Attempt) => boolean;
  /** Silence longer than this is stuck; undefined: the profile's readyTimeoutS. */
  readonly afterS: number | undefined;
  readonly cause: string;
};

function isIpxe(detail: string): boolean {
  const loader = loaderOfFile(detail.split(': ')[0] ?? '');
  return loader === undefined || asksAgainByDhcp(loader);
}

/** From late to early: the first whose condition holds says where a machine is. */
const WAITS: readonly Wait[] = [
  {
    stage: 'ready',
    isHere: ({ stages }) => stages.services !== undefined,
    afterS: undefined,
    cause: "a service's check does not pass: see its log on the node's console",
  },
  {
    stage: 'services',
    isHere: ({ stages }) => stages.network !== undefined,
    afterS: 60,
    cause: 'the supervisor did not start: see the console',
  },
  {
    stage: 'network',
    isHere: ({ stages, dhcp }) => stages.init !== undefined || dhcp.systemSeen,
    afterS: 60,
    cause: 'the node has an address but its reports do not arrive: a firewall on the HTTP port',
  },
  {
    stage: 'init',
    isHere: ({ filesDone, filesWanted }) => filesWanted > 0 && filesDone >= filesWanted,
    afterS: 120,
    cause:
      'the kernel was loaded and says nothing: too little memory for the image, no driver for the network card, or a panic: see the console',
  },
  {
    stage: 'fetch',
    isHere: ({ stages, bootId }) => stages.drain !== undefined && stages.fetch === undefined && bootId !== undefined,
    afterS: 600,
    cause: 'the node does not fetch its new system: see its agent on the console',
  },
  {
    stage: 'dhcp',
    isHere: ({ stages }) => stages.drain !== undefined && stages.dhcp === undefined && stages.fetch === undefined,
    afterS: 120,
    cause: 'the node was told to reboot and its firmware does not ask for an address: see the console',
  },
  {
    stage: 'initrd',
    isHere: ({ stages }) => stages.kernel !== undefined,
    afterS: 60,
    cause: 'a layer is loading or broke off: a slow or lossy link',
  },
  {
    stage: 'kernel',
    isHere: ({ stages }) => stages.script !== undefined,
    afterS: 30,
    cause: 'the script was fetched but not its kernel: see what the loader says on the screen',
  },
  {
    stage: 'script',
    isHere: ({ dhcp }) => dhcp.loaderAcked,
    afterS: 30,
    cause:
      'the loader has an address but does not fetch its script: a firewall on the HTTP port, or another DHCP server gave the loader another file',
  },
  {
    stage: 'script',
    isHere: ({ stages }) => stages.loader !== undefined && !isIpxe(stages.loader.detail),
    afterS: 60,
    cause:
      'the loader was fetched but does not ask for its configuration: the firmware refuses it (Secure Boot), or UDP 69 is blocked',
  },
  {
    stage: 'dhcp',
    isHere: ({ stages }) => stages.loader !== undefined,
    afterS: 60,
    cause:
      "the loader was fetched but its DHCP does not come: the firmware refuses what is not signed (Secure Boot: loader: shim), it has no driver for the card (loader: snponly), or spanning tree blocks the switch port after the link's reset",
  },
  {
    stage: 'loader',
    isHere: ({ dhcp }) => dhcp.acked,
    afterS: 60,
    cause:
      'the address was given but the loader not asked for: a firewall on UDP 69, or the firmware took another server’s boot file',
  },
  {
    stage: 'dhcp',
    isHere: () => true,
    afterS: 60,
    cause:
      'offered but no REQUEST came: DHCP snooping on the switch, another DHCP server was chosen, or spanning tree blocks the port',
  },
];

/** Where a running attempt is, and since when nothing was heard; with the usual cause once that is too long. */
export function progressOf(
  attempt: Attempt,
  nowMs: number,
): { readonly waitingFor: StageName; readonly silentMs: number; readonly stuck: string | undefined } | undefined {
  if (attempt.outcome.kind !== 'running') return undefined;
  const wait = WAITS.find(({ isHere }) => isHere(attempt));
  if (wait === undefined) return undefined;
  const silentMs = Math.max(0, nowMs - attempt.lastEventAtMs);
  const limitMs = (wait.afterS ?? attempt.readyTimeoutS) * 1000;
  return { waitingFor: wait.stage, silentMs, stuck: silentMs > limitMs ? wait.cause : undefined };
}

/** Whether the machine is between its first DHCP and its kernel: firmware or a loader is at work. */
export function isLoading(attempt: Attempt | undefined): boolean {
  return (
    attempt?.outcome.kind === 'running' && attempt.stages.dhcp !== undefined && attempt.stages.kernel === undefined
  );
}

/** "ready after 61.3 s", "stuck in loader for 95 s: …", "failed: …": one line for lists and the log. */
export function renderOutcome(attempt: Attempt, nowMs: number): string {
  const { outcome, startedAtMs } = attempt;
  switch (outcome.kind) {
    case 'ready':
      return `ready after ${seconds(outcome.atMs - startedAtMs)}`;
    case 'failed':
      return `failed after ${seconds(outcome.atMs - startedAtMs)}: ${outcome.why}`;
    case 'abandoned':
      return `broken off after ${seconds(outcome.atMs - startedAtMs)}: ${outcome.why}`;
    case 'running': {
      const progress = progressOf(attempt, nowMs);
      if (progress === undefined) return 'running';
      const { waitingFor, silentMs, stuck } = progress;
      return stuck === undefined
        ? `booting, waits for ${waitingFor}`
        : `stuck before ${waitingFor} for ${seconds(silentMs)}: ${stuck}`;
    }
  }
}

const BAR_COLUMNS = 40;

/** The waterfall of one attempt, a line a stage: when it began, how long it took, its bytes. */
export function renderWaterfall(attempt: Attempt, nowMs: number): string[] {
  const stages = STAGES.flatMap((name) => attempt.stages[name] ?? []);
  const endMs = Math.max(attempt.startedAtMs + 1, ...stages.map(({ endedAtMs }) => endedAtMs));
  // A clock that was set back puts a stage before its attempt, or its end before its start.
  const column = (atMs: number): number =>
    Math.max(
      0,
      Math.min(
        BAR_COLUMNS - 1,
        Math.floor(((atMs - attempt.startedAtMs) / (endMs - attempt.startedAtMs)) * BAR_COLUMNS),
      ),
    );
  const head = [
    attempt.node ?? attempt.mac,
    attempt.bootId === undefined ? 'no script yet' : `boot ${attempt.bootId}`,
    ...(attempt.profile === undefined ? [] : [`profile ${attempt.profile}`]),
    new Date(attempt.startedAtMs).toISOString(),
    renderOutcome(attempt, nowMs),
  ].join('  ');
  return [
    head,
    ...stages.map(({ name, startedAtMs, endedAtMs, bytes, detail }) => {
      const from = column(startedAtMs);
      const bar = `${' '.repeat(from)}${'='.repeat(Math.max(1, column(endedAtMs) - from + 1))}`.padEnd(BAR_COLUMNS);
      const cells = [
        name.padEnd(8),
        seconds(startedAtMs - attempt.startedAtMs).padStart(8),
        seconds(endedAtMs - startedAtMs).padStart(8),
        bar,
        bytes === 0 ? '' : `${bytes} bytes`,
        detail,
      ];
      return `  ${cells.join('  ').trimEnd()}`;
    }),
  ];
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
