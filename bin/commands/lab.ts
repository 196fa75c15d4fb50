// bin/commands/lab.ts - rouse lab: a virtual rack on this machine that really PXE-boots from this boot server.
//
// Owns: arguments, progress and output of these commands; netboot/lab does the work.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { Fault } from '../../formats/errors.ts';
import type { LabNode } from '../../netboot/lab/rack.ts';
import type { CommandContext } from '../context.ts';
import { IS_CLONE, ROOT } from '../places.ts';

const PORT = 8080;
const BOOT_TIMEOUT_MS = 600_000;
const EXEC_TIMEOUT_S = 60;

/** Adds `rouse lab …` to the program. */
export function registerLab(program: Command, context: CommandContext): void {
  const lab = program
    .command('lab')
    .description('a virtual rack: machines without disks that PXE-boot from this boot server');
  const rouse = join(ROOT, 'bin', 'rouse');

  lab
    .command('up')
    .description('build what is missing, start the boot server and boot the machines; ctrl-C removes it all')
    .option('--port <port>', 'port on localhost that leads to the first node', String(PORT))
    .option(
      '--nodes <what>',
      'how many machines: 1 is a web server, 4 are two load balancers and two web servers; or which: lb1,web[1-3]',
      '1',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  sudo rouse lab up\n  sudo rouse lab up --nodes 4\n  sudo rouse lab up --nodes lb1,web1,web2',
    )
    .action(async ({ port, nodes }: { port: string; nodes: string }) => {
      if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
        throw new Fault('E_USAGE', { what: `--port ${port}`, why: 'a port is a number from 0 to 65535' });
      }
      const { rackOf } = await import('../../netboot/lab/rack.ts');
      const rack = rackOf(nodes);
      if (rack === undefined) {
        const why = 'a lab has 1 to 16 machines, by number or by name';
        throw new Fault('E_USAGE', { what: `--nodes ${nodes}`, why, todo: 'expected such as: 4, or lb1,web[1-3]' });
      }
      await up(context, rouse, Number(port), rack);
    });

  lab
    .command('status')
    .description('which parts of the lab live, and where each machine is in its boot')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { livingParts, requireLab } = await import('../../netboot/lab/rack.io.ts');
      const { listBoots } = await import('../../netboot/lab/follow.io.ts');
      const { renderOutcome } = await import('../../netboot/journal/progress.ts');
      const { renderWaterfall } = await import('../../netboot/journal/waterfall.ts');
      const { runDir } = context.places();
      const state = requireLab(runDir);
      const parts = livingParts(state);
      const nodes = [];
      for (const node of state.nodes) {
        const [boot] = await listBoots(join(runDir, 'netboot.sock'), node.name, 1);
        nodes.push({ node, boot });
      }
      if (json === true) {
        context.print(
          JSON.stringify({ namespace: state.namespace, accelerator: state.accelerator, url: state.url, parts, nodes }),
        );
        return;
      }
      const said = Object.entries(parts).map(([part, lives]) => `${part} ${lives ? 'lives' : 'is gone'}`);
      context.print(
        `lab ${state.namespace} (${state.accelerator})${state.url === undefined ? '' : `  ${state.url}`}  ${said.join(', ')}`,
      );
      for (const { node, boot } of nodes) {
        if (boot === undefined)
          context.print(`${node.name}  ${node.mac}  ${node.address}  the boot server has not heard of it`);
        else {
          context.print(`${node.name}  ${node.mac}  ${node.address}  ${renderOutcome(boot, Date.now())}`);
          for (const line of renderWaterfall(boot, Date.now()).slice(1)) context.print(line);
        }
      }
    });

  lab
    .command('reboot')
    .description("press a machine's reset button and follow its boot until it is ready")
    .argument('<node>')
    .addHelpText('after', '\nExample:\n  rouse lab reboot web1')
    .action(async (name: string) => {
      const { resetNode } = await import('../../netboot/lab/rack.io.ts');
      const places = context.places();
      const sinceMs = Date.now();
      await resetNode(places, name);
      context.print(`${name} was reset; following its boot (ctrl-C stops following, not the boot)`);
      await follow(context, name, sinceMs);
    });

  lab
    .command('off')
    .description('cut the power of a machine')
    .argument('<node>')
    .action(async (name: string) => {
      const { cutPower } = await import('../../netboot/lab/rack.io.ts');
      await cutPower(context.places(), name);
      context.print(`${name} is off`);
    });

  lab
    .command('on')
    .description('power a machine on and follow its boot until it is ready')
    .argument('<node>')
    .action(async (name: string) => {
      const { requireNode, requireLab, startNode } = await import('../../netboot/lab/rack.io.ts');
      const places = context.places();
      const sinceMs = Date.now();
      startNode(places, requireLab(places.runDir), requireNode(places.runDir, name));
      await follow(context, name, sinceMs);
    });

  lab
    .command('console')
    .description("a machine's serial console; ctrl-] leaves it")
    .argument('<node>')
    .action(async (name: string) => {
      const { nodePaths, requirePowered } = await import('../../netboot/lab/rack.io.ts');
      const { attachConsole } = await import('../../netboot/lab/console.io.ts');
      const { runDir } = context.places();
      requirePowered(runDir, name);
      const { console, consoleLog } = nodePaths(runDir, name);
      context.warn(`ctrl-] leaves the console; what it said before: ${consoleLog}`);
      await attachConsole(console);
    });

  lab
    .command('exec')
    .description("run a command in the shell on a machine's console")
    .argument('<node>')
    .argument('<command...>')
    .option('--timeout <seconds>', 'how long to wait for its end', String(EXEC_TIMEOUT_S))
    .addHelpText('after', "\nExample:\n  rouse lab exec web1 -- 'svstat /service/*'")
    .action(async (name: string, words: string[], { timeout }: { timeout: string }) => {
      if (!/^[1-9]\d{0,4}$/.test(timeout))
        throw new Fault('E_USAGE', {
          what: `--timeout ${timeout}`,
          why: 'a time is a number of seconds from 1 to 99999',
        });
      const { nodePaths, requirePowered } = await import('../../netboot/lab/rack.io.ts');
      const { execOnConsole } = await import('../../netboot/lab/console.io.ts');
      const { runDir } = context.places();
      requirePowered(runDir, name);
      const { output, exitCode } = await execOnConsole(
        nodePaths(runDir, name).console,
        words.join(' '),
        Number(timeout) * 1000,
      );
      if (output.trim() !== '') context.print(output.trimEnd());
      context.exit(exitCode);
    });

  lab
    .command('down')
    .description('remove a lab, also one whose command was killed')
    .action(async () => {
      const { readLab, stopRack } = await import('../../netboot/lab/rack.io.ts');
      const { signalProcess, waitGone } = await import('../../netboot/lab/processes.io.ts');
      const places = context.places();
      const state = readLab(places.runDir);
      if (state === undefined)
        throw new Fault('E_NO', { what: 'no lab is up here', todo: 'start one with: npm start' });
      const upMark = state.processes['up'];
      if (upMark !== undefined && signalProcess(upMark, 'SIGINT')) await waitGone(upMark, 30_000);
      await stopRack(places);
      context.print('the lab is gone');
    });
}

/** Prints each stage of the boot that began after `sinceMs`, and how it ended. */
async function follow(context: CommandContext, node: string, sinceMs: number): Promise<void> {
  const { followBoot, nodeFacts } = await import('../../netboot/lab/follow.io.ts');
  const { requireNode } = await import('../../netboot/lab/rack.io.ts');
  const { askTrouble } = await import('../../netboot/api/trouble.io.ts');
  const { renderOutcome } = await import('../../netboot/journal/progress.ts');
  const { runDir } = context.places();
  const socketPath = join(runDir, 'netboot.sock');
  const trouble = await askTrouble({ runDir });
  if (trouble !== undefined) context.warn(`rouse: ${trouble}`);
  const { mac } = requireNode(runDir, node);
  const macs = (await nodeFacts(socketPath, node))?.macs;
  if (macs?.includes(mac) !== true) {
    context.warn(
      macs === undefined
        ? `the boot server knows no node ${node}: what this machine does is in: rouse explain ${mac}`
        : `this machine's card is ${mac} and nodes/${node}.yaml says ${macs.join(', ')}: what it does is not told as ${node}'s; see: rouse explain ${mac}`,
    );
  }
  const attempt = await followBoot({
    socketPath,
    node,
    sinceMs,
    timeoutMs: BOOT_TIMEOUT_MS,
    onLine: (line) => context.print(`  ${line}`),
  });
  context.print(`${node}: ${renderOutcome(attempt, Date.now())}`);
}

/** Runs the steps with a line each, prints what to try, and waits for ctrl-C. */
async function up(context: CommandContext, rouse: string, port: number, nodes: readonly LabNode[]): Promise<void> {
  const { Listr } = await import('listr2');
  const { labSteps } = await import('../../netboot/lab/up.io.ts');
  const { withoutCount } = await import('../../images/event.ts');
  const { readLab, stopRack } = await import('../../netboot/lab/rack.io.ts');
  const places = context.places();
  const home = process.env['ROUSE_HOME'] ?? (IS_CLONE ? join(ROOT, '.rouse') : '/var/lib/rouse/lab');
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => abort.abort(new Fault('E_NO', { what: 'the lab was interrupted' })));
  }
  const runtime = await (await import('../runtime.ts')).runtimeSource(places.cacheDir);
  const steps = labSteps({ runtime, places, rouse, home, nodes, port, signal: abort.signal });
  // Some pseudo-terminals say that they are 0 columns wide.
  const isLive = context.isTerminal && process.stdout.columns > 20;
  const tasks = steps.map((step) => ({
    title: step.title,
    task: async (_: unknown, task: { title: string | undefined; output: string | undefined }): Promise<void> => {
      abort.signal.throwIfAborted();
      let last = '';
      const kept = await step.run((line) => {
        const shown = isLive ? line : withoutCount(line);
        if (shown !== last) task.output = shown;
        last = shown;
      });
      if (kept !== undefined) task.title = `${step.title}: ${kept}`;
    },
  }));
  try {
    await new Listr(tasks, {
      renderer: isLive ? 'default' : 'simple',
      registerSignalListeners: false,
      rendererOptions: { collapseErrors: false, showErrorMessage: false },
      fallbackRendererOptions: {},
    }).run();
    const url = readLab(places.runDir)?.url ?? '';
    for (const line of whatToTry(url, rouse, places.configDir, nodes)) context.print(line);
    // Until ctrl-C here or `rouse lab down` elsewhere.
    while (!abort.signal.aborted && readLab(places.runDir) !== undefined) {
      await sleep(500, undefined, { signal: abort.signal }).catch(() => undefined);
    }
  } catch (error) {
    // What an interrupted step throws says only that it was interrupted.
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    // Another command's lab, over which this one may have stumbled, is left alone.
    if (readLab(places.runDir)?.processes['up']?.pid === process.pid) {
      context.warn('removing the lab');
      await stopRack(places);
    }
  }
}

function whatToTry(url: string, rouse: string, configDir: string, nodes: readonly LabNode[]): string[] {
  // The lines work as pasted: with sudo where this command came by sudo, without where there may be none.
  const sudo = process.env['SUDO_UID'] === undefined ? '' : 'sudo ';
  const run = `${sudo}${rouse}`;
  const [first] = nodes;
  const one = [
    `${first?.name} answers at ${url}`,
    '',
    'From another terminal:',
    `  ${run} lab status`,
    `  ${run} lab reboot ${first?.name}`,
    `  ${sudo}sed -i 's/greeting: .*/greeting: This node was changed by one edit/' ${join(configDir, 'profiles', 'web.yaml')} && ${run} lab reboot ${first?.name} && curl ${url}`,
  ];
  const rack = [
    `the load balancers' virtual address answers at ${url}`,
    '',
    'From another terminal:',
    `  for i in 1 2 3 4; do curl -s ${url} | grep '<title>'; done     # spread over the web servers`,
    `  ${run} pool show web; ${run} vip ls                # who serves, who holds the address`,
    `  ${run} lab off lb1                        # the other load balancer takes over; back with: lab on lb1`,
    `  ${run} node set web1 profile=lb && ${run} node boot web1 --now --wait     # a web server becomes a load balancer`,
  ];
  return [
    '',
    ...(nodes.some(({ profile }) => profile === 'lb') ? rack : one),
    '',
    'ctrl-C here removes everything but .rouse/ and node_modules/.',
  ];
}
