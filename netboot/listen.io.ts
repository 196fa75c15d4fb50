// netboot/listen.io.ts - DHCP, TFTP and HTTP on every served interface that is there.
//
// Owns: starting the servers of an interface together, waiting for interfaces that are not there yet, starting an interface
// anew when it was deleted and made again, or its address or the port changed; the others never notice.
// Does not own what they answer, nor which interfaces are served (world.ts).

import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { reasonOf } from '../formats/errors.ts';
import { type Ipv4Address, parseIpv4 } from '../formats/ipv4.ts';
import { parseMac } from '../formats/mac.ts';
import type { SegmentView } from './dhcp/foreign.ts';
import { serveDhcp, type DhcpServerOptions } from './dhcp/server.io.ts';
import type { DhcpWorld } from './dhcp/world.ts';
import { serveHttp, type HttpServerOptions } from './http/server.io.ts';
import { type NdpOptions, serveNdp } from './ndp.io.ts';
import type { Site } from './site/site.ts';
import { serveTftp, type TftpServerOptions } from './tftp/server.io.ts';
import { type HostAddress, localAddresses, servedInterfaces } from './world.ts';

export type ListenOptions = {
  readonly site: () => Site | undefined;
  readonly dhcp: Pick<DhcpServerOptions, 'hold' | 'commit' | 'onEvent'> & {
    readonly world: (served: HostAddress) => DhcpWorld;
  };
  readonly tftp: Omit<TftpServerOptions, 'interfaces'>;
  readonly respond: HttpServerOptions['respond'];
  readonly bodies: NonNullable<HttpServerOptions['bodies']>;
  readonly loading: NdpOptions['loading'];
  /** Told before the servers start, so that the first packet finds its interface known. */
  readonly onServing: (interfaces: readonly HostAddress[]) => void;
  readonly log: (line: string) => void;
};

const INTERFACES_POLL_MS = 1000;

export type Listening = {
  /** What is waited for, in words. */
  readonly waiting: () => readonly string[];
  /** By the interface's name; undefined where DHCP is not served. */
  readonly segment: (interfaceName: string) => SegmentView | undefined;
  readonly close: () => Promise<void>;
};

/**
 * The IPv4 addresses of this machine's interfaces.
 *
 * @param before what was found last. An interface that only lost its carrier is not in the kernel's list of those that run,
 *   but it has its address still, and its servers lose nothing: a switch that restarts must not break every download.
 */
export function hostAddresses(before: readonly HostAddress[] = []): HostAddress[] {
  const running = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).flatMap(({ family, address, mac }) => {
      const parsed = family === 'IPv4' ? parseIpv4(address) : undefined;
      return parsed === undefined ? [] : [{ name, address: parsed, mac: parseMac(mac), index: interfaceIndex(name) }];
    }),
  );
  const missing = before.filter((old) => !running.some((one) => one.name === old.name && one.address === old.address));
  if (missing.length === 0) return running;
  const local = localAddresses(read('/proc/net/fib_trie'));
  const silent = missing.filter((old) => local.has(old.address) && interfaceIndex(old.name) === old.index);
  return [...running, ...silent];
}

function interfaceIndex(name: string): number {
  return Number(read(`/sys/class/net/${name}/ifindex`)) || 0;
}

/** Empty for a file that is gone. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

type Served = {
  readonly one: HostAddress;
  readonly segment: () => SegmentView;
  readonly close: () => Promise<void>;
};

/**
 * Listens where the site says, as far as the interfaces are there, and goes on watching for them.
 *
 * @throws Fault E_PORT_TAKEN, E_PRIVILEGE or E_MISSING_TOOL where the first start fails; later failures are logged and tried again.
 */
export async function listen(options: ListenOptions): Promise<Listening> {
  const { log } = options;
  let waiting: readonly string[] = [];
  let host: HostAddress[] = [];
  let said = '';
  const serving = new Map<string, Served>();

  const stop = async (key: string): Promise<void> => {
    const served = serving.get(key);
    serving.delete(key);
    await served?.close();
  };
  const start = async (one: HostAddress, port: number): Promise<Served> => {
    const closers: (() => Promise<void>)[] = [];
    const close = async (): Promise<void> => {
      await Promise.all(closers.splice(0).map((each) => each()));
    };
    try {
      const { world, ...rest } = options.dhcp;
      const isOwn = (address: Ipv4Address): boolean => host.some((each) => each.address === address);
      const dhcp = await serveDhcp({ ...rest, served: one, world: () => world(one), isOwn, log });
      closers.push(dhcp.close);
      closers.push((await serveTftp({ ...options.tftp, interfaces: [one] })).close);
      closers.push(serveNdp({ interfaces: [one.name], loading: options.loading, log }).close);
      closers.push(
        (await serveHttp({ addresses: [one.address], port, respond: options.respond, bodies: options.bodies, log }))
          .close,
      );
      return { one, close, segment: dhcp.segment };
    } catch (error) {
      await close();
      throw error;
    }
  };
  const update = async (): Promise<void> => {
    const site = options.site();
    if (site === undefined) return;
    host = hostAddresses(Array.from(serving.values(), ({ one }) => one));
    const next = servedInterfaces(site, host);
    const { port } = site.rouse.http;
    const line = next.waiting.join('; ');
    if (line !== said && line !== '') log(`waiting: ${line}`);
    said = line;
    waiting = next.waiting;
    const wanted = new Map(
      next.interfaces.map((one) => [JSON.stringify([one.name, one.address, one.index, port]), one]),
    );
    const isChanged = wanted.size !== serving.size || [...wanted.keys()].some((key) => !serving.has(key));
    if (!isChanged) return;
    for (const key of [...serving.keys()]) if (!wanted.has(key)) await stop(key);
    options.onServing(next.interfaces);
    for (const [key, one] of wanted) if (!serving.has(key)) serving.set(key, await start(one, port));
    const where = next.interfaces.map(({ name, address }) => `${name} (${address})`).join(', ');
    log(where === '' ? 'serving nothing' : `serving DHCP, TFTP and HTTP (port ${port}) on ${where}`);
  };

  try {
    await update();
  } catch (error) {
    for (const key of [...serving.keys()]) await stop(key);
    throw error;
  }
  let lastFailure = '';
  let updating: Promise<void> = Promise.resolve();
  const poll = setInterval(() => {
    updating = updating.then(update).then(
      () => {
        lastFailure = '';
      },
      (error: unknown) => {
        const reason = reasonOf(error);
        if (reason !== lastFailure) log(`cannot serve, trying again each second: ${reason}`);
        lastFailure = reason;
      },
    );
  }, INTERFACES_POLL_MS);
  return {
    waiting: () => waiting,
    segment: (name) => [...serving.values()].find(({ one }) => one.name === name)?.segment(),
    close: async () => {
      clearInterval(poll);
      await updating;
      for (const key of [...serving.keys()]) await stop(key);
    },
  };
}
