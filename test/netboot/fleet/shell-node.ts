// test/netboot/fleet/shell-node.ts - a diskless node played by curl in a network namespace: it leases, fetches its script and
// overlay, and speaks the node protocol as services/base does.

import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { decodeArchive } from '../../../images/cpioread.ts';
import type { Rack } from '../dhcp/rack.ts';

export type Fetched = { readonly status: number; readonly body: Buffer };

const UDHCPC =
  '#!/bin/sh\n[ "$1" = bound ] && ip address replace $ip/24 dev $interface && echo $ip > "$LEASE"\nexit 0\n';

export class ShellNode {
  readonly #rack: Rack;
  readonly #wire: number;
  readonly #home: string;
  readonly #mac: string;
  readonly #interface: string;
  bootId = '';
  token = '';
  /** Content of the overlay's files by path. */
  overlay = new Map<string, string>();

  /** @param interfaceName in the client's namespace. */
  constructor(rack: Rack, wire: number, mac: string, home: string, interfaceName = 'c0') {
    this.#interface = interfaceName;
    this.#rack = rack;
    this.#wire = wire;
    this.#mac = mac;
    this.#home = home;
  }

  get #server(): string {
    return `http://${this.#rack.wires[this.#wire]!.serverAddress}:8080`;
  }

  async lease(): Promise<string> {
    const file = join(this.#home, `lease${this.#wire}`);
    const script = join(this.#home, 'udhcpc.sh');
    writeFileSync(script, UDHCPC);
    chmodSync(script, 0o755);
    rmSync(file, { force: true });
    const args = ['-c', `LEASE=${file} exec busybox udhcpc -f -i ${this.#interface} -n -q -t 8 -T 2 -s ${script}`];
    const done = await this.#rack.in(this.#rack.wires[this.#wire]!.client, 'sh', args, 60_000);
    if (done.code !== 0) throw new Error(done.stderr);
    return readFileSync(file, 'utf8').trim();
  }

  async fetch(path: string, ...more: string[]): Promise<Fetched> {
    const out = join(this.#home, `out${this.#wire}-${path.replaceAll(/[^a-z0-9]/gi, '_')}`);
    rmSync(out, { force: true });
    const args = ['-sS', '-m', '40', '-o', out, '-w', '%{http_code}', ...more, `${this.#server}${path}`];
    const { stdout, stderr } = await this.#rack.in(this.#rack.wires[this.#wire]!.client, 'curl', args, 60_000);
    if (stdout === '000') throw new Error(stderr);
    let body = Buffer.alloc(0);
    try {
      body = readFileSync(out);
    } catch {
      // No body.
    }
    return { status: Number(stdout), body };
  }

  /** Asks for its script as its loader does. @returns the script. */
  async script(): Promise<string> {
    const { status, body } = await this.fetch(`/ipxe/${this.#mac.replaceAll(':', '-')}`);
    const text = body.toString();
    if (status !== 200) throw new Error(`${status} ${text}`);
    this.bootId = /rouse\.boot=([0-9a-f]{16})/.exec(text)?.[1] ?? '';
    return text;
  }

  /** Fetches the overlay of a boot and is that boot from now on. */
  async become(bootId: string): Promise<void> {
    const { status, body } = await this.fetch(`/boot/${bootId}/overlay`);
    if (status !== 200) throw new Error(`${status} ${body.toString()}`);
    this.overlay = filesOf(gunzipSync(body));
    this.token = /token ([0-9a-f]{32})/.exec(this.overlay.get('etc/rouse/boot') ?? '')?.[1] ?? '';
    this.bootId = bootId;
  }

  /** Script, overlay, all stages. */
  async boot(last: 'services' | 'ready' = 'ready'): Promise<void> {
    const script = await this.script();
    if (this.bootId === '') throw new Error(script);
    await this.become(this.bootId);
    for (const stage of ['init', 'layers', 'network', 'services', ...(last === 'ready' ? ['ready'] : [])]) {
      await this.tell('stage', `stage ${stage}\nuptimeMs 1000\n`);
    }
  }

  ask(what: string, ...more: string[]): Promise<Fetched> {
    return this.fetch(
      `/node/v1/boots/${this.bootId}/${what}`,
      '-H',
      `Authorization: Bearer ${this.token}`,
      '--compressed',
      ...more,
    );
  }

  async tell(what: 'stage' | 'report' | 'acks', body: string): Promise<Fetched> {
    const answer = await this.ask(what, '--data-binary', body);
    if (answer.status !== 204) throw new Error(`${what}: ${answer.status} ${answer.body.toString()}`);
    return answer;
  }

  /** @param more further lines of the report. */
  report(more = '', memoryFreeKb = 900_000): Promise<Fetched> {
    return this.tell('report', `uptimeMs 2000\nready yes\nload 0.10\nmemoryFreeKb ${memoryFreeKb}\n${more}`);
  }

  /** The orders above `after`, waited for: "order 1 files 0123456789abcdef". */
  async orders(after = 0): Promise<string[]> {
    const { status, body } = await this.ask(`orders?after=${after}`);
    return status === 204 ? [] : body.toString().trimEnd().split('\n');
  }
}

/** The files of a cpio archive by path. */
export function filesOf(archive: Uint8Array): Map<string, string> {
  const reading = decodeArchive(archive);
  if (!reading.ok) throw new Error(reading.reason);
  const decoder = new TextDecoder();
  return new Map(
    reading.entries.flatMap((entry) =>
      entry.kind === 'file' ? [[entry.path, decoder.decode(entry.data)] as const] : [],
    ),
  );
}
