// The small pure rules around the machine: status bytes, control letters, settings, scan, record, order, routes.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { route } from '../../supervise/api.ts';
import { eventsOfControl, orderOfSignal, ORDERS } from '../../supervise/control.ts';
import { decodeEntries, encodeEntry, entryOf, renderEntry } from '../../supervise/history.ts';
import { accountOf, envValue, isInherited, runCommand } from '../../supervise/launch.ts';
import { newService, transition } from '../../supervise/machine.ts';
import { decodeRecord, encodeRecord, isOurGroup, recover } from '../../supervise/record.ts';
import type { Finding } from '../../supervise/record.ts';
import { scan } from '../../supervise/scan.ts';
import type { Entry, FoundLog, LogKind, Slot } from '../../supervise/scan.ts';
import { DEFAULT_SETTINGS } from '../../supervise/service.ts';
import type { Event, Moment, Service } from '../../supervise/service.ts';
import { parseSettings, refusalOf } from '../../supervise/servicedir.ts';
import { cycleOf, missingOf, stopSteps } from '../../supervise/shutdown.ts';
import { packStatus, unpackStatus } from '../../supervise/status.ts';
import { renderAge, renderTable, viewOf } from '../../supervise/view.ts';

const moment: Moment = { monotonicMs: 5000, wall: { unixS: 1_700_000_000, nanoseconds: 7 }, random: 0 };

test('status: the bytes that svstat and sv read', () => {
  const octets = packStatus({
    changedAt: { unixS: 1_700_000_000, nanoseconds: 123_456_500 },
    pid: 0x0102,
    paused: true,
    want: 'down',
    gotTerm: true,
    activity: 'run',
  });
  // 2^62 + 10 + 1700000000, nanoseconds, pid little-endian, paused, 'd', got TERM, run.
  expect(Buffer.from(octets).toString('hex')).toBe('400000006553f10a075bcbf40201000001640101');
});

test('status: what is packed is unpacked; foreign bytes never throw', () => {
  const status = fc.record({
    changedAt: fc.record({ unixS: fc.nat(), nanoseconds: fc.nat(999_999_999) }),
    pid: fc.nat({ max: 0xffffffff }).filter((pid) => pid > 0),
    paused: fc.boolean(),
    want: fc.constantFrom('up' as const, 'down' as const, 'once' as const),
    gotTerm: fc.boolean(),
    activity: fc.constantFrom('run' as const, 'finish' as const),
  });
  fc.assert(
    fc.property(status, (value) => {
      expect(unpackStatus(packStatus(value))).toEqual(value);
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => void unpackStatus(octets)));
  expect(unpackStatus(new Uint8Array(19))).toBeUndefined();
});

test('status: without a process nothing is paused, signalled or running', () => {
  const octets = packStatus({
    changedAt: moment.wall,
    pid: 0,
    paused: true,
    want: 'once',
    gotTerm: true,
    activity: 'run',
  });
  expect([...octets.slice(12)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
});

test('control: every letter of daemontools and runit, in order; other bytes are skipped', () => {
  const kinds = eventsOfControl(Buffer.from('ud?\n\u00ffoxtk')).map((event) =>
    event.kind === 'signal' ? event.signal : event.kind,
  );
  expect(kinds).toEqual(['up', 'down', 'once', 'exit', 'SIGTERM', 'SIGKILL']);
  const letters = Object.values(ORDERS).flatMap(({ letter }) => letter ?? []);
  expect(letters.toSorted().join('')).toBe('12acdhikopqtuwx');
});

test('control: what comes at once counts once for each letter, and ends as all of it would', () => {
  const kinds = (letters: string): string[] => eventsOfControl(Buffer.from(letters)).map(({ kind }) => kind);
  expect(kinds('ududu')).toEqual(['down', 'up']);
  expect(kinds('pcp')).toEqual(['continue', 'pause']);
  expect(eventsOfControl(new Uint8Array(1_000_000).fill(0x68))).toEqual([{ kind: 'signal', signal: 'SIGHUP' }]);
  const letters = fc
    .array(fc.constantFrom('u', 'd', 'o', 'p', 'c', 't', 'x'), { maxLength: 30 })
    .map((each) => each.join(''));
  const asUp: Service = { ...newService('up', moment), phase: 'up', pid: 77, groupId: 77 };
  const after = (events: readonly Event[]) => {
    const { want, exiting, paused, gotTerm } = events.reduce(
      (service, event) => transition(service, event, moment)[0],
      asUp,
    );
    return { want, exiting, gotTerm, paused };
  };
  fc.assert(
    fc.property(letters, (text) => {
      const each = text.split('').flatMap((letter) => eventsOfControl(Buffer.from(letter)));
      expect(after(eventsOfControl(Buffer.from(text)))).toEqual(after(each));
    }),
  );
});

test('signal names: with and without SIG, in either case', () => {
  expect(['HUP', 'sighup', 'stop', 'CONT', 'USR1'].map(orderOfSignal)).toEqual(['hup', 'hup', 'pause', 'cont', 'usr1']);
  expect(orderOfSignal('UP')).toBeUndefined();
});

const scripts = { hasFinish: false, hasCheck: false };

test('settings: s6 names in ms, words with values, comments', () => {
  const result = parseSettings(
    {
      'notification-fd': '3\n',
      'timeout-kill': '5000\n',
      'down-signal': 'hup\n',
      backoff: '# slow\ninitialMs 500\ncapMs 8000 # eight seconds\njitter 0.5\n',
      depends: 'db\n\n# not this\ncache\n',
      user: 'www-data\n',
      limits: 'o 64 # descriptors\na 1000000\n',
    },
    scripts,
  );
  expect(result).toEqual({
    ok: true,
    settings: {
      ...DEFAULT_SETTINGS,
      notificationFd: 3,
      timeoutKillMs: 5000,
      downSignal: 'SIGHUP',
      backoff: { initialMs: 500, capMs: 8000, jitter: 0.5, resetMs: 60_000 },
      depends: ['db', 'cache'],
      user: 'www-data',
      limits: [
        { letter: 'o', value: 64 },
        { letter: 'a', value: 1_000_000 },
      ],
    },
  });
});

for (const [file, text, why] of [
  ['notification-fd', '2', 'file notification-fd: expected a whole number from 3 to 20, got "2"'],
  ['timeout-kill', '5s', 'file timeout-kill: expected a whole number from 0 to 86400000, got "5s"'],
  ['user', 'a b', 'file user: expected one name of an account, got "a b"'],
  ['limits', 'x 5', 'file limits: unknown word "x", expected one of softlimit\'s a c d f l o p r s t'],
  ['limits', 'o many', 'file limits: o expected a whole number, got "many"'],
  ['backoff', 'initial 5', 'file backoff: unknown word "initial", expected initialMs, capMs, jitter, resetMs'],
  ['backoff', 'jitter 2', 'file backoff: jitter expected a number from 0 to 1, got "2"'],
  ['backoff', 'capMs 1 2', 'file backoff: capMs expected a number from 1 to 86400000, got "1 2"'],
] as const) {
  test(`settings: ${file} ${JSON.stringify(text)} is refused`, () => {
    expect(parseSettings({ [file]: text }, scripts)).toEqual({ ok: false, problems: [why] });
  });
}

test('settings: any text is understood or refused, never thrown at', () => {
  const files = fc.record({
    backoff: fc.string(),
    depends: fc.string(),
    'down-signal': fc.string(),
    'timeout-kill': fc.string(),
  });
  fc.assert(fc.property(files, (texts) => typeof parseSettings(texts, scripts).ok === 'boolean'));
});

test('run: each thing that can stand in its place, said', () => {
  const file = { kind: 'file', isExecutable: true, head: '#!/bin/sh\n', interpreterExists: true } as const;
  expect(refusalOf('run', file)).toBeUndefined();
  expect(refusalOf('run', { ...file, isExecutable: false })).toBe('run is not executable; chmod +x it');
  expect(refusalOf('run', { ...file, head: '#! /no/such -e\n', interpreterExists: false })).toBe(
    'run names /no/such in its first line, which does not exist',
  );
  expect(refusalOf('run', { ...file, head: 'echo', interpreterExists: undefined })).toBeUndefined();
  expect(refusalOf('run', { kind: 'dangling' })).toBe('run is a link to nothing');
});

test('what stands in front of run: limits, then the account', () => {
  const limits = [{ letter: 'o', value: 64 }] as const;
  expect(runCommand({ user: 'www-data', limits }, { uid: 33, gid: 33 })).toEqual(
    '/usr/bin/prlimit --nofile=64: -- /usr/bin/setpriv --reuid=33 --regid=33 --init-groups -- ./run'.split(' '),
  );
  expect(runCommand({ user: undefined, limits: [] })).toEqual(['./run']);
  expect(accountOf('root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:\n', 'www')).toEqual({ uid: 33, gid: 34 });
  expect(accountOf('www:x:zero:0::/:\n', 'www')).toBeUndefined();
});

test('inherited descriptors are told from our own, and from a file that a thread of ours is reading', () => {
  const info = (flags: string): string => `pos:\t0\nflags:\t${flags}\nmnt_id:\t9\nino:\t1\n`;
  expect(isInherited('pipe:[1]', info('00'))).toBe(true);
  expect(isInherited('socket:[1]', info('02'))).toBe(true);
  expect(isInherited('/var/log/x', info('02001'))).toBe(true);
  expect(isInherited('pipe:[1]', info('02000000'))).toBe(false);
  expect(isInherited('anon_inode:[eventpoll]', info('02000002'))).toBe(false);
  expect(isInherited('/etc/ssl/certs/ca-certificates.crt', info('0100000'))).toBe(false);
  expect(isInherited('pipe:[1]', 'no flags')).toBe(false);
});

test("env files: envdir's rules", () => {
  expect(['a b \t\nsecond', 'x\0y', '', '\n', 'no end'].map(envValue)).toEqual([
    'a b',
    'x\ny',
    undefined,
    '',
    'no end',
  ]);
});

const directory = (name: string, id: string, log: FoundLog['log'] = 'none', logId = '1:9'): Entry => ({
  kind: 'directory',
  name,
  id,
  log,
  logId: log === 'none' ? '' : logId,
});
const slot = (name: string, id: string, more: Partial<Slot> = {}): Slot => ({
  id,
  name,
  log: 'none',
  logId: more.log === undefined || more.log === 'none' ? '' : '1:9',
  isLogGone: false,
  isLogFed: false,
  isPresent: true,
  isDeleted: false,
  closed: [],
  ...more,
});

test('scan: new directories are added and opened, dot names and files are not', () => {
  const entries = [
    directory('web', '1:2', 'program'),
    directory('.git', '1:3'),
    { kind: 'other', name: 'README' } as const,
  ];
  expect(scan([], entries).actions).toEqual([
    { kind: 'add', id: '1:2', name: 'web', log: 'program', logId: '1:9' },
    { kind: 'open', id: '1:2', part: 'main' },
    { kind: 'open', id: '1:2', part: 'log' },
  ]);
});

test('scan: a log of the log writer is no part of its own', () => {
  expect(scan([], [directory('web', '1:2', 'writer')]).actions).toEqual([
    { kind: 'add', id: '1:2', name: 'web', log: 'writer', logId: '1:9' },
    { kind: 'open', id: '1:2', part: 'main' },
  ]);
  const closed = slot('web', '1:2', { log: 'writer', isPresent: false, closed: ['main'] });
  expect(scan([closed], []).actions).toEqual([{ kind: 'drop', id: '1:2' }]);
});

test('scan: a rename keeps the service, a second name for it is not a second service', () => {
  expect(scan([slot('web', '1:2')], [directory('www', '1:2')]).actions).toEqual([
    { kind: 'rename', id: '1:2', name: 'www' },
  ]);
  expect(scan([slot('web', '1:2')], [directory('alias', '1:2'), directory('web', '1:2')]).actions).toEqual([]);
});

test('scan: a removed name stops nothing; the slot goes when both parts are closed', () => {
  const logged = slot('web', '1:2', { log: 'program' });
  expect(scan([logged], []).actions).toEqual([{ kind: 'absent', id: '1:2' }]);
  expect(scan([{ ...logged, isPresent: false, closed: ['main'] }], []).actions).toEqual([]);
  expect(scan([{ ...logged, isPresent: false, closed: ['main', 'log'] }], []).actions).toEqual([
    { kind: 'drop', id: '1:2' },
  ]);
});

test('scan: a deleted directory is let go, the logger after its service', () => {
  const deleted = slot('web', '1:2', { log: 'program', isPresent: false, isDeleted: true });
  expect(scan([deleted], []).actions).toEqual([{ kind: 'release', id: '1:2', part: 'main' }]);
  expect(scan([{ ...deleted, closed: ['main'] }], []).actions).toEqual([{ kind: 'release', id: '1:2', part: 'log' }]);
});

test('scan: what was closed is opened again while its name is there', () => {
  const closed = slot('web', '1:2', { log: 'program', closed: ['main', 'log'] });
  expect(scan([closed], [directory('web', '1:2', 'program')]).actions).toEqual([
    { kind: 'open', id: '1:2', part: 'main' },
    { kind: 'open', id: '1:2', part: 'log' },
  ]);
});

const take = (log: LogKind, logId = '1:9') => ({ kind: 'log', id: '1:2', log, logId: log === 'none' ? '' : logId });
const openLog = { kind: 'open', id: '1:2', part: 'log' };
const endLogger = { kind: 'end-logger', id: '1:2' };
const unlog = { kind: 'unlog', id: '1:2' };

for (const [what, before, found, actions] of [
  ['a log/ that comes is taken', {}, ['program'], [take('program'), openLog]],
  ['a log/multilog that comes is taken', {}, ['writer'], [take('writer')]],
  ['one that is being made is left', {}, ['unmade'], []],
  ['one that is being edited is left', { log: 'writer' }, ['unmade'], []],
  ['a logger that failed while log/ was made is tried', { log: 'program', closed: ['log'] }, ['unmade'], [openLog]],
  ['a program gives way to the writer', { log: 'program' }, ['writer'], [endLogger]],
  ['and the writer takes over', { log: 'program', closed: ['log'] }, ['writer'], [take('writer')]],
  ['the writer gives way first', { log: 'writer' }, ['program'], [take('program')]],
  ['another log/ of the same kind', { log: 'program' }, ['program', '1:8'], [endLogger]],
  ['is opened anew', { log: 'program', closed: ['log'] }, ['program', '1:8'], [take('program', '1:8'), openLog]],
  ['another log/ of the writer', { log: 'writer' }, ['writer', '1:8'], [take('writer', '1:8')]],
  ['one that goes keeps its logger while it is fed', { log: 'program', isLogFed: true }, ['none'], [unlog]],
  [
    'then the logger reads to the end',
    { log: 'program', isLogGone: true },
    ['none'],
    [unlog, { kind: 'release', id: '1:2', part: 'log' }],
  ],
  ['and that was it', { log: 'program', isLogGone: true, closed: ['log'] }, ['none'], [take('none')]],
  ['the writer is fed to the end as well', { log: 'writer', isLogFed: true }, ['none'], [unlog]],
  ['and let go', { log: 'writer', isLogGone: true }, ['none'], [take('none')]],
  ['one that comes back is kept', { log: 'program', isLogGone: true, isLogFed: true }, ['program'], [take('program')]],
] as const) {
  test(`scan: log/ of a service that runs: ${what}`, () => {
    const [log, logId] = found;
    expect(scan([slot('web', '1:2', before)], [directory('web', '1:2', log, logId)]).actions).toEqual(actions);
  });
}

test('scan: a dangling link is shown and the rest is scanned', () => {
  const result = scan([], [{ kind: 'unreadable', name: 'x', why: 'it is a link to nothing' }, directory('a', '1:1')]);
  expect(result.problems).toEqual([{ name: 'x', why: 'it is a link to nothing' }]);
  expect(result.actions).toHaveLength(2);
});

const running: Service = {
  ...newService('up', moment),
  phase: 'up',
  pid: 77,
  groupId: 77,
  startedMs: 4000,
  starts: 3,
  settings: DEFAULT_SETTINGS,
};
const finding: Finding = { bootId: 'b', startTimeNow: '123', hasDownFile: false, settings: DEFAULT_SETTINGS };
const record = (service: Service, startTime: string | undefined = '123') =>
  decodeRecord(encodeRecord(service, startTime, 'b'));

test('record: a living process of this boot is adopted, with its history', () => {
  const { service, events } = recover(record(running), finding, moment);
  expect(events.map(({ kind }) => kind)).toEqual(['adopt']);
  expect(service).toMatchObject({ pid: 77, starts: 3, want: 'up', startedMs: 4000 });
});

test('record: a reused pid counts as a death, not as the service', () => {
  const { events } = recover(record(running), { ...finding, startTimeNow: '999' }, moment);
  expect(events.map(({ kind }) => kind)).toEqual(['adopt', 'died']);
});

test('record: another boot is forgotten; the down file decides', () => {
  const { service, events } = recover(record(running), { ...finding, bootId: 'other', hasDownFile: true }, moment);
  expect(service).toMatchObject({ pid: 0, want: 'down', starts: 0 });
  expect(events).toEqual([{ kind: 'begin' }]);
});

test('record: want is kept, and beats the down file', () => {
  const stopped: Service = { ...running, phase: 'down', pid: 0, want: 'down' };
  expect(recover(record(stopped, undefined), finding, moment).service.want).toBe('down');
  const wanted: Service = { ...running, phase: 'waiting', pid: 0 };
  expect(recover(record(wanted, undefined), { ...finding, hasDownFile: true }, moment).service.want).toBe('up');
});

test('record: a group that was being cleared is cleared again', () => {
  const clearing: Service = { ...running, phase: 'clearing', pid: 0 };
  expect(recover(record(clearing), finding, moment).events.map(({ kind }) => kind)).toEqual(['adopt', 'died']);
});

test('record: foreign text is no record and never throws', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(decodeRecord(text)).toBeUndefined();
    }),
  );
  const text = encodeRecord(running, '1', 'b');
  expect(decodeRecord(text.replace('"pid":77', '"pid":1'))).toBeUndefined();
  expect(decodeRecord(text.replace('"pid":77', '"pid":-1'))).toBeUndefined();
  expect(decodeRecord(text.replace('"want":"up"', '"want":"sideways"'))).toBeUndefined();
});

test('groups: only ours, or one whose leader is gone', () => {
  expect(isOurGroup(undefined, '1')).toBe(true);
  expect(isOurGroup('1', '1')).toBe(true);
  expect(isOurGroup('2', '1')).toBe(false);
});

const ordered = (
  name: string,
  depends: string[],
  main: 'open' | 'stopping' | 'closed',
  log: 'open' | 'stopping' | 'closed' = 'closed',
) => ({
  name,
  depends,
  main,
  log,
});

test('stopping: what others need goes last, the logger after its service, a circle all at once', () => {
  expect(stopSteps([ordered('db', [], 'open'), ordered('web', ['db'], 'open', 'open')])).toEqual([
    { kind: 'stop', name: 'web' },
  ]);
  expect(stopSteps([ordered('db', [], 'open'), ordered('web', ['db'], 'stopping', 'open')])).toEqual([]);
  expect(stopSteps([ordered('db', [], 'open'), ordered('web', ['db'], 'closed', 'open')])).toEqual([
    { kind: 'stop', name: 'db' },
    { kind: 'end-log', name: 'web' },
  ]);
  expect(stopSteps([ordered('a', ['b'], 'open'), ordered('b', ['a'], 'open')])).toHaveLength(2);
});

test('dependencies: not ready, not there, in a circle', () => {
  const ready = new Map([
    ['db', false],
    ['web', true],
  ]);
  expect(missingOf(['db', 'cache', 'web'], ready, undefined)).toEqual(['db', 'cache (no such service)']);
  const depends = new Map([
    ['a', ['x', 'b']],
    ['b', ['c']],
    ['c', ['b', 'a']],
    ['x', []],
  ]);
  expect(cycleOf('a', depends)).toBe('a, b, c, a');
  expect(cycleOf('x', depends)).toBeUndefined();
  expect(missingOf(['b'], ready, 'a, b, a')).toEqual(['itself (a circle of depends: a, b, a)']);
});

test('history: deaths, starts and orders are remembered, a failure repeated each second once', () => {
  const gone: Service = { ...running, phase: 'clearing', pid: 0 };
  const death = { exitCode: undefined, signal: 'SIGKILL', atMs: 5 };
  const entry = entryOf(running, { kind: 'died', pid: 77, death }, gone, 1_700_000_000_123);
  expect(entry).toEqual({ atMs: 1_700_000_000_123, what: 'died', pid: 77, detail: 'killed by SIGKILL' });
  expect(entry && renderEntry(entry)).toBe('2023-11-14 22:13:20.123Z  died killed by SIGKILL (pid 77)');
  const waiting: Service = { ...gone, trouble: 'no' };
  expect(entryOf(gone, { kind: 'failed', why: 'no' }, waiting, 0)?.what).toBe('failed');
  expect(entryOf(waiting, { kind: 'failed', why: 'no' }, waiting, 0)).toBeUndefined();
  const text = `${encodeEntry({ atMs: 1, what: 'ordered', pid: 0, detail: 'down' })}{"atMs":1e99}\n{"at`;
  expect(decodeEntries(text)).toEqual([{ atMs: 1, what: 'ordered', pid: 0, detail: 'down' }]);
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (foreign) => decodeEntries(foreign).length === 0));
});

test('routes: names are percent-encoded, orders are POSTed, the rest is refused with words', () => {
  expect(route('GET', '/v1/services')).toEqual({ kind: 'list', usage: false });
  expect(route('GET', '/v1/services?usage')).toEqual({ kind: 'list', usage: true });
  expect(route('GET', '/metrics')).toEqual({ kind: 'metrics' });
  expect(route('GET', '/v1/events')).toEqual({ kind: 'events' });
  expect(route('POST', '/v1/services/web/apply')).toEqual({ kind: 'apply', name: 'web' });
  expect(route('POST', '/v1/events')).toMatchObject({ kind: 'refuse', status: 405 });
  expect(route('GET', '/v1/services/web%2Flog')).toEqual({ kind: 'show', name: 'web/log' });
  expect(route('GET', '/v1/services/web/history')).toEqual({ kind: 'history', name: 'web' });
  expect(route('POST', '/v1/services/web/restart')).toEqual({ kind: 'order', name: 'web', order: 'restart' });
  expect(route('GET', '/v1/services/web/restart')).toMatchObject({ kind: 'refuse', status: 405 });
  expect(route('POST', '/v1/services/web/toString')).toMatchObject({ kind: 'refuse', status: 404 });
  expect(route('GET', '/v1/services/%E0%A4%A')).toMatchObject({ kind: 'refuse', status: 400 });
  fc.assert(fc.property(fc.string(), fc.string(), (method, url) => typeof route(method, url).kind === 'string'));
});

test('table: says why something is not up', () => {
  const waiting: Service = { ...running, phase: 'waiting', pid: 0, trouble: 'run is missing' };
  const [title = '', row = ''] = renderTable([viewOf('web', waiting, true, '/s/web')], 1_700_000_005_000);
  expect(title.split(/ {2,}/)).toEqual([
    'SERVICE',
    'STATE',
    'PID',
    'SINCE',
    'RESTARTS',
    'READY',
    'CPU',
    'MEMORY',
    'NOTES',
  ]);
  expect(row.split(/ {2,}/)).toEqual(['web', 'waiting', '-', '5 s', '2', 'no', '-', '-', 'run is missing']);
  const why = 'health check failed 3 times: no';
  const lastDeath = { exitCode: undefined, signal: 'SIGTERM', atMs: 5, why };
  const noted = (service: Service): string | undefined =>
    renderTable([viewOf('web', service, true, '/s/web')], 0)[1]
      ?.split(/ {2,}/)
      .at(-1);
  expect(noted({ ...running, lastDeath })).toBe(`last run killed by SIGTERM (${why})`);
  expect(noted({ ...waiting, lastDeath, trouble: why })).toBe(`${why}; last run killed by SIGTERM`);
  expect(record({ ...running, lastDeath })?.kept.lastDeath).toEqual(lastDeath);
  expect([renderAge(-5), renderAge(7_200_000)]).toEqual(['0 s', '2 h']);
});
