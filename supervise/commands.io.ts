// supervise/commands.io.ts - the short commands that stand in for what Node cannot do: mkfifo(3) and flock(2).
//
// Owns: running mkfifo(1) and flock(1) once for many paths or descriptors. flock(1) leaves, but the lock stays on the
// open file description, which is ours: daemontools' supervise and runsv then find the directory taken.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { reasonOf } from '../formats/errors.ts';

type Finished = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

function run(command: string, argv: readonly string[], fds: readonly number[]): Promise<Finished> {
  return new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = spawn(command, argv, { stdio: ['ignore', 'pipe', 'pipe', ...fds] });
    } catch (thrown) {
      resolve({ exitCode: 111, stdout: '', stderr: reasonOf(thrown) });
      return;
    }
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString('latin1')));
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString('latin1')));
    child.once('error', (error) => resolve({ exitCode: 111, stdout, stderr: error.message }));
    child.once('close', (code) => resolve({ exitCode: code ?? 111, stdout, stderr }));
  });
}

/** Makes FIFOs, mode 0600, in one process. Which ones it made, the caller sees by opening them. @returns its complaint. */
export async function makeFifos(paths: readonly string[]): Promise<string | undefined> {
  if (paths.length === 0) return undefined;
  const { exitCode, stderr } = await run('mkfifo', ['-m', '600', ...paths], []);
  return exitCode === 0 ? undefined : (stderr.trim().split('\n')[0] ?? `mkfifo exited ${exitCode}`);
}

/** Below this many files the start of perl costs more than one flock(1) each. */
const PERL_FROM = 3;
/** One process for any number of descriptors; prints those it got. */
const PERL_LOCKS = 'for (@ARGV) { open my $h, ">>&=", $_ or next; push @keep, $h; print "$_\\n" if flock $h, 6 }';
const SHELL_LOCKS =
  'command -v flock >/dev/null || { echo "flock is missing" >&2; exit 127; }; for fd do flock -xn "$fd" && echo "$fd"; done; true';

/**
 * Takes an exclusive lock on each file, opened for writing.
 *
 * @returns for each whether it was free. Throws where the command could not run: nothing is known of any then.
 */
export async function lockFiles(fds: readonly number[]): Promise<boolean[]> {
  if (fds.length === 0) return [];
  const numbers = fds.map((_, index) => String(index + 3));
  const byPerl = fds.length < PERL_FROM ? undefined : await run('perl', ['-e', PERL_LOCKS, ...numbers], fds);
  // A machine without perl (a small image) has flock(1) all the same.
  const done = byPerl?.exitCode === 0 ? byPerl : await run('/bin/sh', ['-c', SHELL_LOCKS, 'sh', ...numbers], fds);
  if (done.exitCode !== 0) throw new Error(`cannot take locks: ${done.stderr.trim()}`);
  const taken = new Set(done.stdout.split('\n'));
  return numbers.map((number) => taken.has(number));
}
