// The walk of a new operator, with the package: installed on a machine that knows nothing of rouse, set up, looked at, put beside a
// DHCP server that is there already, a machine adopted; then the whole of it backed up and brought back on another bare machine.
//
// The machines are this one's root folder under an empty layer of its own (overlayfs), with process namespaces of their own, in
// the network namespace of a boot server; all of it goes with its first process. The client is busybox's udhcpc, dressed up as
// firmware; the DHCP server is dnsmasq on a machine of its own.

import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeArchive } from '../../images/cpioread.ts';
import type { Finding } from '../../netboot/host/doctor.ts';
import { type Finished, Rack } from '../netboot/dhcp/rack.ts';
import { publishImage } from '../netboot/home.ts';
import { packed } from './debian.ts';

const MAC1 = '52:54:00:77:00:01';
const SERVER = '10.77.1.1';
const OTHER = '10.77.1.9';
const WAIT = { timeout: 30_000 };
const SCRIPT = `http://${SERVER}:8080/ipxe/${MAC1.replaceAll(':', '-')}`;

const work = mkdtempSync(join(tmpdir(), 'rouse-walk-'));
let rack: Rack;
/** A machine that runs in the boot server's network namespace. */
let machine: ChildProcess | undefined;

/** A machine on which rouse was never installed. @param name its folder. */
async function powerOn(name: string): Promise<void> {
  const folder = join(work, name);
  mkdirSync(folder);
  const script = `set -e
    mount -t tmpfs tmpfs ${folder}
    mkdir ${folder}/upper ${folder}/work ${folder}/root
    mount -t overlay overlay -o lowerdir=/,upperdir=${folder}/upper,workdir=${folder}/work ${folder}/root
    mount -t tmpfs tmpfs ${folder}/root/run
    mount -t proc proc ${folder}/root/proc
    mount --rbind /dev ${folder}/root/dev
    mkdir -p ${folder}/root/mnt
    mount --bind ${work}/shared ${folder}/root/mnt
    exec chroot ${folder}/root sh -c 'rm -rf /etc/rouse /var/lib/rouse /var/cache/rouse /usr/lib/rouse; : >/of-the-walk; while :; do sleep 1; done'`;
  const namespaces = ['--pid', '--mount', '--uts', '--ipc', '--fork', '--kill-child'];
  machine = rack.start(rack.server, 'unshare', [...namespaces, 'sh', '-c', script]);
  let said = '';
  machine.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await expect.poll(async () => (await inside('true')).code, WAIT).toBe(0);
  expect(said).toBe('');
  await done('dpkg -i /mnt/rouse.deb');
}

async function powerOff(): Promise<void> {
  const off = machine;
  machine = undefined;
  if (off === undefined) return;
  const gone = new Promise((resolve) => off.once('exit', resolve));
  off.kill('SIGKILL');
  await gone;
}

/** Runs a line of shell on the machine, as root types it. */
function inside(line: string): Promise<Finished> {
  const children = `/proc/${machine?.pid}/task/${machine?.pid}/children`;
  const first = existsSync(children) ? readFileSync(children, 'latin1').trim().split(' ')[0] : undefined;
  // Until it is there, the root folder is that of the machine on which the test runs.
  if (first === undefined || !existsSync(`/proc/${first}/root/of-the-walk`)) {
    return Promise.resolve({ code: 1, stdout: '', stderr: 'it is off' });
  }
  const clean = ['/usr/bin/env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'USER=root'];
  return rack.in(rack.server, 'nsenter', ['-t', first, '-a', '-r', '-w', ...clean, 'sh', '-c', line], 60_000);
}

async function done(line: string): Promise<string> {
  const { code, stdout, stderr } = await inside(line);
  expect({ line, code, said: code === 0 ? '' : stdout + stderr }).toEqual({ line, code: 0, said: '' });
  return stdout;
}

const startServices = async (): Promise<void> => {
  await inside('setsid rouse supervise >/tmp/said 2>&1 &');
  await expect.poll(async () => (await inside('rouse node ls')).stderr, WAIT).toBe('');
};
const client = (): string => rack.wires[0]?.client ?? '';

/** What a BIOS says of itself when it boots from the network. */
const PXE = '-V PXEClient:Arch:00000:UNDI:002001 -x 0x5d:0000 -x 0x5e:010201 -O 43 -O 60 -O 66 -O 67';
const udhcpc = (words: string): Promise<Finished> => {
  const line = `LEASE=${work}/lease exec busybox udhcpc -f -i c0 -n -q ${words} -s ${work}/udhcpc.sh`;
  return rack.in(client(), 'sh', ['-c', line], 60_000);
};

/** @returns the address that it was given. */
async function leases(words = ''): Promise<string> {
  rmSync(join(work, 'lease'), { force: true });
  const { code, stderr } = await udhcpc(`-t 10 -T 2 ${words}`);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return readFileSync(join(work, 'lease'), 'utf8').trim();
}

/** Beside another DHCP server: udhcpc takes the offer that comes first, and firmware joins the two. */
async function bootsBeside(): Promise<string> {
  const given = await leases();
  await udhcpc(`-t 2 -T 1 -A 1 ${PXE}`);
  return given;
}

async function fetched(url: string, ...more: string[]): Promise<string> {
  const { code, stdout, stderr } = await rack.in(client(), 'curl', ['-sS', '-f', '-m', '30', ...more, url]);
  expect({ url, code, stderr }).toEqual({ url, code: 0, stderr: '' });
  return stdout;
}

/** What the overlay of a boot proves it with. */
async function tokenOf(bootId: string): Promise<string> {
  const file = join(work, 'overlay');
  await fetched(`http://${SERVER}:8080/boot/${bootId}/overlay`, '-o', file);
  const archive = decodeArchive(gunzipSync(readFileSync(file)));
  const entry = archive.ok ? archive.entries.find(({ path }) => path === 'etc/rouse/boot') : undefined;
  return entry?.kind === 'file' ? (/token ([0-9a-f]{32})/.exec(new TextDecoder().decode(entry.data))?.[1] ?? '') : '';
}

beforeAll(async () => {
  const shared = join(work, 'shared');
  mkdirSync(shared);
  copyFileSync(packed('0.0.1', work), join(shared, 'rouse.deb'));
  publishImage(join(work, 'lib'), 'web');
  cpSync(join(work, 'lib'), join(shared, 'lib'), { recursive: true, verbatimSymlinks: true });
  writeFileSync(
    join(work, 'udhcpc.sh'),
    '#!/bin/sh\n[ "$1" = bound ] && ip address flush dev $interface && ip address add $ip/24 dev $interface && echo $ip > "$LEASE"\nexit 0\n',
  );
  chmodSync(join(work, 'udhcpc.sh'), 0o755);
  rack = new Rack();
  await rack.make(['10.77.2.1/24', '10.77.3.1/24'], [MAC1, '52:54:00:77:00:99']);
  // One wire with three machines: the boot server, the client, the DHCP server that is there already.
  await rack.in(rack.server, 'sh', [
    '-ec',
    `ip link add lan0 type bridge stp_state 0 forward_delay 0; ip link set lan0 up; ip address add ${SERVER}/24 dev lan0
     for one in v1 v2; do ip address flush dev $one; ip link set $one master lan0; done`,
  ]);
  await rack.in(rack.wires[1]?.client ?? '', 'ip', ['address', 'add', `${OTHER}/24`, 'dev', 'c0']);
});
afterAll(async () => {
  await powerOff();
  await rack.take();
  rmSync(work, { recursive: true, force: true });
});

test('installed, set up, looked at, put beside dnsmasq: a machine is seen, explained and adopted', async () => {
  const space = rack.wires[1]?.client ?? '';
  const range = ['-F', '10.77.1.20,10.77.1.29', `--dhcp-leasefile=${work}/dnsmasq`, '--dhcp-sequential-ip'];
  const dnsmasq = rack.start(space, 'dnsmasq', ['-d', '-p0', '--user=root', '-i', 'c0', ...range]);
  await powerOn('first');
  expect(await done('rouse setup --interface lan0')).toContain('lan0 in mode: observe, which answers nobody');
  await startServices();
  expect(await done('rouse status netboot')).toMatch(/^netboot +up/m);

  const looked = JSON.parse((await inside('rouse doctor --quick --json')).stdout) as Finding[];
  const finding = (name: string) => looked.find((one) => one.name === name);
  expect(finding('boot server')).toMatchObject({ state: 'ok' });
  expect(finding('configuration')).toMatchObject({ state: 'ok' });

  // In mode: observe it hears, and answers nobody.
  const address = await leases(PXE);
  expect(address).toMatch(/^10\.77\.1\.2\d$/);
  expect(await done('rouse explain --seen')).toMatch(
    new RegExp(`${MAC1} +- +bios firmware \\(architecture 0\\) .*ignored: no node file names this MAC`),
  );
  expect(await done('rouse node ls --new')).toContain(MAC1);

  await done("sed -i 's/mode: observe .*/mode: proxy/' /etc/rouse/rouse.yaml; rouse check");
  // Any image will do for what is asked of the inventory's here: who speaks with its token.
  await done(`mkdir -p /etc/rouse/profiles; echo 'image: web' | tee /etc/rouse/profiles/discover.yaml >/etc/rouse/profiles/web.yaml
    cp -a /mnt/lib/. /var/lib/rouse/; chown -R rouse: /var/lib/rouse
    sed -i 's/unknown: ignore .*/unknown: discover/' /etc/rouse/rouse.yaml; rouse check`);
  await expect.poll(async () => (await inside(`rouse explain ${MAC1}`)).stdout, WAIT).toContain("profile 'discover'");
  expect(await bootsBeside()).toBe(address);
  const bootId = /rouse\.boot=([0-9a-f]{16})/.exec(await fetched(SCRIPT))?.[1] ?? '';
  const token = await tokenOf(bootId);
  expect(await done(`rouse node adopt ${MAC1} --name web1 --profile web`)).toContain('1 nodes made');
  // Its address is dnsmasq's, who knows nothing of its new role: it is ordered to boot as that.
  const orders = `http://${SERVER}:8080/node/v1/boots/${bootId}/orders?after=0`;
  expect(await fetched(orders, '-H', `Authorization: Bearer ${token}`)).toBe('order 1 reboot\n');
  expect(await bootsBeside()).toBe(address);
  const seen = await done(`rouse explain ${MAC1} --seen`);
  expect(seen).toMatch(/^heard \d+ s ago: bios firmware/);
  expect(seen).toContain('another DHCP server gives the address, this one what to boot');
  // As a loader that took that address asks, and nobody else.
  expect(await fetched(SCRIPT)).toMatch(/rouse\.server=10\.77\.1\.1:8080/);
  dnsmasq.kill('SIGKILL');
});

test('backed up while it serves, and restored on a bare machine: its nodes find what they had', async () => {
  const pool = 'mode: dhcp\\n    answerBesideOthers: true\\n    pools: [10.77.1.100-10.77.1.150]';
  await done(`sed -i 's/^    mode: proxy/    ${pool}/' /etc/rouse/rouse.yaml; rouse check`);
  await expect.poll(async () => (await inside(`rouse explain ${MAC1}`)).stdout, WAIT).toContain('OFFER 10.77.1.1');
  const address = await leases(PXE);
  const layerOf = (script: string): string => /http:\S+\/layer\/\S+/.exec(script)?.[0] ?? '';
  const sumOf = async (url: string): Promise<string> =>
    createHash('sha256')
      .update(await fetched(url))
      .digest('hex');
  const layer = layerOf(await fetched(SCRIPT));
  const before = {
    address,
    layer,
    sum: await sumOf(layer),
    nodes: await done('rouse node ls --json'),
    keys: await done('ls /var/lib/rouse/keys'),
  };
  expect(await done('rouse backup /mnt/backup.tar.gz --with-images')).toContain('as the running boot server has it');
  await powerOff();

  await powerOn('second');
  expect(await done('rouse restore /mnt/backup.tar.gz')).toContain(': 1 nodes');
  expect(await done('stat -c %U /var/lib/rouse/store.sqlite /etc/rouse/services')).toBe('rouse\nroot\n');
  await startServices();
  const name = ({ name: one, profile, should }: Record<string, unknown>): unknown => [one, profile, should];
  const known = (text: string): unknown => (JSON.parse(text) as Record<string, unknown>[]).map(name);
  expect(known(await done('rouse node ls --json'))).toEqual(known(before.nodes));
  expect(await done('rouse lease ls')).toMatch(new RegExp(`${address} +${MAC1} +web1 +bound`));
  expect(await leases(PXE)).toBe(address);
  expect(layerOf(await fetched(SCRIPT))).toBe(layer);
  expect(await sumOf(layer)).toBe(before.sum);
  expect(await done('ls /var/lib/rouse/keys')).toBe(before.keys);
  expect(await done('rouse history netboot')).toContain('start');
});
