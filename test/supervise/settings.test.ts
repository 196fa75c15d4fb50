// docs/settings.md says of every setting file what the table that validates it says. Rewrite it with UPDATE_GOLDEN=1.
// And the rows that rules.test.ts does not have: cgroup, the tally of deaths.

import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { limitFiles, servicesCgroup } from '../../supervise/cgroup.ts';
import { tallied } from '../../supervise/deathtally.ts';
import { parseSettings, SETTING_BYTES_MAX, SETTING_FILES } from '../../supervise/servicedir.ts';

const PAGE = new URL('../../docs/settings.md', import.meta.url);
const scripts = { hasFinish: false, hasCheck: false };

function renderPage(): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const rows = Object.entries(SETTING_FILES).map(
    ([name, { form, help }]) => `| \`${name}\` | ${cell(form)} | ${help} |`,
  );
  return `# Setting files

A service directory is daemontools': \`run\`, \`down\`, \`log/run\`. Beside them it may hold one file for each setting, in the
manner of s6 and runit. Lines that begin with \`#\` are comments, and so is what follows a \`#\` after a blank. A file that
cannot be understood, or is longer than ${SETTING_BYTES_MAX} bytes, keeps the service from starting; \`rouse status\` says why. Files are
read anew before each start: \`rouse apply\` restarts the services whose files were edited.

| file | holds | what it does |
|---|---|---|
${rows.join('\n')}

Programs of the directory: \`finish\` (after \`run\` has ended, with the arguments of s6: exit code or 256, signal, name, process
group; exit status 125: do not start again), \`check\` (exit status 0: ready). \`env/\` holds a file for each variable, as envdir
reads them. \`log/multilog\` holds the words of a multilog script, carried out by rouse's own log writer.

\`log/\` may come, change and go while the service runs (svscan looks for it once, when it first sees the directory). Within 5 s
its logger runs, and \`rouse status\` says that the service writes to it from its next start on: a process keeps the output
that it was started with. \`rouse apply\` restarts it. A \`log/\` that was removed keeps its logger until then. No line is lost.

A directory whose name ends with \`@\` is a template and no service. \`web@8080\` beside \`web@\` is an instance of it: each of these
files that it does not have itself is the template's (\`down\` excepted), its programs run in the instance's own directory, with
\`INSTANCE=8080\` in the environment. \`mkdir web@8080\` starts one.
`;
}

test('docs/settings.md lists exactly the settings of the table', () => {
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(PAGE, renderPage());
  expect(readFileSync(PAGE, 'utf8')).toBe(renderPage());
});

const settingsOf = (files: Parameters<typeof parseSettings>[0], hasFinish = false): unknown => {
  const result = parseSettings(files, { ...scripts, hasFinish });
  return result.ok ? result.settings : result.problems.join('; ');
};

test('cgroup: limits for the whole tree, in the unit that the word says', () => {
  const text = 'memoryMaxBytes 268435456\npidsMax 100 # threads too\ncpuMaxPercent 150\n';
  expect(settingsOf({ cgroup: text })).toMatchObject({
    cgroup: { memoryMaxBytes: 268_435_456, pidsMax: 100, cpuMaxPercent: 150 },
  });
  expect(settingsOf({ cgroup: '' })).toMatchObject({ cgroup: {} });
  expect(settingsOf({})).toMatchObject({ cgroup: undefined });
  expect(limitFiles({ memoryMaxBytes: 268_435_456, cpuMaxPercent: 150 })).toEqual([
    { controller: 'memory', file: 'memory.max', content: '268435456', isAsked: true },
    { controller: 'pids', file: 'pids.max', content: 'max', isAsked: false },
    { controller: 'cpu', file: 'cpu.max', content: '150000 100000', isAsked: true },
  ]);
});

for (const [text, why] of [
  ['memory 5', 'unknown word "memory", expected memoryMaxBytes, pidsMax, cpuMaxPercent'],
  ['memoryMaxBytes 256M', 'memoryMaxBytes expected a whole number from 65536 to 1125899906842624, got "256M"'],
  ['pidsMax 0', 'pidsMax expected a whole number from 1 to 4194304, got "0"'],
  ['cpuMaxPercent 50 60', 'cpuMaxPercent expected a whole number from 1 to 102400, got "50 60"'],
  ['pidsMax', 'pidsMax expected a whole number from 1 to 4194304, got ""'],
] as const) {
  test(`cgroup: ${text} is refused`, () => {
    expect(settingsOf({ cgroup: text })).toBe(`file cgroup: ${why}`);
  });
}

test('cgroups of services lie beside a supervisor in a leaf of that name, else below it', () => {
  expect(servicesCgroup('/sys/fs/cgroup/system.slice/rouse.service/supervisor')).toBe(
    '/sys/fs/cgroup/system.slice/rouse.service',
  );
  expect(servicesCgroup('/sys/fs/cgroup/my-supervisor')).toBe('/sys/fs/cgroup/my-supervisor');
  expect(servicesCgroup('/sys/fs/cgroup')).toBe('/sys/fs/cgroup');
});

test('the tally of deaths: a hundred for finish, none without, or what the file says', () => {
  expect(settingsOf({}, true)).toMatchObject({ maxDeathTally: 100 });
  expect(settingsOf({})).toMatchObject({ maxDeathTally: 0 });
  expect(settingsOf({ 'max-death-tally': '3\n' })).toMatchObject({ maxDeathTally: 3 });
  expect(settingsOf({ 'max-death-tally': '5000\n' })).toBe(
    'file max-death-tally: expected a whole number from 0 to 4096, got "5000"',
  );
});

test('the tally of deaths: the bytes that s6 2.11 wrote', () => {
  // exit 7 at 17:49:52.315777237 UTC, seen in supervise/death_tally of s6-supervise.
  const seen = Buffer.from('400000006b01d9c0126b0e1f0700', 'hex');
  const at = { unixS: 0x6b01d9c0 - 37, nanoseconds: 0x126b0e1f };
  expect(Buffer.from(tallied(new Uint8Array(), 3, { at, exitCode: 7, signalNumber: 0 }))).toEqual(seen);
  fc.assert(
    fc.property(fc.array(fc.nat(255), { maxLength: 20 }), fc.integer({ min: 1, max: 8 }), (codes, deaths) => {
      let tally: Uint8Array = new Uint8Array();
      for (const exitCode of codes) tally = tallied(tally, deaths, { at, exitCode, signalNumber: 0 });
      const kept = Array.from({ length: tally.length / 14 }, (_, index) => tally[index * 14 + 12]);
      expect(kept).toEqual(codes.slice(-deaths));
    }),
  );
  expect(tallied(new Uint8Array(13), 3, { at, exitCode: undefined, signalNumber: 9 })).toHaveLength(14);
});
