// bin/commands/node.ts - `rouse node` and `rouse profile`: what nodes should be and are, with where each value came from.
//
// Owns: the words on the command line and the layout of the answers. Does not own any answer (netboot/view.ts).

import type { Command } from 'commander';
import type { CommandContext } from '../context.ts';
import { renderTable } from '../table.ts';

export function registerNode(program: Command, context: CommandContext): void {
  const node = program.command('node').description('the nodes of this site');
  node
    .command('ls')
    .description('every node: what it should be, and how its last boot went')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { askNodes } = await import('../../netboot/ask.io.ts');
      const { answer, note } = await askNodes(context.places());
      if (note !== undefined) context.warn(`rouse: ${note}`);
      if (json === true) return context.print(JSON.stringify(answer, undefined, 2));
      const rows = answer.map((row) => [
        row.name,
        row.profile,
        row.address ?? '-',
        row.should,
        row.boot ?? '-',
        row.note,
      ]);
      for (const line of renderTable(['NODE', 'PROFILE', 'ADDRESS', 'BOOTS', 'LAST BOOT', 'NOTE'], rows))
        context.print(line);
    });
  node
    .command('show')
    .description('a node: every value with the file and line it came from, and its last boots')
    .argument('<name>')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  rouse node show web1')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { askNode } = await import('../../netboot/ask.io.ts');
      const { renderWaterfall } = await import('../../netboot/journal.ts');
      const { answer, note } = await askNode(context.places(), name);
      if (note !== undefined) context.warn(`rouse: ${note}`);
      if (json === true) return context.print(JSON.stringify(answer, undefined, 2));
      context.print(
        `${answer.name}  ${answer.macs.join(' ')}  ${answer.address ?? 'no address yet'}  boots ${answer.should}`,
      );
      for (const line of renderTable(
        [],
        answer.values.map(({ name: key, value, source }) => [`  ${key}`, value, source]),
      )) {
        context.print(line);
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
      const { setNodes } = await import('../../netboot/ask.io.ts');
      const request = { range, words, isDryRun: dryRun === true, isOffline: offline === true };
      const changes = await setNodes(context.places(), request);
      for (const { file, diff } of changes) for (const line of [file, ...diff]) context.print(line);
      if (changes.length === 0) context.print('nothing to change: it is so already');
    });

  const profile = program.command('profile').description('the profiles of this site');
  profile
    .command('ls')
    .description('every profile, what it extends and which nodes have it')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { askProfiles } = await import('../../netboot/ask.io.ts');
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
      const { askProfile } = await import('../../netboot/ask.io.ts');
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
