// A machine of the lab that is off says so, whatever is asked of it; its sockets may lie there still.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { markProcess } from '../../../netboot/lab/processes.io.ts';
import { requirePowered, resetNode } from '../../../netboot/lab/rack.io.ts';

const folder = mkdtempSync(join(tmpdir(), 'rouse-lab-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a reset of a machine that is off is refused, with how to power it on', async () => {
  const me = markProcess(process.pid);
  const ended = { ...me, pid: Number(execFileSync('sh', ['-c', 'echo $$'])) };
  const nodes = ['web1', 'web2', 'web3'].map((name) => ({ name }));
  const processes = { supervise: me, 'node:web1': me, 'node:web2': ended };
  writeFileSync(join(folder, 'lab.json'), JSON.stringify({ version: 1, namespace: 'x', nodes, processes }));
  const places = { configDir: folder, libDir: folder, cacheDir: folder, runDir: folder };
  expect(requirePowered(folder, 'web1').name).toBe('web1');
  for (const off of ['web2', 'web3']) {
    await expect(resetNode(places, off)).rejects.toThrow(`${off} is off; power it on with: rouse lab on ${off}`);
  }
  await expect(resetNode(places, 'web9')).rejects.toThrow("no machine of this lab is called 'web9'");
});
