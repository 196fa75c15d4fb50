// netboot/listen.io.ts - DHCP, TFTP and HTTP on every served interface that is there.
//
// Owns: starting the three servers together, waiting for interfaces that are not there yet, starting anew when interfaces
// or the port change. Does not own what they answer, nor which interfaces are served (world.ts).

import { networkInterfaces } from 'node:os';
import { reasonOf } from '../formats/errors.ts';
import { type Ipv4Address, parseIpv4 } from '../formats/ipv4.ts';
import { serveDhcp, type DhcpServerOptions } from './dhcp/server.io.ts';
import { serveHttp, type HttpServerOptions } from './http/server.io.ts';
import { type NdpOptions, serveNdp } from './ndp.io.ts';
import type { Site } from './site/site.ts';
import { serveTftp, type TftpServerOptions } from './tftp/server.io.ts';
import { type HostAddress, servedInterfaces } from './world.ts';

export type ListenOptions = {
  readonly site: () => Site | undefined;
  readonly dhcp: Omit<DhcpServerOptions, 'interfaces'>;
  readonly tftp: Omit<TftpServerOptions, 'interfaces'>;
  readonly respond: HttpServerOptions['respond'];
  readonly loading: NdpOptions['loading'];
  /** Told before the servers start, so that the first packet finds its interface known. */
  readonly onServing: (interfaces: readonly HostAddress[]) => void;
  readonly log: (line: string) => void;
};

const INTERFACES_POLL_MS = 1000;

export type Listening = {
  /** What is waited for, in words. */
  readonly waiting: () => readonly string[];
  readonly close: () => Promise<void>;
};

/** The IPv4 addresses of this machine's interfaces. */
export function hostAddresses(): HostAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).flatMap(({ family, address }) => {
      const parsed = family === 'IPv4' ? parseIpv4(address) : undefined;
      return parsed === undefined ? [] : [{ name, address: parsed }];
    }),
  );
}

/**
 * Listens where the site says, as far as the interfaces are there, and goes on watching for them.
 *
 * @throws Fault E_PORT_TAKEN or E_PRIVILEGE where the first start fails; later failures are logged and tried again.
 */
export async function listen(options: ListenOptions): Promise<Listening> {
  let waiting: readonly string[] = [];
  let closers: (() => Promise<void>)[] = [];
  let key = '';
  let said = '';
  const stop = async (): Promise<void> => {
    await Promise.all(closers.splice(0).map((close) => close()));
  };
  const start = async (interfaces: readonly HostAddress[], port: number): Promise<void> => {
    const addresses: readonly Ipv4Address[] = interfaces.map(({ address }) => address);
    closers.push((await serveDhcp({ ...options.dhcp, interfaces })).close);
    closers.push((await serveTftp({ ...options.tftp, interfaces })).close);
    closers.push(
      serveNdp({ interfaces: interfaces.map(({ name }) => name), loading: options.loading, log: options.log }).close,
    );
    closers.push((await serveHttp({ addresses, port, respond: options.respond, log: options.log })).close);
  };
  const update = async (): Promise<void> => {
    const site = options.site();
    if (site === undefined) return;
    const next = servedInterfaces(site, hostAddresses());
    const { port } = site.rouse.http;
    const nextKey = JSON.stringify([next.interfaces, port]);
    const line = next.waiting.join('; ');
    if (line !== said && line !== '') options.log(`waiting: ${line}`);
    said = line;
    waiting = next.waiting;
    if (key === nextKey) return;
    await stop();
    key = '';
    options.onServing(next.interfaces);
    try {
      if (next.interfaces.length > 0) await start(next.interfaces, port);
    } catch (error) {
      await stop();
      throw error;
    }
    key = nextKey;
    const where = next.interfaces.map(({ name, address }) => `${name} (${address})`).join(', ');
    if (where !== '') options.log(`serving DHCP, TFTP and HTTP (port ${port}) on ${where}`);
  };

  await update();
  let lastFailure = '';
  let updating: Promise<void> = Promise.resolve();
  const poll = setInterval(() => {
    updating = updating.then(update).then(
      () => {
        lastFailure = '';
      },
      (error: unknown) => {
        const reason = reasonOf(error);
        if (reason !== lastFailure) options.log(`cannot serve, trying again each second: ${reason}`);
        lastFailure = reason;
      },
    );
  }, INTERFACES_POLL_MS);
  return {
    waiting: () => waiting,
    close: async () => {
      clearInterval(poll);
      await updating;
      await stop();
    },
  };
}
