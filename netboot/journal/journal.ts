// netboot/journal/journal.ts - the boot journal: what happened on the wire and on the node, folded into boots with their stages.
//
// Owns: the events, how they make up attempts (told apart when a machine restarts in the middle), each stage's time and
// bytes.
// Does not own: the naming of what is stuck (progress.ts), the waterfall (waterfall.ts), the attempts of all machines
// (attempts.ts), storing events (store/store.io.ts), making them: of the wire worth.ts, of nodes boots/boots.io.ts and fleet/.
// memory.io.ts gives them to all who want them.
//
// An attempt begins with the first packet of a machine's firmware and ends with ready, failed, or the next attempt.
// The node sends its first stages only when its network is up, each with its uptime: they are put where they happened.
// To add a stage: a row in STAGES (in NODE_STAGES too, where nodes report it), and in WAITS of progress.ts. Source: ARCHITECTURE.md, "Node protocol". Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';

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
  /** A file begins to leave. In memory alone: what had begun before a restart was broken off by it. */
  | {
      readonly kind: 'begun';
      readonly bootId: string;
      readonly part: 'kernel' | 'initrd';
      readonly name: string;
      readonly bytes: number;
    }
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

type Loading = {
  readonly part: 'kernel' | 'initrd';
  readonly name: string;
  readonly bytes: number;
  readonly sinceMs: number;
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
  /** What is on its way to the machine. */
  readonly loading: readonly Loading[];
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
    loading: [],
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
    case 'begun': {
      const { part, name, bytes, atMs: sinceMs } = event;
      return { ...seen, loading: [...seen.loading.slice(1 - MOST_LOADING), { part, name, bytes, sinceMs }] };
    }
    case 'file': {
      const done = event.outcome === 'done' && event.part === 'initrd' ? 1 : 0;
      const detail = event.outcome === 'done' ? '' : `${event.name} was broken off`;
      const begun = seen.loading.findIndex(({ name }) => name === event.name);
      const loading = seen.loading.filter((_, index) => index !== begun);
      const counted = { ...seen, filesDone: seen.filesDone + done, loading };
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

/** Loaders fetch one after the other; whoever asks for many at once is not listed further. */
const MOST_LOADING = 16;

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
