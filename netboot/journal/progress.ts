// netboot/journal/progress.ts - where a boot is, what it waits for, and what usually is the cause where it is stuck.
//
// Owns: the naming of a machine that is stuck, and a boot's outcome in one line. Does not own what makes up a boot (journal.ts).
// To add a cause: its row in WAITS. Pure.

import { asksAgainByDhcp, loaderOfFile } from '../dhcp/loaders.ts';
import { type Attempt, type StageName } from './journal.ts';

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
    isHere: ({ stages }) => stages.init !== undefined,
    afterS: 60,
    cause: 'its first reports arrived and no more: the link was lost, or init hangs: see the console',
  },
  {
    stage: 'network',
    isHere: ({ dhcp }) => dhcp.systemSeen,
    afterS: 60,
    cause: 'the node has an address but its reports do not arrive: a firewall on the HTTP port',
  },
  {
    stage: 'init',
    isHere: ({ filesDone, filesWanted }) => filesWanted > 0 && filesDone >= filesWanted,
    afterS: 120,
    cause:
      'the kernel was loaded and says nothing: too little memory for the image, no driver or firmware for the network card, or a panic: see the console',
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

/**
 * Where a running attempt is, and since when nothing was heard; with the usual cause once that is too long. A file that is on
 * its way is no silence: where its machine takes nothing of it any more, the server breaks it off.
 */
export function progressOf(
  attempt: Attempt,
  nowMs: number,
): { readonly waitingFor: StageName; readonly silentMs: number; readonly stuck: string | undefined } | undefined {
  if (attempt.outcome.kind !== 'running') return undefined;
  const [loading] = attempt.loading;
  if (loading !== undefined) return { waitingFor: loading.part, silentMs: 0, stuck: undefined };
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
      const [loading] = attempt.loading;
      if (loading !== undefined) {
        const { name, bytes, sinceMs } = loading;
        return `booting, loads ${waitingFor === name ? name : `${waitingFor} (${name})`}, ${bytes} bytes, for ${seconds(nowMs - sinceMs)}`;
      }
      return stuck === undefined
        ? `booting, waits for ${waitingFor}`
        : `stuck before ${waitingFor} for ${seconds(silentMs)}: ${stuck}`;
    }
  }
}

/** "61.3 s". */
export function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
