// What the next boot is given, as a table of what happened before it.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  began,
  choosePlan,
  closed,
  forgiven,
  freshState,
  hasBegun,
  loaded,
  type NodeState,
  planKey,
  ready,
} from '../../../netboot/fleet/nodestate.ts';
import { boot, plan } from './fleet-site.ts';

const RULES = { rollback: true, hasMaintenance: true };
let next = 0;

/** Each word is what one boot came to: "2ready", "2failed" (loaded, never ready), "2asked" (its script only). */
function after(words: string): NodeState {
  let state = freshState('web1');
  for (const word of words.split(' ').filter(Boolean)) {
    next += 1;
    const id = `boot-${next}`;
    const generation = Number(word[0]);
    state = began(state, boot('web1', 'web', { id, generation, isLoaded: false, isReady: false }));
    if (word.endsWith('ready')) state = ready(state, id);
    if (word.endsWith('failed')) state = loaded(state, id);
  }
  return closed(state);
}

const ROWS: [before: string, wanted: number, want: string][] = [
  ['', 1, 'wanted'],
  ['1ready', 2, 'wanted'],
  ['1ready 2failed', 2, 'last-good 1'],
  ['1ready 2failed', 3, 'wanted'],
  // Ready once more, the plan that failed is still not tried by itself.
  ['1ready 2failed 1ready', 2, 'last-good 1'],
  ['1ready 2asked 2asked 2asked 2asked', 2, 'wanted'],
  ['2failed', 2, 'wanted'],
  ['2failed 2failed', 2, 'wanted'],
  ['2failed 2failed 2failed', 2, 'maintenance'],
  ['1ready 2failed 1failed', 2, 'last-good 1'],
  ['1ready 2failed 1failed 1failed', 2, 'maintenance'],
  // A good plan that fails is tried again: the machine failed it.
  ['1ready 1failed', 1, 'wanted'],
  ['1ready 1failed 1failed 1failed', 1, 'maintenance'],
  ['2failed 2failed 2ready', 2, 'wanted'],
];
for (const [before, wanted, want] of ROWS) {
  test(`after '${before}', wanting ${wanted}: ${want}`, () => {
    const choice = choosePlan(after(before), plan('web1', 'web', wanted), RULES);
    const { good } = { good: undefined, ...choice };
    const generation = good?.plan.target.kind === 'linux' ? ` ${good.plan.target.generation}` : '';
    expect(`${choice.kind}${generation}`).toBe(want);
  });
}

test('rollback: false goes on trying, to maintenance; without such a profile for ever', () => {
  const wanted = plan('web1', 'web', 2);
  expect(choosePlan(after('1ready 2failed'), wanted, { ...RULES, rollback: false })).toEqual({ kind: 'wanted' });
  const vain = after('2failed 2failed 2failed');
  expect(choosePlan(vain, wanted, { ...RULES, hasMaintenance: false })).toEqual({ kind: 'wanted' });
  expect(choosePlan(vain, plan('web1', 'maintenance'), RULES)).toEqual({ kind: 'wanted' });
});

test('maintenance that is ready is nobody’s last good plan, and the next boot tries again', () => {
  const vain = after('1ready 2failed 2failed 2failed');
  const rescued = ready(began(vain, boot('web1', 'maintenance', { id: 'm', isReady: false })), 'm');
  expect(rescued.lastGood?.plan.profile.name).toBe('web');
  expect(rescued.inVain).toBe(0);
});

const booted = (state: NodeState, id: string, profile: string): NodeState =>
  began(state, boot('web1', profile, { id, isLoaded: false, isReady: false }));

test('a profile for one boot is used up by being ready, not by being asked for', () => {
  const asked = booted(booted({ ...after('1ready'), once: 'rescue' }, 'a', 'rescue'), 'b', 'rescue');
  expect(asked.once).toBe('rescue');
  const done = ready(loaded(asked, 'b'), 'b');
  expect(done.once).toBeUndefined();
  // And it is nothing to go back to.
  expect(done.lastGood?.plan.profile.name).toBe('web');
});

test('a profile for one boot that was tried in vain is not tried for ever', () => {
  const failed = closed(loaded(booted({ ...after('1ready'), once: 'rescue' }, 'a', 'rescue'), 'a'));
  expect(failed.once).toBeUndefined();
  expect(choosePlan(failed, plan('web1', 'web', 1), RULES)).toEqual({ kind: 'wanted' });
});

test('what a node boots meanwhile leaves a profile for one boot waiting', () => {
  const state = ready(loaded(booted({ ...after(''), once: 'rescue' }, 'a', 'web'), 'a'), 'a');
  expect(state.once).toBe('rescue');
});

test('an operator who asks gives a failed plan another chance', () => {
  expect(choosePlan(forgiven(after('1ready 2failed')), plan('web1', 'web', 2), RULES)).toEqual({ kind: 'wanted' });
});

test('a new boot ends the draining of a change, not that of an operator', () => {
  const drained = (draining: NodeState['draining']) =>
    began({ ...after('1ready'), draining }, boot('web1', 'web', { id: 'n' })).draining;
  expect([drained('change'), drained('operator')]).toEqual(['no', 'operator']);
});

test('never more than three boots in a row in vain before maintenance, whatever happens', () => {
  const word = fc.constantFrom('1failed', '2failed', '3failed', '1ready', '2ready', '2asked');
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), fc.constantFrom(1, 2, 3), (words, wanted) => {
      const tail = words.filter((one) => !one.endsWith('asked')).slice(-3);
      const isVain = tail.length === 3 && tail.every((one) => one.endsWith('failed'));
      const choice = choosePlan(after(words.join(' ')), plan('web1', 'web', wanted), RULES);
      expect(choice.kind === 'maintenance').toBe(isVain);
      if (choice.kind === 'last-good') expect(planKey(choice.good.plan)).not.toBe(planKey(plan('web1', 'web', wanted)));
    }),
  );
});

test('a boot that speaks is what the node is: the newer one, or the old one where nothing was loaded since', () => {
  const is = (isLoaded: boolean, id: string, startedAtMs: number) => {
    const known = boot('n', 'web', { id: 'known', startedAtMs: 5, isLoaded });
    return hasBegun({ ...freshState('n'), boot: known }, { id, startedAtMs });
  };
  expect(hasBegun(freshState('n'), { id: 'first', startedAtMs: 1 })).toBe(true);
  expect([is(true, 'known', 5), is(false, 'known', 5)]).toEqual([false, false]);
  expect([is(true, 'newer', 6), is(true, 'older', 4), is(false, 'older', 4)]).toEqual([true, false, true]);
});
