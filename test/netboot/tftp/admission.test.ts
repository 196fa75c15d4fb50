// Which transfers run and which wait: what has begun finishes first, and nobody is refused.

import { expect, test } from 'vitest';
import {
  Admission,
  MOST_PER_CLIENT,
  MOST_TRANSFERS,
  MOST_UNPROVEN,
  MOST_UNPROVEN_STRANGERS,
  UNPROVEN_MS,
} from '../../../netboot/tftp/admission.ts';

const filled = (): Admission<string> => {
  const admission = new Admission<string>();
  for (let index = 0; index < MOST_TRANSFERS; index += 1) {
    expect(admission.ask(`client${index}`, `client${index}`, `job${index}`, 0)).toBe('begin');
    expect(admission.prove(`client${index}`, 0)).toEqual([]);
  }
  return admission;
};

test('the one too many waits, and begins when one ends', () => {
  const admission = filled();
  expect(admission.ask('late', 'late', 'late job', 0)).toBe('wait');
  expect(admission.ask('later', 'later', 'later job', 1)).toBe('wait');
  expect(admission.end('client3', 10)).toEqual(['late job']);
  expect([admission.running, admission.waiting]).toEqual([MOST_TRANSFERS, 1]);
});

test('a repeated request keeps its place and its freshness; a request given up is forgotten', () => {
  const admission = filled();
  admission.ask('first', 'first', 'first job', 0);
  admission.ask('gone', 'gone', 'gone job', 1);
  admission.ask('second', 'second', 'second job', 2);
  expect(admission.ask('first', 'first', 'first job', 11_000)).toBe('wait');
  expect(admission.ask('second', 'second', 'second job', 11_001)).toBe('wait');
  expect(admission.end('client1', 12_000)).toEqual(['first job']);
  expect(admission.end('client2', 12_000)).toEqual(['second job']);
  expect(admission.waiting).toBe(0);
});

test('a request repeated while it runs does not run twice', () => {
  const admission = new Admission<string>();
  expect([admission.ask('a', 'a', 'x', 0), admission.ask('a', 'a', 'x', 1)]).toEqual(['begin', 'running']);
});

test('one client cannot take all places', () => {
  const admission = new Admission<string>();
  const asked = Array.from({ length: MOST_PER_CLIENT + 1 }, (_, port) =>
    admission.ask(`a:${port}`, 'a', `job${port}`, 0),
  );
  expect(asked.filter((one) => one === 'begin').length).toBe(MOST_PER_CLIENT);
  expect(admission.ask('b:1', 'b', 'other', 0)).toBe('begin');
  expect(admission.end('a:0', 1)).toEqual([`job${MOST_PER_CLIENT}`]);
});

test('the queue is bounded', () => {
  const admission = filled();
  for (let index = 0; index < 5000; index += 1) admission.ask(`flood${index}`, `flood${index}`, 'x', 0);
  expect(admission.waiting).toBe(2000);
});

test('transfers that nobody acknowledges do not take the places of those that somebody does', () => {
  const admission = new Admission<string>();
  for (let index = 0; index < MOST_UNPROVEN; index += 1) admission.ask(`a${index}`, `a${index}`, 'x', 0);
  expect(admission.ask('late', 'late', 'late job', 10)).toBe('wait');
  // One proves to be there: its place of the first kind is free again.
  expect(admission.prove('a7', 20)).toEqual(['late job']);
  expect(admission.prove('a7', 21)).toEqual([]);
});

test('while others wait, who does not answer is stopped, the oldest first; without anybody waiting nobody is', () => {
  const admission = new Admission<string>();
  for (let index = 0; index < MOST_UNPROVEN; index += 1) admission.ask(`a${index}`, `a${index}`, 'x', index);
  admission.prove('a0', 100);
  admission.ask('b', 'b', 'x', 100);
  expect(admission.overdue(UNPROVEN_MS * 9)).toEqual([]);
  admission.ask('late', 'late', 'late job', 200);
  expect(admission.overdue(UNPROVEN_MS - 1)).toEqual([]);
  expect(admission.overdue(UNPROVEN_MS + 5)).toEqual(['a1']);
  expect(admission.end('a1', UNPROVEN_MS + 5)).toEqual(['late job']);
});

test('machines without a lease have some of the places, and wait behind those with one', () => {
  const admission = new Admission<string>();
  const places = Array.from({ length: MOST_UNPROVEN_STRANGERS + 1 }, (_, index) =>
    admission.ask(`s${index}`, `s${index}`, `stranger ${index}`, 0, false),
  );
  expect(places.at(-1)).toBe('wait');
  for (let index = MOST_UNPROVEN_STRANGERS; index < MOST_UNPROVEN; index += 1) {
    expect(admission.ask(`k${index}`, `k${index}`, 'known', 0)).toBe('begin');
  }
  expect(admission.ask('known', 'known', 'the known one', 1)).toBe('wait');
  expect(admission.end('s0', 2)).toEqual(['the known one']);
  expect(admission.end('s1', 3)).toEqual([`stranger ${MOST_UNPROVEN_STRANGERS}`]);
});

test('a full queue is told once, and a known machine gets into it in the place of a stranger', () => {
  const admission = filled();
  const places = Array.from({ length: 2002 }, (_, index) => admission.ask(`f${index}`, `f${index}`, 'x', 0, false));
  expect(places.slice(-3)).toEqual(['wait', 'full-first', 'full']);
  expect(admission.ask('known', 'known', 'the known one', 1)).toBe('wait');
  expect(admission.waiting).toBe(2000);
  expect(admission.end('client0', 2)).toEqual(['the known one']);
});
