// netboot/serve.io.ts - `rouse netboot`: everything of the boot server put together.
//
// Owns: the order of starting and stopping, and who is told of what. Does not own what is in memory (memory.io.ts), any
// decision (what is journalled: journal/worth.ts; who is behind an address: peers.ts), nor privileges: its run script gives
// it a user and the ambient capabilities net_bind_service and net_raw (setpriv), so that it never needs root.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import type { Ipv4Address } from '../formats/ipv4.ts';
import { renderProblem } from '../formats/yaml/document.ts';
import { serveApi } from './api/api.io.ts';
import { BootDesk } from './boots/boots.io.ts';
import { Changes } from './fleet/changes.io.ts';
import type { DhcpEvent } from './dhcp/event.ts';
import { HeardAddresses } from './dhcp/heard.ts';
import { rungOf } from './journal/attempts.ts';
import { Fleet } from './fleet/fleet.io.ts';
import { isLoading } from './journal/progress.ts';
import { Worth } from './journal/worth.ts';
import { listen } from './listen.io.ts';
import { LoaderShelf } from './boots/loaders.io.ts';
import { NodeDesk } from './fleet/nodes.io.ts';
import { Memory } from './memory.io.ts';
import { Peers } from './peers.ts';
import type { MachineRecord } from './site/inventory.ts';
import type { StoredBoot } from './store/records.ts';
import { type SitePlaces, watchSite } from './site/load.io.ts';
import { Bodies } from './http/bodies.io.ts';
import { TftpShelf } from './boots/tftpfiles.io.ts';
import type { TftpEvent } from './tftp/event.ts';
import { dhcpWorld, type HostAddress, httpWorld } from './world.ts';

export type NetbootOptions = SitePlaces & {
  /** Of rouse. */
  readonly version: string;
  /** Holds netboot.sock. */
  readonly runDir: string;
  /** One line for the log, without a final newline. */
  readonly log: (line: string) => void;
  /** Ends the boot server as SIGTERM does. */
  readonly signal?: AbortSignal;
};

const TIDY_EVERY_MS = 30_000;

/**
 * Runs the boot server until SIGTERM or SIGINT.
 *
 * @returns the exit status. @throws Fault where it cannot start: taken ports, no privileges, a broken store, or a
 *   configuration that does not validate while no good one is remembered.
 */
export async function runNetboot(options: NetbootOptions): Promise<number> {
  const { libDir, runDir, log } = options;
  await mkdir(runDir, { recursive: true, mode: 0o750 });
  let fleet: Fleet | undefined;
  const live = await watchSite(options, (_state, line) => {
    log(line);
    fleet?.touch();
  });
  const firstProblem = live.state().problems[0];
  if (live.state().site === undefined) {
    await live.close();
    throw new Fault('E_CONFIG', {
      what: `nothing to serve: ${options.configDir} does not validate`,
      why: firstProblem === undefined ? undefined : renderProblem(firstProblem),
      todo: 'see all problems with: rouse check',
    });
  }
  const memory = await Memory.open(libDir, log).catch(async (error: unknown) => {
    await live.close();
    throw error;
  });
  const { leases, boots, journal, commit, record, tell, nowS } = memory;
  const site = () => live.state().site;
  const heard = new HeardAddresses();
  const peers = new Peers({ site, leases, heard, nowS });
  const bodies = new Bodies();
  const loaders = new LoaderShelf(join(libDir, 'loaders'));
  await loaders.refresh();

  const bootById = (id: string) => boots.byId.get(id);
  const keep = (boot: StoredBoot): void => boots.keep(boot);
  const serverFor = (peer: Ipv4Address) => peers.serverFor(peer);
  const nodes = new Fleet({ site, bootById, commit, log }, memory.store.content);
  fleet = nodes;
  const learn = (machine: MachineRecord): void => memory.learn(machine);
  const nodeDesk = new NodeDesk({ fleet: nodes, bootById, keep, commit, record, tell, learn, serverFor });
  const worth = new Worth({
    isKnown: (mac) => site()?.byMac.has(mac) === true || boots.latest(mac) !== undefined,
    latestOf: (mac) => journal.ofMac(mac)[0],
  });
  const desk = new BootDesk({
    fleet: nodes,
    node: (ask, boot, request) => nodeDesk.answer(ask, boot, request),
    libDir,
    site,
    images: live.images,
    world: (now, images) =>
      httpWorld({
        site: now,
        leases,
        images,
        boots: boots.byId,
        kept: Array.from(nodes.states.values(), ({ lastGood }) => lastGood?.plan).filter((plan) => plan !== undefined),
        loaders: loaders.sizes(),
        nowS: nowS(),
      }),
    serverFor: (peer) => serverFor(peer)?.address,
    keep,
    latestBootOf: (peer) => {
      const mac = peers.macAt(peer);
      return mac === undefined ? undefined : boots.latest(mac);
    },
    commit,
    record,
    tell,
    scriptFetched: (mac) => memory.loaders.scriptFetched(mac),
    loaderSent: (peer, file, sent) => memory.take(worth.ofHttpLoader(peer, file, sent, peers.macAt(peer), Date.now())),
    log,
  });
  const tftpFiles = new TftpShelf(loaders, desk.respond, bodies);
  const changes = new Changes({ fleet: nodes, desk, journal, site, images: live.images, record, log });

  const onDhcp = (event: DhcpEvent): void => {
    const { machine: mac, taken } = event;
    if (mac === undefined) return;
    if (taken !== undefined && peers.isGivenElsewhere(taken)) heard.put(taken, mac);
    const atMs = Date.now();
    memory.sightings.put(mac, event, atMs);
    memory.take(worth.ofDhcp(mac, event, atMs));
  };
  const onTftp = (event: TftpEvent): void => {
    const mac = event.kind === 'crowded' ? undefined : peers.macAt(event.peer.address);
    memory.take(worth.ofTftp(event, mac, Date.now()));
  };
  const dhcpWorldOf = ({ name, address }: HostAddress) => {
    const now = site();
    if (now === undefined) throw new Error('no configuration is in force');
    return dhcpWorld({
      site: now,
      interfaceName: name,
      serverAddress: address,
      leases,
      loaderFetchedRecently: (mac) => memory.loaders.fetchedRecently(mac, nowS()),
      rung: (mac) => rungOf(journal.ofMac(mac)),
      nowS: nowS(),
    });
  };

  const closers: (() => Promise<void>)[] = [
    () => memory.close(),
    live.close,
    () => changes.close(),
    () => Promise.resolve(nodes.close()),
  ];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    const listening = await listen({
      site,
      onServing: (next) => {
        peers.interfaces = next;
      },
      dhcp: {
        world: dhcpWorldOf,
        hold: (lease) => leases.put(lease),
        commit: memory.commitLease,
        onEvent: onDhcp,
      },
      tftp: {
        files: (name, { address }) => tftpFiles.read(name, address),
        isKnown: (address) => peers.macAt(address) !== undefined,
        onEvent: onTftp,
      },
      respond: desk.respond,
      bodies,
      loading: (mac) => isLoading(journal.ofMac(mac)[0]),
      log,
    });
    closers.push(listening.close);
    const api = await serveApi(join(runDir, 'netboot.sock'), {
      live,
      leases,
      journal,
      sightings: memory.sightings,
      machines: memory.machines,
      interfaces: () => peers.interfaces,
      waiting: listening.waiting,
      segment: listening.segment,
      loaders: () => loaders.sizes(),
      version: options.version,
      fleet: nodes,
      boots,
      changes,
      libDir,
      commit,
      storeTrouble: () => memory.store.trouble(),
      copyStore: memory.store.copy,
      watchers: memory.watchers,
      nowS,
      log,
    });
    closers.push(api.close);
  } catch (error) {
    await closeAll();
    throw error;
  }
  const tidying = setInterval(() => {
    for (const line of worth.leftOut()) log(line);
    void loaders.refresh();
    void memory.tidy();
  }, TIDY_EVERY_MS);
  const ending = await endOf(options.signal);
  clearInterval(tidying);
  log(`${ending}: ending`);
  await closeAll();
  return 0;
}

function endOf(signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve) => {
    const stop = (name: string) => (): void => resolve(name);
    process.once('SIGTERM', stop('SIGTERM'));
    process.once('SIGINT', stop('SIGINT'));
    if (signal?.aborted === true) resolve('told to');
    signal?.addEventListener('abort', stop('told to'), { once: true });
  });
}
