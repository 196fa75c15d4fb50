// bench/netboot.io.ts - `npm run bench netboot`: rouse beside the boot servers of the field, on the same files.
//
// Owns: the arguments, the order, progress on standard error, the result on standard output. Never a test: figures depend on
// the machine; ratios are what to read. Needs root: it makes network namespaces, and takes them away again.

import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reasonOf } from '../formats/errors.ts';
import { DHCP_SERVERS, type DhcpRow, type DhcpServerName, measureDhcp } from './dhcp.io.ts';
import { renderDhcpReport } from './dhcpreport.ts';
import { type NetRow, renderNetReport } from './netreport.ts';
import { type Content, type NetServer, type NetServerName, SERVERS } from './netservers.io.ts';
import { type Cost, MOST_CLIENTS, Wire } from './nettraffic.io.ts';
import { obtain } from './peers.io.ts';

const CACHE = fileURLToPath(new URL('../.rouse/cache/bench', import.meta.url));
const USAGE =
  'usage: npm run bench netboot -- [--servers rouse,nginx,…] [--clients 1,10,100] [--loads dhcp,tftp,http,storm] [--repeats 3] [--nodes 1000] [--json]';

/** By the number of clients: the file that each fetches by TFTP, so that all together fetch 64 to 200 MB. */
const TFTP_FILES = [
  { upTo: 1, name: 'ipxe.efi', bytes: 64_000_000 },
  { upTo: 10, name: 'snponly.efi', bytes: 10_000_000 },
  { upTo: MOST_CLIENTS, name: 'undionly.kpxe', bytes: 2_000_000 },
] as const;
const HTTP_BYTES = 100_000_000;
const WINDOWS = [1, 16] as const;
/** What each node of a storm fetches: little, so that what is measured is the server and not the wire. */
const STORM_NODES = 1000;
const MOST_STORM_NODES = 4000;
const STORM_LOADER_BYTES = 200_000;
const STORM_FILE_BYTES = 1_000_000;

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);

type Wanted = {
  readonly servers: readonly NetServerName[];
  readonly dhcpServers: readonly DhcpServerName[];
  readonly clients: readonly number[];
  readonly loads: readonly string[];
  readonly repeats: number;
  /** Of a storm. */
  readonly nodes: number;
  readonly json: boolean;
};

/** @param words of the command line, behind "netboot". @returns the exit status. */
export async function benchNetboot(words: readonly string[]): Promise<number> {
  let wanted: Wanted;
  try {
    wanted = readWords(words);
  } catch (thrown) {
    say(`${reasonOf(thrown)}; ${USAGE}`);
    return 100;
  }
  if (process.getuid?.() !== 0) {
    say('it makes network namespaces, which only root may');
    return 111;
  }
  const rows: NetRow[] = [];
  const dhcp: DhcpRow[] = [];
  const skipped: { readonly name: string; readonly why: string }[] = [];
  const content: Content = {
    tftp: Object.fromEntries(TFTP_FILES.map(({ name, bytes }) => [name, randomBytes(bytes)])),
    http: randomBytes(HTTP_BYTES),
  };
  const storm: Content = {
    tftp: { 'snponly.efi': randomBytes(STORM_LOADER_BYTES) },
    http: randomBytes(STORM_FILE_BYTES),
    kernel: randomBytes(STORM_FILE_BYTES),
  };
  const wire = new Wire();
  const folder = mkdtempSync(join(tmpdir(), 'rouse-bench-'));
  // Clients run as users of their own.
  chmodSync(folder, 0o755);
  // However it ends: ctrl-C too.
  process.once('exit', () => {
    wire.close();
    rmSync(folder, { recursive: true, force: true });
  });
  try {
    wire.open();
    if (wanted.loads.includes('dhcp')) dhcp.push(...(await measureDhcp(wire, wanted.dhcpServers, CACHE, folder, say)));
    for (const name of wanted.servers) {
      const server: NetServer = SERVERS[name];
      const had = await obtain(name, server, CACHE);
      if ('why' in had) {
        say(`${name} is left out: ${had.why}`);
        skipped.push({ name, why: had.why });
        continue;
      }
      rows.push(...(await measure(wire, name, had.home, join(folder, name), content, wanted)));
      if (server.speaks.includes('storm') && wanted.loads.includes('storm')) {
        rows.push(await measureStorm(wire, name, had.home, join(folder, `${name}-storm`), storm, wanted));
      }
    }
  } finally {
    wire.close();
  }
  // One load after the other, all servers of it together.
  const order = (row: NetRow): number =>
    ['TFTP', 'HTTP', 'storm'].indexOf(row.protocol) * 1e6 + (row.windowBlocks ?? 0) * 1e4 + row.clients;
  rows.sort((a, b) => order(a) - order(b));
  if (wanted.json) process.stdout.write(`${JSON.stringify({ dhcp, rows, skipped })}\n`);
  else {
    for (const line of renderDhcpReport(dhcp)) process.stdout.write(`${line}\n`);
    if (rows.length > 0) for (const line of renderNetReport(rows)) process.stdout.write(`${line}\n`);
    for (const { name, why } of skipped) process.stdout.write(`left out: ${name} (${why})\n`);
  }
  return rows.length + dhcp.length > 0 ? 0 : 111;
}

async function measure(
  wire: Wire,
  name: NetServerName,
  home: string,
  folder: string,
  content: Content,
  { clients, loads, repeats }: Wanted,
): Promise<NetRow[]> {
  const { speaks, windows, prepare }: NetServer = SERVERS[name];
  const spoken = speaks.filter((each) => loads.includes(each));
  if (spoken.length === 0) return [];
  mkdirSync(folder, { recursive: true });
  const started = await prepare(home, folder, content);
  const rows: NetRow[] = [];
  const row = async (
    head: Omit<NetRow, 'runs' | 'server'>,
    run: (server: Awaited<ReturnType<Wire['serve']>>) => Promise<Cost>,
  ): Promise<void> => {
    say(
      `${name}: ${head.protocol}${head.windowBlocks === undefined ? '' : `, window ${head.windowBlocks}`}, ${head.clients} clients`,
    );
    const runs: Cost[] = [];
    const port =
      head.protocol === 'TFTP' ? ({ kind: 'udp', number: 69 } as const) : ({ kind: 'tcp', number: 8080 } as const);
    try {
      // A server of its own for each row: its peak memory is that of this load.
      const server = await wire.serve(started, port, join(folder, 'server.log'));
      try {
        for (let turn = 0; turn < repeats; turn += 1) runs.push(await run(server));
      } finally {
        await server.stop();
      }
      rows.push({ server: name, ...head, runs });
    } catch (thrown) {
      const why = reasonOf(thrown).split('\n')[0] ?? '';
      say(`${name}: ${why}`);
      rows.push({ server: name, ...head, runs, why });
    }
  };
  for (const count of clients) {
    const file = TFTP_FILES.find(({ upTo }) => count <= upTo) ?? TFTP_FILES[0];
    for (const windowBlocks of spoken.includes('tftp') ? WINDOWS : []) {
      if (windowBlocks > 1 && !windows) continue;
      await row({ protocol: 'TFTP', clients: count, windowBlocks }, (server) =>
        wire.tftp(server, file.name, file.bytes, count, windowBlocks, folder),
      );
    }
    const path = started.http;
    if (spoken.includes('http') && path !== undefined) {
      await row({ protocol: 'HTTP', clients: count, windowBlocks: undefined }, (server) =>
        wire.http(server, path, HTTP_BYTES, count),
      );
    }
  }
  return rows;
}

/** A fresh server, with nothing remembered, for each rack that powers up. */
async function measureStorm(
  wire: Wire,
  name: NetServerName,
  home: string,
  folder: string,
  content: Content,
  { repeats, nodes }: Wanted,
): Promise<NetRow> {
  const { prepare }: NetServer = SERVERS[name];
  const head = { server: name, protocol: 'storm', clients: nodes, windowBlocks: undefined };
  const runs: Cost[] = [];
  try {
    for (let turn = 0; turn < repeats; turn += 1) {
      say(`${name}: storm of ${nodes} nodes`);
      const own = `${folder.replaceAll(' ', '')}-${turn}`;
      mkdirSync(own, { recursive: true });
      const started = await prepare(home, own, content);
      const server = await wire.serve(started, { kind: 'tcp', number: 8080 }, join(own, 'server.log'));
      try {
        runs.push(await wire.storm(server, nodes));
      } finally {
        await server.stop();
      }
    }
    return { ...head, runs };
  } catch (thrown) {
    const why = reasonOf(thrown).split('\n')[0] ?? '';
    say(`${name}: ${why}`);
    return { ...head, runs, why };
  }
}

function readWords(words: readonly string[]): Wanted {
  const { values } = parseArgs({
    args: [...words],
    options: {
      servers: { type: 'string' },
      clients: { type: 'string' },
      loads: { type: 'string' },
      repeats: { type: 'string' },
      nodes: { type: 'string' },
      json: { type: 'boolean' },
    },
  });
  const known = [...new Set([...Object.keys(SERVERS), ...Object.keys(DHCP_SERVERS)])];
  const named = values.servers?.split(',') ?? known;
  const unknown = named.find((word) => !known.includes(word));
  if (unknown !== undefined) throw new Error(`unknown server '${unknown}', expected ${known.join(', ')}`);
  const servers = named.filter((word): word is NetServerName => Object.hasOwn(SERVERS, word));
  const dhcpServers = named.filter((word): word is DhcpServerName => Object.hasOwn(DHCP_SERVERS, word));
  const number = (word: string, most: number): number => {
    const count = Number(word);
    if (Number.isInteger(count) && count > 0 && count <= most) return count;
    throw new Error(`expected a number from 1 to ${most}, got '${word}'`);
  };
  return {
    servers,
    dhcpServers,
    clients: (values.clients ?? '1,10,100').split(',').map((word) => number(word, MOST_CLIENTS)),
    loads: (values.loads ?? 'dhcp,tftp,http,storm').split(','),
    repeats: number(values.repeats ?? '3', 100),
    nodes: number(values.nodes ?? String(STORM_NODES), MOST_STORM_NODES),
    json: values.json ?? false,
  };
}
