// SIGKILL in mid-write, again and again: every lease that was acknowledged is there afterwards.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openStore } from '../../../netboot/store/store.io.ts';

const KILLS = 8;

test(`acknowledged leases survive ${KILLS} kills in mid-write`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rouse-kill-'));
  const file = join(folder, 'store.sqlite');
  const acknowledged = new Set<number>();
  try {
    for (let kill = 0; kill < KILLS; kill += 1) {
      const first = acknowledged.size === 0 ? 0 : Math.max(...acknowledged) + 1;
      const writer = spawn(process.execPath, [join(import.meta.dirname, 'store-writer.ts'), file, String(first)]);
      let output = '';
      let errors = '';
      const goal = 100 + kill * 7;
      // Killed at the very acknowledgement: what was told a moment too early is not on disk yet.
      writer.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (output.split('\n').length > goal) writer.kill('SIGKILL');
      });
      writer.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
      await once(writer, 'close');
      expect(output.split('\n').length, errors).toBeGreaterThan(goal);
      // The last line may have been cut by the kill; every whole line was acknowledged.
      for (const line of output.split('\n').slice(0, -1)) if (/^\d+$/.test(line)) acknowledged.add(Number(line));
      const opened = Number(/^opened (\d+)/.exec(output)?.[1]);
      expect(opened).toBeGreaterThanOrEqual(first === 0 ? 0 : 100);
    }
    const store = await openStore(file);
    const kept = new Map<number, number>();
    for (const { expiresAtS } of store.content.leases) kept.set(expiresAtS, (kept.get(expiresAtS) ?? 0) + 1);
    await store.close();
    expect(store.content.damaged).toEqual([]);
    expect([...acknowledged].filter((number) => kept.get(number) !== 50)).toEqual([]);
    expect(acknowledged.size).toBeGreaterThan(KILLS * 100);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
