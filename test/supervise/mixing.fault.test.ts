// Every client on our supervise: Debian's svc, runit's sv, s6-svc and our own applet send the same signals and orders.
//
// What else is mixed: clients.fault.test.ts (svstat, svok, multilog, supervise), applets.fault.test.ts (ours on theirs).

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { writeApplets } from '../../supervise/applets/write.io.ts';
import { eventually, Rig, run } from './rig.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Writes down each signal it gets, and goes on. */
const LISTENS =
  "#!/usr/bin/perl\nopen my $said, '>>', 'said';\n" +
  'for my $name (qw(HUP ALRM INT QUIT USR1 USR2 TERM)) { $SIG{$name} = sub { syswrite $said, "$name\\n" } }\n' +
  'syswrite $said, "up\\n";\nsleep 1 while 1;\n';

/** The letters that agree: daemontools', and further ones of runit's and s6's. */
const LETTERS = { HUP: 'h', ALRM: 'a', INT: 'i', TERM: 't' } as const;
const MORE_LETTERS = { ...LETTERS, QUIT: 'q', USR1: '1', USR2: '2' } as const;
const SV_WORDS = { HUP: 'hup', ALRM: 'alarm', INT: 'interrupt', TERM: 'term', QUIT: 'quit', USR1: '1', USR2: '2' };

type Client = {
  readonly signals: Readonly<Record<string, readonly string[]>>;
  readonly orders: Readonly<Record<'up' | 'down' | 'once' | 'pause' | 'cont' | 'kill' | 'exit', readonly string[]>>;
};

function letters(program: string, signals: Readonly<Record<string, string>>): Client {
  const words = (letter: string): string[] => [program, `-${letter}`];
  return {
    signals: Object.fromEntries(Object.entries(signals).map(([name, letter]) => [name, words(letter)])),
    orders: {
      up: words('u'),
      down: words('d'),
      once: words('o'),
      pause: words('p'),
      cont: words('c'),
      kill: words('k'),
      exit: words('x'),
    },
  };
}

const CLIENTS = (applets: string): Record<string, Client> => ({
  "Debian's svc": letters('/usr/bin/svc', LETTERS),
  'our svc': letters(join(applets, 'svc'), LETTERS),
  's6-svc': letters('s6-svc', MORE_LETTERS),
  "runit's sv": {
    signals: Object.fromEntries(Object.entries(SV_WORDS).map(([name, word]) => [name, ['sv', word]])),
    orders: {
      up: ['sv', 'up'],
      down: ['sv', 'down'],
      once: ['sv', 'once'],
      pause: ['sv', 'pause'],
      cont: ['sv', 'cont'],
      kill: ['sv', 'kill'],
      exit: ['sv', 'exit'],
    },
  },
});

for (const name of Object.keys(CLIENTS(''))) {
  test.concurrent(`${name} gives every order to a service of ours`, async () => {
    await using rig = new Rig();
    const applets = join(rig.root, 'applets');
    writeApplets(applets, { scriptsDir: join(ROOT, 'supervise/applets/scripts'), front: ['/bin/false'] });
    const client = CLIENTS(applets)[name];
    if (client === undefined) throw new Error(`no client ${name}`);
    // After TERM comes KILL where down is meant: the service listens to everything and ends by nothing else.
    rig.write({ 'web/run': LISTENS, 'web/timeout-kill': '100\n' });
    const web = join(rig.folder, 'web');
    const give = async ([program = '', ...words]: readonly string[]): Promise<void> => {
      expect(await run(program, ...words, web)).toMatchObject({ exitCode: 0, stderr: '' });
    };
    const said = (): string[] =>
      existsSync(join(web, 'said')) ? readFileSync(join(web, 'said'), 'utf8').split('\n').slice(0, -1) : [];
    rig.start();
    await eventually('it listens', () => (said().length === 1 ? true : undefined));
    const first = await rig.until('web', 'up', ({ phase }) => phase === 'up');
    for (const [signal, words] of Object.entries(client.signals)) {
      await give(words);
      await eventually(`${signal} has come`, () => (said().at(-1) === signal ? true : undefined));
    }
    expect(said()).toEqual(['up', ...Object.keys(client.signals)]);
    const { orders } = client;
    await give(orders.pause);
    await rig.until('web', 'paused', ({ paused }) => paused);
    await eventually('it is stopped', () =>
      readFileSync(`/proc/${first.pid}/stat`, 'latin1').includes(') T ') ? true : undefined,
    );
    await give(orders.cont);
    await rig.until('web', 'going on', ({ paused }) => !paused);
    await give(orders.kill);
    const second = await rig.until('web', 'up again', (view) => view.phase === 'up' && view.pid !== first.pid);
    expect(second.lastDeath?.signal).toBe('SIGKILL');
    await give(orders.down);
    await rig.until('web', 'down', ({ phase }) => phase === 'down');
    await give(orders.once);
    await rig.until('web', 'up once', ({ phase, want }) => phase === 'up' && want === 'once');
    await give(orders.up);
    const third = await rig.until('web', 'up for good', ({ want }) => want === 'up');
    // x waits for the end, as in daemontools; runit's own supervisor would send TERM with it. What has its name still is
    // opened anew, and the down is forgotten with the record.
    await give(orders.exit);
    await give(orders.down);
    await rig.until('web', 'opened anew', (view) => view.phase === 'up' && view.pid !== third.pid);
  });
}

test.concurrent("runit's sv waits: start, stop, restart and check, with its own words", async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\nexec sleep 1000\n', 'web/down': '' });
  const web = join(rig.folder, 'web');
  rig.start();
  await rig.until('web', 'there', ({ phase }) => phase === 'down');
  expect((await run('sv', 'start', web)).stdout).toMatch(
    new RegExp(`^ok: run: ${web}: \\(pid \\d+\\) \\d+s, normally down\n$`),
  );
  // sv takes a start in the second of its order for the one that it ordered.
  const { pid } = await rig.until('web', 'up for a second', ({ ready }) => ready);
  expect((await run('sv', 'check', web)).stdout).toContain(`ok: run: ${web}: (pid ${pid})`);
  const again = await run('sv', 'restart', web);
  expect(again.exitCode).toBe(0);
  expect(again.stdout).toContain(`ok: run: ${web}: (pid `);
  expect(again.stdout).not.toContain(`(pid ${pid})`);
  expect((await run('sv', 'stop', web)).stdout).toMatch(/^ok: down: .* \d+s\n$/);
  expect((await run('sv', 'check', web)).exitCode).toBe(0);
});
