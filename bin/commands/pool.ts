// bin/commands/pool.ts - `rouse pool` and `rouse vip`: who is in which pool, who holds which virtual address.
//
// Owns: the words on the command line and the layout of the answers. Does not own membership (netboot/fleet/pools.ts), holders
// (netboot/fleet/vips.ts), or draining (netboot/fleet/changes.io.ts).

import type { Command } from 'commander';
import type { PoolView } from '../../netboot/fleet/pools.ts';
import type { AnsweredVip } from '../../netboot/fleet/vips.ts';
import type { CommandContext } from '../context.ts';
import { renderTable } from '../table.ts';
import { drainNode, undrainNode } from './node.ts';

export function registerPool(program: Command, context: CommandContext): void {
  const pool = program.command('pool').description('pools: queries over node files, filled by what is ready');
  pool
    .command('ls')
    .description('every pool with its members')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { askFleet } = await import('../../netboot/api/ask.io.ts');
      const { pools } = await askFleet<{ pools: PoolView[] }>(context.places(), '/v1/pools');
      if (json === true) return context.print(JSON.stringify(pools, undefined, 2));
      const rows = pools.map(({ name, minimum, members }) => [
        name,
        String(members.filter(({ weight }) => weight === 1).length),
        String(minimum),
        members.map(({ name: node, state }) => (state === 'in' ? node : `${node} (${state})`)).join(' ') || '-',
      ]);
      for (const line of renderTable(['POOL', 'IN SERVICE', 'MINIMUM', 'MEMBERS'], rows)) context.print(line);
    });
  pool
    .command('show')
    .description('the members of a pool: address, weight and state')
    .argument('<pool>')
    .option('--json', 'as JSON')
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { askFleet } = await import('../../netboot/api/ask.io.ts');
      const view = await askFleet<PoolView>(context.places(), `/v1/pools/${encodeURIComponent(name)}`);
      if (json === true) return context.print(JSON.stringify(view, undefined, 2));
      const rows = view.members.map((one) => [one.name, one.address, String(one.weight), one.state]);
      for (const line of renderTable(['NODE', 'ADDRESS', 'WEIGHT', 'STATE'], rows)) context.print(line);
    });
  pool
    .command('drain')
    .description('no new connections for a node, in every pool')
    .argument('<node>')
    .option('--force', 'though a pool falls below its minimum')
    .addHelpText('after', '\nExample:\n  rouse pool drain web2')
    .action((name: string, { force }: { force?: boolean }) => drainNode(context, name, force === true));
  pool
    .command('undrain')
    .description('a node back into its pools')
    .argument('<node>')
    .addHelpText('after', '\nExample:\n  rouse pool undrain web2')
    .action((name: string) => undrainNode(context, name));

  const vip = program.command('vip').description('virtual addresses of the load balancers');
  vip
    .command('ls')
    .description('every virtual address, who reports to hold it and who answers ARP for it; exit 1 where two do')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { askFleet } = await import('../../netboot/api/ask.io.ts');
      const { vips } = await askFleet<{ vips: AnsweredVip[] }>(context.places(), '/v1/vips');
      if (vips.some(({ alarm }) => alarm !== undefined)) context.exit(1);
      if (json === true) return context.print(JSON.stringify(vips, undefined, 2));
      const now = Date.now();
      const rows = vips.map(({ vip: address, profile, vrid, holders, answers }) => [
        address,
        profile,
        String(vrid),
        holders
          .map(
            ({ node, interface: name, saidAtMs }) => `${node} (${name}, ${Math.round((now - saidAtMs) / 1000)} s ago)`,
          )
          .join(' ') || 'nobody',
        answers === undefined ? '-' : answers.map(({ mac, node }) => node ?? mac).join(' ') || 'nobody',
      ]);
      for (const line of renderTable(['VIP', 'PROFILE', 'VRID', 'HELD BY', 'ARP ANSWERED BY'], rows))
        context.print(line);
      for (const { alarm } of vips) if (alarm !== undefined) context.warn(`rouse: ALARM: ${alarm}`);
    });
}
