// log/ that is made, changed and removed while its service runs: noticed, told of, connected at the next start, no line lost.

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { applyService, orderService } from '../../supervise/client.io.ts';
import { renderTable } from '../../supervise/view.ts';
import { eventually, Rig, run } from './rig.ts';

const ROUSE = fileURLToPath(new URL('../../bin/rouse', import.meta.url));
/** Counts without end; says goodbye when told to stop. */
const COUNTS = "#!/bin/sh\nn=0\ntrap 'echo bye $n; exit 0' TERM\nwhile :; do n=$((n+1)); echo $n; sleep 0.01; done\n";
const MULTILOG = '#!/bin/sh\nexec multilog ./main\n';

/** Makes log/ as people do: beside, then in place. */
function makeLog(rig: Rig, name: string, files: Readonly<Record<string, string>>): void {
  const beside = `.made-${name}`;
  rig.write(Object.fromEntries(Object.entries(files).map(([file, text]) => [`${beside}/log/${file}`, text])));
  renameSync(join(rig.folder, beside, 'log'), join(rig.folder, name, 'log'));
}

/** Has the folder looked at now: no test needs to wait for the scan of every 5 s. */
const poke = (rig: Rig): void => rig.write({ '.poke': '' });

const textOf = (rig: Rig, path: string): string =>
  existsSync(join(rig.folder, path)) ? readFileSync(join(rig.folder, path), 'utf8') : '';

/** The numbers of some texts, one after the other. */
const numbersOf = (...texts: string[]): number[] =>
  texts
    .join('')
    .split('\n')
    .filter((line) => /^\d+$/.test(line))
    .map(Number);

const rouse = (rig: Rig, ...words: string[]) => run('env', `ROUSE_HOME=${rig.root}`, ROUSE, ...words);

test.concurrent('log/run made for a service that runs: its logger starts, status says what waits, apply connects it', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': COUNTS, 'idle/run': COUNTS });
  rig.start();
  const first = await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.until('idle', 'ready', ({ ready }) => ready);
  makeLog(rig, 'web', { run: MULTILOG });
  makeLog(rig, 'idle', { multilog: './main\n' });
  await rig.until('web/log', 'ready', ({ ready }) => ready);
  const waits = await rig.until('web', 'told of', ({ pending }) => pending !== undefined);
  expect(waits).toMatchObject({ pid: first.pid, phase: 'up' });
  expect(waits.pending).toBe('log/ is new: written to from its next start on (rouse apply web)');
  expect(renderTable([waits], Date.now())[1]).toContain('log/ is new');

  // The next supervisor knows it as well.
  await rig.end('SIGKILL');
  rig.start();
  const adopted = await rig.until('web', 'adopted', (view) => view.adopted && view.pending !== undefined);
  expect(adopted.pid).toBe(first.pid);

  expect(await applyService(rig.socketPath, 'web')).toBe('logged');
  const second = await rig.until('web', 'restarted', ({ phase, pid }) => phase === 'up' && pid !== first.pid);
  expect(second.pending).toBeUndefined();
  await eventually('it is written', () =>
    numbersOf(textOf(rig, 'web/log/main/current')).length > 5 ? true : undefined,
  );
  // From its first line on.
  expect(numbersOf(textOf(rig, 'web/log/main/current')).slice(0, 5)).toEqual([1, 2, 3, 4, 5]);
  expect(await applyService(rig.socketPath, 'web')).toBe('unchanged');
  expect((await rig.until('idle', 'told of', ({ pending }) => pending !== undefined)).starts).toBe(1);
});

test.concurrent('a restart right after log/ was made needs no scan to come first', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': COUNTS });
  rig.start();
  const first = await rig.until('web', 'ready', ({ ready }) => ready);
  makeLog(rig, 'web', { multilog: './main\n' });
  await run('svc', '-t', join(rig.folder, 'web'));
  const second = await rig.until('web', 'restarted', ({ phase, pid }) => phase === 'up' && pid !== first.pid);
  expect(second.pending).toBeUndefined();
  await eventually('it is written', () =>
    numbersOf(textOf(rig, 'web/log/main/current')).length > 3 ? true : undefined,
  );
  expect(numbersOf(textOf(rig, 'web/log/main/current'))[0]).toBe(1);
});

test.concurrent('log/ that goes: its logger gets every line of the service that wrote to it, then ends', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': COUNTS, 'web/log/run': MULTILOG, 'db/run': COUNTS, 'db/log/multilog': './main\n' });
  rig.start();
  const names = ['web', 'db'];
  for (const name of names) await rig.until(name, 'ready', ({ ready }) => ready);
  for (const name of names) {
    await eventually('it is written', () => (textOf(rig, `${name}/log/main/current`) === '' ? undefined : true));
  }
  for (const name of names) renameSync(join(rig.folder, name, 'log'), join(rig.folder, `.was-${name}`));
  poke(rig);
  for (const name of names) {
    const { pid, pending } = await rig.until(name, 'told of', (view) => view.pending !== undefined);
    expect(pending).toBe(`log/ is gone: written to until its next start (rouse apply ${name})`);
    expect(await applyService(rig.socketPath, name)).toBe('logged');
    await rig.until(name, 'restarted', (view) => view.phase === 'up' && view.pid !== pid && view.pending === undefined);
    poke(rig);
    await eventually('the logger has ended', async () =>
      (await rig.services()).some((view) => view.name === `${name}/log`) ? undefined : true,
    );
    const text = await eventually('all is written', () => {
      const written = textOf(rig, `.was-${name}/main/current`);
      return written.includes('bye') ? written : undefined;
    });
    const numbers = numbersOf(text);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    // TERM may come between counting and saying the number.
    expect(Number(/\nbye (\d+)\n$/.exec(text)?.[1]) - numbers.length).toBeOneOf([0, 1]);
  }
  // multilog marks a clean end by making the file executable for its owner.
  expect(statSync(join(rig.folder, '.was-web/main/current')).mode & 0o777).toBe(0o744);
  expect(await rig.end('SIGHUP')).toBe(0);
});

test.concurrent('log/run gives way to log/multilog and back, and one log/ to another: every line once, in order', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': COUNTS, 'web/log/run': '#!/bin/sh\nexec multilog ./one\n' });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  const at = (folder: string): string => textOf(rig, `web/log/${folder}/current`);
  await eventually('the first', () => (numbersOf(at('one')).length > 3 ? true : undefined));
  rig.write({ 'web/log/multilog': './two\n' });
  poke(rig);
  await eventually('the writer', () => (numbersOf(at('two')).length > 3 ? true : undefined));
  rig.write({ 'web/log/run': '#!/bin/sh\nexec multilog ./three\n' });
  rmSync(join(rig.folder, 'web/log/multilog'));
  poke(rig);
  await eventually('the program again', () => (numbersOf(at('three')).length > 3 ? true : undefined));
  renameSync(join(rig.folder, 'web/log'), join(rig.folder, 'web/old'));
  makeLog(rig, 'web', { run: '#!/bin/sh\nexec multilog ./four\n' });
  await eventually('another log/', () => (numbersOf(at('four')).length > 3 ? true : undefined));
  expect(await rig.until('web', 'there', () => true)).toMatchObject({ pid, starts: 1 });
  await orderService(rig.socketPath, 'web', 'down');
  await eventually('the last line', () => (at('four').includes('bye') ? true : undefined));
  const numbers = numbersOf(
    ...['one', 'two', 'three'].map((folder) => textOf(rig, `web/old/${folder}/current`)),
    at('four'),
  );
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
});

test.concurrent('rouse logs says what to do, and that is enough', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': COUNTS });
  rig.start();
  await rig.until('web', 'ready', ({ ready }) => ready);
  const none = await rouse(rig, 'logs', 'web');
  expect(none.stderr).toContain('mkdir log, the line "t ./main" in log/multilog, then rouse apply web');
  mkdirSync(join(rig.folder, 'web/log'));
  rig.write({ 'web/log/multilog': 't ./main\n' });
  poke(rig);
  await eventually('its log is there, and nothing in it yet', () =>
    existsSync(join(rig.folder, 'web/log/main/current')) ? true : undefined,
  );
  expect(await rouse(rig, 'logs', 'web')).toMatchObject({
    exitCode: 0,
    stdout: '',
    stderr: expect.stringContaining('web: log/ is new: written to from its next start on (rouse apply web)') as string,
  });
  const applied = await rouse(rig, 'apply', '--wait', 'web');
  expect(applied).toMatchObject({ exitCode: 0, stdout: 'web: restarted, as its log/ came or went\n' });
  await eventually('it has a log', async () => {
    const { exitCode, stdout } = await rouse(rig, 'logs', '-n', '1', 'web');
    return exitCode === 0 && /\d+\n$/.test(stdout) ? true : undefined;
  });
});
