// The words between supervisor and spawner: what is said is what is understood, and foreign lines mean nothing.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeReport,
  encodeGate,
  encodeStart,
  encodeWatch,
  programWords,
  readWaitStatus,
} from '../../supervise/spawner.ts';

const PROGRAM_PATH = fileURLToPath(new URL('../../supervise/spawner.pl', import.meta.url));
const PROGRAM = readFileSync(PROGRAM_PATH, 'utf8');

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
  ['pong', { kind: 'pong' }],
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

test.each([
  ['exit 0', 0, [0, undefined]],
  ['exit 111', 111 << 8, [111, undefined]],
  ['exit 255', 255 << 8, [255, undefined]],
  ['SIGTERM', 15, [undefined, 'SIGTERM']],
  ['SIGSEGV with a core', 11 | 0x80, [undefined, 'SIGSEGV']],
  ['a signal without a name', 34, [undefined, 'signal 34']],
])('wait status of %s', (_, status, want) => {
  expect(readWaitStatus(status, { SIGTERM: 15, SIGSEGV: 11 })).toEqual(want);
});

test('the program is given a number for every call that it makes, and last the form of struct epoll_event', () => {
  const made = [...PROGRAM.matchAll(/\$call\{(\w+)\}/g)].map(([, name]) => name).filter((name) => name !== 'quiet');
  for (const machine of ['x64', 'arm64']) {
    const words = programWords(machine, true) ?? [];
    expect(words[0]).toBe('quiet=1');
    expect(words.at(-1)).toMatch(/^L( x4)? L L$/);
    const calls = words.slice(1, -1);
    expect(calls.filter((word) => !/^\w+=[1-9]\d*$/.test(word))).toEqual([]);
    expect(new Set(calls.map((word) => word.split('=')[0]))).toEqual(new Set(made));
  }
  expect(programWords('x64', false)?.[0]).toBe('pidfd_open=434');
  expect([programWords('mips', false), programWords('constructor', false)]).toEqual([undefined, undefined]);
});

test('perl understands the program, and finds nothing in it to warn of', () => {
  // As it is run: with every name declared.
  expect(execFileSync('perl', ['-wc', '-Mstrict', PROGRAM_PATH], { stdio: 'pipe', encoding: 'utf8' })).toBe('');
});
