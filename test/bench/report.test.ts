// The benchmark's table: medians, ratios to rouse, and what could not be measured.

import { expect, test } from 'vitest';
import { median, renderReport } from '../../bench/report.ts';

test.each([
  [[3, 1, 2], 2],
  [[4, 1, 3, 2], 2],
  [[7], 7],
])('the median of %j is %d', (values, want) => {
  expect(median(values)).toBe(want);
});

test('each row has its figures and how many times those of rouse they are', () => {
  const crowd = { count: 10, upMs: 500, processes: 3, pssMiB: 20, idlePercent: 0.5 };
  const lines = renderReport(
    [
      {
        name: 'rouse',
        crowds: [crowd],
        restart: { latenciesMs: [5, 4, 6] },
        logs: [{ linesPerWrite: 600, cpuMs: 100, megabytes: 30, lines: 1 }],
      },
      { name: 'other', crowds: [{ ...crowd, pssMiB: 50 }], restart: { latenciesMs: [10] }, logs: [] },
      { name: 'late', crowds: [{ count: 10, why: '3 of 10 after 21 s' }], logs: [] },
    ],
    [10],
  );
  expect(lines.map((line) => line.replaceAll(/ {2,}/g, ' | '))).toEqual([
    'SUPERVISOR | 10 UP s | 10 PSS MiB | 10 IDLE % | RESTART ms | LOG BULK MB/CPU s | LOG SINGLE us/line',
    'rouse | 0.50 | 20.0 | 0.50 | 5.0 | 300 | -',
    'other | 0.50 (1.0) | 50.0 (2.5) | 0.50 (1.0) | 10.0 (2.0) | - | -',
    'late | - | - | - | - | - | -',
    'late: 3 of 10 after 21 s',
  ]);
});
