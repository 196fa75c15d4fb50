// bin/commands/node.ts - `rouse node` and `rouse profile`: what nodes should be and are, with where each value came from.
//
// Owns: the words on the command line and the layout of the answers. Does not own any answer (netboot/api/nodeview.ts, view.ts).

import type { Command } from 'commander';
import { Fault } from '../../formats/errors.ts';
import type { DiffView } from '../../netboot/api/fleethandlers.io.ts';
import type { PlanView } from '../../netboot/fleet/planview.ts';
import type { CommandContext } from '../context.ts';
import { renderTable } from '../table.ts';
import { listNew, registerMachines } from './machines.ts';

export function registerNode(program: Command, context: CommandContext): void {
  const node = program.command('node').description('the nodes of this site');
  node
    .command('ls')
    .description('every node: what it should be beside what it runs, and how its last boot went')
    .option('--new', 'machines that no node file names: discovered, ignored, or only heard')
    .option('--json', 'as JSON')
    .action(async ({ json, new: isNew }: { json?: boolean; new?: boolean }) => {
      if (isNew === true) return listNew(context, json === true);
      const { askNodes } = await import('../../netboot/api/ask.io.ts');
      const { askTrouble } = await import('../../netboot/api/trouble.io.ts');
      const { answer, note } = await askNodes(context.places());
      const trouble = await askTrouble(context.places());
      for (const line of [note, trouble]) if (line !== undefined) context.warn(`rouse: ${line}`);
      if (json === true) return context.print(JSON.stringify(answer, undefined, 2));
      const rows = answer.map((row) => [
        row.name,
        row.profile,
        row.address ?? '-',
        `${row.isChanging ? '* ' : ''}${row.should}`,
        row.runs ?? '-',
        `${row.readiness ?? '-'}${row.draining === 'no' ? '' : ', draining'}`,
        row.boot ?? '-',
        [
          row.insteadOf === undefined ? '' : `not what its file wants: ${row.insteadOf}`,
          row.behind ?? '',
          row.once === undefined ? '' : `once as ${row.once}`,
          row.change ?? '',
          row.note,
        ]
          .filter(Boolean)
          .join('; '),
      ]);
      const heading = ['NODE', 'PROFILE', 'ADDRESS', 'SHOULD BE', 'RUNS', 'STATE', 'LAST BOOT', 'NOTE'];
      for (const line of renderTable(heading, rows)) context.print(line);
      if (answer.some(({ isChanging }) => isChanging)) context.print('* a power cut would make it this');
      for (const alarm of new Set(answer.flatMap((row) => row.alarm ?? []))) context.warn(`rouse: ALARM: ${alarm}`);
    });
  node
    .command('show')
    .description('a node: every value with the file and line it came from, and its last boots')
    .argument('<name>')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  rouse node show web1')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { askNode } = await import('../../netboot/api/ask.io.ts');
      const { renderWaterfall } = await import('../../netboot/journal/waterfall.ts');
      const { answer, note } = await askNode(context.places(), name);
      if (note !== undefined) context.warn(`rouse: ${note}`);
      if (json === true) return context.print(JSON.stringify(answer, undefined, 2));
      context.print(
        `${answer.name}  ${answer.macs.join(' ')}  ${answer.address ?? 'no address yet'}  boots ${answer.should}`,
      );
      if (answer.silence !== undefined) context.print(answer.silence);
      for (const line of renderTable(
        [],
        answer.values.map(({ name: key, value, source }) => [`  ${key}`, value, source]),
      )) {
        context.print(line);
      }
      if (answer.report !== undefined) {
        const { renderReport } = await import('../nodestatus.ts');
        context.print('');
        for (const line of renderReport(answer.report)) context.print(line);
      }
      for (const boot of answer.boots) {
        context.print('');
        for (const line of renderWaterfall(boot, Date.now())) context.print(line);
      }
    });

  node
    .command('set')
    .description('change values in node files: the whole site is checked first, comments and all other bytes stay')
    .argument('<nodes>', 'a node, or many: web[01-20],lb1')
    .argument('<key=value...>', 'profile=, address=, note=, loader=, macs=[…], labels.NAME=, vars.NAME=')
    .option('--dry-run', 'show what would change')
    .option('--offline', 'edit the files while no boot server runs')
    .addHelpText(
      'after',
      '\nExamples:\n  rouse node set web2 profile=lb\n  rouse node set web[01-20] vars.workers=4 --dry-run',
    )
    .action(async (range: string, words: string[], { dryRun, offline }: { dryRun?: boolean; offline?: boolean }) => {
      const { setNodes } = await import('../../netboot/api/ask.io.ts');
      const request = { range, words, isDryRun: dryRun === true, isOffline: offline === true };
      const changes = await setNodes(context.places(), request);
      for (const { file, diff } of changes) for (const line of [file, ...diff]) context.print(line);
      if (changes.length === 0) context.print('nothing to change: it is so already');
    });

  registerChanges(node, context);
  registerMachines(node, context);

  const profile = program.command('profile').description('the profiles of this site');
  profile
    .command('ls')
    .description('every profile, what it extends and which nodes have it')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { askProfiles } = await import('../../netboot/api/ask.io.ts');
      const { answer, note } = await askProfiles(context.places());
      if (note !== undefined) context.warn(`rouse: ${note}`);
      if (json === true) return context.print(JSON.stringify(answer, undefined, 2));
      const rows = answer.map(({ name, chain, nodes }) => [
        name,
        chain.slice(1).join(' → ') || '-',
        nodes.join(' ') || '-',
      ]);
      for (const line of renderTable(['PROFILE', 'EXTENDS', 'NODES'], rows)) context.print(line);
    });
  profile
    .command('show')
    .description('a profile: every value with the file and line it came from')
    .argument('<name>')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  rouse profile show web')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { askProfile } = await import('../../netboot/api/ask.io.ts');
      const { answer, note } = await askProfile(context.places(), name);
      if (note !== undefined) context.warn(`rouse: ${note}`);
      if (json === true) return context.print(JSON.stringify(answer, undefined, 2));
      context.print(`${answer.chain.join(' → ')}  nodes ${answer.nodes.join(' ') || 'none'}`);
      for (const line of renderTable(
        [],
        answer.values.map(({ name: key, value, source }) => [`  ${key}`, value, source]),
      )) {
        context.print(line);
      }
    });
}

type BootOptions = {
  now?: boolean;
  wait?: boolean;
  once?: string;
  cold?: boolean;
  force?: boolean;
  drainTimeout: string;
};

function registerChanges(node: Command, context: CommandContext): void {
  node
    .command('plan')
    .description('what would change if these nodes booted now: who, by what way, which VIP moves, what each pool keeps')
    .argument('[nodes]', 'a node, or many: web[01-20],lb1; all when left out')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExit status 1 where a pool would fall below its minimum or a node cannot become it.')
    .action(async (range: string | undefined, { json }: { json?: boolean }) => {
      const { askFleet } = await import('../../netboot/api/ask.io.ts');
      const plan = await askFleet<PlanView>(context.places(), '/v1/plan', range === undefined ? {} : { nodes: range });
      if (plan.problems.length > 0) context.exit(1);
      if (json === true) return context.print(JSON.stringify(plan, undefined, 2));
      const rows = plan.nodes.map(({ node: name, runs, should, how, vips }) => [
        name,
        runs ?? '-',
        should,
        how,
        vips.map(({ vip, to }) => `${vip} → ${to ?? 'nobody'}`).join(' ') || '-',
      ]);
      for (const line of renderTable(['NODE', 'RUNS', 'SHOULD BE', 'BY', 'VIP MOVES'], rows)) context.print(line);
      for (const { name, now, meanwhile, minimum } of plan.pools) {
        context.print(`pool ${name}: ${now} in service, ${meanwhile} meanwhile, minimum ${minimum}`);
      }
      for (const problem of plan.problems) context.warn(`rouse: ${problem}`);
    });

  node
    .command('boot')
    .description('drain a node and make it what its file says: by kexec, or cold through its firmware')
    .argument('<node>')
    .option('--now', 'at once; without it only --once is remembered for the next boot')
    .option('--wait', 'until it is ready, or exit 1')
    .option('--once <profile>', 'boot it as this profile one time')
    .option('--cold', 'reboot through PXE instead of a kexec')
    .option('--force', 'though a pool falls below its minimum')
    .option('--drain-timeout <seconds>', 'how long its connections may take to finish', '30')
    .addHelpText(
      'after',
      '\nExamples:\n  rouse node boot web2 --now --wait\n  rouse node boot web2 --once maintenance --now --cold',
    )
    .action(async (name: string, { now, wait, once, cold, force, drainTimeout }: BootOptions) => {
      const { askFleet, followChange } = await import('../../netboot/api/ask.io.ts');
      const places = context.places();
      const on = (given: boolean | undefined): string => (given === true ? '1' : '0');
      const query = { now: on(now), cold: on(cold), force: on(force), drainTimeoutS: drainTimeout };
      await askFleet(places, nodePath(name, 'boot'), once === undefined ? query : { ...query, once }, 'POST');
      if (now !== true) return context.print(`${name} boots as ${once} at its next boot`);
      if (wait !== true) return context.print(`${name} is being changed: watch it with: rouse node ls`);
      const { change, steps } = await followChange(places, encodeURIComponent(name), (line) => context.print(line));
      if (change?.outcome.kind === 'failed') {
        throw new Fault('E_NO', { what: `${name} is not ${change.profile}`, why: change.outcome.why });
      }
      context.print(`${name} is ${change?.profile ?? ''}: ${steps}`);
    });

  node
    .command('diff')
    .description('the live files that a node should have now against those that it has applied')
    .argument('<node>')
    .option('--json', 'as JSON')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { askFleet } = await import('../../netboot/api/ask.io.ts');
      const view = await askFleet<DiffView>(context.places(), nodePath(name, 'diff'));
      context.exit(view.isSame || view.revision === undefined ? 0 : 1);
      if (json === true) return context.print(JSON.stringify(view, undefined, 2));
      context.print(`${name}: should have ${view.revision ?? 'none'}, has applied ${view.appliedRevision ?? 'none'}`);
      for (const note of view.notes) context.print(note);
      for (const { path, diff } of view.files) for (const line of [path, ...diff]) context.print(line);
    });

  node
    .command('service')
    .description('order something of a service on a node, and wait until it is done')
    .argument('<node>')
    .argument('<service>')
    .argument('<verb>', 'up, down, once, restart, reload, kill, pause, cont')
    .addHelpText('after', '\nExample:\n  rouse node service web1 nginx restart')
    .action(async (name: string, service: string, verb: string) => {
      const { orderService } = await import('../../netboot/api/ask.io.ts');
      await orderService(context.places(), name, service, verb);
      context.print(`${name}: ${service} ${verb} done`);
    });

  node
    .command('drain')
    .description('take a node out of service: no new connections, VIPs handed over, until undrained')
    .argument('<node>')
    .option('--force', 'though a pool falls below its minimum')
    .action((name: string, { force }: { force?: boolean }) => drainNode(context, name, force === true));
  node
    .command('undrain')
    .description('put a drained node back into service')
    .argument('<node>')
    .action((name: string) => undrainNode(context, name));
}

function nodePath(name: string, what: string): string {
  return `/v1/nodes/${encodeURIComponent(name)}/${what}`;
}

/** `rouse node drain` and `rouse pool drain` are one act: a node is drained from everything that it serves. */
export async function drainNode(context: CommandContext, name: string, isForced: boolean): Promise<void> {
  const { askFleet } = await import('../../netboot/api/ask.io.ts');
  await askFleet(context.places(), nodePath(name, 'drain'), isForced ? { force: '1' } : {}, 'POST');
  context.print(`${name} takes no new connections`);
}

/** `rouse node undrain` and `rouse pool undrain`. */
export async function undrainNode(context: CommandContext, name: string): Promise<void> {
  const { askFleet } = await import('../../netboot/api/ask.io.ts');
  await askFleet(context.places(), nodePath(name, 'undrain'), {}, 'POST');
  context.print(`${name} is in service again`);
}
