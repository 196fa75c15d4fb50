// explain as an operator reads it, whole; and that it is the wire's own words.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { parseMac } from '../../../formats/mac.ts';
import type { Manifest } from '../../../images/manifest.ts';
import { explain, type ExplainFacts, renderExplanation } from '../../../netboot/api/explain.ts';
import { ARCH_NAMES } from '../../../netboot/api/explaindhcp.ts';
import { freshState, planKey } from '../../../netboot/fleet/nodestate.ts';
import { type BootPlan, resolve } from '../../../netboot/site/plan.ts';
import { LeaseBook } from '../../../netboot/store/leases.ts';
import { parseSite } from '../../../netboot/site/files.ts';
import { buildSite, type ImageState } from '../../../netboot/site/site.ts';

const A = 'a'.repeat(64);
const MANIFEST: Manifest = {
  version: 1,
  image: 'web',
  generation: 3,
  builtAt: '2026-01-01T00:00:00Z',
  recipe: { file: 'services/web/recipe.yaml', sha256: A },
  kernel: { release: '6.1', package: 'linux-image', sha256: A, bytes: 10 },
  layers: [
    { name: 'base', sha256: A, compression: 'zstd', servedSha256: A, servedBytes: 512, unpackedBytes: 1, files: 1 },
  ],
  packages: [],
  vars: { greeting: { type: 'string', default: 'hello', text: '' } },
  templates: [],
  services: ['nginx'],
};
const KNOWN = parseMac('52:54:00:77:00:01')!;
const STRANGER = parseMac('52:54:00:99:00:01')!;

function facts(images: Map<string, ImageState>): ExplainFacts {
  const file = (path: string, text: string) => ({ path, text });
  const result = buildSite(
    parseSite(
      {
        rouse: file(
          'rouse.yaml',
          'version: 1\nsubnets:\n  - {name: rack1, interface: eth1, network: 10.0.0.0/24, pools: [10.0.0.100-10.0.0.101]}\n',
        ),
        profiles: new Map([['web', file('profiles/web.yaml', 'extends: role/web\nvars: {greeting: hi}\n')]]),
        nodes: new Map([
          [
            'web1',
            file('nodes/web1.yaml', 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.0.11\nloader: undionly\n'),
          ],
        ]),
        roles: new Map([['web', file('services/web/profile.yaml', 'image: web\n')]]),
      },
      new Map(),
    ),
    images,
  );
  if (!result.ok) throw new Error('the site is good');
  return {
    site: result.site,
    images,
    leases: new LeaseBook(),
    interfaces: [{ name: 'eth1', address: '10.0.0.1' as Ipv4Address }],
    loaders: new Set(['snponly.efi']),
    rung: () => 0,
    held: () => undefined,
    states: new Map(),
    nowMs: 0,
  };
}

const BUILT = new Map<string, ImageState>([['web', { kind: 'built', manifest: MANIFEST }]]);

test('a node of the site: each answer of the wire, every value with its line, the script', () => {
  const lines = renderExplanation(explain(facts(BUILT), KNOWN, 'bios'));
  expect(lines.slice(0, 2)).toEqual([
    '52:54:00:77:00:01  node web1  profile web',
    "why: 52:54:00:77:00:01 is node 'web1' (nodes/web1.yaml), whose profile is 'web' (nodes/web1.yaml:2)",
  ]);
  expect(lines).toContain(
    '  OFFER 10.0.0.11: the node file gives it this address; TFTP undionly.kpxe: loader: undionly',
  );
  const request = lines.indexOf('REQUEST of 10.0.0.11');
  expect(lines.slice(request + 1, request + 3)).toEqual([
    '  ACK 10.0.0.11: the node file gives it this address; TFTP undionly.kpxe: loader: undionly',
    '    with the same fields and options',
  ]);
  expect(lines).toContain('  undionly.kpxe is not on disk: the request will be refused');
  expect(lines).toContain(
    '  OFFER 10.0.0.11: the node file gives it this address; http://10.0.0.1:8080/ipxe/52-54-00-77-00-01: it has fetched undionly.kpxe, so this is the iPXE that it was given, which gets the script',
  );
  expect(
    lines
      .filter((line) => /^ {2}(loader|vars.greeting|boot|readyTimeoutS) {2}/.test(line))
      .map((line) => line.trim().split(/ {2,}/)),
  ).toEqual([
    ['boot', '"linux"', "rouse's default"],
    ['loader', '"undionly"', 'nodes/web1.yaml:4'],
    ['readyTimeoutS', '300', "rouse's default"],
    ['vars.greeting', '"hi"', 'profiles/web.yaml:2'],
  ]);
  expect(lines.some((line) => line.includes('kernel --name vmlinuz http://10.0.0.1:8080/kernel/'))).toBe(true);
});

test('a stranger boots nothing, in the words of the log', () => {
  const answer = explain(facts(BUILT), STRANGER, 'efi-x64');
  expect(answer).toMatchObject({ boots: false, node: undefined, script: undefined });
  expect(answer.why).toBe("52:54:00:99:00:01 is in no node file, and subnet 'rack1' says unknown: ignore");
  expect(answer.steps[0]?.answer).toBe(
    'ignored: no node file names this MAC, and the subnet says unknown: ignore (52:54:00:99:00:01)',
  );
});

test('an image that is not built: an address, and a script that says why', () => {
  const answer = explain(facts(new Map()), KNOWN, 'bios');
  expect(answer).toMatchObject({ boots: false, node: 'web1' });
  expect(answer.steps[0]?.answer).toMatch(/^OFFER 10\.0\.0\.11/);
  expect(answer.script).toMatch(/echo rouse: .*image 'web' is not built, build it with: rouse image build web/);
});

test('every architecture has an answer, and nothing is held or leased by asking', () => {
  const asked = facts(BUILT);
  for (const arch of ARCH_NAMES) expect(explain(asked, KNOWN, arch).steps.length).toBeGreaterThan(0);
  expect((asked.leases as LeaseBook).size).toBe(0);
});

/** The node ran this generation well, and the one that its file wants now in vain. */
function rolledBack(): ExplainFacts {
  const now = facts(BUILT);
  const plan = explainedPlan(now);
  const good = { ...plan, target: { ...plan.target, generation: 2 } as typeof plan.target };
  const image = { templates: [], vars: {} };
  const state = { ...freshState('web1'), lastGood: { plan: good, image }, failedKey: planKey(plan) };
  return { ...now, states: new Map([['web1', state]]) };
}
function explainedPlan({ site, images }: ExplainFacts): BootPlan {
  const resolution = resolve(site, KNOWN, { images, subnet: undefined });
  if (resolution.kind !== 'boot') throw new Error(resolution.why);
  return resolution.plan;
}

test('during a rollback it says what the wire will give, and why', () => {
  const answer = explain(rolledBack(), KNOWN, 'bios');
  expect(answer.insteadOf).toBe('web generation 3 as web was not ready in time');
  expect(answer.why).toContain('but it boots as web instead: web generation 3 as web was not ready in time');
  expect(answer.steps.at(-1)?.lines).toContain('image web, generation 2');
  expect(answer.script).toContain('image web generation 2');
  expect(renderExplanation(answer)).toContain('values that the files want');
});

test('a refused edit stands at the top of every answer', () => {
  const answer = explain({ ...facts(BUILT), configProblem: 'rouse.yaml:3:1 unknown key' }, KNOWN, 'bios');
  expect(renderExplanation(answer)[1]).toBe(
    'the files do not validate, so this is the last good configuration: rouse.yaml:3:1 unknown key',
  );
});

test('mode: observe answers nobody and says what it would have', () => {
  const observing = facts(BUILT);
  const [subnet] = observing.site.subnets;
  if (subnet === undefined) throw new Error('a subnet');
  const subnets = [{ ...subnet, mode: 'observe' as const }];
  const { steps } = explain({ ...observing, site: { ...observing.site, subnets } }, KNOWN, 'bios');
  expect(steps[0]?.answer).toMatch(/^ignored: the subnet says mode: observe.*; otherwise: OFFER 10\.0\.0\.11/);
  expect(steps[0]?.lines).toContain('yiaddr 10.0.0.11');
  expect(steps.map(({ title }) => title)).toContain('TFTP');
});

test('without a served interface the plan is still explained', () => {
  const answer = explain({ ...facts(BUILT), interfaces: [] }, KNOWN, 'bios');
  expect(answer.steps.map(({ answer: words }) => words)).toEqual([
    'no served interface has an address now',
    'boots as web',
  ]);
});
