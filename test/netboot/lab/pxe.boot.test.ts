// The whole way, as a user goes it: `rouse lab up` on an empty home, real firmware, DHCP, TFTP, iPXE, HTTP, kernel, init,
// nginx; then what an operator does to it: kill a daemon in the node, kill the boot server, edit the profile, break a
// file, ctrl-C. The tests are steps of one story and run in order.
//
// Emulated machines stall for seconds: what converges is asserted, never how long it took.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ROUSE = join(ROOT, 'bin', 'rouse');
const MAC = '52:54:00:77:00:01';
const BOOT_MS = 480_000;

const story = process.getuid?.() === 0 ? describe : describe.skip;

let home = '';
let lab: ChildProcess | undefined;
let said = '';
let url = '';

const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  ROUSE_HOME: home,
  // Packages are downloaded once for all runs of this clone.
  ROUSE_CACHE: process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache'),
});

type Ran = { readonly status: number; readonly stdout: string; readonly stderr: string };

function rouse(...args: string[]): Ran {
  try {
    const stdout = execFileSync(ROUSE, args, {
      env: environment(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: BOOT_MS,
    });
    return { status: 0, stdout, stderr: '' };
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number | null; stdout: string; stderr: string };
    return { status: status ?? -1, stdout, stderr };
  }
}

const page = async (): Promise<string> => {
  try {
    return await (await fetch(url, { signal: AbortSignal.timeout(10_000) })).text();
  } catch (error) {
    return `no answer: ${String(error)}`;
  }
};

/** What to look at when the story breaks off: the lab's words, the boot server's, the machine's console. */
function evidence(): string {
  const tail = (file: string): string => (existsSync(file) ? readFileSync(file, 'latin1').slice(-4000) : 'absent');
  return [
    `== lab up\n${said.slice(-4000)}`,
    `== supervise\n${tail(join(home, 'run/supervise.log'))}`,
    `== netboot\n${tail(join(home, 'etc/services/netboot/log/main/current'))}`,
    `== console of web1\n${tail(join(home, 'run/lab/web1.log'))}`,
  ].join('\n');
}

story('a machine without a disk becomes a web server', () => {
  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'rouse-pxe-'));
    lab = spawn(ROUSE, ['lab', 'up', '--port', '0'], { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    const done = new Promise<void>((resolve, reject) => {
      const hear = (chunk: Buffer): void => {
        said += chunk.toString();
        const found = /web1 answers at (http:\/\/localhost:\d+\/)/.exec(said);
        if (found !== null) {
          url = found[1] ?? '';
          resolve();
        }
      };
      lab?.stdout?.on('data', hear);
      lab?.stderr?.on('data', hear);
      lab?.on('exit', (code) => reject(new Error(`rouse lab up ended with ${code}`)));
    });
    const timer = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('web1 did not become ready')), BOOT_MS).unref();
    });
    await Promise.race([done, timer]).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${evidence()}`);
    });
  }, BOOT_MS + 10_000);

  afterAll(async () => {
    if (lab?.exitCode === null) {
      lab.kill('SIGINT');
      await new Promise((resolve) => lab?.once('exit', resolve));
    }
    rouse('lab', 'down');
    rmSync(home, { recursive: true, force: true });
  }, 60_000);

  test('nginx on the node answers with the page of that node', async () => {
    const text = await page();
    expect(text).toContain('web1');
    expect(text).toContain('<dt>profile</dt><dd>web</dd>');
    expect(text).toContain('Hello from a machine without a disk');
  });

  test('the journal has every stage, and the bytes that TFTP sent are the loader', () => {
    const { boots } = JSON.parse(
      execFileSync(
        'curl',
        ['-sS', '--unix-socket', join(home, 'run/netboot.sock'), 'http://rouse/v1/boots?node=web1&limit=1'],
        { encoding: 'utf8' },
      ),
    ) as {
      boots: { stages: Record<string, { bytes: number; detail: string }>; outcome: { kind: string } }[];
    };
    const [boot] = boots;
    expect(boot?.outcome.kind).toBe('ready');
    expect(Object.keys(boot?.stages ?? {}).sort()).toEqual([
      'dhcp',
      'init',
      'initrd',
      'kernel',
      'layers',
      'loader',
      'network',
      'ready',
      'script',
      'services',
    ]);
    const loader = statSync(join(home, 'lib/loaders/undionly.kpxe')).size;
    expect(boot?.stages['loader']?.bytes).toBe(loader);
    expect(boot?.stages['kernel']?.bytes).toBeGreaterThan(5_000_000);
    const shown = rouse('node', 'show', 'web1');
    expect(shown.status, shown.stderr).toBe(0);
    expect(shown.stdout).toMatch(/nodes\/web1\.yaml:\d+/);
    expect(shown.stdout).toMatch(/ready after \d+\.\d s/);
  });

  test('explain says what the machine would boot, and why', () => {
    const { status, stdout, stderr } = rouse('explain', MAC);
    expect(status, stderr).toBe(0);
    expect(stdout).toContain('web1');
    expect(stdout).toMatch(/nodes\/web1\.yaml/);
    expect(stdout).toContain('10.77.0.11');
    expect(stdout).toContain('undionly.kpxe');
    expect(rouse('explain', '52:54:00:99:99:99').stdout).toMatch(/ignore/);
    expect(rouse('explain', 'nonsense').status).toBe(100);
  });

  test('nginx is killed inside the node and answers again', async () => {
    const before = rouse('lab', 'exec', 'web1', '--', "svstat /service/nginx | sed 's/.*pid //;s/).*//'").stdout.trim();
    expect(before).toMatch(/^\d+$/);
    const killed = rouse('lab', 'exec', 'web1', '--', `kill -9 ${before}`);
    expect(killed.status, killed.stdout).toBe(0);
    await expect
      .poll(
        () => rouse('lab', 'exec', 'web1', '--', "svstat /service/nginx | sed 's/.*pid //;s/).*//'").stdout.trim(),
        { timeout: 60_000, interval: 2000 },
      )
      .toSatisfy((now: string) => /^\d+$/.test(now) && now !== before);
    await expect.poll(page, { timeout: 60_000, interval: 1000 }).toContain('web1');
  });

  test('the boot server is killed: the node serves on, the lease is still there, the boot is remembered', async () => {
    const status = () =>
      (JSON.parse(rouse('status', '--json').stdout) as { services: { name: string; pid: number }[] }).services.find(
        ({ name }) => name === 'netboot',
      )?.pid ?? 0;
    const before = status();
    expect(before).toBeGreaterThan(0);
    process.kill(before, 'SIGKILL');
    expect(await page()).toContain('web1');
    await expect
      .poll(() => rouse('lease', 'ls').stdout, { timeout: 60_000, interval: 1000 })
      .toMatch(/10\.77\.0\.11\s+52:54:00:77:00:01/);
    expect(status()).not.toBe(before);
    expect(rouse('node', 'show', 'web1').stdout).toMatch(/ready after/);
  });

  test('a broken edit never takes effect and is said with file, line and column', async () => {
    const file = join(home, 'etc/profiles/web.yaml');
    const good = readFileSync(file, 'utf8');
    writeFileSync(file, good.replace('vars:', 'vras:'));
    const checked = rouse('check');
    expect(checked.status).toBe(1);
    expect(checked.stdout + checked.stderr).toMatch(
      /profiles\/web\.yaml:\d+:1 unknown key 'vras', did you mean 'vars'\?/,
    );
    expect(rouse('explain', MAC).stdout).toContain('10.77.0.11');
    writeFileSync(file, good);
    expect(rouse('check').status).toBe(0);
  });

  test('one edit of the profile and a reboot change the page', { timeout: BOOT_MS }, async () => {
    const file = join(home, 'etc/profiles/web.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replace(/greeting: .*/, 'greeting: Edited once'));
    const { status, stdout, stderr } = rouse('lab', 'reboot', 'web1');
    expect(status, `${stdout}\n${stderr}\n${evidence()}`).toBe(0);
    expect(stdout).toMatch(/ready after/);
    await expect.poll(page, { timeout: 30_000, interval: 1000 }).toContain('Edited once');
  });

  test('ctrl-C leaves nothing behind', async () => {
    const { namespace } = JSON.parse(readFileSync(join(home, 'run/lab.json'), 'utf8')) as { namespace: string };
    lab?.kill('SIGINT');
    await new Promise((resolve) => lab?.once('exit', resolve));
    expect(existsSync(`/run/netns/${namespace}`)).toBe(false);
    const left = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((pid) => {
        try {
          const environ = readFileSync(`/proc/${pid}/environ`, 'latin1');
          return (
            environ.includes(`ROUSE_HOME=${home}`) && !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')
          );
        } catch {
          return false;
        }
      })
      .map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' '));
    expect(left).toEqual([]);
  });
});
