// netboot/lab/follow.io.ts - following one machine's boot in the journal until it is ready or has failed.
//
// Owns: asking again and telling each new stage once. Does not own: what a stage is (../journal/journal.ts).

import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../formats/errors.ts';
import { askNetboot } from '../api/client.io.ts';
import type { NodeView } from '../api/nodeview.ts';
import { type Attempt, STAGES } from '../journal/journal.ts';
import { renderOutcome } from '../journal/progress.ts';

const POLL_MS = 400;
/** Firmware speaks within seconds; an emulated one on a busy machine within half a minute. */
const SILENCE_MS = 40_000;

/** The attempts of one node, the latest first. */
export async function listBoots(socketPath: string, node: string, limit: number): Promise<readonly Attempt[]> {
  const { boots } = (await askNetboot(socketPath, `/v1/boots?node=${encodeURIComponent(node)}&limit=${limit}`)) as {
    boots: readonly Attempt[];
  };
  return boots;
}

/** What the boot server's files and leases say of a node; undefined where it has no such node, or does not answer. */
export async function nodeFacts(
  socketPath: string,
  node: string,
): Promise<{ readonly macs: readonly string[]; readonly address?: string | undefined } | undefined> {
  try {
    return (await askNetboot(socketPath, `/v1/nodes/${encodeURIComponent(node)}`)) as NodeView;
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

/** How to tell a boot that began after `sinceMs` from the one before. */
export type Follow = {
  readonly socketPath: string;
  readonly node: string;
  /** Attempts that began before this moment (milliseconds since 1970) are not the one that is waited for. */
  readonly sinceMs: number;
  readonly timeoutMs: number;
  /** One line for every stage as it ends, and whenever the machine is found stuck. */
  readonly onLine: (line: string) => void;
  readonly signal?: AbortSignal;
};

/**
 * Follows the first boot that begins after `sinceMs`, over as many attempts as it takes.
 *
 * @returns the attempt that reached ready.
 * @throws Fault E_NO if the boot failed, E_TIMEOUT with how far it came.
 */
export async function followBoot({ socketPath, node, sinceMs, timeoutMs, onLine, signal }: Follow): Promise<Attempt> {
  const told = new Set<string>();
  const tell = (key: string, line: string): void => {
    if (told.has(key)) return;
    told.add(key);
    onLine(line);
  };
  let latest: Attempt | undefined;
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += POLL_MS) {
    signal?.throwIfAborted();
    // A boot server that is being restarted is waited for, as the machine itself does.
    const boots = await listBoots(socketPath, node, 5).catch((error: unknown) => {
      if (error instanceof Fault && error.code === 'E_UNREACHABLE') return [];
      throw error;
    });
    for (const attempt of boots.filter(({ startedAtMs }) => startedAtMs >= sinceMs).reverse()) {
      latest = attempt;
      for (const name of STAGES) {
        const stage = attempt.stages[name];
        // A stage is over when the next one has begun; the last one is told by the outcome.
        const isOver =
          stage !== undefined &&
          STAGES.slice(STAGES.indexOf(name) + 1).some((later) => attempt.stages[later] !== undefined);
        if (!isOver) continue;
        const tookS = ((stage.endedAtMs - stage.startedAtMs) / 1000).toFixed(1);
        const bytes = stage.bytes === 0 ? '' : `, ${stage.bytes} bytes`;
        tell(
          `${attempt.startedAtMs} ${name}`,
          `${name} ${tookS} s${bytes}${stage.detail === '' ? '' : `  ${stage.detail}`}`,
        );
      }
      const outcome = renderOutcome(attempt, Date.now());
      if (outcome.startsWith('stuck')) tell(`${attempt.startedAtMs} ${outcome.split(':')[1] ?? ''}`, outcome);
    }
    if (latest === undefined && waitedMs >= SILENCE_MS) {
      tell(
        'silence',
        `nothing heard of it for ${SILENCE_MS / 1000} s; what its screen says: rouse lab console ${node}`,
      );
    }
    if (latest?.outcome.kind === 'ready') return latest;
    if (latest?.outcome.kind === 'failed')
      throw new Fault('E_NO', {
        what: `${node} did not become ready`,
        why: latest.outcome.why,
        todo: `see its console: rouse lab console ${node}`,
      });
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
  throw new Fault('E_TIMEOUT', {
    what: `${node} is not ready after ${timeoutMs / 1000} s`,
    why: latest === undefined ? 'the boot server has heard nothing of it' : renderOutcome(latest, Date.now()),
    todo: `see its console: rouse lab console ${node}`,
  });
}
