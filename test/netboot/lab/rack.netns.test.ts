// A rack is made, found by another command, and removed without a trace, also after its maker was killed.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Fault } from '../../../formats/errors.ts';
import { isAlive, markProcess } from '../../../netboot/lab/processes.io.ts';
import { qmp } from '../../../netboot/lab/qmp.io.ts';
import {
  checkHost,
  livingParts,
  makeRack,
  nodePaths,
  readLab,
  requireState,
  startForwarder,
  startNode,
  stopRack,
} from '../../../netboot/lab/rack.io.ts';
import { labNode } from '../../../netboot/lab/rack.ts';

const needsRoot = test.skipIf(process.getuid?.() !== 0);

let home = '';
const places = () => ({
  configDir: join(home, 'etc'),
  libDir: join(home, 'lib'),
  cacheDir: join(home, 'cache'),
  runDir: join(home, 'run'),
});

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'rouse-lab-'));
});

afterEach(async () => {
  await stopRack(places());
  rmSync(home, { recursive: true, force: true });
});

needsRoot('two machines on a bridge of their own; all of it goes', async () => {
  checkHost(places());
  const nodes = [labNode('web', 1), labNode('web', 2)];
  const state = await makeRack(places(), nodes, 'tcg');
  for (const node of nodes) startNode(places(), requireState(places().runDir), node);
  const { processes } = requireState(places().runDir);
  expect(Object.keys(processes).sort()).toEqual(['node:web1', 'node:web2', 'up']);
  await expect.poll(() => existsSync(nodePaths(places().runDir, 'web1').qmp)).toBe(true);
  expect(await qmp(nodePaths(places().runDir, 'web1').qmp, 'query-status')).toMatchObject({ status: 'running' });
  const links = execFileSync('ip', ['-n', state.namespace, '-br', 'link'], { encoding: 'utf8' });
  expect(links).toMatch(/rack0 .*tap0 .*tap1 /s);
  await stopRack(places());
  expect(existsSync(`/run/netns/${state.namespace}`)).toBe(false);
  expect(readLab(places().runDir)).toBeUndefined();
  for (const [part, mark] of Object.entries(processes)) if (part !== 'up') expect(isAlive(mark), part).toBe(false);
});

needsRoot('what a killed lab left behind is gone when the next one is made', async () => {
  const first = await makeRack(places(), [labNode('web', 1)], 'tcg');
  startNode(places(), first, labNode('web', 1));
  const orphan = requireState(places().runDir).processes['node:web1'];
  // As if the command had been killed: the mark of a process that is no more.
  const state = requireState(places().runDir);
  writeFileSync(
    join(places().runDir, 'lab.json'),
    JSON.stringify({ ...state, processes: { ...state.processes, up: { pid: 1, startTicks: 'x', bootId: 'x' } } }),
  );
  const second = await makeRack(places(), [labNode('web', 1)], 'tcg');
  expect(second.namespace).toBe(first.namespace);
  expect(orphan !== undefined && isAlive(orphan)).toBe(false);
  expect(livingParts(second)).toEqual({ up: true });
});

needsRoot('a second lab in the same folder is refused while the first is up', async () => {
  await makeRack(places(), [labNode('web', 1)], 'tcg');
  const state = requireState(places().runDir);
  const other = markProcess(process.ppid);
  writeFileSync(join(places().runDir, 'lab.json'), JSON.stringify({ ...state, processes: { up: other } }));
  await expect(makeRack(places(), [], 'tcg')).rejects.toThrow(/already up \(pid \d+\); stop it with ctrl-C there/);
  writeFileSync(join(places().runDir, 'lab.json'), JSON.stringify(state));
});

needsRoot(
  'the forwarder leads from localhost into the namespace, on another port where the wanted one is taken',
  async () => {
    const state = await makeRack(places(), [labNode('web', 1)], 'tcg');
    const root = join(home, 'www');
    mkdirSync(root);
    writeFileSync(join(root, 'index.html'), 'from inside\n');
    execFileSync('ip', ['-n', state.namespace, 'addr', 'add', '10.77.0.11/24', 'dev', 'rack0']);
    execFileSync('ip', ['netns', 'exec', state.namespace, 'busybox', 'httpd', '-p', '10.77.0.11:80', '-h', root]);
    const first = await startForwarder(places(), state, '10.77.0.11', 0);
    expect(await (await fetch(first)).text()).toBe('from inside\n');
    const taken = Number(new URL(first).port);
    const second = await startForwarder(places(), state, '10.77.0.11', taken);
    expect(second).not.toBe(first);
    expect(await (await fetch(second)).text()).toBe('from inside\n');
    // Two forwarders were remembered under one name; the first is inside the namespace all the same, and goes with it.
    const pids = execFileSync('ip', ['netns', 'pids', state.namespace], { encoding: 'utf8' }).trim().split('\n');
    await stopRack(places());
    for (const pid of pids)
      expect(existsSync(`/proc/${pid}/exe`) && readFileSync(`/proc/${pid}/stat`, 'latin1').includes('rouse'), pid).toBe(
        false,
      );
  },
);

needsRoot('a folder too deep for sockets is refused before anything is made', () => {
  const deep = join(home, 'x'.repeat(100));
  expect(() => checkHost({ ...places(), runDir: deep })).toThrow(Fault);
  expect(() => checkHost({ ...places(), runDir: deep })).toThrow(
    /lies too deep: .* 107 bytes; move the clone up, or set ROUSE_HOME/,
  );
});
