// What each event does in each phase, as rows; and what must hold whatever the order of events.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  backoffDelayMs,
  MIN_START_GAP_MS,
  newService,
  nextDeadlineMs,
  TABLE,
  transition,
} from '../../supervise/machine.ts';
import { DEFAULT_SETTINGS } from '../../supervise/service.ts';
import type { Death, Effect, Event, Moment, Phase, Service, Settings } from '../../supervise/service.ts';

const at = (monotonicMs: number): Moment => ({
  monotonicMs,
  wall: { unixS: 1_000_000 + Math.floor(monotonicMs / 1000), nanoseconds: 0 },
  random: 0,
});
const EXITED: Death = { exitCode: 0, signal: undefined, atMs: 0 };
const PID = 42;
const died: Event = { kind: 'died', pid: PID, death: EXITED };
const started = (settings: Partial<Settings> = {}): Event => ({
  kind: 'started',
  pid: PID,
  settings: { ...DEFAULT_SETTINGS, ...settings },
});
const swept: Event = { kind: 'swept', left: false };

/** Feeds events at the given moments; the effects of the last one. */
function play(service: Service, steps: readonly (readonly [number, Event])[]): readonly [Service, readonly Effect[]] {
  let current: readonly [Service, readonly Effect[]] = [service, []];
  for (const [ms, event] of steps) current = transition(current[0], event, at(ms));
  return current;
}

const up = (settings: Partial<Settings> = {}): Service =>
  play(newService('up', at(0)), [
    [0, { kind: 'begin' }],
    [0, started(settings)],
  ])[0];

/** "start", "signal SIGTERM", …: effects in a form that reads in a row. */
function words(effects: readonly Effect[]): string[] {
  return effects.map((effect) => {
    if (effect.kind === 'signal') return effect.signal;
    if (effect.kind === 'sweep') return `sweep ${effect.signal ?? 'look'}`;
    return effect.kind;
  });
}

type Row = {
  readonly name: string;
  readonly from: Service;
  readonly steps: readonly (readonly [number, Event])[];
  readonly phase: Phase;
  readonly want?: Service['want'];
  readonly effects: readonly string[];
};

const down = newService('down', at(0));
const ROWS: readonly Row[] = [
  {
    name: 'begins and starts',
    from: newService('up', at(0)),
    steps: [[0, { kind: 'begin' }]],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'a down file keeps it down',
    from: down,
    steps: [[0, { kind: 'begin' }]],
    phase: 'down',
    effects: ['announce'],
  },
  { name: 'u starts it', from: down, steps: [[0, { kind: 'up' }]], phase: 'starting', want: 'up', effects: ['start'] },
  {
    name: 'o starts it',
    from: down,
    steps: [[0, { kind: 'once' }]],
    phase: 'starting',
    want: 'once',
    effects: ['start'],
  },
  {
    name: 'd sends TERM, then CONT',
    from: up(),
    steps: [[5, { kind: 'down' }]],
    phase: 'up',
    want: 'down',
    effects: ['SIGTERM', 'SIGCONT', 'announce'],
  },
  {
    name: 'd sends the down signal',
    from: up({ downSignal: 'SIGINT' }),
    steps: [[5, { kind: 'down' }]],
    phase: 'up',
    effects: ['SIGINT', 'SIGCONT', 'announce'],
  },
  {
    name: 't leaves want alone',
    from: up(),
    steps: [[5, { kind: 'signal', signal: 'SIGTERM' }]],
    phase: 'up',
    want: 'up',
    effects: ['SIGTERM', 'announce'],
  },
  { name: 'p stops', from: up(), steps: [[5, { kind: 'pause' }]], phase: 'up', effects: ['SIGSTOP', 'announce'] },
  {
    name: 'k on nothing is nothing',
    from: down,
    steps: [[5, { kind: 'signal', signal: 'SIGKILL' }]],
    phase: 'down',
    effects: [],
  },
  {
    name: 'a death has its group swept',
    from: up(),
    steps: [[5000, died]],
    phase: 'clearing',
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'a death after a second starts at once',
    from: up(),
    steps: [
      [5000, died],
      [5000, swept],
    ],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'a death within the second waits',
    from: up(),
    steps: [
      [400, died],
      [400, swept],
    ],
    phase: 'waiting',
    effects: ['announce'],
  },
  {
    name: 'and starts when the second is over',
    from: up(),
    steps: [
      [400, died],
      [400, swept],
      [1000, { kind: 'tick' }],
    ],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'a tick too early starts nothing',
    from: up(),
    steps: [
      [400, died],
      [400, swept],
      [999, { kind: 'tick' }],
    ],
    phase: 'waiting',
    effects: [],
  },
  {
    name: 'd while waiting',
    from: up(),
    steps: [
      [400, died],
      [400, swept],
      [500, { kind: 'down' }],
    ],
    phase: 'down',
    want: 'down',
    effects: ['announce'],
  },
  {
    name: 'after d it stays down',
    from: up(),
    steps: [
      [5, { kind: 'down' }],
      [2000, died],
      [2000, swept],
    ],
    phase: 'down',
    effects: ['announce'],
  },
  {
    name: 'after o it stays down',
    from: up(),
    steps: [
      [5, { kind: 'once' }],
      [2000, died],
      [2000, swept],
    ],
    phase: 'down',
    want: 'once',
    effects: ['announce'],
  },
  { name: 'x waits for the death', from: up(), steps: [[5, { kind: 'exit' }]], phase: 'up', effects: ['announce'] },
  {
    name: 'x then death closes, whatever want is',
    from: up(),
    steps: [
      [5, { kind: 'exit' }],
      [2000, died],
      [2000, swept],
    ],
    phase: 'closed',
    want: 'up',
    effects: ['announce', 'close'],
  },
  {
    name: 'x while down closes',
    from: down,
    steps: [[5, { kind: 'exit' }]],
    phase: 'closed',
    effects: ['announce', 'close'],
  },
  {
    name: 'restart stops it',
    from: up(),
    steps: [[5, { kind: 'restart' }]],
    phase: 'up',
    want: 'up',
    effects: ['SIGTERM', 'SIGCONT', 'announce'],
  },
  {
    name: 'restart starts what is down',
    from: down,
    steps: [[5, { kind: 'restart' }]],
    phase: 'starting',
    want: 'up',
    effects: ['start'],
  },
  {
    name: 'd while the start is on its way',
    from: newService('up', at(0)),
    steps: [
      [0, { kind: 'begin' }],
      [0, { kind: 'down' }],
      [1, started()],
    ],
    phase: 'up',
    want: 'down',
    effects: ['announce', 'SIGTERM', 'SIGCONT', 'announce'],
  },
  {
    name: 'a start that fails is tried again after a second',
    from: newService('up', at(0)),
    steps: [
      [0, { kind: 'begin' }],
      [1, { kind: 'failed', why: 'no' }],
    ],
    phase: 'waiting',
    effects: ['announce'],
  },
  {
    name: 'that is, now',
    from: newService('up', at(0)),
    steps: [
      [0, { kind: 'begin' }],
      [1, { kind: 'failed', why: 'no' }],
      [1001, { kind: 'tick' }],
    ],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'what is left is looked at again',
    from: up(),
    steps: [
      [5000, died],
      [5000, { kind: 'swept', left: true }],
      [5050, { kind: 'tick' }],
    ],
    phase: 'clearing',
    effects: ['sweep look'],
  },
  {
    name: 'and killed after a second',
    from: up(),
    steps: [
      [5000, died],
      [5000, { kind: 'swept', left: true }],
      [6000, { kind: 'tick' }],
    ],
    phase: 'clearing',
    effects: ['sweep SIGKILL'],
  },
  {
    name: 'and not waited for for ever',
    from: up(),
    steps: [
      [5000, died],
      [5000, { kind: 'swept', left: true }],
      [10_000, { kind: 'tick' }],
    ],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'finish runs after the sweep',
    from: up({ hasFinish: true }),
    steps: [
      [5000, died],
      [5000, swept],
    ],
    phase: 'finishing',
    effects: ['finish'],
  },
  {
    name: 'and the start after it',
    from: up({ hasFinish: true }),
    steps: [
      [5000, died],
      [5000, swept],
      [5000, started({ hasFinish: true })],
      [5001, died],
    ],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'finish that hangs is killed',
    from: up({ hasFinish: true }),
    steps: [
      [5000, died],
      [5000, swept],
      [5000, started({ hasFinish: true })],
      [10_000, { kind: 'tick' }],
    ],
    phase: 'finishing',
    effects: ['SIGKILL'],
  },
  {
    name: 'finish 125 is final',
    from: up({ hasFinish: true }),
    steps: [
      [5000, died],
      [5000, swept],
      [5000, started()],
      [5001, { kind: 'died', pid: PID, death: { ...EXITED, exitCode: 125 } }],
    ],
    phase: 'down',
    want: 'down',
    effects: ['announce'],
  },
  {
    name: 'timeout-kill',
    from: up({ timeoutKillMs: 3000 }),
    steps: [
      [1000, { kind: 'tick' }],
      [2000, { kind: 'down' }],
      [5000, { kind: 'tick' }],
    ],
    phase: 'up',
    effects: ['SIGKILL'],
  },
  {
    name: 'timeout-kill not yet',
    from: up({ timeoutKillMs: 3000 }),
    steps: [
      [1000, { kind: 'tick' }],
      [2000, { kind: 'down' }],
      [4999, { kind: 'tick' }],
    ],
    phase: 'up',
    effects: [],
  },
  {
    name: 'waits for dependencies',
    from: newService('up', at(0)),
    steps: [
      [0, { kind: 'dependencies', missing: ['db'] }],
      [0, { kind: 'begin' }],
    ],
    phase: 'waiting',
    effects: ['announce'],
  },
  {
    name: 'and starts when they are there',
    from: newService('up', at(0)),
    steps: [
      [0, { kind: 'dependencies', missing: ['db'] }],
      [0, { kind: 'begin' }],
      [9, { kind: 'dependencies', missing: [] }],
    ],
    phase: 'starting',
    effects: ['start'],
  },
  {
    name: 'a running one is not stopped by a missing dependency',
    from: up(),
    steps: [[9, { kind: 'dependencies', missing: ['db'] }]],
    phase: 'up',
    effects: [],
  },
  {
    name: 'the death of another process is nothing',
    from: up(),
    steps: [[9, { kind: 'died', pid: 7, death: EXITED }]],
    phase: 'up',
    effects: [],
  },
];

for (const { name, from, steps, phase, want, effects } of ROWS) {
  test(`${name}: ${phase}`, () => {
    const [service, asked] = play(from, steps);
    expect(service.phase).toBe(phase);
    if (want !== undefined) expect(service.want).toBe(want);
    expect(words(asked)).toEqual(effects);
  });
}

test('ready after a second without a check, by the check with one, by the newline with notification-fd', () => {
  const tick: Event = { kind: 'tick' };
  expect(play(up(), [[999, tick]])[0].ready).toBe(false);
  expect(play(up(), [[1000, tick]])[0].ready).toBe(true);
  const checked = (ok: boolean): Event => ({ kind: 'checked', pid: PID, ok });
  const [asking, effects] = play(up({ hasCheck: true }), [[0, tick]]);
  expect(words(effects)).toEqual(['check']);
  expect(
    play(asking, [
      [100, checked(false)],
      [1100, tick],
    ])[1],
  ).toEqual([{ kind: 'check', pid: PID }]);
  expect(play(asking, [[100, checked(true)]])[0].ready).toBe(true);
  const silent = up({ notificationFd: 3 });
  expect(nextDeadlineMs(silent)).toBeUndefined();
  expect(play(silent, [[50, { kind: 'notified', pid: PID }]])[0].ready).toBe(true);
  expect(play(silent, [[50, { kind: 'notified', pid: PID + 1 }]])[0].ready).toBe(false);
});

test('back-off doubles to its cap, and starts anew after a run that lasted', () => {
  const backoff = { initialMs: 2000, capMs: 5000, jitter: 0, resetMs: 60_000 };
  const delays: number[] = [];
  let service = up({ backoff });
  let nowMs = 0;
  for (const runMs of [10, 10, 10, 60_000, 10]) {
    nowMs += runMs;
    service = play(service, [
      [nowMs, died],
      [nowMs, swept],
    ])[0];
    delays.push(service.notBeforeMs - nowMs);
    nowMs = service.notBeforeMs;
    service = play(service, [
      [nowMs, { kind: 'tick' }],
      [nowMs, started({ backoff })],
    ])[0];
  }
  expect(delays).toEqual([2000, 4000, 5000, 2000, 4000]);
  expect(backoffDelayMs({ ...backoff, jitter: 0.5 }, 1, 0.5)).toBe(1500);
});

test('closed is final: no event leaves it or asks for anything', () => {
  const closed = play(down, [[0, { kind: 'exit' }]])[0];
  for (const kind of Object.keys(TABLE.closed) as Event['kind'][]) {
    const event = {
      kind,
      pid: PID,
      death: EXITED,
      missing: [],
      settings: DEFAULT_SETTINGS,
      signal: 'SIGTERM',
    } as unknown as Event;
    expect(transition(closed, event, at(1))).toEqual([closed, []]);
  }
});

// The world around one machine: effects make processes, which die when they like. Commands come from the list, what
// the world can do (answer a start, let a process die, let time pass) from what is possible at that point.
type Move =
  | { readonly kind: 'command'; readonly event: Event }
  | { readonly kind: 'answer'; readonly ok: boolean }
  | { readonly kind: 'death'; readonly which: number }
  | { readonly kind: 'time'; readonly ms: number };

const command: fc.Arbitrary<Event> = fc.constantFrom<Event[]>(
  { kind: 'up' },
  { kind: 'down' },
  { kind: 'once' },
  { kind: 'restart' },
  { kind: 'pause' },
  { kind: 'continue' },
  { kind: 'signal', signal: 'SIGTERM' },
  { kind: 'signal', signal: 'SIGKILL' },
  { kind: 'tick' },
  { kind: 'dependencies', missing: ['db'] },
  { kind: 'dependencies', missing: [] },
  { kind: 'swept', left: true },
  { kind: 'notified', pid: 1000 },
  // Answers and deaths that belong to nothing.
  { kind: 'died', pid: 1, death: EXITED },
  { kind: 'checked', pid: 1, ok: true },
);
const move: fc.Arbitrary<Move> = fc.oneof(
  // Rare, because it ends the run of events.
  { weight: 1, arbitrary: fc.constant<Move>({ kind: 'command', event: { kind: 'exit' } }) },
  { weight: 60, arbitrary: command.map((event): Move => ({ kind: 'command', event })) },
  { weight: 80, arbitrary: fc.boolean().map((ok): Move => ({ kind: 'answer', ok })) },
  { weight: 60, arbitrary: fc.nat(1).map((which): Move => ({ kind: 'death', which })) },
  { weight: 60, arbitrary: fc.constantFrom(0, 1, 50, 500, 999, 1000, 5000).map((ms): Move => ({ kind: 'time', ms })) },
);

test('never two living processes, never two starts within a second, whatever the order of events', () => {
  const settingsOf = fc.record({ hasFinish: fc.boolean(), timeoutKillMs: fc.constantFrom(0, 700) });
  let startsSeen = 0;
  fc.assert(
    fc.property(fc.array(move, { minLength: 40, maxLength: 120, size: 'max' }), settingsOf, (moves, some) => {
      const settings = { ...DEFAULT_SETTINGS, ...some };
      const living = new Set<number>();
      const startedAtMs: number[] = [];
      const unanswered: ('start' | 'finish')[] = [];
      let nextPid = 1000;
      let nowMs = 0;
      let service = newService('up', at(0));
      const feed = (event: Event): void => {
        const [next, effects] = transition(service, event, at(nowMs));
        service = next;
        for (const effect of effects) {
          if (effect.kind === 'start' || effect.kind === 'finish') unanswered.push(effect.kind);
          if (effect.kind === 'sweep') feed({ kind: 'swept', left: false });
        }
      };
      const check = (): void => {
        expect(living.size + unanswered.length).toBeLessThanOrEqual(1);
        expect([...living]).toEqual(service.pid === 0 ? [] : [service.pid]);
        const gaps = startedAtMs.slice(1).map((ms, index) => ms - (startedAtMs[index] ?? 0));
        expect(Math.min(MIN_START_GAP_MS, ...gaps)).toBe(MIN_START_GAP_MS);
      };
      feed({ kind: 'begin' });
      for (const step of moves) {
        if (step.kind === 'command') feed(step.event);
        else if (step.kind === 'time') {
          nowMs += step.ms;
          feed({ kind: 'tick' });
        } else if (step.kind === 'death') {
          const pid = [...living][step.which];
          if (pid === undefined) continue;
          living.delete(pid);
          feed({ kind: 'died', pid, death: EXITED });
        } else {
          const asked = unanswered.shift();
          if (asked === undefined) continue;
          if (step.ok) {
            nextPid += 1;
            living.add(nextPid);
            if (asked === 'start') startedAtMs.push(nowMs);
            startsSeen += 1;
            feed({ kind: 'started', pid: nextPid, settings });
          } else feed({ kind: 'failed', why: 'the world said no' });
        }
        check();
      }
    }),
    { numRuns: 2000 },
  );
  // A generator that never gets anywhere would prove nothing.
  expect(startsSeen).toBeGreaterThan(2000);
});

test('what is wanted up comes up again from any state that is not closed', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (events) => {
      let service = play(newService('up', at(0)), [[0, { kind: 'begin' }]])[0];
      for (const event of events) service = transition(service, event, at(0))[0];
      if (service.exiting) return;
      service = play(service, [
        [0, { kind: 'up' }],
        [0, { kind: 'dependencies', missing: [] }],
      ])[0];
      for (let nowMs = 0; nowMs < 20_000 && service.phase !== 'up'; nowMs += 500) {
        if (service.phase === 'starting') service = transition(service, started(), at(nowMs))[0];
        service = transition(service, { kind: 'tick' }, at(nowMs))[0];
      }
      expect(service.phase).toBe('up');
    }),
  );
});
