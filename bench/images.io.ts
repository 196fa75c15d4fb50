// bench/images.io.ts - `npm run bench images`: rouse beside the builders of the field, on the same web server.
//
// Owns: the arguments, the order, the clock, the guests, progress on standard error, the result on standard output. Never
// a test: figures depend on the machine; ratios are what to read. Needs root (mmdebstrap, chroot), QEMU and a network.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { reasonOf } from '../formats/errors.ts';
import type { CpioEntry } from '../images/cpio.ts';
import { packLayer } from '../images/layers.io.ts';
import {
  type Builder,
  type BuilderName,
  BUILDERS,
  bytesOf,
  installRoot,
  kernelOf,
  makeWorkshop,
  SCRIPT_CMDLINE,
  type Workshop,
} from './imagebuilders.io.ts';
import { type BootTime, type BuilderResult, renderImageReport } from './imagereport.ts';
import { median } from './report.ts';

const USAGE =
  'usage: npm run bench images -- [--builders rouse,dracut,…] [--repeats 3] [--boots 3] [--root DIR] [--json]';
const BOOT_LIMIT_MS = 300_000;
const GUEST_MEMORY_MB = 1024;
const OVERLAYS = 50;
const ASK_EVERY_MS = 50;
/** Of /proc/PID/stat: USER_HZ is 100 on every Linux that Node runs on. */
const MS_PER_TICK = 10;

const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);

/** @param words of the command line, behind "images". @returns the exit status. */
export async function benchImages(words: readonly string[]): Promise<number> {
  let names: BuilderName[];
  let repeats: number;
  let boots: number;
  let json: boolean;
  let root: string | undefined;
  try {
    const { values } = parseArgs({
      args: [...words],
      options: {
        builders: { type: 'string' },
        repeats: { type: 'string' },
        boots: { type: 'string' },
        root: { type: 'string' },
        json: { type: 'boolean' },
      },
    });
    names = (values.builders?.split(',') ?? Object.keys(BUILDERS)).map(builderName);
    repeats = count(values.repeats ?? '3');
    boots = count(values.boots ?? '3');
    json = values.json ?? false;
    ({ root } = values);
  } catch (thrown) {
    say(`${reasonOf(thrown)}; ${USAGE}`);
    return 100;
  }
  if (process.getuid?.() !== 0) {
    say('mmdebstrap and chroot need root');
    return 111;
  }
  const shop = makeWorkshop(mkdtempSync(join(tmpdir(), 'rouse-bench-')), root);
  const clear = (): void => rmSync(shop.folder, { recursive: true, force: true });
  // Half a Debian: not to be left behind by who is interrupted either.
  process.once('exit', clear);
  const results: BuilderResult[] = [];
  let rootMs: Promise<number> | undefined;
  // Once for all who copy from it; part of each one's cold build.
  const installed = (): Promise<number> => (rootMs ??= timeOfRoot(shop));
  try {
    // Its kernel is what the others' initrds are booted with.
    for (const name of ['rouse' as const, ...names.filter((one) => one !== 'rouse')]) {
      results.push(await measure(name, { shop, installed, repeats, boots }));
    }
  } finally {
    clear();
  }
  const overlayMs = await measureOverlay();
  if (json) process.stdout.write(`${JSON.stringify({ results, overlayMs })}\n`);
  else {
    for (const line of renderImageReport(results)) process.stdout.write(`${line}\n`);
    process.stdout.write(`rouse's overlay of one node: ${overlayMs.toFixed(1)} ms (median of ${OVERLAYS})\n`);
  }
  return results.every(({ why }) => why === undefined) ? 0 : 111;
}

async function measure(
  name: BuilderName,
  {
    shop,
    installed,
    repeats,
    boots,
  }: { shop: Workshop; installed: () => Promise<number>; repeats: number; boots: number },
): Promise<BuilderResult> {
  const builder: Builder = BUILDERS[name];
  const timed = async (): Promise<{ ms: number; path: string }> => {
    const startedAtMs = performance.now();
    const path = await builder.build(shop);
    return { ms: performance.now() - startedAtMs, path };
  };
  const told = { name, text: builder.text, copies: builder.copies };
  const nothing = {
    ...told,
    coldMs: Number.NaN,
    warmMs: [],
    editMs: [],
    compressedBytes: Number.NaN,
    scriptBoots: [],
    ownBoots: [],
  };
  try {
    const rootMs = builder.copies ? await installed() : 0;
    say(`${name}: cold`);
    const cold = await timed();
    const warmMs: number[] = [];
    const editMs: number[] = [];
    const scriptBoots: BootTime[] = [];
    const ownBoots: BootTime[] = [];
    let { path } = cold;
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      say(`${name}: warm`);
      builder.forget(shop);
      warmMs.push((await timed()).ms);
      say(`${name}: one file edited`);
      shop.page(`edited ${repeat}\n`);
      const edited = await timed();
      editMs.push(edited.ms);
      ({ path } = edited);
    }
    const compressedBytes = bytesOf(path);
    const kernel = await kernelOf(shop);
    const own = await builder.cmdline?.(shop);
    for (let boot = 0; boot < boots; boot += 1) {
      say(`${name}: boot`);
      scriptBoots.push(await bootOnce(kernel, path, SCRIPT_CMDLINE));
      if (own !== undefined) ownBoots.push(await bootOnce(kernel, path, own));
    }
    return { ...told, coldMs: rootMs + cold.ms, warmMs, editMs, compressedBytes, scriptBoots, ownBoots };
  } catch (error) {
    return { ...nothing, why: reasonOf(error).slice(0, 600) };
  }
}

/** @returns NaN where the system was there before. */
async function timeOfRoot(shop: Workshop): Promise<number> {
  say('the system that dracut and initramfs-tools copy from');
  const startedAtMs = performance.now();
  const isNew = await installRoot(shop);
  return isNew ? performance.now() - startedAtMs : Number.NaN;
}

/** Boots a guest and asks for the page until it answers. */
async function bootOnce(kernel: string, initrd: string, cmdline: readonly string[]): Promise<BootTime> {
  const port = await freePort();
  const startedAtMs = performance.now();
  const guest: ChildProcess = spawn(
    'setpriv',
    [
      // A benchmark that is killed takes its machine with it.
      ...['--pdeathsig', 'KILL', 'qemu-system-x86_64'],
      ...['-accel', 'tcg', '-nodefaults', '-no-reboot', '-display', 'none', '-m', String(GUEST_MEMORY_MB)],
      ...['-kernel', kernel, '-initrd', initrd, '-append', ['console=ttyS0', 'quiet', 'panic=5', ...cmdline].join(' ')],
      ...['-netdev', `user,id=net0,hostfwd=tcp:127.0.0.1:${port}-:80`],
      ...['-device', 'virtio-net-pci,netdev=net0,mac=52:54:00:77:00:01,romfile=', '-serial', 'stdio'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let said = '';
  guest.stdout?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-8000)));
  try {
    let answered: BootTime | undefined;
    const ask = async (): Promise<void> => {
      if (await doesAnswer(port)) {
        answered ??= { cpuMs: cpuMsOf(guest.pid ?? 0), wallMs: performance.now() - startedAtMs };
      }
    };
    for (;;) {
      if (answered !== undefined) return answered;
      if (guest.exitCode !== null) throw new Error(`the guest ended before it answered: ${lastWords(said)}`);
      if (performance.now() - startedAtMs > BOOT_LIMIT_MS) throw new Error(`no answer: ${lastWords(said)}`);
      // Not one after the other: a question that is asked before the guest has a network hangs for a while.
      void ask();
      await delay(ASK_EVERY_MS);
    }
  } finally {
    guest.kill('SIGKILL');
  }
}

/** What a kernel says when its first process dies comes behind what that said. */
function lastWords(said: string): string {
  const panic = said.indexOf('Kernel panic');
  return (panic === -1 ? said : said.slice(0, panic + 100)).slice(-400).trim();
}

async function doesAnswer(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) });
    await response.text();
    return response.ok;
  } catch {
    return false;
  }
}

function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

/** What a boot server does for each boot. */
async function measureOverlay(): Promise<number> {
  const file = (path: string, bytes: number): CpioEntry => {
    return { kind: 'file', path, mode: 0o644, uid: 0, gid: 0, data: new Uint8Array(bytes).fill(0x61) };
  };
  const files = [file('etc/hostname', 5), file('etc/rouse/boot', 80), file('etc/nginx/nginx.conf', 4000)];
  const times: number[] = [];
  for (let turn = 0; turn < OVERLAYS; turn += 1) {
    const startedAtMs = performance.now();
    await packLayer('overlay', files, 'gzip', 'quick');
    times.push(performance.now() - startedAtMs);
  }
  return median(times);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function builderName(word: string): BuilderName {
  if (Object.hasOwn(BUILDERS, word)) return word as BuilderName;
  throw new Error(`unknown builder '${word}', expected ${Object.keys(BUILDERS).join(', ')}`);
}

function count(word: string): number {
  const value = Number(word);
  if (Number.isInteger(value) && value > 0 && value <= 20) return value;
  throw new Error(`expected a number from 1 to 20, got '${word}'`);
}
