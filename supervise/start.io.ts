// supervise/start.io.ts - what a service is to be started with, read anew from its directory for each start.
//
// Owns: settings, command line, environment, the descriptors beyond 0 to 2, the cgroup; what ./finish is told; running ./check.
// Does not own: starting (spawner.io.ts), the settings' grammar (servicedir.ts), when (machine.ts).

import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants as osConstants } from 'node:os';
import { reasonOf } from '../formats/errors.ts';
import { makeFifos } from './commands.io.ts';
import { exists, instanceEnv, programOf, readAccount, readEnv, readSettings, scriptFacts } from './directory.io.ts';
import { readFifo } from './fifo.io.ts';
import type { StandardStreams, UnitHost, UnitPlan } from './host.io.ts';
import type { Launched, LaunchPlan, OnDeath } from './launch.io.ts';
import { runCommand } from './launch.ts';
import type { Death, Settings } from './service.ts';
import { refusalOf } from './servicedir.ts';
import { drain, openFifo } from './statefile.io.ts';
import { LIFELINE_FD, makeLimitedCgroup, makeMarks } from './trace.io.ts';

const CHECK_TIMEOUT_MS = 10_000;

/** `extras` are open, and the caller's to close. */
export type Start = Required<Pick<LaunchPlan, 'argv' | 'env' | 'extras' | 'cgroup'>> & { readonly settings: Settings };

/**
 * Reads what ./run is to be started with.
 *
 * @param command instead of ./run. @param openNotify gives the descriptor for notification-fd, which the service writes to.
 * Throws with the reason where it cannot be started; then nothing is left open.
 */
export async function prepareStart(
  base: string,
  command: readonly string[] | undefined,
  openNotify: () => Promise<number>,
): Promise<Start> {
  const { settings, argv, env } = readStart(base, command);
  const statePath = `${base}/supervise`;
  const extras: { asFd: number; fd: number }[] = [];
  try {
    if (settings.notificationFd !== undefined) extras.push({ asFd: settings.notificationFd, fd: await openNotify() });
    const marks = settings.fghack ? await makeMarks(statePath) : undefined;
    if (marks !== undefined) extras.push({ asFd: LIFELINE_FD, fd: marks.lifelineFd });
    const cgroup = settings.cgroup === undefined ? marks?.cgroup : makeLimitedCgroup(statePath, settings.cgroup);
    return { argv, env, extras, cgroup, settings };
  } catch (thrown) {
    for (const { fd } of extras) closeSync(fd);
    throw thrown;
  }
}

/** Of a start what its files say. Throws with the reason where they keep it from being one. */
function readStart(base: string, command: readonly string[] | undefined): Pick<Start, 'settings' | 'argv' | 'env'> {
  const read = readSettings(base);
  if (!read.ok) throw new Error(read.problems.join('; '));
  const refusal = command === undefined ? refusalOf('run', scriptFacts(base, 'run')) : undefined;
  if (refusal !== undefined) throw new Error(refusal);
  const { settings } = read;
  const argv = command ?? runCommand(settings, readAccount(settings.user), programOf(base, 'run'));
  return { settings, argv, env: readEnv(base) };
}

/** Why the files would keep it from being started now; undefined = they would not. What only a start tries is not known. */
export function refusalToStart(base: string, command: readonly string[] | undefined): string | undefined {
  try {
    readStart(base, command);
    return undefined;
  } catch (thrown) {
    return reasonOf(thrown);
  }
}

/**
 * What ./finish is to be started with, as s6: exit code or 256, signal number, name, process group. Throws with the reason
 * where it cannot be.
 */
export function finishStart(base: string, name: string, death: Death, groupId: number, settings: Settings): Start {
  const refusal = refusalOf('finish', scriptFacts(base, 'finish'));
  if (refusal !== undefined) throw new Error(refusal);
  const code = death.signal === undefined ? (death.exitCode ?? 256) : 256;
  const words = [code, signalNumberOf(death.signal), name, groupId].map(String);
  return {
    argv: [programOf(base, 'finish'), ...words],
    env: instanceEnv(base),
    extras: [],
    cgroup: undefined,
    settings,
  };
}

/** 0 for none, and for one without a number here. */
export function signalNumberOf(signal: string | undefined): number {
  return osConstants.signals[(signal ?? '') as NodeJS.Signals] ?? 0;
}

/** Starts it at its gate. Its extras are closed by the time of the answer. */
export function launchStart(
  host: UnitHost,
  { base, streams }: UnitPlan,
  { argv, env, extras, cgroup }: Start,
  onExit: OnDeath,
  onAnswer: (launched: Launched) => void,
): void {
  const answer = (launched: Launched): void => {
    for (const { fd } of extras) closeSync(fd);
    onAnswer(launched);
  };
  let standard: StandardStreams;
  try {
    standard = streams();
  } catch (thrown) {
    answer({ ok: false, why: reasonOf(thrown) });
    return;
  }
  host.launch({ base, argv, env, ...standard, stderr: 2, extras, cgroup, onExit }, answer);
}

/** A service's notification FIFO: ours to read, and what an earlier run left in it thrown away. */
export class Notification {
  #socket: Socket | undefined;

  /** @param onReady a newline has come. @returns descriptor for the service to write to; the caller's to close. */
  async open(statePath: string, onReady: () => void): Promise<number> {
    const path = `${statePath}/notify.fifo`;
    if (!exists(path)) {
      const why = await makeFifos([path]);
      if (why !== undefined) throw new Error(why);
    }
    this.close();
    // Read and write on both sides: neither the supervisor's death nor the service's ends the FIFO for the other.
    const fd = openFifo(path, constants.O_RDWR);
    drain(fd);
    this.#socket = readFifo(fd, (octets) => {
      if (octets.includes(0x0a)) onReady();
    });
    // The same FIFO, whatever has taken its name since; without O_NONBLOCK.
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDWR);
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

/** Runs ./check once. One that cannot be started or does not end fails; it is tried again. */
export function runCheck(base: string, onDone: (ok: boolean) => void): void {
  try {
    const child = spawn(programOf(base, 'check'), [], {
      cwd: base,
      env: { ...process.env, ...instanceEnv(base) },
      stdio: 'ignore',
      timeout: CHECK_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    child.once('error', () => onDone(false));
    child.once('exit', (code) => onDone(code === 0));
    child.unref();
  } catch {
    // Out of memory.
    onDone(false);
  }
}
