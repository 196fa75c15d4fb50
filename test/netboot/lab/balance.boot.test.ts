// A load balancer that fills its own pool, on two real guests: the web server joins by booting, leaves by dying, comes back; the
// boot server may be away; and the web server becomes a load balancer by one edited word, and a web server again.
// Steps of one story, in order. Four guests are for `rouse lab up --nodes 4` by hand.

import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BOOT_MS, Story } from './story.ts';

const story = process.getuid?.() === 0 ? describe : describe.skip;
const NGINX_PID = "svstat /service/nginx | sed 's/.*pid //;s/).*//'";
/** The boot server is away for so long: six reports of every node. */
const ABSENCE_MS = 60_000;

story('a web server behind a load balancer that fills its own pool', () => {
  let lab: Story;
  const realServers = (balancer = 'lb1'): string => lab.on(balancer, 'ipvsadm -Ln | grep Route');
  const supervised = (...words: string[]): void => {
    execFileSync('svc', [...words, lab.file('etc/services/netboot')]);
  };

  beforeAll(async () => {
    lab = new Story('balance');
    await lab.begin('--nodes', '2');
  }, BOOT_MS * 2);

  afterAll(async () => {
    await lab.end();
  }, 60_000);

  test('the web server that booted after the balancer is in its pool, and the virtual address answers', async () => {
    await expect
      .poll(() => realServers(), { timeout: 60_000, interval: 3000 })
      .toMatch(/10\.77\.0\.11:80\s+Route\s+1 /);
    expect(lab.rouse('pool', 'show', 'web').stdout).toMatch(/web1\s+10\.77\.0\.11\s+1\s+in/);
    await expect
      .poll(() => lab.rouse('vip', 'ls').stdout, { timeout: 60_000, interval: 2000 })
      .toMatch(/10\.77\.0\.200\s+lb\s+\d+\s+lb1 /);
    await expect.poll(() => lab.page(), { timeout: 60_000, interval: 1000 }).toContain('<title>web1');
  });

  test('nginx that is held still leaves the balancer, and comes back', async () => {
    const pid = lab.on('web1', NGINX_PID);
    expect(pid).toMatch(/^\d+$/);
    lab.on('web1', '/usr/bin/svc -d /service/nginx');
    await expect.poll(() => realServers(), { timeout: 90_000, interval: 3000 }).toBe('');
    lab.on('web1', '/usr/bin/svc -u /service/nginx');
    await expect.poll(() => realServers(), { timeout: 90_000, interval: 3000 }).toMatch(/10\.77\.0\.11:80/);
    await expect.poll(() => lab.page(), { timeout: 30_000, interval: 1000 }).toContain('<title>web1');
  });

  test('the boot server is away for a minute: no request fails, no pool changes', { timeout: 240_000 }, async () => {
    supervised('-o', '-k');
    const failed: string[] = [];
    let asked = 0;
    for (const end = Date.now() + ABSENCE_MS; Date.now() < end; ) {
      const text = await lab.page(15_000);
      asked += 1;
      if (!text.includes('<title>web1')) failed.push(text.slice(0, 200));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    expect(lab.rouse('node', 'ls').stdout).not.toContain('ready after');
    supervised('-u');
    await expect
      .poll(() => lab.rouse('pool', 'show', 'web').stdout, { timeout: 60_000, interval: 1000 })
      .toMatch(/web1\s+10\.77\.0\.11\s+1\s+in/);
    expect(failed).toEqual([]);
    expect(asked).toBeGreaterThan(10);
    expect(realServers()).toMatch(/10\.77\.0\.11:80/);
  });

  test('a change that would empty the pool is refused before anything is touched', () => {
    expect(lab.rouse('node', 'set', 'web1', 'profile=lb').status).toBe(0);
    const { status, stderr } = lab.rouse('node', 'boot', 'web1', '--now', '--wait');
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /web1 was not touched: pool 'web' would keep 0 of 1 in service, and its minimum is 1; .*--force/,
    );
    expect(realServers()).toMatch(/10\.77\.0\.11:80/);
  });

  test('by force, the web server becomes a load balancer by kexec and joins without moving the address', {
    timeout: BOOT_MS,
  }, async () => {
    const { status, stdout, stderr } = lab.rouse('node', 'boot', 'web1', '--now', '--wait', '--force');
    expect(status, `${stdout}${stderr}\n${lab.evidence()}`).toBe(0);
    // Ready is a stage and ends the wait; the list goes by reports, and the next one may be ten seconds away.
    await expect
      .poll(() => lab.rouse('node', 'ls').stdout, { timeout: 60_000, interval: 2000 })
      .toMatch(/web1\s+lb\s.*as lb\s+ready/);
    expect(lab.on('web1', 'svstat /service/keepalived')).toMatch(/up/);
    await expect
      .poll(() => lab.rouse('vip', 'ls').stdout, { timeout: 60_000, interval: 2000 })
      .toMatch(/ lb1 \([^)]*\) +lb1$/m);
    expect(lab.on('web1', 'ip addr show eth0')).not.toContain('10.77.0.200');
  });

  test('it becomes a web server again and serves behind the address', { timeout: BOOT_MS }, async () => {
    expect(lab.rouse('node', 'set', 'web1', 'profile=web').status).toBe(0);
    const { status, stdout, stderr } = lab.rouse('node', 'boot', 'web1', '--now', '--wait');
    expect(status, `${stdout}${stderr}\n${lab.evidence()}`).toBe(0);
    await expect.poll(() => realServers(), { timeout: 90_000, interval: 3000 }).toMatch(/10\.77\.0\.11:80/);
    await expect.poll(() => lab.page(), { timeout: 60_000, interval: 1000 }).toContain('<title>web1');
  });
});
