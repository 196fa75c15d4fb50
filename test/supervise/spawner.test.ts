// The words between supervisor and spawner: what is said is what is understood, and foreign lines mean nothing.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeReport, encodeGate, encodeStart, encodeWatch } from '../../supervise/spawner.ts';

/** As the spawner's program takes an order apart. */
function wordsOf(order: Uint8Array): string[] {
  const bytes = new DataView(order.buffer).getUint32(0);
  expect(order.length).toBe(4 + bytes);
  return new TextDecoder().decode(order.subarray(4)).split('\0');
}

test('a start: every word by its name, whatever octets a value holds', () => {
  const order = encodeStart(7, {
    directory: '/proc/1/fd/9',
    argv: ['./finish', 'two\nlines', '=', ''],
    env: { COLOUR: 'dark=red\nblue', HOME: undefined },
    fds: [
      { kind: 'open', asFd: 0, path: '/dev/null', access: 'read' },
      { kind: 'open', asFd: 3, path: '/a b', access: 'both' },
      { kind: 'same', asFd: 1, fd: 2 },
    ],
    cgroup: '/sys/fs/cgroup/x',
  });
  expect(wordsOf(order)).toEqual([
    'start',
    '7',
    'directory=/proc/1/fd/9',
    'files=1024',
    'cgroup=/sys/fs/cgroup/x',
    'fd=0 0 /dev/null',
    'fd=3 2 /a b',
    'fd=1 same 2',
    'set=COLOUR=dark=red\nblue',
    'unset=HOME',
    'arg=./finish',
    'arg=two\nlines',
    'arg==',
    'arg=',
  ]);
  expect(wordsOf(encodeWatch(8, 33, '1234'))).toEqual(['watch', '8', '33', '1234']);
  expect(wordsOf(encodeGate(9, 'go'))).toEqual(['go', '9']);
});

test.each([
  ['ready', { kind: 'ready' }],
  ['started 3 41 99', { kind: 'started', number: 3, pid: 41, startTime: '99' }],
  ['failed 3 fork: no memory', { kind: 'failed', number: 3, why: 'fork: no memory' }],
  ['died 3 9', { kind: 'died', number: 3, waitStatus: 9 }],
  ['died 3 ', { kind: 'died', number: 3, waitStatus: undefined }],
  ['died 3', { kind: 'died', number: 3, waitStatus: undefined }],
  ['started 3 41', undefined],
  ['died x 9', undefined],
  ['', undefined],
  ['hello 3', undefined],
])('report %j', (line, report) => {
  expect(decodeReport(line)).toEqual(report);
});

test('no line makes it throw', () => {
  fc.assert(fc.property(fc.string(), (line) => void decodeReport(line)));
});
