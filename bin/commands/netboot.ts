// bin/commands/netboot.ts - `rouse netboot`, `explain`, `check`, `lease`: arguments in, text or JSON out.
//
// Owns: the words on the command line and the layout of the answers. Does not own any answer (netboot/).

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { CommandContext } from '../context.ts';
import { Fault } from '../../formats/errors.ts';
import { printable } from '../../formats/printable.ts';
import type { ConfigView } from '../../netboot/api/view.ts';
import type { Site } from '../../netboot/site/site.ts';
import type { LogFormat } from '../log.ts';
import { renderTable } from '../table.ts';

export function registerNetboot(program: Command, context: CommandContext): void {
  program
    .command('netboot')
    .description('the boot server: DHCP, TFTP and HTTP for the subnets of rouse.yaml, until SIGTERM')
    .addOption(new Option('--log <format>', 'how to log on standard error').choices(['text', 'json']).default('text'))
    .addHelpText('after', '\nExample:\n  rouse netboot --config /etc/rouse')
    .action(async ({ log: format }: { log: LogFormat }) => {
      const { runNetboot } = await import('../../netboot/serve.io.ts');
      const { openLog } = await import('../log.ts');
      const { readVersion } = await import('../version.ts');
      const log = openLog('rouse netboot', format);
      context.exit(await runNetboot({ ...context.places(), version: readVersion(), log }));
    });

  program
    .command('explain')
    .description('what a machine would boot, and why: a dry run of the functions that answer it')
    .argument('[mac]', 'its MAC address, or the name of its node')
    .option(
      '--arch <name>',
      'its firmware: bios, bios-ipxe (iPXE in ROM, as in QEMU), efi-ia32, efi-x64, efi-arm64, efi-x64-http, efi-arm64-http',
      'bios',
    )
    .option('--seen', 'as it was heard on the wire, in mode: observe too; without a MAC, every machine that was')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  rouse explain 52:54:00:77:00:01\n  rouse explain web1 --arch efi-x64 --json\n  rouse explain --seen',
    )
    .action(
      async (machine: string | undefined, { arch, seen, json }: { arch: string; seen?: boolean; json?: boolean }) => {
        if (seen === true) return explainSeen(context, machine, json === true);
        if (machine === undefined) {
          throw new Fault('E_USAGE', {
            what: 'expected a MAC address or a node',
            todo: 'or every machine that was heard: rouse explain --seen',
          });
        }
        const { renderExplanation } = await import('../../netboot/api/explain.ts');
        const { askExplanation } = await import('../../netboot/api/ask.io.ts');
        const { answer, note } = await askExplanation(context.places(), machine, arch);
        if (note !== undefined) context.warn(`rouse: ${note}`);
        if (json === true) context.print(JSON.stringify(answer, undefined, 2));
        else for (const line of renderExplanation(answer)) context.print(line);
        context.exit(answer.boots ? 0 : 1);
      },
    );

  program
    .command('check')
    .description('validate every configuration file and every role; exit 1 with file:line:column and what was expected')
    .option('--json', 'as JSON')
    .option('--schema <kind>', 'print the JSON Schema of rouse, profile, node or recipe files instead, for editors')
    .addHelpText('after', '\nExamples:\n  rouse check\n  rouse check --schema node > node.schema.json')
    .action(async ({ json, schema }: { json?: boolean; schema?: string }) => {
      if (schema !== undefined) {
        const { EDITOR_SCHEMAS, jsonSchemaOf } = await import('../../netboot/site/schema.ts');
        const kinds = Object.keys(EDITOR_SCHEMAS) as (keyof typeof EDITOR_SCHEMAS)[];
        const kind = kinds.find((name) => name === schema);
        if (kind === undefined) {
          throw new Fault('E_USAGE', { what: `--schema ${schema}`, why: `expected one of ${kinds.join(', ')}` });
        }
        context.print(JSON.stringify(jsonSchemaOf(kind), undefined, 2));
        return;
      }
      const { readSite } = await import('../../netboot/site/load.io.ts');
      const { configView } = await import('../../netboot/api/view.ts');
      const result = await readSite(context.places());
      const problems = result.ok ? result.warnings : result.problems;
      const view: ConfigView = configView(result.ok ? result.site : undefined, {
        isGood: result.ok,
        problems: result.ok ? [] : problems,
        warnings: result.ok ? problems : [],
        sinceMs: Date.now(),
      });
      const { roleProblems } = await import('../../images/checkroles.io.ts');
      const { checkServices } = await import('../servicecheck.ts');
      const { configDir, runDir, roleDirs } = context.places();
      const roles = await roleProblems(roleDirs);
      const services = await checkServices(configDir, roleDirs);
      const isGood = problems.length + roles.length + services.length === 0;
      const notes = [...view.notes, ...(result.ok ? await absentInterfaces(runDir, result.site) : [])];
      if (json === true) context.print(JSON.stringify({ ...view, notes, roles, services }, undefined, 2));
      else {
        for (const line of [...view.problems, ...view.warnings, ...roles, ...services]) context.print(printable(line));
        if (isGood) context.print(`good: ${view.nodes} nodes, ${view.profiles} profiles`);
        for (const note of notes) context.print(`note: ${note}`);
      }
      context.exit(isGood ? 0 : 1);
    });

  registerLease(program, context);
}

/**
 * Interfaces of the site that are not here. A boot server that runs is asked, for it may be in another network namespace; a
 * lab makes its own when it starts.
 */
async function absentInterfaces(runDir: string, site: Site): Promise<readonly string[]> {
  const { askHealth } = await import('../../netboot/api/client.io.ts');
  const health = await askHealth(runDir).catch(() => undefined);
  if (health !== undefined) return health.waiting;
  const { RACK_INTERFACE } = await import('../../netboot/lab/rack.ts');
  const { hostAddresses } = await import('../../netboot/listen.io.ts');
  const { servedInterfaces } = await import('../../netboot/world.ts');
  const subnets = site.subnets.filter((subnet) => subnet.interface !== RACK_INTERFACE);
  return servedInterfaces({ ...site, subnets }, hostAddresses()).waiting;
}

/** `rouse explain --seen`. */
async function explainSeen(context: CommandContext, machine: string | undefined, json: boolean): Promise<void> {
  const { askMachines, askSeen } = await import('../../netboot/api/ask.io.ts');
  const { renderExplanation } = await import('../../netboot/api/explain.ts');
  const ago = (atMs: number): string => `${Math.round((Date.now() - atMs) / 1000)} s ago`;
  if (machine !== undefined) {
    const { row, answer } = await askSeen(context.places(), machine);
    context.exit(answer.boots ? 0 : 1);
    if (json) return context.print(JSON.stringify({ seen: row, ...answer }, undefined, 2));
    context.print(`heard ${ago(row.lastSeenMs)}: ${row.client ?? 'nothing by DHCP'}; ${row.said}`);
    for (const line of renderExplanation(answer)) context.print(line);
    return;
  }
  const machines = await askMachines(context.places());
  if (json) return context.print(JSON.stringify(machines, undefined, 2));
  const rows = machines.map((one) => [one.mac, one.node ?? '-', one.client ?? '-', ago(one.lastSeenMs), one.said]);
  for (const line of renderTable(['MAC', 'NODE', 'CLIENT', 'HEARD', 'ANSWER'], rows)) context.print(line);
}

type LeaseRow = {
  address: string;
  mac: string;
  node?: string;
  state: string;
  subnet: string;
  expiresAt: string;
  hostname?: string;
};

function registerLease(program: Command, context: CommandContext): void {
  const lease = program.command('lease').description('the addresses that this boot server has given');
  const ask = async (path: string, method: 'GET' | 'POST' = 'GET'): Promise<unknown> => {
    const { askNetboot } = await import('../../netboot/api/client.io.ts');
    return askNetboot(join(context.places().runDir, 'netboot.sock'), path, method);
  };
  const show = (rows: readonly LeaseRow[], json: boolean | undefined): void => {
    if (json === true) return context.print(JSON.stringify(rows, undefined, 2));
    const table = rows.map((row) => [
      row.address,
      row.mac,
      row.node ?? '-',
      row.state,
      row.expiresAt,
      row.subnet,
      row.hostname ?? '',
    ]);
    for (const line of renderTable(['ADDRESS', 'MAC', 'NODE', 'STATE', 'EXPIRES', 'SUBNET', 'HOST NAME'], table))
      context.print(line);
  };
  const all = async (): Promise<LeaseRow[]> => ((await ask('/v1/leases')) as { leases: LeaseRow[] }).leases;

  lease
    .command('ls')
    .description('every lease')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => show(await all(), json));
  lease
    .command('show')
    .description('the leases of an address, a MAC or a node')
    .argument('<what>')
    .option('--json', 'as JSON')
    .action(async (what: string, { json }: { json?: boolean }) => {
      const rows = (await all()).filter(({ address, mac, node }) => [address, mac, node].includes(what.toLowerCase()));
      if (rows.length === 0)
        throw new Fault('E_NOT_FOUND', { what: `no lease of ${what}`, todo: 'see all with: rouse lease ls' });
      show(rows, json);
    });
  lease
    .command('release')
    .description('give an address free: for a machine that is gone for good')
    .argument('<address>')
    .addHelpText('after', '\nExample:\n  rouse lease release 10.77.0.103')
    .action(async (address: string) => {
      const row = (await ask(`/v1/leases/${encodeURIComponent(address)}/release`, 'POST')) as LeaseRow;
      context.print(`${row.address} of ${row.mac} is free`);
    });
}
