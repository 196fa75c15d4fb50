// The steps of a change as a table: what is known, what follows. Times are told, nothing is waited for.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Change, type ChangeFacts, renderSteps, stepChange } from '../../../netboot/fleet/change.ts';

const START: Change = {
  who: 'me',
  mode: 'kexec',
  profile: 'lb',
  fromBootId: 'old',
  toBootId: undefined,
  drainTimeoutS: 30,
  readyTimeoutS: 300,
  drainOrder: 1,
  goOrder: undefined,
  vips: [],
  steps: [{ name: 'drain', startedAtMs: 0, endedAtMs: undefined }],
  outcome: { kind: 'running' },
};
const DONE = { kind: 'done', atMs: 0, detail: '' } as const;
const FAILED = { kind: 'failed', atMs: 0, detail: 'no' } as const;
const OLD = { id: 'old', isReady: true, hasSpoken: true, insteadOf: undefined };
const NEW = { id: 'new', isReady: false, hasSpoken: false, insteadOf: undefined };
const facts = (over: Partial<ChangeFacts> = {}): ChangeFacts => ({
  nowMs: 1000,
  drain: { kind: 'waiting' },
  isOutOfService: false,
  go: undefined,
  boot: OLD,
  ...over,
});
const at = (name: Change['steps'][number]['name'], over: Partial<Change> = {}): Change => ({
  ...START,
  toBootId: 'new',
  goOrder: 2,
  steps: [{ name, startedAtMs: 0, endedAtMs: undefined }],
  ...over,
});
const cold = (name: Change['steps'][number]['name']): Change => at(name, { mode: 'cold', toBootId: undefined });

const ROWS: { what: string; change: Change; facts: ChangeFacts; want: string }[] = [
  { what: 'nothing known', change: START, facts: facts(), want: 'drain, nothing' },
  { what: 'drained, not out of service', change: START, facts: facts({ drain: DONE }), want: 'drain, nothing' },
  {
    what: 'out of service, not drained',
    change: START,
    facts: facts({ isOutOfService: true }),
    want: 'drain, nothing',
  },
  {
    what: 'both',
    change: START,
    facts: facts({ drain: DONE, isOutOfService: true }),
    want: 'fetch, switch',
  },
  {
    what: 'both, cold',
    change: { ...START, mode: 'cold' },
    facts: facts({ drain: DONE, isOutOfService: true }),
    want: 'reboot, reboot',
  },
  { what: 'the drain takes too long', change: START, facts: facts({ nowMs: 30_000 }), want: 'fetch, switch' },
  {
    what: 'the drain fails',
    change: START,
    facts: facts({ drain: FAILED }),
    want: 'failed: it could not drain: no, undrain',
  },
  { what: 'fetching', change: at('fetch'), facts: facts({ go: { kind: 'waiting' } }), want: 'fetch, nothing' },
  { what: 'fetched', change: at('fetch'), facts: facts({ go: DONE }), want: 'kexec, nothing' },
  {
    what: 'no memory',
    change: at('fetch'),
    facts: facts({ go: FAILED }),
    want: 'failed: it cannot switch: no, undrain',
  },
  {
    what: 'the acknowledgement was lost',
    change: at('fetch'),
    facts: facts({ go: { kind: 'waiting' }, boot: { ...NEW, hasSpoken: true } }),
    want: 'boot, nothing',
  },
  {
    what: 'never fetched',
    change: at('fetch'),
    facts: facts({ go: { kind: 'waiting' }, nowMs: 600_001 }),
    want: 'failed: it did not fetch its new system within 600 s, undrain',
  },
  { what: 'in the kexec', change: at('kexec'), facts: facts({ go: DONE, boot: NEW }), want: 'kexec, nothing' },
  {
    what: 'heard of',
    change: at('kexec'),
    facts: facts({ go: DONE, boot: { ...NEW, hasSpoken: true } }),
    want: 'boot, nothing',
  },
  {
    what: 'never heard of',
    change: at('kexec'),
    facts: facts({ go: DONE, boot: NEW, nowMs: 720_001 }),
    want: 'failed: nothing was heard of it after the kexec, nothing',
  },
  { what: 'still up', change: cold('reboot'), facts: facts({ go: DONE }), want: 'reboot, nothing' },
  {
    what: 'asked for its script',
    change: cold('reboot'),
    facts: facts({ go: DONE, boot: NEW }),
    want: 'boot, nothing',
  },
  { what: 'booting', change: at('boot'), facts: facts({ boot: { ...NEW, hasSpoken: true } }), want: 'boot, nothing' },
  { what: 'ready', change: at('boot'), facts: facts({ boot: { ...NEW, isReady: true } }), want: 'done, nothing' },
  {
    what: 'ready, but not as what was asked for',
    change: at('boot'),
    facts: facts({ boot: { ...NEW, isReady: true, insteadOf: 'lb was not ready' } }),
    want: 'failed: it went back: lb was not ready, nothing',
  },
  {
    what: 'going back, not ready yet',
    change: at('boot'),
    facts: facts({ boot: { id: 'third', isReady: false, hasSpoken: true, insteadOf: 'lb was not ready' } }),
    want: 'boot, nothing',
  },
  {
    what: 'back as what it was',
    change: at('boot'),
    facts: facts({ boot: { id: 'third', isReady: true, hasSpoken: true, insteadOf: 'lb was not ready' } }),
    want: 'failed: it went back: lb was not ready, nothing',
  },
];
for (const { what, change, facts: known, want } of ROWS) {
  test(`in ${change.steps.at(-1)?.name}: ${what}`, () => {
    const { change: next, effect } = stepChange(change, known);
    const { outcome } = next;
    const where =
      outcome.kind === 'failed' ? `failed: ${outcome.why}` : outcome.kind === 'done' ? 'done' : next.steps.at(-1)?.name;
    expect(`${where}, ${effect.kind}`).toBe(want);
  });
}

test('a change that is over stays over, and every change ends whatever is or is not heard', () => {
  const outcome = fc.constantFrom({ kind: 'waiting' } as const, DONE, FAILED);
  const known = fc.record({
    drain: outcome,
    isOutOfService: fc.boolean(),
    go: outcome,
    boot: fc.constantFrom(OLD, NEW, { ...NEW, hasSpoken: true }, { ...NEW, isReady: true }),
  });
  fc.assert(
    fc.property(fc.array(known, { minLength: 8, maxLength: 40 }), fc.constantFrom('kexec', 'cold'), (looks, mode) => {
      let change: Change = { ...START, mode };
      let nowMs = 0;
      for (const look of looks) {
        nowMs += 800_000;
        const { change: next, effect } = stepChange(change, { ...look, nowMs });
        if (change.outcome.kind !== 'running') expect([next, effect.kind]).toEqual([change, 'nothing']);
        change = effect.kind === 'switch' ? { ...next, toBootId: 'new', goOrder: 2 } : next;
      }
      expect(change.outcome.kind).not.toBe('running');
      expect(change.steps.every(({ endedAtMs }) => endedAtMs !== undefined)).toBe(true);
    }),
  );
});

test('the steps are told with their times', () => {
  const { change } = stepChange(START, facts({ nowMs: 400, drain: DONE, isOutOfService: true }));
  expect(renderSteps(change, 3500)).toBe('drain 0.4 s, fetch 3.1 s');
});
