// netboot/serve.io.ts - `rouse netboot`: everything of the boot server put together.
//
// Owns: the order of starting and stopping, what is in memory (leases, boots, journal), and who is told of what. Does not own
// any decision (what is journalled: journal/worth.ts), nor privileges: its run script gives it a user and the ambient
// capabilities net_bind_service and net_raw (setpriv), so that it never needs root.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import type { Ipv4Address } from '../formats/ipv4.ts';
import type { MacAddress } from '../formats/mac.ts';
import { renderProblem } from '../formats/yaml/document.ts';
import { serveApi } from './api/api.io.ts';
import { BootDesk } from './boots/boots.io.ts';
import { BootShelf } from './boots/bootshelf.ts';
import { Changes } from './fleet/changes.io.ts';
import type { DhcpEvent } from './dhcp/event.ts';
import { HeardAddresses } from './dhcp/heard.ts';
import { Pacer } from './dhcp/pace.ts';
import { LoaderMemory } from './dhcp/loaders.ts';
import { Journal, rungOf } from './journal/attempts.ts';
import { Fleet } from './fleet/fleet.io.ts';
import type { BootEvent } from './journal/journal.ts';
import { isLoading, renderOutcome } from './journal/progress.ts';
import { loadSightings, saveSightings } from './journal/sightings.io.ts';
import { Sightings } from './journal/sightings.ts';
import { type Told, Worth } from './journal/worth.ts';
import { LeaseBook } from './store/leases.ts';
import { listen } from './listen.io.ts';
import { LoaderShelf } from './boots/loaders.io.ts';
import { NodeDesk } from './fleet/nodes.io.ts';
import type { StoreRecord } from './store/records.ts';
import { renderHardware } from './site/inventory.ts';
import { type SitePlaces, watchSite } from './site/load.io.ts';
import { openStore } from './store/store.io.ts';
import { Bodies } from './http/bodies.io.ts';
import { TftpShelf } from './boots/tftpfiles.io.ts';
import type { TftpEvent } from './tftp/event.ts';
import { dhcpWorld, type HostAddress, httpWorld, machineAt, subnetAt } from './world.ts';

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

const STALE_OFFERS_EVERY_MS = 30_000;

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
  const store = await openStore(join(libDir, 'store.sqlite')).catch(async (error: unknown) => {
    await live.close();
    throw error;
  });
  for (const line of store.content.damaged) log(`store: ${line}`);
  const leases = new LeaseBook(store.content.leases);
  const boots = new BootShelf(store.content.boots);
  const journal = new Journal();
  for (const event of store.content.events) journal.put(event);
  const sightings = new Sightings();
  await loadSightings(libDir, sightings);
  const machines = new Map(store.content.machines.map((machine) => [machine.mac, machine]));
  log(`remembered: ${leases.size} leases, ${boots.byId.size} boots`);

  const watchers = new Set<(event: BootEvent) => void>();
  const failures = new Pacer({ burst: 1, refillPerS: 1000 / STALE_OFFERS_EVERY_MS });
  const commit = (records: readonly StoreRecord[]): Promise<void> =>
    store.commit(records).catch((error: unknown) => {
      const why = reasonOf(error);
      // All that a storm of machines asks for fails alike.
      if (failures.admit(why, performance.now()) === 'pass') log(why);
      throw error;
    });
  const tell = (event: BootEvent): void => {
    const attempt = journal.put(event);
    for (const watcher of watchers) watcher(event);
    if (attempt !== undefined && (event.kind === 'script' || event.kind === 'stage')) {
      log(
        `${attempt.node ?? attempt.mac}: ${event.kind === 'stage' ? event.stage : 'script'}, ${renderOutcome(attempt, Date.now())}`,
      );
    }
  };
  const record = (event: BootEvent): Promise<void> => {
    tell(event);
    // What cannot be written is still in memory and was logged; DHCP and loaders must not wait for the disk's repair.
    return commit([{ kind: 'event', event }]).catch(() => undefined);
  };

  const nowS = (): number => Math.floor(Date.now() / 1000);
  const loaderMemory = new LoaderMemory();
  /** Does what was found to be worth it. */
  const take = ({ lines, event, isKept }: Told): void => {
    for (const line of lines) log(line);
    if (event === undefined) return;
    if (event.kind === 'loader' && event.outcome === 'done') loaderMemory.loaderFetched(event.mac, nowS());
    if (isKept === true) void record(event);
    else tell(event);
  };
  const bodies = new Bodies();
  const loaders = new LoaderShelf(join(libDir, 'loaders'));
  await loaders.refresh();
  let interfaces: readonly HostAddress[] = [];
  const siteInForce = () => live.state().site;
  const heard = new HeardAddresses();
  const isGivenElsewhere = (address: Ipv4Address): boolean => {
    const site = siteInForce();
    return site !== undefined && (subnetAt(site, address)?.mode ?? 'dhcp') !== 'dhcp';
  };
  const macAt = (address: Ipv4Address): MacAddress | undefined => {
    const site = siteInForce();
    if (site === undefined) return undefined;
    const elsewhere = isGivenElsewhere(address) ? heard.macAt(address) : undefined;
    return elsewhere ?? machineAt(site, leases, address, nowS());
  };
  const serverFor = (peer: Ipv4Address): Ipv4Address | undefined => {
    const site = siteInForce();
    const name = site === undefined ? undefined : subnetAt(site, peer)?.interface;
    return interfaces.find((one) => one.name === name)?.address;
  };

  /** Named by a node file, or seen to boot. */
  const isKnownMachine = (mac: MacAddress): boolean =>
    siteInForce()?.byMac.has(mac) === true || boots.latest(mac) !== undefined;
  const bootById = (id: string) => boots.byId.get(id);
  fleet = new Fleet({ site: siteInForce, bootById, commit, log }, store.content);
  const { states } = fleet;
  const nodeDesk = new NodeDesk({
    fleet,
    bootById,
    keep: (boot) => boots.keep(boot),
    commit,
    record,
    tell,
    learn: (machine) => {
      if (!machines.has(machine.mac)) log(`${machine.mac} is discovered: ${renderHardware(machine.inventory)}`);
      machines.set(machine.mac, machine);
    },
    serverFor: (peer) => {
      const address = serverFor(peer);
      return address === undefined ? undefined : { address, port: siteInForce()?.rouse.http.port ?? 0 };
    },
  });
  const desk = new BootDesk({
    fleet,
    node: (ask, boot, request) => nodeDesk.answer(ask, boot, request),
    libDir,
    site: siteInForce,
    images: live.images,
    world: (site, images) =>
      httpWorld({
        site,
        leases,
        images,
        boots: boots.byId,
        kept: Array.from(states.values(), ({ lastGood }) => lastGood?.plan).filter((plan) => plan !== undefined),
        loaders: loaders.sizes(),
        nowS: nowS(),
      }),
    serverFor,
    keep: (boot) => boots.keep(boot),
    latestBootOf: (peer) => {
      const mac = macAt(peer);
      return mac === undefined ? undefined : boots.latest(mac);
    },
    commit,
    record,
    tell,
    scriptFetched: (mac) => loaderMemory.scriptFetched(mac),
    loaderSent: (peer, file, sent) => take(worth.ofHttpLoader(peer, file, sent, macAt(peer), Date.now())),
    log,
  });
  const tftpFiles = new TftpShelf(loaders, desk.respond, bodies);
  const changes = new Changes({ fleet, desk, journal, site: siteInForce, images: live.images, record, log });
  const worth = new Worth({ isKnown: isKnownMachine, latestOf: (mac) => journal.ofMac(mac)[0] });
  const onDhcp = (event: DhcpEvent): void => {
    const { machine: mac, taken } = event;
    if (mac === undefined) return;
    if (taken !== undefined && isGivenElsewhere(taken)) heard.put(taken, mac);
    const atMs = Date.now();
    sightings.put(mac, event, atMs);
    take(worth.ofDhcp(mac, event, atMs));
  };
  const onTftp = (event: TftpEvent): void => {
    take(worth.ofTftp(event, event.kind === 'crowded' ? undefined : macAt(event.peer.address), Date.now()));
  };

  const closers: (() => Promise<void>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  const nodesOfSite = fleet;
  let keptTrouble = '';
  const keepSightings = (): Promise<void> =>
    saveSightings(libDir, sightings).catch((error: unknown) => {
      const why = reasonOf(error);
      if (why !== keptTrouble) log(`cannot keep which machines were heard: ${why}`);
      keptTrouble = why;
    });
  closers.push(
    () => store.close(),
    keepSightings,
    live.close,
    () => changes.close(),
    () => Promise.resolve(nodesOfSite.close()),
  );
  try {
    const listening = await listen({
      site: siteInForce,
      onServing: (next) => {
        interfaces = next;
      },
      dhcp: {
        world: ({ name, address }) => {
          const site = siteInForce();
          if (site === undefined) throw new Error('no configuration is in force');
          return dhcpWorld({
            site,
            interfaceName: name,
            serverAddress: address,
            leases,
            loaderFetchedRecently: (mac) => loaderMemory.fetchedRecently(mac, nowS()),
            rung: (mac) => rungOf(journal.ofMac(mac)),
            nowS: nowS(),
          });
        },
        hold: (lease) => leases.put(lease),
        commit: (lease) => {
          leases.put(lease);
          return commit([{ kind: 'lease', lease }]);
        },
        onEvent: onDhcp,
      },
      tftp: {
        files: (name, { address }) => tftpFiles.read(name, address),
        isKnown: (address) => macAt(address) !== undefined,
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
      sightings,
      machines,
      interfaces: () => interfaces,
      waiting: listening.waiting,
      segment: listening.segment,
      loaders: () => loaders.sizes(),
      version: options.version,
      fleet,
      boots,
      changes,
      libDir,
      commit,
      storeTrouble: () => store.trouble(),
      copyStore: store.copy,
      watchers,
      nowS,
      log,
    });
    closers.push(api.close);
  } catch (error) {
    await closeAll();
    throw error;
  }
  let toldTrouble: string | undefined;
  const stale = setInterval(() => {
    void store.trouble().then((trouble) => {
      if (trouble !== undefined && trouble !== toldTrouble) log(trouble);
      toldTrouble = trouble;
    });
    for (const line of worth.leftOut()) log(line);
    leases.dropStaleOffers(nowS());
    void loaders.refresh();
    void keepSightings();
  }, STALE_OFFERS_EVERY_MS);
  const ending = await endOf(options.signal);
  clearInterval(stale);
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
