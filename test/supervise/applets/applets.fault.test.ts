// The applets beside Debian's daemontools: the same words in, the same standard output, standard error and exit status out.
//
// Rows are command lines, run twice in the same folder. Known differences stand in the list at the end, tested as such.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { APPLETS } from '../../../supervise/applets/table.ts';
import { writeApplets } from '../../../supervise/applets/write.io.ts';
import { livingStartTime } from '../../../supervise/procfs.io.ts';
import { eventually } from '../rig.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ORIGINALS = '/usr/bin';
const root = mkdtempSync(join(tmpdir(), 'rouse-applets-'));
const applets = join(root, 'applets');
const work = join(root, 'work');
const describeAsRoot = describe.skipIf(process.getuid?.() !== 0);

type Row = {
  readonly args: string;
  readonly stdin?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Runs as this user. */
  readonly uid?: number;
};
type Ran = { readonly stdout: string; readonly stderr: string; readonly exitCode: number | string | null };

const PATH = { PATH: '/usr/bin:/bin' };
const SHOW = `sh -c 'echo "$@"; cat /proc/self/environ | tr "\\0" "\\n" | sort' -- a 'b c'`;

const ROWS: Record<string, readonly Row[]> = {
  envdir: [
    { args: '' },
    { args: 'env' },
    { args: 'env /bin/echo there' },
    { args: `env ${SHOW}`, env: {} },
    { args: `env ${SHOW}` },
    // A locale that the machine does not have.
    { args: `env ${SHOW}`, env: { ...PATH, LC_ALL: 'xx_XX.UTF-8' } },
    { args: `env ${SHOW}`, env: { ...PATH, EMPTY: 'was set', NUL: 'was set', KEPT: 'x' } },
    { args: 'none true' },
    { args: 'file true' },
    { args: 'envbad true' },
    { args: 'locked true', uid: 65_534 },
    { args: 'env none' },
    { args: 'env ./none' },
    { args: 'env ./work' },
    { args: 'env ./noshebang' },
    { args: 'env sh -c "exit 7"' },
    { args: 'env true', env: { PATH: '/nowhere:' } },
    { args: 'env work/..', env: { PATH: '' } },
    { args: 'env plain', env: { PATH: '/nowhere:' } },
    { args: 'env file', env: { PATH: '/usr/bin:.' } },
  ],
  envuidgid: [
    { args: '' },
    { args: 'daemon' },
    { args: 'nosuchuser true' },
    { args: `daemon ${SHOW}` },
    { args: `daemon ${SHOW}`, env: {} },
    { args: 'daemon ./none' },
    { args: `nobody ${SHOW}`, env: { ...PATH, UID: '7', GID: '8' } },
  ],
  setuidgid: [
    { args: '' },
    { args: 'daemon' },
    { args: 'nosuchuser true' },
    { args: 'daemon sh -c "id; grep -E ^[UG]id: /proc/self/status; grep Groups /proc/self/status"' },
    { args: 'nobody id -Gn' },
    { args: 'root id', uid: 65_534 },
    { args: 'daemon ./none' },
    { args: 'daemon env', env: {} },
    { args: 'daemon sh -c "kill -9 $$"' },
  ],
  softlimit: [
    { args: '' },
    { args: '-o' },
    { args: '-o 5' },
    { args: '-o5x true' },
    { args: '-z true' },
    { args: '-z' },
    { args: '-- ' },
    { args: '-- true' },
    { args: '--none true' },
    { args: '-o 50 -c0 sh -c "ulimit -Sa; ulimit -Ha"' },
    { args: '-o 100 -o = sh -c "ulimit -Sa"' },
    { args: '-a 100000000 -d 50000000 -f 1024 -l 4096 -p 200 -r 1000000 -s 1000000 -t 10 sh -c "ulimit -Sa"' },
    { args: '-l 4096 -m 60000000 cat /proc/self/limits' },
    { args: '-o 99999999999999999999999999 sh -c "ulimit -Sa"' },
    { args: '-c "" sh -c "ulimit -Sc"' },
    { args: '-o= sh -c "ulimit -Sn"' },
    { args: '-f 0 sh -c "echo x > softlimit.out"' },
    { args: '-o 20 ./none' },
  ],
  setlock: [
    { args: '' },
    { args: 'lock1' },
    { args: '-z lock1 true' },
    { args: 'lock1 sh -c "echo $0; exit 3"' },
    { args: 'none/lock true' },
    { args: '-x none/lock true' },
    { args: '-xX none/lock true' },
    { args: 'lock1 flock -n lock1 echo it was free' },
    { args: '-n taken echo in' },
    { args: '-nx taken echo in' },
    { args: '-nxN lock1 echo in' },
    { args: 'fifo true' },
    { args: 'locked/x true', uid: 65_534 },
    { args: 'lock1 ./none' },
  ],
  pgrphack: [
    { args: '' },
    { args: 'sh -c "ps -o pid=,pgid=,sid= -p $$ | awk \'{ print \\$1 == \\$2, \\$2 == \\$3 }\'"' },
    { args: 'none' },
    { args: 'env', env: {} },
    { args: 'sh -c "grep -E Sig[A-P] /proc/self/status"' },
  ],
  fghack: [
    { args: '' },
    { args: 'sh -c "exit 7"' },
    { args: './none' },
    { args: 'sh -c "kill -9 $$"' },
    { args: 'sh -c "(sleep 0.3; echo late) & exit 5"' },
    { args: 'sh -c "ls /proc/self/fd | wc -l"' },
    { args: 'cat', stdin: 'through\n' },
  ],
  svc: [
    { args: '' },
    { args: '-z' },
    { args: '-u none' },
    { args: '-d idle file bare locked none' },
    { args: '-d bare', env: {} },
    { args: '-u locked', uid: 65_534 },
    { args: '--foo idle' },
    { args: '-- idle' },
    { args: '-' },
  ],
  svok: [
    { args: '' },
    { args: 'none' },
    { args: 'idle' },
    { args: 'bare' },
    { args: 'file' },
    { args: 'plain-ok' },
    { args: 'locked', uid: 65_534 },
    { args: 'idle none' },
  ],
  svstat: [
    { args: '' },
    { args: 'none idle bare file short zero future plain-ok held-down wanted-up' },
    { args: 'locked', uid: 65_534 },
    { args: 'short', env: { LC_ALL: 'xx_YY.UTF-8' } },
  ],
  tai64nlocal: [
    { args: '', stdin: '' },
    { args: '', stdin: '@4000000065a1b2c300000000 one\n@4000000065a1b2c33b9ac9ff two\nthree\n\nlast' },
    { args: '', stdin: '@4000000065a1b2c31dcd6500', env: { TZ: 'UTC' } },
    {
      args: '',
      stdin: 'a @4000000065a1b2c31dcd6500\n@400000003b9aca000000000a@4000000065a1b2c3 x',
      env: { TZ: 'Asia/Tokyo' },
    },
    { args: '', stdin: '@ffff4000000065a1b2c31dcd6500\tmore than 64 bits\n' },
    { args: '', stdin: Uint8Array.of(0x80, 0xff, 0x00, 0x0a, 0x30, 0x0a, 0xe9) },
    { args: '', stdin: `@4000000065a1b2c315a1b2c3 ${'x'.repeat(20_000)}\n`.repeat(9) },
  ],
  readproctitle: [{ args: '' }, { args: 'a' }, { args: 'title ....' }, { args: 'title .....', stdin: 'x' }],
};

function ran(command: string, { args, stdin = '', env = PATH, uid }: Row): Ran {
  // The shell that splits the words must not add to the environment of what it starts.
  const program = `set -- ${args}\nexec env -i ${Object.entries(env)
    .map(([name, value]) => `'${name}=${value}'`)
    .join(' ')} ${command} "$@"`;
  const done = spawnSync('/bin/sh', ['-c', program], {
    cwd: work,
    input: stdin,
    timeout: 20_000,
    killSignal: 'SIGKILL',
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  return {
    stdout: done.stdout.toString('latin1'),
    stderr: done.stderr.toString('latin1'),
    exitCode: done.signal ?? done.status,
  };
}

function file(path: string, content: string | Uint8Array, mode = 0o644): void {
  writeFileSync(join(work, path), content);
  chmodSync(join(work, path), mode);
}

function folder(path: string, mode = 0o755): void {
  mkdirSync(join(work, path), { recursive: true });
  chmodSync(join(work, path), mode);
}

function fifo(path: string): void {
  execFileSync('mkfifo', [join(work, path)]);
}

beforeAll(() => {
  writeApplets(applets, {
    scriptsDir: join(ROOT, 'supervise/applets/scripts'),
    front: [process.execPath, '--disable-warning=ExperimentalWarning', join(ROOT, 'bin/rouse-supervise.ts'), 'applet'],
  });
  chmodSync(root, 0o755);
  folder('env');
  folder('envbad/directory');
  folder('locked', 0o700);
  folder('work');
  file('file', 'text');
  file('lock1', '');
  file('plain', '#!/bin/sh\necho plain "$@"\n', 0o755);
  file('noshebang', 'echo no\n', 0o755);
  file('env/PLAIN', 'value\nsecond line\n');
  file('env/BLANKS', '  value \t \n');
  file('env/NUL', Uint8Array.from([97, 0, 98, 0, 10]));
  file('env/BYTES', Uint8Array.from([0xe9, 0xff, 0x41]));
  file('env/EMPTY', '');
  file('env/NOTHING', '\n');
  file('env/.hidden', 'no');
  file('env/LONG', 'x'.repeat(20_000));
  fifo('fifo');
  for (const name of ['idle', 'short', 'zero', 'future', 'plain-ok', 'bare', 'held-down', 'wanted-up']) folder(name);
  for (const name of ['idle', 'short', 'zero', 'future', 'plain-ok', 'held-down', 'wanted-up'])
    folder(`${name}/supervise`);
  for (const name of ['idle']) for (const each of ['ok', 'control']) fifo(`${name}/supervise/${each}`);
  for (const name of ['short', 'zero', 'future', 'plain-ok', 'held-down', 'wanted-up'])
    file(`${name}/supervise/ok`, '');
  file('held-down/down', '');
  // Long after now: "0 seconds" for both. Then pid, paused, want.
  const later = [0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  file('held-down/supervise/status', Uint8Array.from([...later, 9, 0, 0, 0, 0, 100, 0, 1]));
  file('wanted-up/supervise/status', Uint8Array.from([...later, 0, 0, 0, 0, 1, 117, 0, 0]));
  file('short/supervise/status', 'too short');
  file('zero/supervise/status', new Uint8Array(18));
  file(
    'future/supervise/status',
    Uint8Array.from([...Array.from({ length: 8 }, () => 0x7f), 0, 0, 0, 0, 1, 2, 3, 4, 1, 100]),
  );
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

describeAsRoot('the same words in, the same out', () => {
  let holder: ReturnType<typeof spawn>;
  beforeAll(async () => {
    holder = spawn('flock', ['-F', join(work, 'taken'), 'sh', '-c', 'echo held; exec sleep 600'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await new Promise((held) => holder.stdout?.once('data', held));
  });
  afterAll(() => {
    holder.kill('SIGKILL');
  });
  for (const [name, rows] of Object.entries(ROWS)) {
    for (const row of rows) {
      const env = row.env === undefined ? '' : ` with ${JSON.stringify(row.env)}`;
      test(`${name} ${row.args.slice(0, 80)}${row.uid === undefined ? '' : ' as nobody'}${env}`, () => {
        const theirs = ran(`${ORIGINALS}/${name}`, row);
        expect(ran(`${applets}/${name}`, row)).toEqual(theirs);
      });
    }
  }
  test('every applet has rows, or a test of its own', () => {
    const own = ['svscan', 'supervise', 'multilog', 'tai64n'];
    expect([...Object.keys(ROWS), ...own].sort()).toEqual(Object.keys(APPLETS).sort());
  });
});

describeAsRoot('on a living supervise', () => {
  for (const [supervisor, who] of [
    [`${ORIGINALS}/supervise`, 'the original'],
    [`${applets}/supervise`, 'ours'],
  ] as const) {
    test(`svc, svok and svstat of both sides drive ${who}`, async () => {
      const name = `live-${who === 'ours' ? 'ours' : 'theirs'}`;
      folder(name);
      file(`${name}/run`, '#!/bin/sh\nexec sleep 600\n', 0o755);
      const started = spawn(supervisor, [name], { cwd: work, stdio: 'ignore' });
      const ask = (tool: string, dir: string): Ran => ran(`${dir}/${tool}`, { args: name });
      try {
        await eventually('supervise answers', () => (ask('svok', applets).exitCode === 0 ? true : undefined));
        expect(ask('svok', ORIGINALS).exitCode).toBe(0);
        const shows = (pattern: RegExp): Promise<true> =>
          eventually(`svstat says ${pattern}`, () => {
            const theirs = ask('svstat', ORIGINALS);
            const ours = ask('svstat', applets);
            // Between the two a second may pass: looked at again then.
            return pattern.test(theirs.stdout) && ours.stdout === theirs.stdout ? true : undefined;
          });
        await shows(/: up \(pid \d+\) \d+ seconds\n$/);
        ran(`${applets}/svc`, { args: `-p ${name}` });
        await shows(/paused\n$/);
        ran(`${ORIGINALS}/svc`, { args: `-c ${name}` });
        await shows(/seconds\n$/);
        ran(`${applets}/svc`, { args: `-d ${name}` });
        await shows(/: down \d+ seconds, normally up\n$/);
        ran(`${applets}/svc`, { args: `-o ${name}` });
        await shows(/: up /);
        ran(`${applets}/svc`, { args: `-dx ${name}` });
        await eventually('supervise is gone', () => (started.exitCode === null ? undefined : true));
        expect(started.exitCode).toBe(0);
        expect(ask('svok', applets).exitCode).toBe(100);
      } finally {
        started.kill('SIGKILL');
      }
    });
  }

  test('supervise refuses as the original: no words, too many, no directory, one that is taken', async () => {
    folder('held');
    file('held/run', '#!/bin/sh\nexec sleep 600\n', 0o755);
    const started = spawn(`${ORIGINALS}/supervise`, ['held'], { cwd: work, stdio: 'ignore' });
    try {
      await eventually('it is supervised', () =>
        ran(`${ORIGINALS}/svok`, { args: 'held' }).exitCode === 0 ? true : undefined,
      );
      for (const args of ['', 'a b', 'none', 'file', 'held']) {
        expect(ran(`${applets}/supervise`, { args })).toEqual(ran(`${ORIGINALS}/supervise`, { args }));
      }
      expect(ran(`${applets}/svscan`, { args: 'none' })).toEqual(ran(`${ORIGINALS}/svscan`, { args: 'none' }));
    } finally {
      ran(`${ORIGINALS}/svc`, { args: '-dx held' });
      await eventually('supervise is gone', () => (started.exitCode === null ? undefined : true));
    }
  });

  test('svscan supervises a folder and leaves its services to the next one', async () => {
    folder('scanned/one');
    file('scanned/one/run', '#!/bin/sh\nexec sleep 600\n', 0o755);
    const pidOf = (): string | undefined =>
      /pid (\d+)/.exec(ran(`${applets}/svstat`, { args: 'scanned/one' }).stdout)?.[1];
    const first = spawn(`${applets}/svscan`, ['scanned'], { cwd: work, stdio: 'ignore', env: {} });
    const pid = await eventually('the service runs', pidOf);
    first.kill('SIGTERM');
    await eventually('svscan is gone', () => (first.exitCode === null ? undefined : true));
    expect(livingStartTime(Number(pid))).toBeDefined();
    const second = spawn(`${applets}/svscan`, ['scanned'], { cwd: work, stdio: 'ignore', env: {} });
    expect(await eventually('it is adopted', pidOf)).toBe(pid);
    second.kill('SIGHUP');
    await eventually('svscan is gone', () => (second.exitCode === null ? undefined : true));
    expect(livingStartTime(Number(pid))).toBeUndefined();
  });
});

describeAsRoot('what runs on and on', () => {
  test('svc writes each letter once, in the order given', async () => {
    folder('told/supervise');
    fifo('told/supervise/control');
    const heard: string[] = [];
    for (const dir of [ORIGINALS, applets]) {
      const reader = spawn('cat', [join(work, 'told/supervise/control')], { stdio: ['ignore', 'pipe', 'ignore'] });
      let text = '';
      reader.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
      const ended = new Promise((done) => reader.once('close', done));
      // Until cat has opened the FIFO, nobody listens.
      await eventually('svc is heard', () => {
        const { stderr } = ran(`${dir}/svc`, { args: '-tdut -kx -- told' });
        return stderr === '' ? true : undefined;
      });
      await ended;
      heard.push(text);
    }
    expect(heard).toEqual(['tdukx', 'tdukx']);
  });

  test('tai64n stamps each line with the present, and tai64nlocal reads it', () => {
    const before = Math.floor(Date.now() / 1000);
    const { stdout } = ran(`${applets}/tai64n`, { args: '', stdin: 'one\n\nhalf' });
    const lines = stdout.split('\n');
    expect(lines.map((line) => line.replace(/^@[0-9a-f]{24} /, ''))).toEqual(['one', '', 'half']);
    const seconds = lines.map((line) => Number(BigInt(`0x${line.slice(1, 17)}`) - (1n << 62n) - 10n));
    for (const second of seconds) {
      expect(second).toBeGreaterThanOrEqual(before);
      expect(second).toBeLessThanOrEqual(Math.ceil(Date.now() / 1000));
    }
    expect(ran(`${ORIGINALS}/tai64nlocal`, { args: '', stdin: stdout })).toEqual(
      ran(`${applets}/tai64nlocal`, { args: '', stdin: stdout }),
    );
  });

  test('readproctitle shows in ps what the original shows', async () => {
    const shown: string[] = [];
    for (const dir of [ORIGINALS, applets]) {
      const child = spawn(`${dir}/readproctitle`, ['service', 'errors:', '.'.repeat(40)], {
        argv0: 'readproctitle',
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      child.stdin.write('the end of this is what ps shows, and \0no more\n');
      // The kernel pads what perl leaves of its command line.
      const title = (): string => readFileSync(`/proc/${child.pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trimEnd();
      shown.push(await eventually('ps shows it', () => (title().endsWith('no more') ? title() : undefined)));
      expect(readFileSync(`/proc/${child.pid}/comm`, 'latin1')).toBe('readproctitle\n');
      child.stdin.end();
      await eventually('it ends', () => (child.exitCode === null ? undefined : true));
      expect(child.exitCode).toBe(0);
    }
    expect(shown[1]).toBe(shown[0]);
  });
});

describeAsRoot('known differences', () => {
  test('a label that is no time: the original crashes, ours lets it through', () => {
    const stdin = 'one\n@\n@x\n@4000000065A1 upper\n@40 short\n';
    expect(ran(`${ORIGINALS}/tai64nlocal`, { args: '', stdin }).exitCode).toBe('SIGSEGV');
    expect(ran(`${applets}/tai64nlocal`, { args: '', stdin })).toEqual({ stdout: stdin, stderr: '', exitCode: 0 });
  });

  test('a dangling link in the folder of envdir: the original sets what it read before, ours nothing', () => {
    folder('dangling');
    execFileSync('ln', ['-sf', '/nowhere', join(work, 'dangling/LINK')]);
    expect(ran(`${applets}/envdir`, { args: `dangling sh -c 'echo "\${LINK-unset}"'` }).stdout).toBe('unset\n');
  });
});
