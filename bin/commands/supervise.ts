// bin/commands/supervise.ts - rouse supervise, status, and the orders to services.
//
// Owns: arguments and output of these commands; the room supervise/ is imported only when one of them runs.
// To add an order to the command line: a row in ORDER_COMMANDS, naming an order of supervise/control.ts.

import { dirname, join, resolve } from 'node:path';
import { Argument, Option } from 'commander';
import type { Command } from 'commander';
import { Fault } from '../../formats/errors.ts';
import type { Applied } from '../../supervise/api.ts';
import type { Order } from '../../supervise/control.ts';
import type { ServiceView } from '../../supervise/view.ts';
import type { CommandContext, NodeStatus } from '../context.ts';

const ORDER_COMMANDS = {
  up: 'start services, and again whenever they end',
  down: 'stop services and leave them stopped',
  once: 'start services, and leave them stopped when they end',
  restart: 'stop services, then start them again',
  reload: 'let services read their configuration anew: HUP, or what the file reload-signal says',
  kill: 'send KILL; a service that is wanted up starts again',
  pause: 'send STOP',
  cont: 'send CONT',
} as const satisfies Partial<Record<Order, string>>;

const WAIT_S = 60;
const WATCH_EVERY_MS = 1000;

type OrderOptions = { readonly wait?: boolean; readonly timeout: number; readonly all?: boolean };

/** Adds the commands of the supervisor to the program. */
export function registerSupervise(program: Command, context: CommandContext): void {
  const socketPath = (): string => join(context.places().runDir, 'supervise.sock');

  program
    .command('supervise')
    .description('supervise the service directories in a folder')
    .argument('[dir]', 'folder of service directories (default: services in the configuration folder)')
    .addHelpText(
      'after',
      `
Signals: TERM leaves the services running for the next rouse supervise to adopt; HUP and ctrl-C stop them all first.
Example:
  rouse supervise /etc/rouse/services`,
    )
    .action(async (dir: string | undefined) => {
      const { openLog } = await import('../../supervise/logline.io.ts');
      const { runSupervise } = await import('../../supervise/main.io.ts');
      const directory = resolve(dir ?? join(context.places().configDir, 'services'));
      const log = openLog('rouse supervise: ');
      context.exit(await runSupervise({ directory, socketPath: socketPath(), log }));
    });

  program
    .command('status')
    .description('what runs, since when, and what is wrong')
    .argument(
      '[service...]',
      context.nodes === undefined ? 'only these' : 'only these; on a boot server also nodes: web1, web[01-20]:nginx',
    )
    .option('--json', 'as JSON')
    .option('-w, --watch', 'again every second, until interrupted')
    .addHelpText('after', '\nExamples:\n  rouse status web web/log\n  rouse status --watch')
    .action(async (names: string[], { json, watch }: { json?: boolean; watch?: boolean }) => {
      const nodes = names.length === 0 ? undefined : await context.nodes?.();
      for (;;) {
        const trouble = await context.bootServerTrouble?.(context.places());
        if (trouble !== undefined) context.warn(`rouse: boot server: ${trouble}`);
        const lines =
          nodes !== undefined && (await meansNodes(nodes, socketPath(), names))
            ? await nodes.nodeLines(context.places(), names, json === true)
            : await serviceLines(socketPath(), names, json === true);
        // A terminal gets the table in place of the one before; a file or a pipe gets one after the other.
        const clear = watch === true && context.isTerminal && json !== true ? '\u001B[H\u001B[J' : '';
        context.print(`${clear}${lines.join('\n')}`);
        if (watch !== true) return;
        await new Promise((next) => setTimeout(next, WATCH_EVERY_MS));
      }
    });

  program
    .command('logs')
    .description('what services wrote: folders of log/multilog, or of a multilog in log/run')
    .argument('<service...>', 'names as rouse status shows them')
    .option('-f, --follow', 'go on with what is written from now on')
    .addOption(
      new Option('-n, --lines <number>', 'at most so many of the last lines (default 20, with --since all)').argParser(
        (text) => {
          if (/^\d{1,9}$/.test(text)) return Number(text);
          throw new Fault('E_USAGE', { what: `--lines expected a number of lines, got '${text}'` });
        },
      ),
    )
    .option('--since <time>', 'stamped lines from then on: 90s, 10m, 2h, 3d ago, or 2026-11-21T14:00')
    .addHelpText('after', '\nExamples:\n  rouse logs -f web\n  rouse logs --since 10m web db')
    .action((names: string[], options: LogsOptions) => showLogs(context, socketPath(), names, options));

  program
    .command('history')
    .description('starts, deaths and orders of a service: why did it restart?')
    .argument('<service>', 'name as rouse status shows it')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  rouse history web')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { serviceHistory } = await import('../../supervise/client.io.ts');
      const { renderEntry } = await import('../../supervise/history.ts');
      const entries = await serviceHistory(socketPath(), name);
      if (json === true) context.print(JSON.stringify({ entries }));
      else for (const entry of entries) context.print(renderEntry(entry));
    });

  for (const [order, help] of Object.entries(ORDER_COMMANDS) as [Order, string][]) {
    const command = program
      .command(order)
      .description(help)
      .argument('[service...]', 'names as rouse status shows them');
    addOrderOptions(command)
      .addHelpText('after', `\nExample:\n  rouse ${order} --wait web`)
      .action((names: string[], options: OrderOptions) => give(context, socketPath(), order, names, options));
  }

  addOrderOptions(
    program
      .command('apply')
      .description('restart those services whose files were edited since they were started')
      .argument('[service...]', 'names as rouse status shows them'),
  )
    .addHelpText('after', '\nExample:\n  rouse apply --all --wait')
    .action((names: string[], options: OrderOptions) => apply(context, socketPath(), names, options));

  const signal = program
    .command('signal')
    .description('send a signal to the process of services')
    .addArgument(new Argument('<signal>', 'TERM HUP ALRM INT KILL QUIT USR1 USR2 WINCH STOP CONT'))
    .argument('[service...]', 'names as rouse status shows them');
  addOrderOptions(signal)
    .addHelpText('after', '\nExample:\n  rouse signal HUP web')
    .action(async (word: string, names: string[], options: OrderOptions) => {
      const { orderOfSignal } = await import('../../supervise/control.ts');
      const order = orderOfSignal(word);
      if (order === undefined) {
        throw new Fault('E_USAGE', {
          what: `unknown signal '${word}'`,
          todo: 'see: rouse signal --help',
        });
      }
      await give(context, socketPath(), order, names, options);
    });
}

async function serviceLines(socket: string, names: readonly string[], isJson: boolean): Promise<string[]> {
  const { listServices } = await import('../../supervise/client.io.ts');
  const { renderTable } = await import('../../supervise/view.ts');
  const all = await listServices(socket, true);
  const shown = names.length === 0 ? all : names.map((name) => pick(all, name));
  return isJson ? [JSON.stringify({ services: shown })] : renderTable(shown, Date.now());
}

/** Names that no service of this host has are nodes', where a boot server can be asked. */
async function meansNodes(
  { isNodeWord, hasBootServer }: NodeStatus,
  socket: string,
  names: readonly string[],
): Promise<boolean> {
  if (names.some(isNodeWord)) return true;
  const { listServices } = await import('../../supervise/client.io.ts');
  try {
    const own = new Set((await listServices(socket)).map(({ name }) => name));
    if (names.some((name) => own.has(name))) return false;
  } catch (thrown) {
    if (!(thrown instanceof Fault) || thrown.code !== 'E_UNREACHABLE') throw thrown;
  }
  return hasBootServer(dirname(socket));
}

type LogsOptions = { readonly follow?: boolean; readonly lines?: number; readonly since?: string };

const LINES_DEFAULT = 20;

async function showLogs(
  context: CommandContext,
  socket: string,
  names: readonly string[],
  { follow, lines, since }: LogsOptions,
): Promise<void> {
  const { parseSince, readableLine } = await import('../../supervise/logwriter/read.ts');
  const { followLog, logFolders, readLog } = await import('../../supervise/logwriter/read.io.ts');
  const sinceMs = since === undefined ? undefined : parseSince(since, Date.now());
  if (since !== undefined && sinceMs === undefined) {
    throw new Fault('E_USAGE', { what: `--since expected 90s, 10m, 2h, 3d or a date and time, got '${since}'` });
  }
  const asked = { lines: lines ?? (sinceMs === undefined ? LINES_DEFAULT : undefined), sinceMs };
  const find = await finder(context, socket);
  const folders = names.flatMap((name) => {
    const { directory, pending } = find(name);
    const found = logFolders(directory);
    if (found.length > 0) {
      if (pending !== undefined) context.warn(`${name}: ${pending}`);
      return found.map((folder) => ({ name, folder }));
    }
    throw new Fault('E_NOT_FOUND', {
      what: `${name} has no log`,
      why: pending ?? 'there is no folder with a file current in its log/',
      todo:
        pending === undefined
          ? `for one written by rouse: mkdir log, the line "t ./main" in log/multilog, then rouse apply ${name}`
          : `rouse apply ${name}`,
    });
  });
  const show = (name: string, line: string): void => {
    context.print(names.length > 1 ? `${name}: ${readableLine(line)}` : readableLine(line));
  };
  for (const { name, folder } of folders) for (const line of readLog(folder, asked)) show(name, line);
  if (follow === true) for (const { name, folder } of folders) followLog(folder, (line) => show(name, line));
}

type Found = Pick<ServiceView, 'directory' | 'pending'>;

/** Logs can be read without a supervisor: then the services are those of the configuration. */
async function finder(context: CommandContext, socket: string): Promise<(name: string) => Found> {
  const { listServices } = await import('../../supervise/client.io.ts');
  try {
    const all = await listServices(socket);
    return (name) => pick(all, name.replace(/\/log$/, ''));
  } catch (thrown) {
    if (!(thrown instanceof Fault) || thrown.code !== 'E_UNREACHABLE') throw thrown;
    return (name) => ({ directory: join(context.places().configDir, 'services', name.replace(/\/log$/, '')) });
  }
}

function addOrderOptions(command: Command): Command {
  return command
    .option('--all', 'every service')
    .option('--wait', 'until it is so, or exit 1')
    .addOption(
      new Option('--timeout <seconds>', 'how long --wait waits').default(WAIT_S).argParser((text) => {
        const seconds = Number(text);
        if (text !== '' && Number.isFinite(seconds) && seconds >= 0) return seconds;
        throw new Fault('E_USAGE', { what: `--timeout expected a number of seconds, got '${text}'` });
      }),
    );
}

function pick(all: readonly ServiceView[], name: string): ServiceView {
  const found = all.find((view) => view.name === name);
  if (found !== undefined) return found;
  const known = all.map((view) => view.name).join(', ');
  throw new Fault('E_NOT_FOUND', {
    what: `there is no service '${name}'`,
    why: known === '' ? 'nothing is supervised' : `there are ${known}`,
  });
}

const APPLIED_WORDS = {
  restarted: 'edited, restarted',
  logged: 'restarted, as its log/ came or went',
  log: 'its log/multilog was edited and taken on',
  unchanged: 'unchanged',
} as const satisfies Record<Applied, string>;

async function apply(
  context: CommandContext,
  socket: string,
  names: readonly string[],
  options: OrderOptions,
): Promise<void> {
  const { applyService, waitFor } = await import('../../supervise/client.io.ts');
  const restarted: ServiceView[] = [];
  const refused: Fault[] = [];
  for (const view of await choose(socket, 'apply', names, options)) {
    const applied = await applyService(socket, view.name).catch((thrown: unknown) => {
      if (!(thrown instanceof Fault) || thrown.code !== 'E_NO') throw thrown;
      refused.push(thrown);
    });
    if (applied === undefined) continue;
    if (applied === 'restarted' || applied === 'logged') restarted.push(view);
    context.print(`${view.name}: ${APPLIED_WORDS[applied]}`);
  }
  const last = refused.pop();
  for (const { message } of refused) context.warn(`rouse: ${message}`);
  try {
    const awaited = options.wait === true ? restarted : [];
    for (const { name, pid } of awaited) await waitFor(socket, name, 'restart', pid, options.timeout * 1000);
  } catch (thrown) {
    if (last !== undefined) context.warn(`rouse: ${last.message}`);
    throw thrown;
  }
  if (last !== undefined) throw last;
}

async function give(
  context: CommandContext,
  socket: string,
  order: Order,
  names: readonly string[],
  options: OrderOptions,
): Promise<void> {
  const { wait, timeout } = options;
  const { orderService, waitFor } = await import('../../supervise/client.io.ts');
  const chosen = await choose(socket, order, names, options);
  for (const { name } of chosen) await orderService(socket, name, order);
  if (wait !== true) return;
  for (const { name, pid } of chosen) await waitFor(socket, name, order, pid, timeout * 1000);
  context.print(`${chosen.map(({ name }) => name).join(', ')}: ${order} done`);
}

/** The services named, or all. */
async function choose(
  socket: string,
  command: string,
  names: readonly string[],
  { all: everyone }: OrderOptions,
): Promise<readonly ServiceView[]> {
  if (names.length === 0 && everyone !== true) {
    throw new Fault('E_USAGE', { what: `rouse ${command}: no service named`, todo: 'name services, or say --all' });
  }
  const { listServices } = await import('../../supervise/client.io.ts');
  const all = await listServices(socket);
  // Loggers are left alone by --all: they have to go on for what their services say while stopping.
  return names.length === 0
    ? all.filter(({ name, phase }) => phase !== 'blocked' && !name.endsWith('/log') && !name.startsWith('.'))
    : names.map((name) => pick(all, name));
}
