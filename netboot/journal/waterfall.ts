// netboot/journal/waterfall.ts - a boot as lines for people: each stage when it began, how long it took, its bytes.
//
// Owns: the drawing. Does not own what makes up a boot (journal.ts) or its outcome's words (progress.ts). Pure.

import { type Attempt, STAGES } from './journal.ts';
import { renderOutcome, seconds } from './progress.ts';

const BAR_COLUMNS = 40;

/** The waterfall of one attempt, a line a stage: when it began, how long it took, its bytes. */
export function renderWaterfall(attempt: Attempt, nowMs: number): string[] {
  const stages = STAGES.flatMap((name) => attempt.stages[name] ?? []);
  const endMs = Math.max(attempt.startedAtMs + 1, ...stages.map(({ endedAtMs }) => endedAtMs));
  // A clock that was set back puts a stage before its attempt, or its end before its start.
  const column = (atMs: number): number =>
    Math.max(
      0,
      Math.min(
        BAR_COLUMNS - 1,
        Math.floor(((atMs - attempt.startedAtMs) / (endMs - attempt.startedAtMs)) * BAR_COLUMNS),
      ),
    );
  const head = [
    attempt.node ?? attempt.mac,
    attempt.bootId === undefined ? 'no script yet' : `boot ${attempt.bootId}`,
    ...(attempt.profile === undefined ? [] : [`profile ${attempt.profile}`]),
    new Date(attempt.startedAtMs).toISOString(),
    renderOutcome(attempt, nowMs),
  ].join('  ');
  return [
    head,
    ...stages.map(({ name, startedAtMs, endedAtMs, bytes, detail }) => {
      const from = column(startedAtMs);
      const bar = `${' '.repeat(from)}${'='.repeat(Math.max(1, column(endedAtMs) - from + 1))}`.padEnd(BAR_COLUMNS);
      const cells = [
        name.padEnd(8),
        seconds(startedAtMs - attempt.startedAtMs).padStart(8),
        seconds(endedAtMs - startedAtMs).padStart(8),
        bar,
        bytes === 0 ? '' : `${bytes} bytes`,
        detail,
      ];
      return `  ${cells.join('  ').trimEnd()}`;
    }),
  ];
}
