// bench/measure.io.ts - one supervisor, measured: start-up, memory, idle cost, restarts, logs.
//
// Owns: starting it on services, the measurements, leaving nothing behind. All bounded: what does not come in time is
// reported as missing. Does not own: the supervisors (peers.io.ts), the table (report.ts).

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PEERS } from './peers.io.ts';
import type { Peer, PeerName, Wanted } from './peers.io.ts';
import { Herd } from './processes.io.ts';
import { idleScript, LINE_BYTES, Reports, letGo, talkScript } from './services.io.ts';
import type { CrowdResult, LogResult, RestartResult } from './report.ts';

/** Whatever the number, and for each service. */
const UP_TIMEOUT_MS = 20_000;
const UP_TIMEOUT_EACH_MS = 100;
/** After the last service is up: what starting leaves behind settles. */
const SETTLE_MS = 4000;
const IDLE_MS = 6000;
const RESTARTS = 11;
const RESTART_TIMEOUT_MS = 10_000;
/** A service that has run for over a second is started again without the pause that a crash loop gets. */
const RUNS_FOR_MS = 1500;
const LOG_TIMEOUT_MS = 120_000;
const BULK_LINES = 1_000_000;
const SINGLE_LINES = 20_000;

const running = new Set<Run>();

/** Ends what is being measured: for when the benchmark itself is told to end. */
export async function abandon(): Promise<void> {
  for (const run of running) await run[Symbol.asyncDispose]();
}

class Run {
  readonly folder = mkdtempSync(join(tmpdir(), 'rouse-bench-'));
  readonly herd = new Herd();
  readonly reports = new Reports(this.folder);
  readonly #said = join(this.folder, 'said');
  startedMs = 0;

  constructor() {
    running.add(this);
  }

  start(name: PeerName, home: string, services: readonly Wanted[]): void {
    const peer: Peer = PEERS[name];
    const { argv, env } = peer.prepare(home, this.folder, services);
    const [program = '', ...words] = argv;
    const out = openSync(this.#said, 'a');
    this.startedMs = performance.now();
    spawn('/usr/bin/env', [program, ...words], {
      cwd: this.folder,
      env: { ...env, ...this.herd.env },
      stdio: ['ignore', out, out],
      detached: true,
    });
    closeSync(out);
  }

  /** The last words of the supervisor, where something did not come. */
  said(): string {
    return readFileSync(this.#said, 'latin1').trim().split('\n').at(-1)?.slice(0, 200) ?? '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    running.delete(this);
    await this.herd.end();
    this.reports.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Start to all up, memory, idle processor time, with so many services. */
export async function measureCrowd(name: PeerName, home: string, count: number): Promise<CrowdResult> {
  await using run = new Run();
  const services = Array.from({ length: count }, (_, index) => {
    const service = `s${index}`;
    return { name: service, script: idleScript(service, run.reports.path) };
  });
  const up = new Set<string>();
  const timeoutMs = UP_TIMEOUT_MS + count * UP_TIMEOUT_EACH_MS;
  const allUp = run.reports.next(({ name: service }) => up.add(service).size === count, timeoutMs);
  run.start(name, home, services);
  const last = await allUp;
  if (last === undefined) return { count, why: `${up.size} of ${count} after ${timeoutMs / 1000} s: ${run.said()}` };
  await sleep(SETTLE_MS);
  const { processes, pssKiB } = run.herd.weigh();
  const cpuBefore = run.herd.cpuMs();
  const before = performance.now();
  await sleep(IDLE_MS);
  const cpuMs = run.herd.cpuMs() - cpuBefore;
  return {
    count,
    upMs: last.atMs - run.startedMs,
    processes,
    pssMiB: pssKiB / 1024,
    idlePercent: (100 * cpuMs) / (performance.now() - before),
  };
}

/** From the death of a service that had run for over a second to the first line of its next run. */
export async function measureRestart(name: PeerName, home: string): Promise<RestartResult> {
  await using run = new Run();
  const first = run.reports.next(() => true, UP_TIMEOUT_MS);
  run.start(name, home, [{ name: 's0', script: idleScript('s0', run.reports.path) }]);
  let { pid } = (await first) ?? { pid: 0 };
  const latenciesMs: number[] = [];
  for (let turn = 0; turn < RESTARTS && pid !== 0; turn++) {
    await sleep(RUNS_FOR_MS);
    const again = run.reports.next((started) => started.pid !== pid, RESTART_TIMEOUT_MS);
    const killedMs = performance.now();
    process.kill(pid, 'SIGKILL');
    const started = await again;
    if (started === undefined) break;
    latenciesMs.push(started.atMs - killedMs);
    ({ pid } = started);
  }
  return { latenciesMs };
}

/** Processor time of logging: big writes, then one line per write. */
export async function measureLogs(name: PeerName, home: string, linesPerWrite: number): Promise<LogResult> {
  const lines = linesPerWrite === 1 ? SINGLE_LINES : BULK_LINES;
  await using run = new Run();
  const go = join(run.folder, 'go.fifo');
  execFileSync('mkfifo', [go]);
  const ready = run.reports.next(() => true, UP_TIMEOUT_MS);
  run.start(name, home, [{ name: 's0', script: talkScript('s0', run.reports.path, go, lines, linesPerWrite) }]);
  if ((await ready) === undefined) return { linesPerWrite, why: run.said() };
  await sleep(SETTLE_MS);
  // Who speaks has ended before the second look, and is counted in neither.
  const cpu = (): number => run.herd.cpuMs();
  const before = cpu();
  const said = run.reports.next((started) => started.name === 's0-said', LOG_TIMEOUT_MS);
  letGo(go);
  if ((await said) === undefined)
    return { linesPerWrite, why: `not said within ${LOG_TIMEOUT_MS / 1000} s: ${run.said()}` };
  // What the pipe still holds is read; then nothing more happens.
  let spent = cpu();
  for (;;) {
    await sleep(500);
    const now = cpu();
    if (now - spent < 5) break;
    spent = now;
  }
  return { linesPerWrite, cpuMs: spent - before, megabytes: (lines * LINE_BYTES) / 1e6, lines };
}
