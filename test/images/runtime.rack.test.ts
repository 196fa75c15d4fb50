// A machine without a disk whose services rouse keeps: PXE, the image with its runtime, `rouse` on the node, and what the boot
// server says of it. Steps of one story, beside test/netboot/lab/pxe.boot.test.ts, which has the same node under svscan.
//
// The site's own role web is rouse's with one more line. By hand, because the node loads and unpacks 35 MB more.

import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BOOT_MS, Story } from '../netboot/lab/story.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const WAIT = { timeout: 120_000, interval: 2000 };
const story = process.getuid?.() === 0 ? describe : describe.skip;

story('a node under rouse', () => {
  let lab: Story;
  const nginxPid = (): string => /^nginx +up +(\d+) /m.exec(lab.on('web1', 'rouse status nginx'))?.[1] ?? '';

  beforeAll(async () => {
    lab = new Story('runtime');
    const roles = lab.file('etc/roles');
    mkdirSync(roles, { recursive: true });
    cpSync(join(ROOT, 'services/web'), join(roles, 'web'), { recursive: true });
    const recipe = join(roles, 'web/recipe.yaml');
    const text = readFileSync(recipe, 'utf8').replace('memoryMb: 128', 'memoryMb: 384');
    writeFileSync(recipe, `${text.replace('services: [nginx]', 'services: [nginx, bounded]')}\nsupervisor: rouse\n`);
    mkdirSync(join(roles, 'web/bounded/log'), { recursive: true });
    writeFileSync(join(roles, 'web/bounded/log/multilog'), 't s65536 n4 /var/log/bounded\n');
    writeFileSync(join(roles, 'web/bounded/run'), '#!/bin/sh\nsleep 1000000 &\nexec sleep 1000000\n', { mode: 0o755 });
    writeFileSync(join(roles, 'web/bounded/cgroup'), 'memoryMaxBytes 50000000\npidsMax 20\n');
    await lab.begin();
  }, BOOT_MS + 10_000);

  afterAll(async () => {
    await lab.end();
  }, 60_000);

  test('nginx answers, and rouse on the node says so', async () => {
    expect(await lab.page()).toContain('<dt>hostname</dt><dd>web1</dd>');
    const shown = lab.on('web1', 'rouse status');
    expect(shown).toMatch(/^agent +up +\d+ .* yes /m);
    expect(shown).toMatch(/^nginx +up +\d+ .* yes /m);
    expect(lab.on('web1', 'ps | grep -c "[s]vscan"')).toBe('0');
  });

  test('the boot server shows the services of the node, with their readiness from rouse', async () => {
    const pid = nginxPid();
    const shown = (): string => lab.rouse('status', 'web1').stdout;
    await expect.poll(shown, WAIT).toMatch(new RegExp(`^web1 +nginx +up +${pid} .* yes +\\d+ s ago, by rouse$`, 'm'));
    expect(lab.rouse('node', 'show', 'web1').stdout).toMatch(/reported \d+ s ago: ready, .* services under rouse/);
    expect(lab.rouse('image', 'show', 'web').stdout).toMatch(/^node +24\.\d+\.\d+ +\d{9}$/m);
  });

  test('a service has its cgroup, with its limits', () => {
    const folder = '/sys/fs/cgroup/rouse-*';
    expect(
      lab.on('web1', `cat ${folder}/memory.max ${folder}/pids.max; wc -l <$(echo ${folder}/cgroup.procs)`),
    ).toMatch(/^499\d{5}\s+20\s+2$/);
  });

  test('the two processes of rouse have at most 28 MB of their own', () => {
    const said = lab.on('web1', 'cd /proc; for pid in $(pidof node); do grep -h Pss_Anon $pid/smaps_rollup; done');
    const privateKb = [...said.matchAll(/Pss_Anon: +(\d+) kB/g)].map(([, kb]) => Number(kb));
    process.stdout.write(`private memory on the node: ${privateKb.join(' + ')} KiB\n`);
    expect(privateKb).toHaveLength(2);
    expect(privateKb.reduce((sum, kb) => sum + kb, 0)).toBeLessThanOrEqual(28 * 1024);
  });

  test('rouse is killed on the node: the same nginx serves on, adopted', async () => {
    const before = nginxPid();
    const supervisor = lab.on('web1', 'cat /run/rouse/supervise.pid');
    lab.on('web1', `kill -9 ${supervisor}`);
    expect(await lab.page()).toContain('web1');
    await expect.poll(() => lab.on('web1', 'rouse status nginx'), WAIT).toContain('adopted');
    expect(nginxPid()).toBe(before);
    expect(lab.on('web1', 'cat /run/rouse/supervise.pid')).not.toBe(supervisor);
  });

  test('nginx is killed and nothing of it holds its port', async () => {
    const before = nginxPid();
    lab.on('web1', `kill -9 ${before}`);
    await expect.poll(nginxPid, WAIT).toSatisfy((now: string) => /^\d+$/.test(now) && now !== before);
    await expect.poll(() => lab.page(), WAIT).toContain('web1');
  });
});
