// test/netboot/lab/asker.ts - a client that asks for a page again and again, and tells afterwards what it was like.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** A figure for whoever runs a rack test by hand. */
export const say = (line: string): void => void process.stderr.write(`${line}\n`);
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

export type Answer = { readonly atMs: number; readonly title: string };

/** What came back, when. An empty title: nothing did within 2 s. */
export class Asker {
  readonly answers: Answer[] = [];
  readonly #child: ChildProcess;

  constructor(space: string, vip: string) {
    const ask = `curl -s -m 2 http://${vip}/ | sed -n 's/.*<title>\\([a-z0-9]*\\).*/\\1/p' | head -n 1`;
    const script = `while :; do title=$(${ask}); echo "$(date +%s%3N) $title"; sleep 0.2; done`;
    const child = spawn('ip', ['netns', 'exec', space, 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    let rest = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const [at = '0', title = ''] = line.split(' ');
        this.answers.push({ atMs: Number(at), title });
      }
    });
    this.#child = child;
  }

  since(atMs: number): Answer[] {
    return this.answers.filter((answer) => answer.atMs >= atMs);
  }

  /** "3 of 120 failed, 8.2 s between the last good answer and the next". */
  told(sinceMs: number): string {
    const asked = this.since(sinceMs);
    const good = asked.filter(({ title }) => title !== '').map(({ atMs }) => atMs);
    const gaps = good.slice(1).map((atMs, index) => atMs - (good[index] ?? atMs));
    const failed = asked.length - good.length;
    return `${failed} of ${asked.length} failed, at most ${seconds(Math.max(0, ...gaps))} between two answers`;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}
