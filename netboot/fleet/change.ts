// netboot/fleet/change.ts - one node made into what its files want now: drained, started anew, watched until it is ready.
//
// Owns: the steps of a change and what moves it from one to the next, each with its time. Does not own carrying them out
// (changes.io.ts), which plan is booted (nodestate.ts), whether it may be done (planview.ts).
//
// Steps by kexec: drain, fetch, kexec, boot. Cold: drain, reboot, boot. Nothing is waited for without a limit.
// A change lives in the store: a boot server that is killed in the middle goes on with it.
// Source: ARCHITECTURE.md, "The switch". Pure.

import type { OrderOutcome } from './orders.ts';

type Phase = 'drain' | 'fetch' | 'kexec' | 'reboot' | 'boot';

type ChangeStep = { readonly name: Phase; readonly startedAtMs: number; readonly endedAtMs: number | undefined };

export type Change = {
  readonly who: string;
  readonly mode: 'kexec' | 'cold';
  /** What it is to become. */
  readonly profile: string;
  readonly fromBootId: string;
  /** Of kexec: made when the node is drained; of cold: what it began afterwards. */
  readonly toBootId: string | undefined;
  readonly drainTimeoutS: number;
  readonly readyTimeoutS: number;
  /** The orders whose acknowledgements are waited for. */
  readonly drainOrder: number;
  readonly goOrder: number | undefined;
  /** VIPs that it held and a peer can take. */
  readonly vips: readonly string[];
  /** In order; the last is the one under way. */
  readonly steps: readonly ChangeStep[];
  readonly outcome:
    | { readonly kind: 'running' }
    | { readonly kind: 'done'; readonly atMs: number }
    | { readonly kind: 'failed'; readonly atMs: number; readonly why: string };
};

/** What is known at one moment of the things that a change waits for. */
export type ChangeFacts = {
  readonly nowMs: number;
  readonly drain: OrderOutcome;
  /** Whether every balancer that reports has applied the files in which this node has weight 0, and its VIPs are held by others. */
  readonly isOutOfService: boolean;
  readonly go: OrderOutcome | undefined;
  /** The node's latest boot; `hasSpoken`: a stage was heard of it. */
  readonly boot: {
    readonly id: string;
    readonly isReady: boolean;
    readonly hasSpoken: boolean;
    readonly insteadOf: string | undefined;
  };
};

/** What is to be done about it, beside remembering the new change. */
type ChangeEffect =
  | { readonly kind: 'nothing' }
  /** Make the boot and order the node to fetch it. */
  | { readonly kind: 'switch' }
  | { readonly kind: 'reboot' }
  /** It stays what it is: back into service. */
  | { readonly kind: 'undrain' };

const FETCH_LIMIT_MS = 600_000;
/** A node reboots by itself at its deadline; this is for the way there and back. */
const GRACE_MS = 60_000;

export type Changed = { readonly change: Change; readonly effect: ChangeEffect };

/** One look at a running change. A change that is over stays as it is. */
export function stepChange(change: Change, facts: ChangeFacts): Changed {
  const current = change.steps.at(-1);
  if (change.outcome.kind !== 'running' || current === undefined) return { change, effect: { kind: 'nothing' } };
  return PHASES[current.name](change, facts, facts.nowMs - current.startedAtMs);
}

const PHASES = {
  drain: (change, facts, forMs) => {
    if (facts.drain.kind === 'failed')
      return fail(change, facts, `it could not drain: ${facts.drain.detail}`, 'undrain');
    const isDrained = facts.drain.kind !== 'waiting' && facts.isOutOfService;
    if (!isDrained && forMs < change.drainTimeoutS * 1000) return same(change);
    return change.mode === 'kexec'
      ? next(change, facts, 'fetch', { kind: 'switch' })
      : next(change, facts, 'reboot', { kind: 'reboot' });
  },
  fetch: (change, facts, forMs) => {
    if (facts.go?.kind === 'failed') return fail(change, facts, `it cannot switch: ${facts.go.detail}`, 'undrain');
    if (facts.go?.kind === 'done') return next(change, facts, 'kexec', { kind: 'nothing' });
    // The acknowledgement may be lost on the way, the new system's first word is as good.
    if (facts.boot.id === change.toBootId && facts.boot.hasSpoken)
      return next(change, facts, 'boot', { kind: 'nothing' });
    if (forMs > FETCH_LIMIT_MS) {
      return fail(change, facts, `it did not fetch its new system within ${FETCH_LIMIT_MS / 1000} s`, 'undrain');
    }
    return same(change);
  },
  kexec: (change, facts, forMs) => {
    if (facts.boot.id === change.toBootId && facts.boot.hasSpoken)
      return next(change, facts, 'boot', { kind: 'nothing' });
    return waitForBoot(change, facts, forMs, 'nothing was heard of it after the kexec');
  },
  reboot: (change, facts, forMs) => {
    if (facts.go?.kind === 'failed') return fail(change, facts, `it cannot reboot: ${facts.go.detail}`, 'undrain');
    if (facts.boot.id !== change.fromBootId) {
      return next({ ...change, toBootId: facts.boot.id }, facts, 'boot', { kind: 'nothing' });
    }
    return waitForBoot(change, facts, forMs, 'it did not ask for its script after the reboot');
  },
  boot: (change, facts, forMs) => {
    const { boot } = facts;
    if (boot.isReady && boot.id === change.toBootId && boot.insteadOf === undefined) {
      return { change: ended(change, facts, { kind: 'done', atMs: facts.nowMs }), effect: { kind: 'nothing' } };
    }
    return waitForBoot(change, facts, forMs, 'it was not ready in time');
  },
} satisfies Record<Phase, (change: Change, facts: ChangeFacts, forMs: number) => Changed>;

function waitForBoot(change: Change, facts: ChangeFacts, forMs: number, why: string): Changed {
  const { id, isReady, insteadOf } = facts.boot;
  if (insteadOf !== undefined && isReady && id !== change.fromBootId)
    return fail(change, facts, `it went back: ${insteadOf}`, 'nothing');
  // Twice: the failed boot's own deadline, and that of the boot that goes back.
  if (forMs <= 2 * (change.readyTimeoutS * 1000 + GRACE_MS)) return same(change);
  return fail(change, facts, why, 'nothing');
}

function same(change: Change): Changed {
  return { change, effect: { kind: 'nothing' } };
}

function next(change: Change, { nowMs }: ChangeFacts, name: Phase, effect: ChangeEffect): Changed {
  const steps = [...closeLast(change.steps, nowMs), { name, startedAtMs: nowMs, endedAtMs: undefined }];
  return { change: { ...change, steps }, effect };
}

function fail(change: Change, facts: ChangeFacts, why: string, kind: 'undrain' | 'nothing'): Changed {
  return { change: ended(change, facts, { kind: 'failed', atMs: facts.nowMs, why }), effect: { kind } };
}

function ended(change: Change, { nowMs }: ChangeFacts, outcome: Change['outcome']): Change {
  return { ...change, steps: closeLast(change.steps, nowMs), outcome };
}

function closeLast(steps: readonly ChangeStep[], nowMs: number): ChangeStep[] {
  return steps.map((step) => (step.endedAtMs === undefined ? { ...step, endedAtMs: nowMs } : step));
}

/** "drain 0.4 s, fetch 3.1 s, kexec 9.0 s, boot 14.2 s": what is done, and what is under way. */
export function renderSteps({ steps }: Change, nowMs: number): string {
  return steps
    .map(({ name, startedAtMs, endedAtMs }) => `${name} ${(((endedAtMs ?? nowMs) - startedAtMs) / 1000).toFixed(1)} s`)
    .join(', ');
}
