// fghack, health and reload in the machine: which event leads where, as rows.

import { expect, test } from 'vitest';
import { newService, nextDeadlineMs, transition } from '../../supervise/machine.ts';
import { decodeRecord, encodeRecord } from '../../supervise/record.ts';
import { DEFAULT_SETTINGS } from '../../supervise/service.ts';
import type { Death, Effect, Event, Moment, Service, Settings } from '../../supervise/service.ts';
import { editionOf, parseSettings } from '../../supervise/servicedir.ts';

const at = (monotonicMs: number): Moment => ({ monotonicMs, wall: { unixS: 1_000_000, nanoseconds: 0 }, random: 0 });
const EXITED: Death = { exitCode: 0, signal: undefined, atMs: 0 };
const KILLED: Death = { exitCode: undefined, signal: 'SIGKILL', atMs: 0 };
const RUN = 42;
const DAEMON = 50;
const died = (pid: number, death: Death): Event => ({ kind: 'died', pid, death });
const traced = (pid: number): Event => ({ kind: 'traced', pid });

type Step = readonly [number, Event];

function play(service: Service, steps: readonly Step[]): { after: Service; effects: string[] } {
  let current: readonly [Service, readonly Effect[]] = [service, []];
  for (const [ms, event] of steps) current = transition(current[0], event, at(ms));
  const effects = current[1].map((effect) => {
    if (effect.kind === 'signal') return effect.signal;
    return effect.kind === 'sweep' ? `sweep ${effect.signal ?? 'look'}` : effect.kind;
  });
  return { after: current[0], effects };
}

const begun = (settings: Partial<Settings>): Step[] => [
  [0, { kind: 'begin' }],
  [0, { kind: 'started', pid: RUN, settings: { ...DEFAULT_SETTINGS, ...settings } }],
];
const inBackground: Step[] = [...begun({ fghack: true }), [10, died(RUN, EXITED)], [10, traced(DAEMON)]];
const health = { kind: 'tcp', target: 'x:1', intervalMs: 500, timeoutMs: 100, threshold: 2 } as const;
const readyWithHealth: Step[] = [...begun({ health }), [1000, { kind: 'tick' }]];
const probed = (why?: string): Event => ({ kind: 'probed', pid: RUN, why });

const ROWS: readonly {
  readonly name: string;
  readonly steps: readonly Step[];
  readonly after: Partial<Service>;
  readonly effects: readonly string[];
}[] = [
  {
    name: 'fghack: run that ends by itself is looked for',
    steps: [...begun({ fghack: true }), [10, died(RUN, EXITED)]],
    after: { phase: 'tracing' },
    effects: ['trace'],
  },
  {
    name: 'fghack: what is found is the service, not ours and not yet ready',
    steps: inBackground,
    after: { phase: 'up', pid: DAEMON, traced: true, adopted: true, ready: false, starts: 1 },
    effects: ['announce'],
  },
  {
    name: 'fghack: an intermediate process that ends before it is ready hands over once more',
    steps: [...inBackground, [20, died(DAEMON, EXITED)]],
    after: { phase: 'tracing' },
    effects: ['trace'],
  },
  {
    name: 'fghack: a ready daemon that fails is dead, and what it left is ended',
    steps: [...inBackground, [1010, { kind: 'tick' }], [2000, died(DAEMON, { ...EXITED, exitCode: 1 })]],
    after: { phase: 'clearing', pid: 0, traced: false },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'fghack: so is one of which the kernel does not tell how it ended',
    steps: [...inBackground, [1010, { kind: 'tick' }], [2000, died(DAEMON, { ...EXITED, exitCode: undefined })]],
    after: { phase: 'clearing', pid: 0, traced: false },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'fghack: one that exits 0 hands over: an intermediate process was slow, a daemon upgraded itself',
    steps: [...inBackground, [1010, { kind: 'tick' }], [2000, died(DAEMON, EXITED)]],
    after: { phase: 'tracing' },
    effects: ['trace'],
  },
  {
    name: 'fghack: and where nobody is left it is dead',
    steps: [...inBackground, [1010, { kind: 'tick' }], [2000, died(DAEMON, EXITED)], [2000, traced(0)]],
    after: { phase: 'clearing', pid: 0, want: 'up' },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'fghack: one that was told to end hands nothing over',
    steps: [...inBackground, [20, { kind: 'down' }], [30, died(DAEMON, EXITED)]],
    after: { phase: 'clearing', want: 'down' },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'fghack: one that was killed hands nothing over',
    steps: [...begun({ fghack: true }), [10, died(RUN, KILLED)]],
    after: { phase: 'clearing' },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'fghack: exited 0 and nobody found: not started again',
    steps: [...begun({ fghack: true }), [10, died(RUN, EXITED)], [10, traced(0)], [11, { kind: 'swept', left: false }]],
    after: { phase: 'down', want: 'down' },
    effects: ['announce'],
  },
  {
    name: 'fghack: failed and nobody found: started again as any service',
    steps: [
      ...begun({ fghack: true }),
      [10, died(RUN, { ...EXITED, exitCode: 3 })],
      [10, traced(0)],
      [11, { kind: 'swept', left: false }],
    ],
    after: { phase: 'waiting', want: 'up' },
    effects: ['announce'],
  },
  {
    name: 'health: asked one interval after readiness',
    steps: [...readyWithHealth, [1500, { kind: 'tick' }]],
    after: { ready: true },
    effects: ['probe'],
  },
  {
    name: 'health: one failure is counted',
    steps: [...readyWithHealth, [1500, probed('no')]],
    after: { failures: 1, ready: true },
    effects: [],
  },
  {
    name: 'health: an answer starts the count anew',
    steps: [...readyWithHealth, [1500, probed('no')], [2000, probed()], [2500, probed('no')]],
    after: { failures: 1, ready: true },
    effects: [],
  },
  {
    name: 'health: too many failures stop it, to be started again',
    steps: [...readyWithHealth, [1500, probed('no')], [2000, probed('no')]],
    after: { want: 'up', ready: false, gotTerm: true, trouble: 'health check failed 2 times: no' },
    effects: ['SIGTERM', 'SIGCONT', 'announce'],
  },
  {
    name: 'health: and kill it in the end, although timeout-kill does not say so',
    steps: [...readyWithHealth, [1500, probed('no')], [2000, probed('no')], [12_000, { kind: 'tick' }]],
    after: { phase: 'up' },
    effects: ['SIGKILL'],
  },
  {
    name: 'health: why it was ended is known of the run that ended, when the next one runs',
    steps: [
      ...readyWithHealth,
      [1500, probed('no')],
      [2000, probed('no')],
      [2010, died(RUN, KILLED)],
      [2020, { kind: 'swept', left: false }],
      [2030, { kind: 'started', pid: 43, settings: { ...DEFAULT_SETTINGS, health } }],
    ],
    after: { phase: 'up', trouble: undefined, lastDeath: { ...KILLED, why: 'health check failed 2 times: no' } },
    effects: ['announce'],
  },
  {
    name: 'health: why it was ended is kept by a supervisor that takes up the end of the run',
    steps: [
      [0, { kind: 'adopt', phase: 'up', settings: { ...DEFAULT_SETTINGS, health } }],
      [0, died(0, { ...KILLED, why: 'health check failed 2 times: no' })],
    ],
    after: { phase: 'clearing', lastDeath: { ...KILLED, why: 'health check failed 2 times: no' } },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'health: a death of its own has no such reason',
    steps: [...readyWithHealth, [1500, probed('no')], [2010, died(RUN, KILLED)]],
    after: { lastDeath: { ...KILLED, why: undefined } },
    effects: ['sweep SIGTERM'],
  },
  {
    name: 'health: the answer to a process that is gone means nothing',
    steps: [...readyWithHealth, [1500, { ...probed('no'), pid: 7 } as Event]],
    after: { failures: 0 },
    effects: [],
  },
  {
    name: 'reload: its signal and nothing else',
    steps: [...begun({ reloadSignal: 'SIGUSR1' }), [10, { kind: 'reload' }]],
    after: { phase: 'up', gotTerm: false },
    effects: ['SIGUSR1'],
  },
];

for (const { name, steps, after, effects } of ROWS) {
  test(name, () => {
    const played = play(newService('up', at(0)), steps);
    expect(played.after).toMatchObject(after);
    expect(played.effects).toEqual(effects);
  });
}

test('health: an adopted service that was ready is asked again', () => {
  const settings = { ...DEFAULT_SETTINGS, health };
  const { after } = play({ ...newService('up', at(0)), pid: RUN, ready: true }, [
    [100, { kind: 'adopt', phase: 'up', settings }],
  ]);
  expect(nextDeadlineMs(after)).toBe(600);
});

test('a record of a version without traced and edition is still one', () => {
  const service = { ...newService('up', at(0)), phase: 'up', pid: RUN, edition: 'e', traced: true } as const;
  const whole = encodeRecord(service, '7', 'boot');
  expect(decodeRecord(whole)?.kept).toMatchObject({ edition: 'e', traced: true });
  const older = whole.replace(',"traced":true', '').replace(',"edition":"e"', '');
  expect(decodeRecord(older)?.kept).toMatchObject({ pid: RUN });
});

test('an edition is another one for any change', () => {
  const one = editionOf(['run 1 2 3', 'env 4 5 6']);
  expect(one).toMatch(/^[0-9a-f]{16}$/);
  expect(editionOf(['run 1 2 3', 'env 4 5 6'])).toBe(one);
  for (const other of [['run 1 2 3'], ['run 1 2 4', 'env 4 5 6'], ['env 4 5 6', 'run 1 2 3']]) {
    expect(editionOf(other)).not.toBe(one);
  }
});

test('fghack and reload-signal as files', () => {
  const scripts = { hasFinish: false, hasCheck: false };
  expect(parseSettings({ fghack: '# yes\n', 'reload-signal': 'usr1' }, scripts)).toMatchObject({
    ok: true,
    settings: { fghack: true, reloadSignal: 'SIGUSR1' },
  });
  expect(parseSettings({ fghack: 'no\n' }, scripts)).toMatchObject({ ok: false });
});
