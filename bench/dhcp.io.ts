// bench/dhcp.io.ts - DHCP exchanges with perfdhcp as the load: rouse with durable leases beside Kea and dnsmasq.
//
// Owns: the servers' configurations for it, the load, its figures. Does not own the wire and the meter (nettraffic.io.ts)
// or the arguments (netboot.io.ts). perfdhcp is a relay with as many clients as exchanges: each DISCOVER, OFFER, REQUEST and
// ACK of a client that the server has not seen. What each promises with an ACK differs: rouse's lease is flushed to the
// disk, dnsmasq's too (it writes all leases anew each time), Kea's is in the kernel's cache.
//
// To add a server: a row in DHCP_SERVERS. Sources: perfdhcp(8), kea-dhcp4(8), dnsmasq(8) (dhcp-leasefile: its format).

import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { reasonOf } from '../formats/errors.ts';
import { completeBundle, SERVER_ADDRESS, SERVER_INTERFACE, type Started } from './netservers.io.ts';
import type { RunningServer, Wire } from './nettraffic.io.ts';
import { obtain } from './peers.io.ts';

const run = promisify(execFile);

/** Leases that are there before what is measured. */
const LEASES_BEFORE = [0, 1000, 10_000] as const;
const POOL = ['10.99.64.0', '10.99.191.255'] as const;
const PRELOAD_PER_S = 500;
const TIMEOUT_MS = 300_000;
const KEA_PACKAGES = ['kea-common', 'kea-admin', 'kea-dhcp4-server', 'liblog4cplus-2.0.5', 'libmariadb3', 'libpq5'];
const BOOST_PACKAGES = ['libboost-system1.74.0', 'libldap-2.5-0', 'libsasl2-2'];

type DhcpServer = {
  readonly packages: readonly string[];
  readonly shows?: string;
  /** What it takes in its stride, exchanges a second; and how many are measured. */
  readonly load: { readonly perS: number; readonly exchanges: number };
  /** @param leases what it is to know when it starts, where it cannot be loaded with them. */
  readonly prepare: (home: string, folder: string, leases: number) => Started;
  readonly startsWithLeases: boolean;
};

const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';
const libraries = (home: string): string =>
  ['usr/lib', 'lib'].map((name) => join(home, name, 'x86_64-linux-gnu')).join(':');
/** What a second of a rack that powers up asks for. */
const STEADY = { perS: 300, exchanges: 3000 } as const;

export const DHCP_SERVERS = {
  rouse: {
    packages: [],
    load: STEADY,
    startsWithLeases: false,
    prepare: (home, folder) => {
      completeBundle(home);
      mkdirSync(join(folder, 'etc/profiles'), { recursive: true });
      writeFileSync(join(folder, 'etc/profiles/none.yaml'), 'boot: local\n');
      const subnet = `{name: bench, interface: ${SERVER_INTERFACE}, network: 10.99.0.0/16, pools: [${POOL.join('-')}], unknown: default}`;
      writeFileSync(join(folder, 'etc/rouse.yaml'), `version: 1\ndefaultProfile: none\nsubnets:\n  - ${subnet}\n`);
      const env = { PATH: systemPath, ROUSE_HOME: folder };
      return { argv: [join(home, 'node'), join(home, 'bin/rouse.cjs'), 'netboot'], env };
    },
  },
  kea: {
    packages: [...KEA_PACKAGES, ...BOOST_PACKAGES],
    shows: 'usr/sbin/kea-dhcp4',
    load: STEADY,
    startsWithLeases: false,
    prepare: (home, folder) => {
      const config = join(folder, 'kea.json');
      const memfile = { type: 'memfile', persist: true, name: join(folder, 'leases.csv'), 'lfc-interval': 0 };
      const pool = { subnet: '10.99.0.0/16', interface: SERVER_INTERFACE, pools: [{ pool: POOL.join('-') }] };
      const dhcp4 = {
        'interfaces-config': { interfaces: [SERVER_INTERFACE] },
        ...{ 'lease-database': memfile, 'valid-lifetime': 3600, subnet4: [pool] },
        loggers: [{ name: 'kea-dhcp4', output_options: [{ output: '/dev/null' }], severity: 'WARN' }],
      };
      writeFileSync(config, JSON.stringify({ Dhcp4: dhcp4 }));
      const env = {
        PATH: systemPath,
        LD_LIBRARY_PATH: libraries(home),
        ...{ KEA_LOCKFILE_DIR: folder, KEA_PIDFILE_DIR: folder },
      };
      return { argv: [join(home, 'usr/sbin/kea-dhcp4'), '-c', config], env };
    },
  },
  dnsmasq: {
    packages: [],
    // It writes its leases anew with each.
    load: { perS: 10, exchanges: 100 },
    startsWithLeases: true,
    prepare: (_home, folder, leases) => {
      const file = join(folder, 'leases');
      const later = Math.floor(Date.now() / 1000) + 3600;
      const row = (index: number): string => {
        const [high, low] = [index >> 8, index & 255];
        const pair = (octet: number): string => octet.toString(16).padStart(2, '0');
        return `${later} 02:00:00:00:${pair(high)}:${pair(low)} 10.99.${64 + high}.${low} * *\n`;
      };
      writeFileSync(file, Array.from({ length: leases }, (_, index) => row(index + 1)).join(''));
      const argv = [
        ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--port=0', '--user=root', '--log-facility=-'],
        ...['--no-ping', '--quiet-dhcp', '--dhcp-authoritative', '--dhcp-lease-max=50000', `--dhcp-leasefile=${file}`],
        `--dhcp-range=${POOL.join(',')},255.255.0.0,1h`,
      ];
      return { argv, env: { PATH: systemPath } };
    },
  },
} as const satisfies Record<string, DhcpServer>;

export type DhcpServerName = keyof typeof DHCP_SERVERS;

export type DhcpRow = {
  readonly server: string;
  /** Leases that were there before. */
  readonly leases: number;
  readonly exchanges: number;
  /** Processor time of the server for one exchange. */
  readonly cpuUs: number;
  /** From DISCOVER to OFFER and from REQUEST to ACK, on average. */
  readonly offerMs: number;
  readonly ackMs: number;
  readonly why?: string;
};

/** Each server with no, 1,000 and 10,000 leases. @param cache where peers are unpacked. */
export async function measureDhcp(
  wire: Wire,
  names: readonly DhcpServerName[],
  cache: string,
  folder: string,
  say: (line: string) => void,
): Promise<DhcpRow[]> {
  const rows: DhcpRow[] = [];
  const kea = await obtain('kea', DHCP_SERVERS.kea, cache);
  if ('why' in kea) {
    say(`DHCP is left out: perfdhcp, the load, cannot be had: ${kea.why}`);
    return rows;
  }
  const perfdhcp = new Perfdhcp(wire, kea.home);
  for (const name of names) {
    const server: DhcpServer = DHCP_SERVERS[name];
    const had = await obtain(name, server, cache);
    if ('why' in had) say(`${name} is left out: ${had.why}`);
    else {
      for (const leases of LEASES_BEFORE) {
        say(`${name}: DHCP, ${leases} leases`);
        const own = join(folder, `dhcp-${name}-${leases}`);
        mkdirSync(own, { recursive: true });
        rows.push(await measureOne(wire, perfdhcp, name, server, had.home, own, leases));
      }
    }
  }
  return rows;
}

async function measureOne(
  wire: Wire,
  perfdhcp: Perfdhcp,
  name: string,
  server: DhcpServer,
  home: string,
  folder: string,
  leases: number,
): Promise<DhcpRow> {
  const nothing = { server: name, leases, exchanges: 0, cpuUs: Number.NaN, offerMs: Number.NaN, ackMs: Number.NaN };
  let running: RunningServer | undefined;
  try {
    const started = server.prepare(home, folder, leases);
    running = await wire.serve(started, { kind: 'udp', number: 67 }, join(folder, 'server.log'));
    if (leases > 0 && !server.startsWithLeases) await perfdhcp.load(1, leases, PRELOAD_PER_S);
    const before = running.cpuMs();
    const { load } = server;
    const { exchanges, offerMs, ackMs } = await perfdhcp.load(2, load.exchanges, load.perS);
    const cpuUs = (1000 * (running.cpuMs() - before)) / exchanges;
    return { server: name, leases, exchanges, cpuUs, offerMs, ackMs };
  } catch (thrown) {
    return { ...nothing, why: reasonOf(thrown).split('\n')[0] ?? '' };
  } finally {
    await running?.stop();
  }
}

/** The load, in the clients' namespace. */
class Perfdhcp {
  readonly #wire: Wire;
  readonly #home: string;

  constructor(wire: Wire, home: string) {
    this.#wire = wire;
    this.#home = home;
  }

  /** @param delivery tells one load's clients from another's. */
  async load(
    delivery: number,
    exchanges: number,
    perS: number,
  ): Promise<{ exchanges: number; offerMs: number; ackMs: number }> {
    const env = ['env', '-i', `PATH=${systemPath}`, `LD_LIBRARY_PATH=${libraries(this.#home)}`];
    const words = [
      ...['-4', '-l', 'c0', '-r', String(perS), '-n', String(exchanges), '-R', String(exchanges), '-d', '5'],
      ...['-b', `mac=02:00:00:0${delivery}:00:00`, SERVER_ADDRESS],
    ];
    const argv = ['netns', 'exec', this.#wire.clients, ...env, join(this.#home, 'usr/sbin/perfdhcp'), ...words];
    // It ends with 3 where an answer was still on its way when the last question had left.
    const { stdout } = await run('ip', argv, { timeout: TIMEOUT_MS }).catch((thrown: unknown) => {
      const { code, stdout: said } = thrown as { code?: unknown; stdout?: string };
      if (code === 3 && said !== undefined) return { stdout: said };
      throw thrown;
    });
    const [, offers = '', acks = ''] = stdout.split('***Statistics for:');
    const figure = (text: string, what: RegExp): number => Number(what.exec(text)?.[1] ?? Number.NaN);
    const received = figure(acks, /received packets: (\d+)/);
    if (!(received > exchanges * 0.9)) throw new Error(`${received} of ${exchanges} exchanges came to their end`);
    const delay = /avg delay: ([\d.]+) ms/;
    return { exchanges: received, offerMs: figure(offers, delay), ackMs: figure(acks, delay) };
  }
}
