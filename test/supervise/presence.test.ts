// What a supervisor does whose own files are removed: every combination.

import { expect, test } from 'vitest';
import { presence } from '../../supervise/presence.ts';

test.each([
  // lock, socket, folder of services
  ['ours', 'ours', 'ours', 'fine'],
  ['ours', 'ours', 'gone', 'fine'],
  ['ours', 'ours', 'another', 'fine'],
  ['ours', 'gone', 'ours', 'return'],
  ['ours', 'another', 'gone', 'return'],
  ['gone', 'gone', 'ours', 'return'],
  ['another', 'another', 'ours', 'return'],
  ['gone', 'gone', 'gone', 'end'],
  ['gone', 'gone', 'another', 'end'],
  ['another', 'another', 'gone', 'end'],
  ['another', 'another', 'another', 'end'],
] as const)('lock %s, socket %s, folder %s: %s', (lock, socket, folder, kind) => {
  expect(presence(lock, socket, folder).kind).toBe(kind);
});
