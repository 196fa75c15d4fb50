// bench/run.io.ts - `npm run bench`: hands `netboot` and `images` on; `supervise`: rouse beside the supervisors of the field, on the same
// services.
//
// Owns: the arguments, the order, progress on standard error, the result on standard output. Never a test: figures depend
// on the machine; ratios are what to read. Debian packages are unpacked and pm2 is installed into the cache, privately.

import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reasonOf } from '../formats/errors.ts';
import { abandon, measureCrowd, measureLogs, measureRestart } from './measure.io.ts';
import { abandonBuilders } from './imagebuilders.io.ts';
import { benchImages } from './images.io.ts';
import { benchNetboot } from './netboot.io.ts';
import { obtain, PEERS } from './peers.io.ts';
import type { Peer, PeerName } from './peers.io.ts';
import { renderReport } from './report.ts';
import type { CrowdResult, LogResult, PeerResult, RestartResult } from './report.ts';

const CACHE = fileURLToPath(new URL('../.rouse/cache/bench', import.meta.url));
const USAGE =
  'usage: npm run bench supervise -- [--peers rouse,runit,…] [--counts 10,100,1000] [--json], or: npm run bench netboot|images';
const BULK_LINES_PER_WRITE = 600;
const PARTS = ['crowds', 'restart', 'logs'] as const;
type Part = (typeof PARTS)[number];

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // Not once: execa would see no other listener left, and end this process by the signal itself.
  process.on(signal, () => void Promise.all([abandon(), abandonBuilders()]).finally(() => process.exit(130)));
}
const [benchmark, ...words] = process.argv.slice(2);
const OTHERS: Readonly<Record<string, (words: readonly string[]) => Promise<number>>> = {
  netboot: benchNetboot,
  images: benchImages,
};
process.exitCode = await (OTHERS[benchmark ?? '']?.(words) ?? main());

async function main(): Promise<number> {
  let names: PeerName[];
  let counts: number[];
  let parts: Part[];
  let json: boolean;
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        peers: { type: 'string' },
        counts: { type: 'string' },
        only: { type: 'string' },
        json: { type: 'boolean' },
      },
    });
    if (positionals.length !== 1 || positionals[0] !== 'supervise')
      throw new Error('there are three benchmarks: supervise, netboot, images');
    names = (values.peers?.split(',') ?? Object.keys(PEERS)).map(peerName);
    counts = (values.counts ?? '10,100,1000').split(',').map(positive);
    parts = values.only?.split(',').map(partName) ?? [...PARTS];
    json = values.json ?? false;
  } catch (thrown) {
    say(`${reasonOf(thrown)}; ${USAGE}`);
    return 100;
  }
  const results: PeerResult[] = [];
  const skipped: { readonly name: string; readonly why: string }[] = [];
  for (const name of names) {
    const had = await obtain(name, PEERS[name], CACHE);
    if ('why' in had) {
      say(`${name} is left out: ${had.why}`);
      skipped.push({ name, why: had.why });
    } else results.push(await measure(name, had.home, parts.includes('crowds') ? counts : [], parts));
  }
  if (json) process.stdout.write(`${JSON.stringify({ results, skipped })}\n`);
  else {
    for (const line of renderReport(results, counts)) process.stdout.write(`${line}\n`);
    for (const { name, why } of skipped) process.stdout.write(`left out: ${name} (${why})\n`);
  }
  return results.length > 0 ? 0 : 111;
}

async function measure(
  name: PeerName,
  home: string,
  counts: readonly number[],
  parts: readonly Part[],
): Promise<PeerResult> {
  const crowds: CrowdResult[] = [];
  for (const count of counts) {
    say(`${name}: ${count} services`);
    crowds.push(await measureCrowd(name, home, count));
  }
  let restart: RestartResult = { latenciesMs: [] };
  if (parts.includes('restart')) {
    say(`${name}: restarts`);
    restart = await measureRestart(name, home);
  }
  const logs: LogResult[] = [];
  const { logs: keepsLogs }: Peer = PEERS[name];
  for (const linesPerWrite of keepsLogs && parts.includes('logs') ? [BULK_LINES_PER_WRITE, 1] : []) {
    say(`${name}: logs, ${linesPerWrite === 1 ? 'one line' : 'many lines'} per write`);
    logs.push(await measureLogs(name, home, linesPerWrite));
  }
  return { name, crowds, restart, logs };
}

function peerName(word: string): PeerName {
  if (Object.hasOwn(PEERS, word)) return word as PeerName;
  throw new Error(`unknown supervisor '${word}', expected ${Object.keys(PEERS).join(', ')}`);
}

function partName(word: string): Part {
  const part = PARTS.find((each) => each === word);
  if (part !== undefined) return part;
  throw new Error(`unknown part '${word}', expected ${PARTS.join(', ')}`);
}

function positive(word: string): number {
  const count = Number(word);
  if (Number.isInteger(count) && count > 0 && count <= 5000) return count;
  throw new Error(`--counts expected numbers from 1 to 5000, got '${word}'`);
}
