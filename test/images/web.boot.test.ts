// The web image, from Debian's archive to an answer of nginx in a guest: built with the real apt, booted by the real kernel.
//
// The package cache is shared over runs ($ROUSE_TEST_CACHE, or the clone's own), the store is this test's.

import { createServer, type Server } from 'node:http';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import type { BuildEvent } from '../../images/event.ts';
import type { Manifest } from '../../images/manifest.ts';
import { openStore } from '../../images/store.io.ts';
import { type Guest, startGuest } from './guest.ts';
import { BOOT_ID, TOKEN, webOverlay } from './web-overlay.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SERVICES = join(ROOT, 'services');
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
/** How long the stand-in for a boot server lets a node wait that asks for orders. */
const ORDERS_WAIT_MS = 5000;

let folder = '';
let manifest: Manifest;
let guest: Guest | undefined;
const store = () => openStore(join(folder, 'lib'));
const build = (libDir: string, roleDirs = [SERVICES], cache = cacheDir, onProgress?: (event: BuildEvent) => void) =>
  buildImage({ roleDirs, role: 'web', libDir, cacheDir: cache, ...(onProgress === undefined ? {} : { onProgress }) });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-web-'));
  ({ manifest } = await build(join(folder, 'lib')));
});
afterAll(async () => {
  await guest?.kill();
  rmSync(folder, { recursive: true, force: true });
});

const layerOctets = (): Buffer[] => manifest.layers.map((layer) => readFileSync(store().layerPath(layer)));
const names = (): string[] => manifest.layers.map(({ sha256 }) => sha256);

test('the image is small, and every byte of it has an owner', () => {
  const served = manifest.layers.reduce((sum, { servedBytes }) => sum + servedBytes, 0);
  expect(served).toBeLessThanOrEqual(6_000_000);
  const unpacked = manifest.layers.reduce((sum, { unpackedBytes }) => sum + unpackedBytes, 0);
  const packaged = manifest.packages.reduce((sum, { bytes }) => sum + bytes, 0);
  // What is no package's is the recipes' own, which have layers of theirs: scripts and settings.
  const own = manifest.layers.filter(({ name }) => name === 'base' || name === 'web');
  expect(unpacked - packaged).toBe(own.reduce((sum, { unpackedBytes }) => sum + unpackedBytes, 0));
  expect(unpacked - packaged).toBeLessThan(64_000);
  expect(manifest.packages.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['busybox-static', 'nginx', 'libc6']),
  );
});

test('a second build asks for nothing, makes nothing and publishes nothing', async () => {
  const events: BuildEvent[] = [];
  const again = await build(join(folder, 'lib'), [SERVICES], cacheDir, (event) => events.push(event));
  expect(again).toEqual({ manifest, built: false });
  expect(events).toEqual([]);
});

test('one edited file of the role changes that layer alone, and no node before promote', async () => {
  const own = join(folder, 'own');
  cpSync(SERVICES, own, { recursive: true });
  writeFileSync(join(own, 'web', 'files', 'etc', 'motd'), 'edited\n');
  const lib = join(folder, 'edited');
  await build(lib);
  const { manifest: edited, built } = await build(lib, [own]);
  expect(built).toBe(true);
  expect(edited.generation).toBe(2);
  const changed = edited.layers.filter(({ sha256 }) => !names().includes(sha256)).map(({ name }) => name);
  expect(changed).toEqual(['web']);
  const edited_ = openStore(lib);
  expect((await edited_.manifest('web')).generation).toBe(1);
  await edited_.promote('web', 2);
  expect((await edited_.manifest('web')).generation).toBe(2);
  expect(await edited_.rollback('web')).toBe(1);
});

test('an unknown package ends with the line of the recipe that asks for it, and changes nothing', async () => {
  const own = join(folder, 'unknown');
  cpSync(SERVICES, own, { recursive: true });
  const recipe = join(own, 'web', 'recipe.yaml');
  const text = readFileSync(recipe, 'utf8').replace('packages: [nginx]', 'packages: [nginx, nginxx-no-such]');
  writeFileSync(recipe, text);
  const line = text.split('\n').findIndex((one) => one.startsWith('packages:')) + 1;
  const failure = await build(join(folder, 'lib'), [own]).catch((error: Error) => error);
  expect(failure).toMatchObject({ name: 'Fault', code: 'E_ARCHIVE' });
  expect((failure as Error).message).toContain(`${recipe}:${line}:19: `);
  expect((failure as Error).message).toContain('Unable to locate package nginxx-no-such');
  expect((await store().list())[0]).toMatchObject({ image: 'web', generations: [1], current: 1 });
});

test('the guest boots in 128 MB, reports its stages with its token, and nginx answers with its page', async () => {
  const stages: { url: string | undefined; authorization: string | undefined; body: string }[] = [];
  let refused = 0;
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      // A node in service also reports and asks for orders; this server has none for it.
      if (!(request.url ?? '').endsWith('/stage')) {
        setTimeout(() => response.writeHead(204).end(), ORDERS_WAIT_MS).unref();
        return;
      }
      // The first report finds a server that is not well: nothing of it may be lost.
      if (refused < 1) {
        refused += 1;
        response.writeHead(503).end();
        return;
      }
      stages.push({ url: request.url, authorization: request.headers.authorization, body });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  try {
    const { layer, octets } = await webOverlay(manifest);
    guest = await startGuest({
      kernel: store().kernelPath(manifest.kernel.sha256),
      initrd: [...layerOctets(), octets],
      memoryMb: 128,
      cmdline: [
        'console=tty0',
        'BOOTIF=01-52-54-00-77-00-01',
        `rouse.server=10.0.2.2:${port}`,
        `rouse.boot=${BOOT_ID}`,
        `rouse.layers=${[...names(), layer.sha256].join(',')}`,
        'rouse.readyTimeoutS=300',
        'rouse.console=shell',
      ],
    });
    await guest.sees(/rouse: ready at/);
    const page = await (await fetch(`http://127.0.0.1:${guest.httpPort}/`)).text();
    expect(page).toContain('<dt>hostname</dt><dd>web1</dd>');
    expect(page).toContain('Good &lt;morning&gt;');
    expect(page).toContain('2026-01-02T03:04:05.000Z');
    await expect.poll(() => stages.length, { timeout: 60_000 }).toBe(5);
    expect(stages.map(({ body }) => /^stage (\w+)\nuptimeMs [1-9]\d*\n/.exec(body)?.[1])).toEqual([
      ...['init', 'layers', 'network', 'services', 'ready'],
    ]);
    expect(new Set(stages.map(({ authorization }) => authorization))).toEqual(new Set([`Bearer ${TOKEN}`]));
    expect(new Set(stages.map(({ url }) => url))).toEqual(new Set([`/node/v1/boots/${BOOT_ID}/stage`]));
  } finally {
    server.close();
  }
});

/** Types a command at the guest's console; the shell splits the words, so that the echo of the line does not match. */
async function value(name: string, expression: string): Promise<string> {
  if (guest === undefined) throw new Error('the guest did not boot');
  // The shell puts the two halves together: the echo of what is typed does not match. Half a line must not either.
  guest.type(`echo "${name}"="${expression}"`);
  const [, found = ''] = await guest.sees(new RegExp(`^${name}=(.*?)\\r?\\n`, 'm'));
  return found;
}
const answers = async (): Promise<string> => {
  try {
    const response = await fetch(`http://127.0.0.1:${guest?.httpPort ?? 0}/healthz`, {
      signal: AbortSignal.timeout(10_000),
    });
    return await response.text();
  } catch (error) {
    return String(error);
  }
};

test('the master of nginx is killed and the node answers again, with a new master', async () => {
  const before = await value('pid', '$(cat /run/nginx.pid)');
  await value('killed', '$(kill -9 $(cat /run/nginx.pid))');
  await expect.poll(() => value('pid', '$(cat /run/nginx.pid)'), { timeout: 120_000, interval: 1000 }).not.toBe(before);
  await expect.poll(answers, { timeout: 120_000, interval: 1000 }).toBe('ok\n');
  // A worker of the dead master would hold port 80, and every new master would die on it.
  expect(await value('orphans', '$(ps -o ppid,comm | grep -c "^ *1 nginx")')).toBe('0');
  const master = await value('pid', '$(cat /run/nginx.pid)');
  expect(await value('service', '$(svstat /service/nginx)')).toContain(`up (pid ${master})`);
});

test('a shell is at each console: this serial line, and the screen', async () => {
  expect(await value('screen', '$(grep -c "[/~] # " /dev/vcs1)')).toBe('1');
});

test('the token is not for services to read', async () => {
  expect(await value('mode', '$(stat -c %a /etc/rouse/boot)')).toBe('600');
  expect(await value('seen', "$(setuidgid www-data ps | grep -c '[s]vscan')")).toBe('0');
  expect(await value('root', "$(ps | grep -c '[s]vscan')")).toBe('1');
});

test('a lease that ran out unanswered leaves the address', async () => {
  await value('deconfigured', '$(interface=eth0 /usr/lib/rouse/dhcp deconfig)');
  expect(await value('address', '$(ip -o -4 address show dev eth0)')).toContain('10.0.2.15/24');
  expect(await answers()).toBe('ok\n');
});

test('reboot stops services, their loggers last, and ends the machine', async () => {
  guest?.type('reboot');
  await guest?.ended();
  expect(guest?.said()).toContain('The system is going down');
  await guest?.kill();
});

test('a layer damaged on the way: no service is started, console and boot server are told, and the machine reboots', async () => {
  const { layer, octets } = await webOverlay(manifest);
  const damaged = manifest.layers.findIndex(({ name }) => name === 'web-packages');
  const stages: string[] = [];
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      // The kernel unpacks nothing behind the damage: the node has no token before it has asked for its overlay again.
      if (request.url === `/boot/${BOOT_ID}/overlay`) {
        response.writeHead(200).end(octets);
        return;
      }
      const isBelieved = request.headers.authorization === `Bearer ${TOKEN}`;
      if (isBelieved) stages.push(body);
      response.writeHead(isBelieved ? 204 : 403).end();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  try {
    const initrd = layerOctets();
    initrd[damaged]?.fill(0xaa, 4096, 8192);
    guest = await startGuest({
      kernel: store().kernelPath(manifest.kernel.sha256),
      initrd: [...initrd, octets],
      cmdline: [
        'BOOTIF=01-52-54-00-77-00-01',
        `rouse.server=10.0.2.2:${(server.address() as { port: number }).port}`,
        `rouse.boot=${BOOT_ID}`,
        `rouse.layers=${[...names(), layer.sha256].join(',')}`,
        'rouse.readyTimeoutS=40',
        'rouse.console=shell',
      ],
    });
    const [line] = await guest.sees(/rouse: failed at \d+ ms: missing layers[^\n]*\n/);
    expect(line).toContain(manifest.layers[damaged]?.sha256);
    expect(line).not.toContain(manifest.layers[0]?.sha256);
    expect(await value('running', "$(ps | grep -c '[s]vscan')")).toBe('0');
    await guest.ended();
    expect(guest.said()).toContain('started no services within 40 s');
    const told = stages.map((body) => /^stage (\w+)$/m.exec(body)?.[1]);
    expect(told).toEqual(['init', 'network', 'failed', 'failed']);
    expect(stages[2]).toContain(`detail missing layers: ${manifest.layers[damaged]?.sha256}`);
  } finally {
    server.close();
  }
});
