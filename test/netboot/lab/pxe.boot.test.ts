// The whole way, as a user goes it: `rouse lab up` on an empty home, real firmware, DHCP, TFTP, iPXE, HTTP, kernel, init,
// nginx; then what an operator does to it: kill a daemon in the node, kill the boot server, edit the profile, break a
// file, ctrl-C. The tests are steps of one story and run in order.

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BOOT_MS, Story } from './story.ts';

const MAC = '52:54:00:77:00:01';
const NGINX_PID = "svstat /service/nginx | sed 's/.*pid //;s/).*//'";

const story = process.getuid?.() === 0 ? describe : describe.skip;

story('a machine without a disk becomes a web server', () => {
  let lab: Story;
  const netbootPid = (): number =>
    (JSON.parse(lab.rouse('status', '--json').stdout) as { services: { name: string; pid: number }[] }).services.find(
      ({ name }) => name === 'netboot',
    )?.pid ?? 0;

  beforeAll(async () => {
    lab = new Story('pxe');
    await lab.begin();
  }, BOOT_MS + 10_000);

  afterAll(async () => {
    await lab.end();
  }, 60_000);

  test('nginx on the node answers with the page of that node', async () => {
    const text = await lab.page();
    expect(text).toContain('<dt>hostname</dt><dd>web1</dd>');
    expect(text).toContain('<dt>node</dt><dd>web1</dd>');
    expect(text).toContain('<dt>profile</dt><dd>web</dd>');
    expect(text).toContain('Hello from a machine without a disk');
  });

  test('the journal has every stage, and the bytes that TFTP sent are the loader', () => {
    const { boots } = lab.ask('/v1/boots?node=web1&limit=1') as {
      boots: { stages: Record<string, { bytes: number; detail: string }>; outcome: { kind: string } }[];
    };
    const [boot] = boots;
    expect(boot?.outcome.kind).toBe('ready');
    const stages = ['dhcp', 'init', 'initrd', 'kernel', 'layers', 'loader', 'network', 'ready', 'script', 'services'];
    expect(Object.keys(boot?.stages ?? {}).sort()).toEqual(stages);
    expect(boot?.stages['loader']?.bytes).toBe(statSync(lab.file('lib/loaders/undionly.kpxe')).size);
    expect(boot?.stages['kernel']?.bytes).toBeGreaterThan(5_000_000);
    const shown = lab.rouse('node', 'show', 'web1');
    expect(shown.status, shown.stderr).toBe(0);
    expect(shown.stdout).toMatch(/nodes\/web1\.yaml:\d+/);
    expect(shown.stdout).toMatch(/ready after \d+\.\d s/);
  });

  test('explain says what the machine would boot, and why', () => {
    const { status, stdout, stderr } = lab.rouse('explain', MAC);
    expect(status, stderr).toBe(0);
    expect(stdout).toContain('web1');
    expect(stdout).toMatch(/nodes\/web1\.yaml/);
    expect(stdout).toContain('10.77.0.11');
    expect(stdout).toContain('undionly.kpxe');
    expect(lab.rouse('explain', '52:54:00:99:99:99').stdout).toMatch(/ignore/);
    expect(lab.rouse('explain', 'nonsense').status).not.toBe(0);
  });

  test('nginx is killed inside the node and answers again', async () => {
    let before = '';
    // The kernel writes to the same console: a line of its own may stand in the middle of an answer.
    await expect.poll(() => (before = lab.on('web1', NGINX_PID)), { timeout: 60_000, interval: 2000 }).toMatch(/^\d+$/);
    expect(lab.rouse('lab', 'exec', 'web1', '--', `kill -9 ${before}`).status).toBe(0);
    await expect
      .poll(() => lab.on('web1', NGINX_PID), { timeout: 60_000, interval: 2000 })
      .toSatisfy((now: string) => /^\d+$/.test(now) && now !== before);
    await expect.poll(() => lab.page(), { timeout: 60_000, interval: 1000 }).toContain('web1');
  });

  test('the boot server is killed: the node serves on, the lease is still there, the boot is remembered', async () => {
    const before = netbootPid();
    expect(before).toBeGreaterThan(0);
    process.kill(before, 'SIGKILL');
    expect(await lab.page()).toContain('web1');
    await expect
      .poll(() => lab.rouse('lease', 'ls').stdout, { timeout: 60_000, interval: 1000 })
      .toMatch(/10\.77\.0\.11\s+52:54:00:77:00:01/);
    expect(netbootPid()).not.toBe(before);
    expect(lab.rouse('node', 'show', 'web1').stdout).toMatch(/ready after/);
  });

  test('a broken edit never takes effect and is said with file, line and column', () => {
    const file = lab.file('etc/profiles/web.yaml');
    const good = readFileSync(file, 'utf8');
    writeFileSync(file, good.replace('vars:', 'vras:'));
    try {
      const checked = lab.rouse('check');
      expect(checked.status).toBe(1);
      expect(checked.stdout + checked.stderr).toMatch(
        /profiles\/web\.yaml:\d+:1 unknown key 'vras', did you mean 'vars'\?/,
      );
      expect(lab.rouse('explain', MAC).stdout).toContain('10.77.0.11');
    } finally {
      writeFileSync(file, good);
    }
    expect(lab.rouse('check').status).toBe(0);
  });

  test('one edit of the profile and a reboot change the page', { timeout: BOOT_MS }, async () => {
    const file = lab.file('etc/profiles/web.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replace(/greeting: .*/, 'greeting: Edited once'));
    const { status, stdout, stderr } = lab.rouse('lab', 'reboot', 'web1');
    expect(status, `${stdout}\n${stderr}\n${lab.evidence()}`).toBe(0);
    expect(stdout).toMatch(/ready after/);
    await expect.poll(() => lab.page(), { timeout: 30_000, interval: 1000 }).toContain('Edited once');
  });

  test('ctrl-C leaves nothing behind', async () => {
    const { namespace } = JSON.parse(readFileSync(lab.file('run/lab.json'), 'utf8')) as { namespace: string };
    expect(await lab.interrupt()).toEqual([]);
    expect(existsSync(`/run/netns/${namespace}`)).toBe(false);
  });
});
