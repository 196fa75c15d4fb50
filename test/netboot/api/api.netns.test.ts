// netboot.sock as it is: every answer is what the table of routes says, every refusal names its reason, and whoever changes
// something is in the audit log by what the kernel says of him.

import { type ChildProcess, execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Route, ROUTES } from '../../../netboot/api/routes.ts';
import { Rack } from '../dhcp/rack.ts';
import { publishImage, writeTree } from '../home.ts';

const MAC1 = '52:54:00:77:00:01';
const ROUSE = join(import.meta.dirname, '../../../bin/rouse');
const WAIT = { timeout: 20_000 };
let rack: Rack;
let home: string;
let server: ChildProcess;

beforeAll(async () => {
  rack = new Rack();
  home = mkdtempSync(join(tmpdir(), 'rouse-api-'));
  writeTree(home, {
    'etc/rouse.yaml':
      'version: 1\nsubnets: [{name: rack1, interface: v1, network: 10.77.1.0/24, pools: [10.77.1.100-10.77.1.150], answerBesideOthers: true}]\n' +
      'pools: {web: {match: {profile: web}}}\n',
    'etc/profiles/web.yaml': 'image: web\n',
    'etc/nodes/web1.yaml': `macs: [${MAC1}]\nprofile: web\naddress: 10.77.1.11   # the first\n`,
  });
  chmodSync(home, 0o755);
  publishImage(join(home, 'lib'), 'web');
  await rack.make(['10.77.1.1/24'], [MAC1]);
  server = rack.start(rack.server, process.execPath, [join(import.meta.dirname, '../run-netboot.ts'), home]);
  for (let tries = 0; tries < 200 && !existsSync(join(home, 'run/netboot.sock')); tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const done = await rack.in(
    rack.wires[0]?.client ?? '',
    'busybox',
    ['udhcpc', '-f', '-i', 'c0', '-n', '-q', '-t', '10', '-T', '1', '-s', '/bin/true'],
    30_000,
  );
  if (done.code !== 0) throw new Error(done.stderr);
});
afterAll(async () => {
  server.kill();
  await rack.take();
  rmSync(home, { recursive: true, force: true });
});

function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const asking = request(
      { socketPath: join(home, 'run/netboot.sock'), path, method, headers, agent: false },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as unknown }));
      },
    );
    asking.on('error', reject);
    asking.end(body);
  });
}
const audit = (): { who: string; what: string; changes?: { file: string; diff: string[] }[] }[] =>
  readFileSync(join(home, 'lib/audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as ReturnType<typeof audit>[number]);

const NAMES: Readonly<Record<string, string>> = {
  '/v1/nodes/{name}': '/v1/nodes/web1',
  '/v1/nodes/{name}/boot': '/v1/nodes/web1/boot',
  '/v1/nodes/{name}/orders': '/v1/nodes/web1/orders',
  '/v1/nodes/{name}/diff': '/v1/nodes/web1/diff',
  '/v1/profiles/{name}': '/v1/profiles/web',
  '/v1/pools/{name}': '/v1/pools/web',
  '/v1/explain': `/v1/explain?mac=${MAC1}`,
};
const READS = (Object.entries(ROUTES) as [string, Route][]).filter(
  ([name, { method, answer }]) => method === 'GET' && answer !== 'events' && name !== 'boot',
);

test.each(READS)('the answer of %s is what the table says', async (_name, { path, answer }) => {
  const { status, body } = await ask('GET', NAMES[path] ?? path);
  expect({ status, body: status === 200 ? '' : body }).toEqual({ status: 200, body: '' });
  if (answer === 'events') throw new Error('filtered');
  expect(answer.safeParse(body).error?.issues).toBeUndefined();
});

const REFUSED: readonly [string, string, number, string][] = [
  ['GET', '/v1/nodes/web9', 404, "there is no node 'web9'; did you mean 'web1'?"],
  ['GET', '/v1/explain?mac=zz', 400, 'mac: expected a MAC address such as 52:54:00:77:00:01'],
  ['GET', '/v1/explain', 400, 'mac: Invalid input: expected string, received undefined'],
  ['GET', `/v1/explain?mac=${MAC1}&arch=vax`, 400, 'arch: Invalid option'],
  ['GET', '/v1/boots?limit=0', 400, 'limit: expected a whole number, 1 to 1000'],
  ['GET', '/v1/boots?limt=3', 400, 'Unrecognized key: "limt"'],
  ['POST', '/v1/nodes/web1/drain?force=yes', 400, 'force: expected 1 or 0'],
  ['POST', '/v1/nodes/web1/set', 400, 'set: '],
  ['POST', '/v1/nodes', 400, 'body: '],
  ['POST', '/v1/leases/10.77.1.99/release', 404, 'there is no lease of 10.77.1.99'],
  ['DELETE', '/v1/nodes/web1', 404, 'there is no /v1/nodes/web1 here'],
];
test.each(REFUSED)('%s %s is refused: %i %s', async (method, path, status, why) => {
  const answer = await ask(method, path);
  expect(answer.status).toBe(status);
  expect((answer.body as { error: string }).error).toContain(why);
});

test('who changes something is who the kernel says he is', async () => {
  const proof = 'a'.repeat(32);
  writeFileSync(join(home, 'run/who', proof), `rouse-who ${proof}\n`);
  const drain = (headers: Record<string, string>) => ask('POST', '/v1/nodes/web1/undrain?who=ann', headers);
  expect(await drain({ 'Rouse-Who': proof })).toMatchObject({ status: 200 });
  expect(audit().at(-1)).toMatchObject({ who: 'root (says: ann)', what: 'node undrain' });
  // A proof counts once.
  expect(readdirSync(join(home, 'run/who'))).toEqual([]);
  expect(await drain({ 'Rouse-Who': proof })).toMatchObject({ status: 200 });
  expect(audit().at(-1)).toMatchObject({ who: 'unknown (says: ann)' });
  // Another user's file is his.
  chmodSync(join(home, 'run'), 0o755);
  chmodSync(join(home, 'run/who'), 0o1777);
  const his = 'b'.repeat(32);
  execFileSync('setpriv', [
    '--reuid',
    '65534',
    '--regid',
    '65534',
    '--clear-groups',
    'sh',
    '-c',
    `echo rouse-who ${his} > ${join(home, 'run/who', his)}`,
  ]);
  expect(await drain({ 'Rouse-Who': his })).toMatchObject({ status: 200 });
  expect(audit().at(-1)).toMatchObject({ who: 'nobody (says: ann)' });
  for (const name of ['../netboot.sock', '', 'c'.repeat(32), `../who/${proof}`]) {
    expect(await drain({ 'Rouse-Who': name })).toMatchObject({ status: 200 });
    expect(audit().at(-1)).toMatchObject({ who: 'unknown (says: ann)' });
  }
});

test('an edit by hand is in the audit log with its diff, one by command once', async () => {
  const file = join(home, 'etc/nodes/web1.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace('# the first', '# the very first'));
  await expect
    .poll(() => audit().at(-1), WAIT)
    .toMatchObject({
      who: 'by hand',
      changes: [
        {
          file: 'nodes/web1.yaml',
          diff: ['-address: 10.77.1.11   # the first', '+address: 10.77.1.11   # the very first'],
        },
      ],
    });
  writeFileSync(join(home, 'etc/profiles/other.yaml'), 'boot: local\n');
  await expect
    .poll(() => audit().at(-1)?.changes, WAIT)
    .toEqual([{ file: 'profiles/other.yaml', diff: ['new file', '+boot: local'] }]);
  const before = audit().length;
  expect(await ask('POST', '/v1/nodes/web1/set?set=note%3Dx&set=labels.rack%3Dr1')).toMatchObject({ status: 200 });
  rmSync(join(home, 'etc/profiles/other.yaml'));
  await expect
    .poll(() => audit().at(-1)?.changes, WAIT)
    .toEqual([{ file: 'profiles/other.yaml', diff: ['file removed', '-boot: local'] }]);
  expect(
    audit()
      .slice(before)
      .map(({ what }) => what),
  ).toEqual(['node set', 'edit']);
});

test('rouse status says first that an edit was refused, whether or not anything is supervised here', async () => {
  const file = join(home, 'etc/profiles/wrong.yaml');
  const status = () => spawnSync(ROUSE, ['status'], { env: { ...process.env, ROUSE_HOME: home }, encoding: 'utf8' });
  expect(status().stderr).not.toContain('boot server:');
  writeFileSync(file, 'imgae: web\n');
  await expect
    .poll(() => status().stderr.split('\n')[0], WAIT)
    .toMatch(/^rouse: boot server: an edit was refused, .*profiles\/wrong\.yaml:1:1 .*; see all with: rouse check$/);
  rmSync(file);
  await expect.poll(() => status().stderr, WAIT).not.toContain('boot server:');
});

test('rouse check believes a boot server that runs about its interfaces, which may lie in another network namespace', () => {
  const env = { ...process.env, ROUSE_HOME: home };
  const { stdout, status } = spawnSync(ROUSE, ['check'], { env, encoding: 'utf8' });
  expect(stdout).toContain('good: 1 nodes');
  expect(stdout).not.toContain('is not there');
  expect(status).toBe(0);
});
