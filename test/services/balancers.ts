// test/services/balancers.ts - Debian's own keepalived, as the lb image has it, in network namespaces on two wires.
//
// Owns: the namespaces, the configuration rendered from the role's template, starting, reloading and killing keepalived, what
// was heard on the wires. Only VRRP runs (-P), without the connection sync: both need a kernel that has IPVS, and are seen
// in guests; 2.2.7 dies of SIGSEGV on the sync's line where there is none.
// Needs root, iproute2, tcpdump.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Template } from '../../images/manifest.ts';
import { renderTemplates } from '../../netboot/boots/templates.ts';
import { LB_VARS, valuesFor, type Vars } from './values.ts';

export const KEEPALIVED_CONF = '/etc/keepalived/keepalived.conf';
export const OUTSIDE = '10.77.0';
export const INSIDE = '10.98.0';
const NETWORKS = { outside: OUTSIDE, inside: INSIDE };

export type Peer = {
  readonly name: string;
  readonly address: string;
  readonly index: number;
  readonly priority: number;
};

/** Peers by name as the boot server gives them to templates: lb1 at .11, lb2 at .12. */
export function peersNamed(...names: readonly string[]): Peer[] {
  return names.map((name, index) => ({
    name,
    address: `${OUTSIDE}.${10 + Number(/\d+$/.exec(name)?.[0])}`,
    index,
    priority: 200 - 10 * index,
  }));
}

/** The lb role's keepalived.conf for one node. @param given other values of templates: pools, peers. */
export function renderConf(
  templates: readonly Template[],
  node: { readonly name: string; readonly address: string },
  vars: Vars,
  given: Record<string, unknown>,
): string {
  const values = valuesFor(node, 'lb', { vars: { ...LB_VARS, ...vars }, ...given });
  const rendered = renderTemplates(
    templates.filter(({ path }) => path === KEEPALIVED_CONF),
    values,
  );
  if (!rendered.ok) throw new Error(JSON.stringify(rendered.problems));
  return new TextDecoder().decode(rendered.files[0]?.content);
}

function ip(...args: readonly string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

let made = 0;

export class Balancers {
  /** The namespace with the bridges `outside` and `inside`, where this is .1. */
  readonly rack: string;
  #tree = '';
  #folder = '';
  readonly #names: string[] = [];
  readonly #running = new Map<string, ChildProcess>();
  readonly #watchers: ChildProcess[] = [];

  constructor() {
    made += 1;
    this.rack = `rouse-k${process.pid}-${made}`;
  }

  /** @param tree the unpacked lb image. @param folder for configurations and logs. */
  make(tree: string, folder: string): void {
    this.#tree = tree;
    this.#folder = folder;
    ip('netns', 'add', this.rack);
    for (const [bridge, network] of Object.entries(NETWORKS)) {
      ip('-n', this.rack, 'link', 'add', bridge, 'type', 'bridge');
      ip('-n', this.rack, 'link', 'set', bridge, 'up');
      ip('-n', this.rack, 'address', 'add', `${network}.1/24`, 'dev', bridge);
    }
  }

  /** The namespace of a machine. */
  space(name: string): string {
    return `${this.rack}-${name}`;
  }

  #file(name: string, what: 'keepalived.conf' | 'log'): string {
    return join(this.#folder, name, what);
  }

  /** A machine with eth0 outside and eth1 inside, its addresses ending in 10 and its number. */
  add(name: string): void {
    const space = this.space(name);
    const host = 10 + Number(/\d+$/.exec(name)?.[0]);
    ip('netns', 'add', space);
    this.#names.push(name);
    ip('-n', space, 'link', 'set', 'lo', 'up');
    for (const [index, [bridge, network]] of Object.entries(NETWORKS).entries()) {
      const port = `${name}-${index}`;
      ip('-n', this.rack, 'link', 'add', port, 'type', 'veth', 'peer', 'name', `eth${index}`, 'netns', space);
      ip('-n', this.rack, 'link', 'set', port, 'master', bridge, 'up');
      ip('-n', space, 'link', 'set', `eth${index}`, 'up');
      ip('-n', space, 'address', 'add', `${network}.${host}/24`, 'dev', `eth${index}`);
    }
  }

  #configure(name: string, conf: string): void {
    writeFileSync(this.#file(name, 'keepalived.conf'), conf.replace(/^ *lvs_sync_daemon .*\n/m, ''));
  }

  start(name: string, conf: string): void {
    const folder = join(this.#folder, name);
    mkdirSync(folder, { recursive: true });
    this.#configure(name, conf);
    const script = [
      'mount --make-rprivate / && mount -t proc proc "$0/proc" && mount -t tmpfs run "$0/run" && mount --bind "$1" "$0/mnt"',
      'exec chroot "$0" /usr/sbin/keepalived -P --dont-fork --log-console --log-detail --use-file=/mnt/keepalived.conf',
    ].join('\n');
    const child = spawn(
      'ip',
      [
        ...['netns', 'exec', this.space(name), 'unshare', '--mount', '--pid', '--fork', '--kill-child'],
        ...['sh', '-c', script, this.#tree, folder],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const hear = (chunk: Buffer): void => appendFileSync(this.#file(name, 'log'), chunk);
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    this.#running.set(name, child);
  }

  /** Its keepalived: the parent, then VRRP. */
  #pids(name: string): number[] {
    const childOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
    const parent = childOf(this.#running.get(name)?.pid ?? Number.NaN);
    return [parent, childOf(parent)];
  }

  /** How long its VRRP may compute as a real-time process before the kernel kills it. */
  realTimeLimit(name: string): string {
    return (
      /^Max realtime timeout +(.*?) *us/m.exec(readFileSync(`/proc/${this.#pids(name)[1]}/limits`, 'utf8'))?.[1] ?? ''
    );
  }

  /** Another configuration on the running one, as a live file comes. @returns what it said to it, once it had loaded it. */
  async reload(name: string, conf: string): Promise<string> {
    const before = this.log(name).length;
    this.#configure(name, conf);
    process.kill(this.#pids(name)[0] ?? Number.NaN, 'SIGHUP');
    const said = (): string => this.log(name).slice(before);
    for (let turn = 0; turn < 200 && !said().includes('Reload complete'); turn += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return said();
  }

  /** The machine loses its power. */
  async cutPower(name: string): Promise<void> {
    const child = this.#running.get(name);
    this.#running.delete(name);
    if (child?.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    // Not with the namespace, which goes when its last process has.
    for (const port of [`${name}-0`, `${name}-1`]) ip('-n', this.rack, 'link', 'del', port);
    ip('netns', 'del', this.space(name));
    this.#names.splice(this.#names.indexOf(name), 1);
  }

  /** Whether the machines on a wire hear each other; everybody goes on hearing the rack. */
  isolate(name: string, isAlone: boolean): void {
    for (const port of [`${name}-0`, `${name}-1`]) {
      execFileSync('bridge', ['-n', this.rack, 'link', 'set', 'dev', port, 'isolated', isAlone ? 'on' : 'off']);
    }
  }

  log(name: string): string {
    const file = this.#file(name, 'log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** Who has an address on a real interface. */
  holders(address: string): string[] {
    return this.#names.filter((name) => this.addresses(name).includes(` ${address}/`));
  }

  addresses(name: string): string {
    return ip('-n', this.space(name), '-o', '-4', 'address', 'show');
  }

  macOf(name: string, index = 0): string {
    return /link\/ether (\S+)/.exec(ip('-n', this.space(name), '-o', 'link', 'show', `eth${index}`))?.[1] ?? '';
  }

  /** Every address that comes or goes on a machine from now on, a line each; those that go begin with "Deleted". */
  watchAddresses(name: string): () => string {
    return this.#watch('ip', ['-n', this.space(name), '-o', '-4', 'monitor', 'address']);
  }

  /** What tcpdump hears on a wire from now on. @param filter see pcap-filter(7). */
  async listen(bridge: 'outside' | 'inside', filter: string): Promise<() => string> {
    const heard = this.#watch('ip', [
      ...['netns', 'exec', this.rack, 'tcpdump', '-i', bridge, '-nle', '--immediate-mode'],
      filter,
    ]);
    while (!heard().includes('listening on')) await new Promise((resolve) => setTimeout(resolve, 50));
    return heard;
  }

  #watch(command: string, args: readonly string[]): () => string {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
    this.#watchers.push(child);
    return () => text;
  }

  async take(): Promise<void> {
    for (const name of [...this.#names]) await this.cutPower(name);
    for (const child of this.#watchers.splice(0)) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    if (this.#tree !== '') ip('netns', 'del', this.rack);
  }
}
