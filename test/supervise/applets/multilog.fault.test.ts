// multilog beside Debian's: the same input and script, the same files octet for octet, the same words and exit status.
//
// Names of old files are times, and so are stamps: both are compared by their form. All else is compared as it is.

import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeApplets } from '../../../supervise/applets/write.io.ts';
import { eventually, run } from '../rig.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'rouse-multilog-'));
const applets = join(root, 'applets');
const PROGRAMS = { theirs: '/usr/bin/multilog', ours: join(applets, 'multilog') };
type Whose = keyof typeof PROGRAMS;
const BOTH: readonly Whose[] = ['theirs', 'ours'];

beforeAll(() => {
  writeApplets(applets, { scriptsDir: join(ROOT, 'supervise/applets/scripts'), front: ['/bin/false'] });
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

let folders = 0;
function folder(): string {
  folders += 1;
  const path = join(root, `f${folders}`);
  mkdirSync(path);
  return path;
}

/** Lines of all lengths, those around 1000 and 512 octets among them; a line without an end; some octets that are no text. */
function lines(count: number): Buffer {
  const lengths = [
    0, 1, 5, 20, 40, 80, 99, 150, 300, 486, 511, 512, 513, 960, 973, 974, 975, 999, 1000, 1001, 1500, 3000,
  ];
  const parts: Buffer[] = [];
  for (let index = 0; index < count; index += 1) {
    const length = index % 40 === 0 ? (lengths[(index / 40) % lengths.length] ?? 0) : (index * 37) % 120;
    parts.push(Buffer.alloc(length, `${index} *a.b\\+ zz\0\xff end`, 'latin1'), Buffer.from('\n'));
  }
  return Buffer.concat([...parts, Buffer.from('no end')]);
}

type Seen = {
  readonly exitCode: number | null;
  readonly stderr: string;
  /** By path: mode and content; old files by their order and ending. */
  readonly files: Readonly<Record<string, string>>;
};

const withoutTimes = (text: string): string => text.replaceAll(/@4[0-9a-f]{23}/g, '@TIME');

function filesOf(path: string): Record<string, string> {
  const files: Record<string, string> = {};
  const counts = new Map<string, number>();
  for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' }).sort()) {
    const stat = statSync(join(path, name));
    const shape = withoutTimes(name);
    const count = (counts.get(shape) ?? 0) + 1;
    counts.set(shape, count);
    const content = stat.isFile() ? withoutTimes(readFileSync(join(path, name), 'latin1')) : '';
    files[`${shape} ${count}`] = `${(stat.mode & 0o7777).toString(8)} ${content}`;
  }
  return files;
}

/** Runs a program in a folder of its own. @param before makes what it finds there. */
function ran(whose: Whose, args: readonly string[], input: Buffer | string, before?: (path: string) => void): Seen {
  const path = folder();
  const inputPath = join(root, 'input');
  writeFileSync(inputPath, input);
  before?.(path);
  // From a file, so that each of its reads is as long as it may be: where files are cut depends on that.
  const fd = openSync(inputPath, 'r');
  const done = spawnSync(PROGRAMS[whose], args, { cwd: path, stdio: [fd, 'pipe', 'pipe'], timeout: 60_000 });
  closeSync(fd);
  return { exitCode: done.status, stderr: withoutTimes(done.stderr.toString('latin1')), files: filesOf(path) };
}

const MANY = lines(2000);
// Each file costs two processes.
const SOME = lines(600);
const FEW = 'one\ntwo error\n\nthree';

const ROWS: readonly { readonly args: readonly string[]; readonly input?: Buffer | string }[] = [
  { args: [] },
  { args: ['t'] },
  { args: ['q', 'nonsense'] },
  { args: ['./main'] },
  { args: ['./main'], input: '' },
  { args: ['t', './main'] },
  { args: ['t', './main'], input: MANY },
  { args: ['tail', 's0', './main'], input: MANY },
  { args: ['s4096', 'n4', './main'], input: MANY },
  { args: ['t', 's5000', 'n100', './a', 'n3', 's20000', './b'], input: MANY },
  { args: ['s16384', 'n0', './a', 'nine', 'none', './b', 'n99999999999999999999999', 's-1', './c'], input: MANY },
  { args: ['s99999999999', './main'], input: MANY },
  { args: ['e'], input: FEW },
  { args: ['e', 'e', 't'], input: MANY },
  { args: ['t', 'elephant'], input: FEW },
  { args: ['-*', '+* error', 'e', './errors', '=status'], input: FEW },
  { args: ['-*a*', './no-a', '+*', '-*zz*end', 's6000', 'n50', './rest'], input: MANY },
  { args: ['-**a*', './x', '+', '-', './y'], input: MANY },
  { args: ['-**e*', './x'], input: FEW },
  { args: ['-.*', '+one', '+[a-z]*', '-$', './x'], input: FEW },
  { args: ['t', '-* two*', './x'], input: FEW },
  { args: ['=status', '-*', '=never', '=status'], input: FEW },
  { args: ['s4096', 'n50', '!tr a-z A-Z; n=$(cat <&4); echo $((n+1)) >&5', './main'], input: SOME },
  { args: ['s4096', 'n50', '!ls /proc/self/fd; cat >/dev/null', './main'], input: SOME },
  { args: ['s4096', '!', './main'], input: SOME },
  { args: ['/nowhere/at/all'], input: FEW },
  { args: ['=/nowhere/status'], input: FEW },
  { args: ['/dev/null'], input: FEW },
  { args: ['./a', './a'], input: FEW },
];

describe('the same script, the same files', () => {
  for (const { args, input = FEW } of ROWS) {
    test(`multilog ${args.join(' ')}, ${input.length} octets`, () => {
      expect(ran('ours', args, input)).toEqual(ran('theirs', args, input));
    });
  }
});

/** What one of them may have left when it was killed. */
const LEFTOVERS: Record<string, (path: string) => void> = {
  'ended as it should': (path) => put(path, 'current', 'before\n', 0o744),
  'ended as it should, and full': (path) => put(path, 'current', 'x'.repeat(5000), 0o744),
  'killed while it wrote': (path) => put(path, 'current', 'before\nhal', 0o644),
  'killed before the processor was done': (path) => {
    put(path, 'current', '', 0o644);
    put(path, 'previous', 'prev\n', 0o744);
    put(path, 'processed', 'PR', 0o644);
    put(path, 'newstate', 'n', 0o644);
    put(path, 'state', 's', 0o644);
  },
  'killed after the processor was done': (path) => {
    put(path, 'current', 'cur\n', 0o644);
    put(path, 'previous', 'prev\n', 0o744);
    put(path, 'processed', 'PREV\n', 0o744);
    put(path, 'newstate', 'n', 0o644);
  },
  'many old files': (path) => {
    for (const digit of '3124') put(path, `@40000000${digit.repeat(16)}.s`, digit, 0o744);
    put(path, '@short', 'kept', 0o644);
    put(path, `@40000000${'0'.repeat(16)}`, 'old', 0o644);
    put(path, 'current', 'cur\n', 0o644);
  },
};

function put(path: string, name: string, content: string, mode: number): void {
  mkdirSync(join(path, 'main'), { recursive: true });
  writeFileSync(join(path, 'main', name), content);
  chmodSync(join(path, 'main', name), mode);
}

describe('what it finds', () => {
  for (const [what, before] of Object.entries(LEFTOVERS)) {
    test(what, () => {
      const args = ['s4096', 'n3', './main'];
      expect(ran('ours', args, FEW, before)).toEqual(ran('theirs', args, FEW, before));
    });
  }
});

/** One that reads from a pipe which stays open. */
function living(whose: Whose, args: readonly string[]): { path: string; child: ChildProcess; current: () => string } {
  const path = folder();
  const child = spawn(PROGRAMS[whose], args, { cwd: path, stdio: ['pipe', 'ignore', 'pipe'] });
  const current = (): string =>
    existsSync(join(path, 'main/current')) ? readFileSync(join(path, 'main/current'), 'latin1') : '';
  return { path, child, current };
}

for (const whose of BOTH) {
  test.concurrent(`${whose}: ALRM begins a new file, TERM reads on to the end of the line, then ends the file`, async () => {
    const { path, child, current } = living(whose, ['./main']);
    child.stdin?.write('one\n');
    await eventually('one is written', () => (current() === 'one\n' ? true : undefined));
    child.kill('SIGALRM');
    await eventually('a new file', () => (current() === '' ? true : undefined));
    child.stdin?.write('two\nthr');
    await eventually('two is written', () => (current() === 'two\n' ? true : undefined));
    child.kill('SIGTERM');
    child.stdin?.write('ee\nfour\n');
    await eventually('it ends', () => (child.exitCode === null ? undefined : true));
    expect(child.exitCode).toBe(0);
    expect(Object.values(filesOf(join(path, 'main')))).toEqual(['744 one\n', '744 two\nthree\n', '600 ', '644 ']);
    expect(Object.keys(filesOf(join(path, 'main')))).toEqual(['@TIME.s 1', 'current 1', 'lock 1', 'state 1']);
  });

  test.concurrent(`${whose}: a folder that is taken is refused, a processor that fails is run again`, async () => {
    const { path, child, current } = living(whose, ['s4096', '!test -f ../go && cat', './main']);
    child.stdin?.write('x\n'.repeat(1000));
    await eventually('it writes', () => (current() === 'x\n'.repeat(1000) ? true : undefined));
    const second = await run('/bin/sh', '-c', `cd ${path} && echo | ${PROGRAMS[whose]} ./main`);
    expect(second).toMatchObject({
      exitCode: 111,
      stderr: 'multilog: fatal: unable to lock directory ./main: temporary failure\n',
    });
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.stdin?.write('x\n'.repeat(100));
    await eventually('it waits', () => (said === '' ? undefined : true));
    expect(said).toBe('multilog: warning: processor failed in ./main, pausing\n');
    writeFileSync(join(path, 'go'), '');
    const done = await eventually('it is processed', () =>
      readdirSync(join(path, 'main')).find((name) => name.endsWith('.s')),
    );
    expect(readFileSync(join(path, 'main', done), 'latin1')).toMatch(/^(x\n)+$/);
    child.stdin?.end();
    await eventually('it ends', () => (child.exitCode === null ? undefined : true));
  });
}

for (const whose of BOTH) {
  test
    .skipIf(process.getuid?.() !== 0)
    .concurrent(`${whose}: a full disk is waited for, said, and gone on from`, async () => {
      const path = folder();
      expect(await run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path)).toMatchObject({ exitCode: 0 });
      try {
        const child = spawn(PROGRAMS[whose], ['s1000000', './main'], { cwd: path, stdio: ['pipe', 'ignore', 'pipe'] });
        let said = '';
        child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
        const text = Array.from({ length: 30_000 }, (_, index) => `${index}\n`).join('');
        child.stdin.end(text);
        await eventually('it is said', () => (said === '' ? undefined : true));
        expect(said).toBe('multilog: warning: unable to write to ./main/current, pausing: out of disk space\n');
        await run('mount', '-o', 'remount,size=1m', path);
        await eventually('it ends', () => (child.exitCode === null ? undefined : true));
        expect(readFileSync(join(path, 'main/current'), 'latin1')).toBe(text);
      } finally {
        await run('umount', '-l', path);
      }
    });
}
