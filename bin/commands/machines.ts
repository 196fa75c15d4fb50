// bin/commands/machines.ts - machines without a node file: `rouse node ls --new`, `adopt`, `replace`, `import`.
//
// Owns: the words on the command line and the layout of the answers. Does not own what is known of machines
// (netboot/api/machines.ts), which becomes which node (netboot/site/adopt.ts), foreign files (netboot/site/import.ts).

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { Fault, reasonOf } from '../../formats/errors.ts';
import type { MachineRow } from '../../netboot/api/machines.ts';
import type { Replaced } from '../../netboot/api/handlers.io.ts';
import type { AdoptOrder } from '../../netboot/site/adopt.ts';
import type { CsvRow } from '../../netboot/site/csv.ts';
import type { FileChange } from '../../netboot/site/edit.ts';
import type { NewNode } from '../../netboot/site/newnodes.ts';
import type { CommandContext } from '../context.ts';
import { renderTable } from '../table.ts';

/** Machines that were heard and belong to no node. */
async function askNew(context: CommandContext): Promise<MachineRow[]> {
  const { askFleet } = await import('../../netboot/api/ask.io.ts');
  const { machines } = await askFleet<{ machines: MachineRow[] }>(context.places(), '/v1/machines');
  return machines.filter(({ node }) => node === undefined);
}

/** `rouse node ls --new`. */
export async function listNew(context: CommandContext, json: boolean): Promise<void> {
  const machines = await askNew(context);
  if (json) return context.print(JSON.stringify(machines, undefined, 2));
  if (machines.length === 0) return context.print('no machine without a node file was heard');
  const nowMs = Date.now();
  const rows = machines.map((one) => [
    one.mac,
    one.address ?? '-',
    one.port === undefined ? '-' : `${one.port.switch} ${one.port.port}`.trim(),
    one.serial ?? '-',
    one.hardware ?? '-',
    `${Math.round((nowMs - one.lastSeenMs) / 1000)} s ago`,
    one.said,
  ]);
  for (const line of renderTable(['MAC', 'ADDRESS', 'SWITCH PORT', 'SERIAL', 'HARDWARE', 'SEEN', 'STATE'], rows)) {
    context.print(line);
  }
  if (machines.some(({ inventory }) => inventory !== undefined)) {
    context.print(
      "to make nodes of them: rouse node adopt --new --by switch-port --name 'r1n[01-40]' --profile PROFILE",
    );
  }
}

type AdoptOptions = {
  new?: boolean;
  by: AdoptOrder;
  name?: string;
  profile?: string;
  address?: string;
  table?: string;
  dryRun?: boolean;
};

export function registerMachines(node: Command, context: CommandContext): void {
  node
    .command('adopt')
    .description('make nodes of discovered machines: one by its MAC, or a whole rack by where each is plugged in')
    .argument('[mac...]', 'these machines; with --new all that were discovered')
    .option('--new', 'every discovered machine without a node file')
    .addOption(
      new Option('--by <order>', 'what the names follow')
        .choices(['switch-port', 'serial', 'mac', 'csv'])
        .default('mac'),
    )
    .option('--name <nodes>', 'names in that order, those in use left out: r1n[01-40]')
    .option('--profile <profile>', 'what they are to be')
    .option('--address <addresses>', 'one for each name: 10.77.0.[11-50]; without it they come from the pool')
    .option('--table <file>', 'of --by csv: columns name, and mac, serial, switch or port; profile, address, note')
    .option('--dry-run', 'show which machine would become which node')
    .addHelpText(
      'after',
      `
The machines boot as what they now are when they next renew their address: within a minute.

Examples:
  rouse node adopt 52:54:00:77:00:09 --name web9 --profile web
  rouse node adopt --new --by switch-port --name 'r1n[01-40]' --profile web --dry-run
  rouse node adopt --new --by csv --table rack1.csv --profile web`,
    )
    .action(async (macs: string[], options: AdoptOptions) => adopt(context, macs, options));

  node
    .command('replace')
    .description('another machine in the place of a node: its MACs go into the node file, nothing else changes')
    .argument('<node>')
    .requiredOption('--with <mac>', 'the new machine; all its cards, if it was discovered')
    .option('--dry-run', 'show what would change')
    .addHelpText('after', '\nExample:\n  rouse node replace web07 --with 52:54:00:77:00:99')
    .action(async (name: string, { with: mac, dryRun }: { with: string; dryRun?: boolean }) => {
      const { askFleet } = await import('../../netboot/api/ask.io.ts');
      const path = `/v1/nodes/${encodeURIComponent(name)}/replace`;
      const query = { with: mac, dry: dryRun === true ? '1' : '0' };
      const { changes, released } = await askFleet<Replaced>(context.places(), path, query, 'POST');
      show(context, changes);
      for (const address of released) context.print(`${address} is free for it`);
    });

  node
    .command('import')
    .description("make nodes of another server's reservations: dnsmasq.conf, dhcpd.conf, or a CSV of MACs")
    .argument('<file>')
    .addOption(
      new Option('--format <name>', 'what it is; told from its content without').choices(['dnsmasq', 'dhcpd', 'csv']),
    )
    .option('--profile <profile>', 'what they are to be, where the file does not say')
    .option('--dry-run', 'show the nodes that would be made')
    .addHelpText(
      'after',
      '\nExamples:\n  rouse node import /etc/dnsmasq.conf --profile web --dry-run\n  rouse node import rack.csv',
    )
    .action(
      async (file: string, options: { format?: 'dnsmasq' | 'dhcpd' | 'csv'; profile?: string; dryRun?: boolean }) =>
        importFile(context, file, options),
    );
}

async function adopt(context: CommandContext, macs: readonly string[], options: AdoptOptions): Promise<void> {
  const { expandNoderange } = await import('../../netboot/site/noderange.ts');
  const { planAdoption } = await import('../../netboot/site/adopt.ts');
  const { askNodes } = await import('../../netboot/api/ask.io.ts');
  const { parseMac } = await import('../../formats/mac.ts');
  const wrong = (what: string, todo: string): Fault => new Fault('E_USAGE', { what, todo });
  if ((options.new === true) === macs.length > 0) {
    throw wrong('expected MAC addresses, or --new for every discovered machine', 'see them with: rouse node ls --new');
  }
  const table =
    options.table === undefined
      ? undefined
      : { file: basename(options.table), rows: readTable(options.table, await csv()) };
  if (options.by !== 'csv' && options.name === undefined)
    throw wrong('--name is missing', "write it like --name 'r1n[01-40]'");
  if (options.by !== 'csv' && options.profile === undefined)
    throw wrong('--profile is missing', 'see them with: rouse profile ls');
  const range = (option: string, text: string): readonly string[] => {
    const result = expandNoderange(text);
    if (!result.ok) throw new Fault('E_USAGE', { what: `${option} ${text}`, why: result.why });
    return result.names;
  };
  const all = await askNew(context);
  const machines =
    options.new === true
      ? all.filter(({ inventory }) => inventory !== undefined)
      : macs.map((text) => {
          const mac = parseMac(text);
          if (mac === undefined) throw wrong(`'${text}' is no MAC address`, 'write it like 52:54:00:77:00:09');
          const known = all.find((one) => one.macs.includes(mac));
          return known ?? { mac, macs: [mac], serial: undefined, port: undefined, hardware: undefined };
        });
  const { answer: nodes } = await askNodes(context.places());
  const plan = planAdoption({
    machines,
    by: options.by,
    names: options.name === undefined ? [] : range('--name', options.name),
    addresses: options.address === undefined ? undefined : range('--address', options.address),
    profile: options.profile ?? '',
    taken: new Set(nodes.map(({ name }) => name)),
    table,
  });
  if (!plan.ok) throw new Fault('E_USAGE', { what: plan.why });
  await create(context, 'node adopt', plan.nodes, plan.comments, options.dryRun === true);
  for (const { mac, why } of plan.left) context.warn(`rouse: ${mac} is left as it is: ${why}`);
  if (plan.left.length > 0) context.exit(1);
}

async function csv(): Promise<typeof import('../../netboot/site/csv.ts')> {
  return import('../../netboot/site/csv.ts');
}

function readTable(file: string, { parseCsv }: typeof import('../../netboot/site/csv.ts')): readonly CsvRow[] {
  const table = parseCsv(readText(file));
  if (!table.ok) throw new Fault('E_CONFIG', { what: `${file}:${table.line}`, why: table.why });
  return table.rows;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Fault('E_USAGE', { what: `cannot read ${file}`, why: reasonOf(error) }, { cause: error });
  }
}

async function importFile(
  context: CommandContext,
  file: string,
  options: { format?: 'dnsmasq' | 'dhcpd' | 'csv'; profile?: string; dryRun?: boolean },
): Promise<void> {
  const { importNodes } = await import('../../netboot/site/import.ts');
  const result = importNodes(basename(file), readText(file), options);
  if (!result.ok) {
    for (const problem of result.problems) context.warn(problem);
    throw new Fault('E_CONFIG', {
      what: `nothing was imported from ${file}`,
      why: `${result.problems.length} problems, above`,
    });
  }
  await create(context, 'node import', result.nodes, result.comments, options.dryRun === true);
  for (const note of result.notes) context.warn(note);
}

async function create(
  context: CommandContext,
  what: 'node adopt' | 'node import',
  nodes: readonly NewNode[],
  comments: Readonly<Record<string, string>>,
  isDryRun: boolean,
): Promise<void> {
  if (nodes.length === 0) return context.print('no node to make');
  const { askFleet } = await import('../../netboot/api/ask.io.ts');
  const query = { dry: isDryRun ? '1' : '0' };
  await askFleet(context.places(), '/v1/nodes', query, 'POST', { what, nodes, comments });
  const rows = nodes.map(({ name, macs, profile, address }) => [
    name,
    macs[0] ?? '',
    profile,
    address ?? 'from the pool',
    comments[name] ?? '',
  ]);
  for (const line of renderTable(['NODE', 'MAC', 'PROFILE', 'ADDRESS', 'MACHINE'], rows)) context.print(line);
  context.print(isDryRun ? `${nodes.length} nodes would be made` : `${nodes.length} nodes made`);
}

function show(context: CommandContext, changes: readonly FileChange[]): void {
  for (const { file, diff } of changes) for (const line of [file, ...diff]) context.print(line);
  if (changes.length === 0) context.print('nothing to change: it is so already');
}
