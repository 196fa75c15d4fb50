// A web server that becomes a load balancer and a web server again on real guests, while a client asks: by kexec and cold, back
// while it holds the virtual address; a generation that never gets ready; three boots in vain.
//
// By hand (npm run test:rack): two guests and a web server that is a namespace, 15 to 40 minutes. Emulated machines stall for
// seconds: what converges is asserted, what it took is printed.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unpackImage } from '../../services/image-tree.ts';
import { Asker, say } from './asker.ts';
import { SpaceNode, wire } from './space-node.ts';
import { BOOT_MS, type Ran, Story } from './story.ts';

const SERVICES = fileURLToPath(new URL('../../../services', import.meta.url));
const VIP = '10.77.0.200';
const story = process.getuid?.() === 0 ? describe : describe.skip;

story('one machine, two roles', () => {
  let lab: Story;
  let bridge = '';
  let near = '';
  let web2: SpaceNode | undefined;
  let client: Asker | undefined;
  const holds = (name: string): boolean => lab.on(name, 'ip -o -4 address show eth0').includes(VIP);
  const done = (ran: Ran): void => expect(ran.status, `${ran.stdout}${ran.stderr}\n${lab.evidence()}`).toBe(0);
  /** Changes web1 and says what it took, and what the client noticed. */
  const become = (profile: string, ...words: string[]): void => {
    const fromMs = Date.now();
    done(lab.rouse('node', 'set', 'web1', `profile=${profile}`));
    const ran = lab.rouse('node', 'boot', 'web1', '--now', '--wait', ...words);
    done(ran);
    say(`${ran.stdout.trim().split('\n').at(-1)} ${words.join(' ')}; ${client?.told(fromMs)}`);
  };

  beforeAll(async () => {
    lab = new Story('switch');
    await unpackImage('web', lab.home);
    done(lab.rouse('image', 'build', 'maintenance'));
    for (const folder of ['profiles', 'nodes', 'roles']) mkdirSync(lab.file(`etc/${folder}`), { recursive: true });
    const shell = 'cmdline: [console=ttyS0, rouse.console=shell]\nloader: undionly\n';
    writeFileSync(lab.file('etc/profiles/web.yaml'), `extends: role/web\nimage: web\n${shell}`);
    writeFileSync(lab.file('etc/profiles/maintenance.yaml'), `extends: role/maintenance\n${shell}`);
    writeFileSync(lab.file('etc/nodes/web2.yaml'), "macs: ['52:54:00:77:00:02']\nprofile: web\naddress: 10.77.0.12\n");
    await lab.begin('--nodes', 'lb1,web1');
    bridge = (JSON.parse(readFileSync(lab.file('run/lab.json'), 'utf8')) as { namespace: string }).namespace;
    near = `${bridge}-near`;
    wire(bridge, near, 'near');
    execFileSync('ip', ['-n', near, 'address', 'add', '10.77.0.50/24', 'dev', 'c0']);
    web2 = new SpaceNode(bridge, 'web2', '52:54:00:77:00:02', lab.file('web'), lab.home);
    await web2.boot();
    client = new Asker(near, VIP);
  }, BOOT_MS * 3);

  afterAll(async () => {
    await client?.end();
    await web2?.take();
    await lab.end();
    if (near !== '') execFileSync('ip', ['netns', 'del', near]);
  }, 120_000);

  test('both web servers answer', async () => {
    const titles = (): Set<string> => new Set(client?.answers.slice(-10).map(({ title }) => title));
    await expect.poll(titles, { timeout: 120_000 }).toEqual(new Set(['web1', 'web2']));
  });

  test('by kexec: it leaves its pool, joins as a balancer, and the address stays where it is', () => {
    become('lb');
    expect(lab.rouse('node', 'ls').stdout).toMatch(/web1\s+lb\s.*as lb\s+ready/);
    expect([holds('lb1'), holds('web1')]).toEqual([true, false]);
    expect(lab.rouse('vip', 'ls')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/ lb1 \(.* lb1$/m) as unknown,
    });
  });

  test('and back, while it holds the address: handed over first', async () => {
    const fromMs = Date.now();
    done(lab.rouse('node', 'drain', 'lb1'));
    await expect.poll(() => holds('web1'), { timeout: 120_000, interval: 1000 }).toBe(true);
    done(lab.rouse('node', 'undrain', 'lb1'));
    await expect.poll(() => lab.on('lb1', 'svstat /service/keepalived'), { timeout: 60_000 }).toMatch(/: up /);
    // What it hears of the new master, it must have heard before that one leaves.
    await new Promise((resolve) => setTimeout(resolve, 15_000));
    expect([holds('lb1'), holds('web1')]).toEqual([false, true]);
    say(`handed over from lb1 to web1 and left there: ${client?.told(fromMs)}`);
    const plan =
      lab.rouse('node', 'set', 'web1', 'profile=web').status === 0 ? lab.rouse('node', 'plan', 'web1') : undefined;
    expect(plan?.stdout).toMatch(/web1 .* kexec +10\.77\.0\.200 → lb1/);
    become('web');
    expect(holds('lb1')).toBe(true);
    await expect.poll(() => lab.rouse('pool', 'show', 'web').stdout, { timeout: 60_000 }).toMatch(/web1 .* in$/m);
  });

  test('cold, through its firmware: as a balancer and back', () => {
    become('lb', '--cold');
    expect([holds('lb1'), holds('web1')]).toEqual([true, false]);
    become('web', '--cold');
  });

  test('a generation that never gets ready comes back by itself', async () => {
    cpSync(join(SERVICES, 'web'), lab.file('etc/roles/web'), { recursive: true });
    writeFileSync(lab.file('etc/roles/web/nginx/check'), '#!/bin/sh\nexit 1\n');
    const profile = readFileSync(lab.file('etc/profiles/web.yaml'), 'utf8');
    writeFileSync(lab.file('etc/profiles/web.yaml'), `${profile}readyTimeoutS: 120\n`);
    done(lab.rouse('image', 'build', 'web'));
    done(lab.rouse('image', 'promote', 'web'));
    await expect.poll(() => lab.rouse('node', 'ls').stdout, { timeout: 30_000 }).toMatch(/web1 .*\* web generation 2/);
    const fromMs = Date.now();
    const ran = lab.rouse('node', 'boot', 'web1', '--now', '--wait');
    expect(ran).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /web1 is not web: it went back: web generation 2 as web was not ready in time/,
      ) as unknown,
    });
    expect(lab.rouse('node', 'ls').stdout).toMatch(/web1 .*web generation 1 as web +ready/);
    say(
      `generation 2 never ready: ${ran.stderr.trim()} after ${((Date.now() - fromMs) / 1000).toFixed(0)} s; ${client?.told(fromMs)}`,
    );
    await expect.poll(() => lab.rouse('pool', 'show', 'web').stdout, { timeout: 60_000 }).toMatch(/web1 .* in$/m);
  });

  test('three boots in vain end in maintenance', { timeout: 3 * BOOT_MS }, async () => {
    const profile = readFileSync(lab.file('etc/profiles/web.yaml'), 'utf8');
    writeFileSync(lab.file('etc/profiles/web.yaml'), `${profile}rollback: false\n`);
    await expect.poll(() => lab.rouse('node', 'show', 'web1').stdout, { timeout: 30_000 }).toMatch(/rollback +false/);
    const listed = (): string => lab.rouse('node', 'ls').stdout;
    for (let boot = 1; boot <= 3; boot += 1) {
      done(lab.rouse('lab', 'off', 'web1'));
      const sinceMs = Date.now();
      const on = lab.rouseInBackground('lab', 'on', 'web1');
      const spoken = (): boolean => {
        const { boots } = lab.ask('/v1/boots?node=web1&limit=1') as {
          boots: { startedAtMs: number; stages: object }[];
        };
        return (boots[0]?.startedAtMs ?? 0) >= sinceMs && Object.keys(boots[0]?.stages ?? {}).includes('services');
      };
      await expect.poll(spoken, { timeout: BOOT_MS, interval: 2000 }).toBe(true);
      on.kill();
    }
    done(lab.rouse('lab', 'off', 'web1'));
    lab.rouse('lab', 'on', 'web1');
    await expect
      .poll(listed, { timeout: BOOT_MS, interval: 2000 })
      .toMatch(/web1 .*maintenance generation 1 as maintenance +ready/);
    expect(lab.on('web1', 'cat /etc/motd')).not.toBe('');
    expect(readFileSync(lab.file('etc/services/netboot/log/main/current'), 'utf8')).toContain(
      'web1 boots as maintenance instead: 3 boots in a row were not ready',
    );
  });
});
