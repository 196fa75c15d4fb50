// test/run.ts - `npm test`: checks first, then the stages of vitest.config.ts, cheapest first; counts and closes.
//
// Usage: run.ts [check|unit|netns|fault|boot|rack ...]; without words: everything but rack.
// Every check counts as one test, so that the closing line is the whole truth: `N passed, N failed, N skipped`.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const CHECKS = [
  { name: 'types, arrows and purity', command: ['tsc', '-b'] },
  { name: 'lint', command: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'format', command: ['biome', 'format', '.'] },
  { name: 'unused code and dependencies', command: ['knip'] },
] as const;

const STAGES = ['unit', 'netns', 'fault', 'boot'] as const;
const BY_HAND = ['rack'] as const;

type Counts = { passed: number; failed: number; skipped: number };
type VitestReport = {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  numFailedTestSuites: number;
  success: boolean;
};

const words = process.argv.slice(2);
const known: readonly string[] = ['check', ...STAGES, ...BY_HAND];
const unknown = words.find((word) => !known.includes(word));
if (unknown !== undefined) {
  console.error(`rouse: no stage of the tests is called '${unknown}'; there are ${known.join(', ')}`);
  process.exit(100);
}
const wanted = words.length === 0 ? ['check', ...STAGES] : words;
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const folder = mkdtempSync(join(tmpdir(), 'rouse-test-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
// A terminal's ctrl-C reaches the stage that runs; it cleans up, fails, and is counted.
process.on('SIGINT', () => {});

if (wanted.includes('check')) {
  for (const { name, command } of CHECKS) {
    heading(name);
    const ok = run(command) === 0;
    if (ok) total.passed += 1;
    else total.failed += 1;
    console.log(ok ? `ok: ${name}` : `failed: ${name} (${command.join(' ')})`);
  }
}
for (const stage of [...STAGES, ...BY_HAND]) {
  if (!wanted.includes(stage)) continue;
  heading(stage);
  add(runStage(stage));
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

function runStage(stage: string): Counts {
  const report = join(folder, `${stage}.json`);
  const status = run([
    'vitest',
    'run',
    '--project',
    stage,
    '--reporter',
    'default',
    '--reporter',
    'json',
    '--outputFile.json',
    report,
    '--passWithNoTests',
  ]);
  const counts = readReport(report);
  if (counts === undefined) {
    console.log(`failed: the ${stage} stage left no report (vitest status ${status})`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  // A file that could not even be loaded has no tests to fail; an error outside of tests fails the run alone.
  const silent = status !== 0 && counts.failed === 0 ? 1 : 0;
  return { ...counts, failed: counts.failed + silent };
}

function readReport(file: string): Counts | undefined {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as VitestReport;
    return {
      passed: report.numPassedTests,
      failed: report.numFailedTests,
      skipped: report.numPendingTests + report.numTodoTests,
    };
  } catch {
    return undefined;
  }
}

function run([program, ...args]: readonly [string, ...string[]]): number {
  const done = spawnSync(join(ROOT, 'node_modules', '.bin', program), args, {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return done.status ?? 1;
}

function add(counts: Counts): void {
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
}

function heading(name: string): void {
  console.log(`\n== ${name}`);
}
