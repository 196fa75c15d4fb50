// Service directories for svscan: what each setting becomes, and that nothing without effect passes.

import { expect, test } from 'vitest';
import { lowerService, SETTINGS } from '../../images/lower.ts';
import type { RoleFile } from '../../images/role.ts';
import { SETTING_FILE_NAMES, STARTED_FILE_NAMES } from '../../supervise/servicedir.ts';

const file = (path: string, content = '', executable = false): RoleFile => ({
  kind: 'file',
  path,
  executable,
  data: new TextEncoder().encode(content),
});
const RUN = file('web/run', '#!/bin/sh\nexec web\n', true);
const lower = (...files: readonly RoleFile[]) => lowerService('web', [RUN, ...files], (path) => `services/${path}`);
const contentOf = (files: readonly RoleFile[], path: string): string | undefined => {
  const found = files.find((one) => one.path === path);
  return found?.kind === 'file' ? new TextDecoder().decode(found.data) : undefined;
};

test('every file that a start reads under rouse has its row', () => {
  expect(
    Object.keys(SETTINGS)
      .filter((name) => name !== 'down')
      .sort(),
  ).toEqual([...new Set([...SETTING_FILE_NAMES, ...STARTED_FILE_NAMES])].sort());
});

test('a directory that daemontools knows whole stays as it is', () => {
  const files = [file('web/down'), file('web/check', '', true), file('web/log/run', '', true), file('web/root/data')];
  expect(lower(...files)).toEqual({ files: [RUN, ...files], problems: [] });
});

test('user, env, limits and fghack go in front of run: limits first, the account after env', () => {
  const { files, problems } = lower(
    file('web/user', '# who\nwww-data\n'),
    file('web/env/HOME', '/srv\n'),
    file('web/limits', 'o 1024\nd 50000000 # bytes\n'),
    file('web/fghack'),
  );
  expect(problems).toEqual([]);
  expect(contentOf(files, 'web/run')?.split('\n').at(-2)).toBe(
    'exec /usr/bin/softlimit -o 1024 -d 50000000 /usr/bin/envdir ./env /usr/bin/setuidgid www-data /usr/bin/fghack ./run.own',
  );
  expect(contentOf(files, 'web/run.own')).toBe('#!/bin/sh\nexec web\n');
  expect(files.filter((one) => one.kind === 'file' && one.executable).map(({ path }) => path)).toEqual([
    'web/run.own',
    'web/run',
  ]);
});

test('log/multilog becomes a log/run with the same words, those with blanks in quotes', () => {
  const { files, problems } = lower(
    file('web/log/multilog', `# small\nt "-* it's noise *" s65536\nn4 ./main\nonFull block\n`),
  );
  expect(problems).toEqual([]);
  expect(contentOf(files, 'web/log/run')?.split('\n').at(-2)).toBe(
    `exec /usr/bin/multilog t '-* it'\\''s noise *' s65536 n4 ./main`,
  );
  expect(files.some(({ path }) => path === 'web/log/multilog')).toBe(false);
});

test('a log/run of its own is what svscan starts', () => {
  const { files } = lower(file('web/log/run', 'own', true), file('web/log/multilog', 't ./main'));
  expect(contentOf(files, 'web/log/run')).toBe('own');
});

const REFUSED: [string, RoleFile, string][] = [
  [
    'health',
    file('web/health', 'kind http\n'),
    'services/web/health:1:1 svscan checks no health; remove health, or say supervisor: rouse',
  ],
  ['depends', file('web/depends', 'db\n'), 'services/web/depends:1:1 svscan starts services in no order'],
  [
    'a limit without a number',
    file('web/limits', 'o many\n'),
    'services/web/limits:1:1 o expected a whole number, got "many"',
  ],
  ['two users', file('web/user', 'a\nb\n'), 'services/web/user:1:1 expected one name'],
  [
    'a log that drops',
    file('web/log/multilog', 't ./main\nonFull drop\n'),
    'services/web/log/multilog:2:1 multilog can only wait',
  ],
  [
    'a word that multilog passes over',
    file('web/log/multilog', 't x9 ./main'),
    'services/web/log/multilog:1:1 unknown word "x9"',
  ],
  ['a log that writes nowhere', file('web/log/multilog', 't'), 'services/web/log/multilog:1:1 it writes nowhere'],
  [
    'an open quotation',
    file('web/log/multilog', `t './main`),
    'services/web/log/multilog:1:1 a quotation mark is not closed',
  ],
];
for (const [what, given, want] of REFUSED) {
  test(`${what} is refused with its place`, () => expect(lower(given).problems[0]).toContain(want));
}
