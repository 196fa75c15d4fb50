// The spawner's life as a table: what each event makes of it, when it is given up, and who starts processes meanwhile.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isByNode, isLate, newLife, rowOf, TABLE, transition, TRIES_MAX } from '../../supervise/spawnerlife.ts';
import type { Event, Life, Phase } from '../../supervise/spawnerlife.ts';

const at = (monotonicMs: number) => ({ monotonicMs, unixMs: 1_000_000 + monotonicMs });
const NEEDED: Event = { kind: 'needed' };
const READY: Event = { kind: 'ready' };
const ASK: Event = { kind: 'ask', pid: 7 };
const GONE: Event = { kind: 'gone', how: 'killed by SIGKILL' };
const REFUSED: Event = { kind: 'refused', why: 'spawn perl EAGAIN' };
const RETRY: Event = { kind: 'retry' };
const ALL: readonly Event[] = [NEEDED, READY, { kind: 'said' }, ASK, GONE, { kind: 'missing' }, REFUSED, RETRY];

/** What has become of a new one after these events, 10 s between them, and what the last of them asks for. */
function after(...events: readonly Event[]): { life: Life; done: string[]; told: string[] } {
  let [life, effects] = transition(newLife(true), NEEDED, at(0));
  for (const [index, event] of events.entries()) [life, effects] = transition(life, event, at(10_000 * (index + 1)));
  return {
    life,
    done: effects.map((effect) => (effect.kind === 'pause' ? `pause ${effect.forMs}` : effect.kind)),
    told: effects.flatMap((effect) => (effect.kind === 'tell' ? [effect.line] : [])),
  };
}
const times = (count: number, ...events: readonly Event[]): Event[] =>
  Array.from({ length: count }, () => events).flat();

const ROWS: readonly [
  what: string,
  events: readonly Event[],
  phase: Phase,
  byNode: boolean,
  done: readonly string[],
][] = [
  ['needed', [], 'beginning', false, ['run']],
  ['ready', [READY], 'ready', false, ['lookNoMore']],
  ['asked', [READY, ASK], 'ready', false, ['ping']],
  ['silent', [READY, ASK, ASK, ASK], 'beginning', false, ['tell', 'kill', 'letGo', 'tell', 'run']],
  ['it said something in between', [READY, ASK, ASK, { kind: 'said' }, ASK], 'ready', false, ['ping']],
  ['slow to begin', times(12, ASK), 'beginning', false, ['ping']],
  [
    'silent from the beginning',
    times(13, ASK),
    'pausing',
    true,
    ['tell', 'kill', 'letGo', 'tell', 'look', 'pause 1000'],
  ],
  ['gone after it was ready', [READY, GONE], 'beginning', false, ['letGo', 'tell', 'run']],
  ['gone before', [GONE], 'pausing', true, ['letGo', 'tell', 'look', 'pause 1000']],
  ['tried again: nothing waits for it', [GONE, RETRY], 'beginning', true, ['run']],
  [
    'gone before for the third time',
    times(3, GONE, RETRY).slice(0, -1),
    'pausing',
    true,
    ['letGo', 'tell', 'look', 'pause 4000'],
  ],
  ['the longest pause', times(9, GONE, RETRY).slice(0, -1), 'pausing', true, ['letGo', 'tell', 'look', 'pause 60000']],
  ['the last try', times(9, GONE, RETRY), 'beginning', true, ['run']],
  ['once too often', times(10, GONE, RETRY).slice(0, -1), 'givenUp', true, ['letGo', 'tell', 'look']],
  [
    'late, but ready: the tries count anew',
    [...times(9, GONE, RETRY), READY, GONE, GONE],
    'pausing',
    true,
    ['letGo', 'tell', 'look', 'pause 1000'],
  ],
  ['no perl', [{ kind: 'missing' }], 'givenUp', true, ['letGo', 'tell', 'look']],
  ['no process to be had does not count', times(30, REFUSED, RETRY), 'beginning', false, ['run']],
];

test.each(ROWS)('%s', (_what, events, phase, byNode, done) => {
  const { life, done: asked } = after(...events);
  expect(life.phase).toBe(phase);
  expect(isByNode(life)).toBe(byNode);
  expect(asked).toEqual(done);
});

test('one that was ready and died young is replaced after a second, not at once', () => {
  let [life] = transition(newLife(true), NEEDED, at(0));
  [life] = transition(life, READY, at(100));
  const [paused, effects] = transition(life, GONE, at(200));
  expect(paused).toMatchObject({ phase: 'pausing', failures: 0 });
  expect(effects).toContainEqual({ kind: 'pause', forMs: 1000 });
});

test('whatever happens: Node starts unless one is there or comes for the first time, and given up is for good', () => {
  const events = fc.array(fc.tuple(fc.constantFrom(...ALL), fc.integer({ min: 0, max: 5000 })), { maxLength: 80 });
  fc.assert(
    fc.property(events, (given) => {
      let life = newLife(true);
      let nowMs = 0;
      let running = 0;
      let pauses = 0;
      for (const [event, laterMs] of given) {
        // Those come from a process, or from a timer: without one the shell says no such thing.
        if (event.kind === 'retry' ? pauses === 0 : event.kind !== 'needed' && running === 0) continue;
        if (event.kind === 'retry') pauses = 0;
        const before = life;
        const [next, effects] = transition(life, event, at((nowMs += laterMs)));
        life = next;
        for (const { kind } of effects) {
          if (kind === 'letGo') running = 0;
          if (kind === 'run') running += 1;
          if (kind === 'pause') pauses += 1;
        }
        expect(running).toBe(life.phase === 'beginning' || life.phase === 'ready' ? 1 : 0);
        expect(pauses).toBe(life.phase === 'pausing' ? 1 : 0);
        if (before.phase === 'givenUp') expect(life).toBe(before);
        if (running === 0 && life.phase !== 'none') expect(isByNode(life)).toBe(true);
      }
    }),
  );
});

test('a machine that it does not run on has none, ever', () => {
  for (const event of ALL) expect(transition(newLife(false), event, at(0))).toEqual([newLife(false), []]);
  expect(Object.keys(TABLE.givenUp).sort()).toEqual(ALL.map(({ kind }) => kind).sort());
});

test('a start is late by the time that the spawner had for it', () => {
  const slow = after(READY).life;
  expect(isLate(slow, 0, 30_000)).toBe(false);
  expect(isLate(slow, 0, 30_001)).toBe(true);
  expect(isLate(slow, 15_000, 30_001)).toBe(false);
  expect(isLate(after().life, 0, 1_000_000)).toBe(false);
});

test('the listing tells of a spawner that is not to be had, and why; not of a machine without perl', () => {
  expect(rowOf(after(READY).life)).toBeUndefined();
  expect(rowOf(after({ kind: 'missing' }).life)).toBeUndefined();
  expect(rowOf(after(READY, ASK, ASK, ASK, { kind: 'missing' }).life)).toBeUndefined();
  expect(rowOf(after(GONE).life)).toMatchObject({
    phase: 'waiting',
    ready: false,
    why: expect.stringContaining('perl ended before it was ready (killed by SIGKILL); starts take longer'),
  });
  expect(rowOf(after(READY, ASK, ASK, ASK).life)).toEqual({
    phase: 'up',
    ready: false,
    starts: 2,
    why: 'the one before did not answer and was killed',
    changedAtMs: 1_040_000,
  });
  const { life, told } = after(...times(TRIES_MAX, GONE, RETRY).slice(0, -1));
  expect(rowOf(life)).toMatchObject({
    phase: 'blocked',
    starts: TRIES_MAX,
    why: expect.stringContaining('given up after 10 tries: perl ended before it was ready (killed by SIGKILL)'),
  });
  expect(told[0]).toContain('restart the supervisor');
});
