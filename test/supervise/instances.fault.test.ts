// Instances of one template directory: web@ is no service, web@8080 is one with its files.

import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { applyService } from '../../supervise/client.io.ts';
import { instanceOf, isTemplate } from '../../supervise/template.ts';
import { eventually, Rig, run } from './rig.ts';

const SAYS = '#!/bin/sh\necho "$INSTANCE $COLOUR $SIZE" >said\nulimit -Sn >>said\nexec sleep 1000\n';

test('names of instances and templates', () => {
  expect(instanceOf('/etc/rouse/services/web@8080')).toEqual({ template: '../web@', name: '8080' });
  expect(instanceOf('/etc/rouse/services/web@8080/log')).toEqual({ template: '../../web@/log', name: '8080' });
  // As in systemd, the first @ is the one.
  expect(instanceOf('/s/a@b@c')).toEqual({ template: '../a@', name: 'b@c' });
  for (const path of ['/s/web', '/s/web@', '/s/@8080', '/s/a@b@', '/a@b/web', '/s/web@8080/other']) {
    expect(instanceOf(path)).toBeUndefined();
  }
  expect(['web@', 'web@1', 'web', '@'].map(isTemplate)).toEqual([true, false, false, true]);
});

test('an instance has what it does not have itself from its template; editing that is applied to all', async () => {
  await using rig = new Rig();
  rig.write({
    'web@/run': SAYS,
    'web@/limits': 'o 77\n',
    'web@/env/COLOUR': 'red\n',
    'web@/env/SIZE': 'big\n',
    'web@/check': '#!/bin/sh\ntest "$INSTANCE" != 0\n',
    'web@/finish': '#!/bin/sh\necho "finished $INSTANCE" >>ends\n',
    'web@/log/multilog': './main\n',
    'web@/down': '',
    // Its own files have the last word.
    'web@2/limits': 'o 55\n',
    'web@2/env/COLOUR': 'blue\n',
    'orphan@1/depends': '',
    'user@host/run': '#!/bin/sh\necho "${INSTANCE-none}" >said\nexec sleep 1000\n',
  });
  mkdirSync(join(rig.folder, 'web@1'));
  rig.start();
  const one = await rig.until('web@1', 'ready', ({ ready }) => ready);
  const two = await rig.until('web@2', 'ready', ({ ready }) => ready);
  // Ready says nothing of what run has written by then.
  const untilHolds = (path: string, text: string): Promise<true> =>
    eventually(`${path} holds ${JSON.stringify(text)}`, () => {
      try {
        return readFileSync(join(rig.folder, path), 'utf8') === text ? true : undefined;
      } catch {
        return undefined;
      }
    });
  await untilHolds('web@1/said', '1 red big\n77\n');
  await untilHolds('web@2/said', '2 blue big\n55\n');
  const names = (await rig.services()).map(({ name }) => name);
  expect(names).toContain('web@1/log');
  expect(names).not.toContain('web@');
  await rig.until('orphan@1', 'refused', ({ why }) => why === 'run is missing; make an executable file of that name');
  await rig.until('user@host', 'ready', ({ ready }) => ready);
  await untilHolds('user@host/said', 'none\n');
  // Each is a service directory of its own to daemontools' clients.
  expect((await run('svstat', join(rig.folder, 'web@1'))).stdout).toContain(`up (pid ${one.pid})`);

  // One that comes later, with everything in place before it has its name.
  mkdirSync(join(rig.folder, '.new'));
  renameSync(join(rig.folder, '.new'), join(rig.folder, 'web@3'));
  await rig.until('web@3', 'ready', ({ ready }) => ready);

  expect(await applyService(rig.socketPath, 'web@1')).toBe('unchanged');
  rig.write({ 'web@/env/SIZE': 'small\n' });
  for (const { name, pid } of [one, two]) {
    expect(await applyService(rig.socketPath, name)).toBe('restarted');
    await rig.until(name, 'restarted', (view) => view.ready && view.pid !== pid);
  }
  await untilHolds('web@1/said', '1 red small\n77\n');
  await untilHolds('web@1/ends', 'finished 1\n');
});
