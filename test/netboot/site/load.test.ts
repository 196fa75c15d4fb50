// Hot reload on a real folder: edits take effect, broken and half-written files never do, the last good state is told.

import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { renderProblem } from '../../../formats/yaml/document.ts';
import { setNodes } from '../../../netboot/api/ask.io.ts';
import type { SiteState } from '../../../netboot/site/inforce.ts';
import { type LiveSite, readSite, watchSite } from '../../../netboot/site/load.io.ts';
import { publishImage, writeTree } from '../home.ts';

const ROUSE = 'version: 1\nsubnets:\n  - {name: rack1, interface: eth1, network: 10.0.0.0/16}\n';

/** Well before the slow scan, which would hide a watch that sees nothing. */
const SOON = { timeout: 6000 };

let home: string;
let live: LiveSite | undefined;
const places = () => ({ configDir: join(home, 'etc'), libDir: join(home, 'lib'), roleDirs: [join(home, 'services')] });
const node = (mac: number, profile = 'web'): string =>
  `macs: [52:54:00:77:${(mac >> 8).toString(16).padStart(2, '0')}:${(mac & 255).toString(16).padStart(2, '0')}]\nprofile: ${profile}\n`;
const nodePath = (name: string): string => join(home, 'etc', 'nodes', `${name}.yaml`);

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'rouse-site-'));
  writeTree(home, {
    'etc/rouse.yaml': ROUSE,
    'etc/profiles/web.yaml': 'extends: role/web\n',
    'etc/nodes/web1.yaml': node(1),
    'services/web/profile.yaml': 'image: web\n',
  });
});
afterEach(async () => {
  await live?.close();
  live = undefined;
  rmSync(home, { recursive: true });
});

async function start(): Promise<{ lines: string[]; states: SiteState[] }> {
  const lines: string[] = [];
  const states: SiteState[] = [];
  live = await watchSite(places(), (state, line) => {
    lines.push(line);
    states.push(state);
  });
  return { lines, states };
}

const names = (): string[] => [...(live?.state().site?.nodes.keys() ?? [])];

test('a new node, a changed profile and a removed node take effect by themselves', async () => {
  await start();
  expect(names()).toEqual(['web1']);
  writeFileSync(nodePath('web2'), node(2));
  await expect.poll(names, SOON).toEqual(['web1', 'web2']);
  writeFileSync(join(home, 'etc/profiles/web.yaml'), 'extends: role/web\nreadyTimeoutS: 77\n');
  await expect.poll(() => live?.state().site?.profiles.get('web')?.effective.readyTimeoutS.value, SOON).toBe(77);
  unlinkSync(nodePath('web1'));
  await expect.poll(names, SOON).toEqual(['web2']);
});

test('a folder that did not exist, and a role’s own profile, are noticed too', async () => {
  rmSync(join(home, 'etc/nodes'), { recursive: true });
  await start();
  expect(names()).toEqual([]);
  mkdirSync(join(home, 'etc/nodes'));
  writeFileSync(nodePath('web9'), node(9));
  await expect.poll(names, { timeout: 15_000 }).toEqual(['web9']);
  writeFileSync(join(home, 'services/web/profile.yaml'), 'image: web\ncmdline: [quiet]\n');
  await expect
    .poll(() => live?.state().site?.profiles.get('web')?.effective.cmdline.value, { timeout: 15_000 })
    .toEqual(['quiet']);
});

test('a broken file leaves the last good state in force, visibly, until it is mended', async () => {
  const { lines } = await start();
  writeFileSync(nodePath('web1'), node(1, 'wbe'));
  await expect.poll(() => live?.state().isGood, SOON).toBe(false);
  expect(names()).toEqual(['web1']);
  expect(live?.state().problems.map(renderProblem)).toEqual([
    "nodes/web1.yaml:2:10 profile: unknown profile 'wbe', did you mean 'web'?",
  ]);
  expect(lines.at(-1)).toMatch(
    /^configuration refused: nodes\/web1\.yaml:2:10 profile: unknown profile 'wbe', did you mean 'web'\?; the last good one, of .*, stays in force$/,
  );
  writeFileSync(nodePath('web1'), node(3));
  await expect.poll(() => live?.state().isGood, SOON).toBe(true);
  expect(live?.state().problems).toEqual([]);
});

test('a start with broken files serves the last good state of the run before', async () => {
  await start();
  await live?.close();
  writeFileSync(join(home, 'etc/rouse.yaml'), 'version: 1\nsubnets: [');
  const { lines } = await start();
  expect(live?.state().isGood).toBe(false);
  expect(names()).toEqual(['web1']);
  expect(lines[0]).toMatch(/^configuration refused: rouse\.yaml:2:11 .*stays in force$/);
});

test('a start with broken files and no good state before has nothing in force', async () => {
  writeFileSync(join(home, 'etc/rouse.yaml'), 'version: 2\n');
  const { lines } = await start();
  expect(live?.state().site).toBeUndefined();
  expect(lines[0]).toMatch(/nothing is in force$/);
});

test('a burst of 500 edits, half-written ones among them, never puts an invalid state in force and ends in the last', async () => {
  const { states } = await start();
  for (let edit = 0; edit < 500; edit += 1) {
    const path = nodePath(`n${edit % 20}`);
    const text = node(100 + edit);
    if (edit % 5 === 0) {
      // An editor that writes in place, stopping in the middle.
      writeFileSync(path, text.slice(0, 12));
      if (edit % 50 === 0) await live?.reload();
      appendFileSync(path, text.slice(12));
    } else if (edit % 5 === 1) {
      writeFileSync(`${path}.new`, text);
      renameSync(`${path}.new`, path);
    } else writeFileSync(path, edit % 5 === 2 ? `${text}oops: 1\n` : text);
    if (edit % 25 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  for (let index = 0; index < 20; index += 1) writeFileSync(nodePath(`n${index}`), node(1000 + index));
  await expect.poll(() => live?.state().site?.nodes.get('n19')?.macs[0], SOON).toBe('52:54:00:77:03:fb');
  expect(live?.state().isGood).toBe(true);
  expect(names().length).toBe(21);
  for (const { site } of states) {
    for (const each of site?.nodes.values() ?? []) expect(each.profile.name).toBe('web');
  }
  // At least one reading met a half-written file: otherwise this test shows nothing.
  expect(states.some(({ isGood }) => !isGood)).toBe(true);
});

test('an image that is built, and one that drops a var, are seen without an edit', async () => {
  writeFileSync(join(home, 'etc/profiles/web.yaml'), 'extends: role/web\nvars: {greeting: hi}\n');
  const before = await readSite(places());
  expect(before.ok && before.warnings.map(({ message }) => message)).toEqual([
    "image: image 'web' is not built; build it with: rouse image build web",
  ]);
  publishImage(join(home, 'lib'), 'web');
  const built = await readSite(places());
  expect(built.ok && built.warnings).toEqual([]);
  publishImage(join(home, 'lib'), 'web', { generation: 2, vars: {} });
  const dropped = await readSite(places());
  expect(!dropped.ok && dropped.problems.map(renderProblem)).toEqual([
    "profiles/web.yaml:2:18 vars.greeting: image 'web' declares no such var, it declares none",
  ]);
});

test('a damaged manifest is a warning with its reason, never a crash', async () => {
  publishImage(join(home, 'lib'), 'web');
  writeFileSync(join(home, 'lib/images/web/1.json'), '{"version": 1');
  const result = await readSite(places());
  expect(result.ok && result.warnings[0]?.message).toMatch(/^image: image 'web' cannot be booted \(.*1\.json: /);
});

// Whether a file is there and whether it can be read are two things: a smaller site is never what the second comes to.
const UNREADABLE: readonly (readonly [string, () => void, RegExp])[] = [
  [
    'a directory',
    () => {
      unlinkSync(nodePath('web1'));
      mkdirSync(nodePath('web1'));
    },
    /^nodes\/web1\.yaml:1:1 cannot be read: it is not a regular file$/,
  ],
  [
    'a link to nothing',
    () => {
      unlinkSync(nodePath('web1'));
      symlinkSync('/nonexistent/x', nodePath('web1'));
    },
    /^nodes\/web1\.yaml:1:1 cannot be read: it is a link to nothing$/,
  ],
  [
    'a link in a circle',
    () => {
      unlinkSync(nodePath('web1'));
      symlinkSync('web1.yaml', nodePath('web1'));
    },
    /^nodes\/web1\.yaml:1:1 cannot be read: .*/,
  ],
  [
    'a FIFO',
    () => void execFileSync('mkfifo', [nodePath('pipe')]),
    /^nodes\/pipe\.yaml:1:1 cannot be read: it is not a regular file$/,
  ],
  [
    'a link to a device without end',
    () => symlinkSync('/dev/zero', nodePath('zero')),
    /^nodes\/zero\.yaml:1:1 cannot be read: it is not a regular file$/,
  ],
  [
    'a file of 2 GB',
    () => {
      writeFileSync(nodePath('huge'), '');
      truncateSync(nodePath('huge'), 2 ** 31);
    },
    /^nodes\/huge\.yaml:1:1 cannot be read: it is longer than 1048576 bytes$/,
  ],
  [
    'the folder of nodes gone',
    () => renameSync(join(home, 'etc/nodes'), join(home, 'etc/away')),
    /^nodes:1:1 is gone, and 1 nodes of it are in force; to have none, make it empty$/,
  ],
  [
    'the folder of nodes a file',
    () => {
      renameSync(join(home, 'etc/nodes'), join(home, 'etc/away'));
      writeFileSync(join(home, 'etc/nodes'), '');
    },
    /^nodes:1:1 cannot be read: ENOTDIR/,
  ],
];
for (const [what, spoil, message] of UNREADABLE) {
  test(`${what}: a problem with its name, and the last good state stays in force, over a restart too`, async () => {
    await start();
    const kept = readFileSync(join(home, 'lib/last-good.json'), 'utf8');
    spoil();
    await live?.reload();
    expect(live?.state().problems.map(renderProblem)[0]).toMatch(message);
    expect(live?.state().isGood).toBe(false);
    expect(names()).toEqual(['web1']);
    await live?.close();
    await start();
    expect(live?.state().problems.map(renderProblem)[0]).toMatch(message);
    expect(names()).toEqual(['web1']);
    expect(readFileSync(join(home, 'lib/last-good.json'), 'utf8')).toBe(kept);
  });
}

test('a reader that runs out of file descriptors keeps what is in force, and is well again afterwards', async () => {
  publishImage(join(home, 'lib'), 'web');
  const program = `
    import { openSync, closeSync } from 'node:fs';
    import { readSite, watchSite } from ${JSON.stringify(join(import.meta.dirname, '../../../netboot/site/load.io.ts'))};
    const live = await watchSite(${JSON.stringify(places())}, () => undefined);
    const say = () => console.log(JSON.stringify([live.state().isGood, [...live.state().site.nodes.keys()], 0]));
    say();
    const taken = [];
    try { for (;;) taken.push(openSync('/dev/null')); } catch {}
    const during = await live.reload();
    const images = (await live.images()).size;
    for (const fd of taken) closeSync(fd);
    console.log(JSON.stringify([during.isGood, [...during.site.nodes.keys()], images]));
    await live.reload();
    say();
    await live.close();
  `;
  const args = ['-c', 'ulimit -n 200; exec "$0" --input-type=module -e "$1"', process.execPath, program];
  const lines = execFileSync('sh', args, { encoding: 'utf8' }).trim().split('\n');
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    [true, ['web1'], 0],
    [false, ['web1'], 1],
    [true, ['web1'], 0],
  ]);
});

test('an edit --offline is in the audit log once: the boot server that starts after it takes it for nobody else’s', async () => {
  await start();
  await live?.close();
  const change = { range: 'web1', isDryRun: false, isOffline: true } as const;
  const told = { ...places(), runDir: join(home, 'run') };
  await setNodes(told, { ...change, words: ['note=a'] });
  await setNodes(told, { ...change, words: ['note=b'] });
  writeFileSync(nodePath('web2'), node(2));
  await start();
  expect(names()).toEqual(['web1', 'web2']);
  const audited = readFileSync(join(home, 'lib/audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { what: string; changes: { file: string }[] });
  expect(audited.map(({ what, changes }) => `${what} ${changes.map(({ file }) => file).join(' ')}`)).toEqual([
    'node set --offline nodes/web1.yaml',
    'node set --offline nodes/web1.yaml',
    'edit nodes/web2.yaml',
  ]);
});
