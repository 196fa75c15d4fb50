// bin/commands/host.ts - `rouse setup`, `doctor`, `backup`, `restore`: the machine that the boot server runs on.
//
// Owns: the words on the command line and the layout of the answers. Does not own any of the work (netboot/host/).

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { Fault } from '../../formats/errors.ts';
import { printable } from '../../formats/printable.ts';
import type { CommandContext } from '../context.ts';
import { IS_CLONE, ROOT } from '../places.ts';
import { renderTable } from '../table.ts';

/** Where rouse is installed with its user: the boot server as a service, and what it may write. */
async function installService(context: CommandContext, configDir: string): Promise<void> {
  const { shareConfiguration, userNamed } = await import('../../netboot/host/setup.io.ts');
  const { netbootService } = await import('../../netboot/host/setup.ts');
  const user = IS_CLONE || process.getuid?.() !== 0 ? undefined : await userNamed('rouse');
  if (user === undefined) return;
  await shareConfiguration(configDir, user.gid);
  const service = join(configDir, 'services', 'netboot');
  if (existsSync(service)) return;
  for (const [name, text] of netbootService(join(ROOT, 'bin', 'rouse'))) {
    mkdirSync(dirname(join(service, name)), { recursive: true });
    // The supervisor starts a directory as soon as it holds an executable run.
    writeFileSync(join(service, name), text, { mode: name === 'run' ? 0o755 : 0o644 });
  }
  context.print(`wrote ${service}: the boot server as a service of rouse supervise`);
}

const collect = (one: string, all: readonly string[]): string[] => [...all, one];

export function registerHost(program: Command, context: CommandContext): void {
  program
    .command('setup')
    .description('write a first rouse.yaml from the interfaces of this machine; it answers nobody until you say so')
    .option('--interface <name>', 'only this one; may be given again', collect, [])
    .option('--dry-run', 'print it instead')
    .addHelpText('after', '\nExamples:\n  rouse setup --dry-run\n  rouse setup --interface eth1')
    .action(async ({ interface: only, dryRun }: { interface: string[]; dryRun?: boolean }) => {
      const { lookAtHost } = await import('../../netboot/host/host.io.ts');
      const { renderSetup } = await import('../../netboot/host/setup.ts');
      const { configDir } = context.places();
      const file = join(configDir, 'rouse.yaml');
      const result = renderSetup(await lookAtHost(), only);
      if (!result.ok) throw new Fault('E_NO', { what: 'nothing to set up', why: result.why });
      if (dryRun === true) return context.print(result.text.trimEnd());
      if (existsSync(file)) {
        throw new Fault('E_NO', {
          what: `${file} is there already`,
          why: 'setup writes the first one only',
          todo: 'edit it, or see with: rouse setup --dry-run',
        });
      }
      for (const folder of ['profiles', 'nodes']) mkdirSync(join(configDir, folder), { recursive: true });
      writeFileSync(file, result.text, { flag: 'wx' });
      await installService(context, configDir);
      context.print(`wrote ${file}: ${result.interfaces.join(', ')} in mode: observe, which answers nobody`);
      context.print('next:');
      for (const [command, text] of [
        ['rouse doctor', 'what keeps this machine from being a boot server'],
        IS_CLONE
          ? ['rouse netboot', 'start it']
          : ['rouse status netboot', 'whether it runs; rouse logs -f netboot: what it says'],
        ['rouse node ls --new', 'which machines it hears'],
        ['rouse image build web', 'what they are to boot'],
      ] as const) {
        context.print(`  ${command.padEnd(24)}${text}`);
      }
    });

  program
    .command('doctor')
    .description('is this machine fit to be a boot server? Ports, firewall, other DHCP servers, disk, clock, packages')
    .option('--quick', 'leave out what takes seconds: other DHCP servers, the package archive')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExit status 1 where something is bad. Nothing is changed.')
    .action(async ({ quick, json }: { quick?: boolean; json?: boolean }) => {
      const { examine } = await import('../../netboot/host/host.io.ts');
      const { judge } = await import('../../netboot/host/doctor.ts');
      const findings = judge(await examine(context.places(), quick === true));
      if (findings.some(({ state }) => state === 'bad')) context.exit(1);
      if (json === true) return context.print(JSON.stringify(findings, undefined, 2));
      const rows = findings.map(({ name, state, says, todo }) => [
        state === 'unknown' ? '?' : state,
        name,
        todo === undefined ? says : `${says}; ${todo}`,
      ]);
      for (const line of renderTable([], rows)) context.print(line);
    });

  program
    .command('backup')
    .description('this boot server in one file: configuration, keys, store, image manifests; while it runs')
    .argument('<file>', 'a .tar.gz, made for its owner alone')
    .option('--with-images', 'layers, kernels and packages too, so that it needs no archive to come back')
    .addHelpText('after', '\nExample:\n  rouse backup /mnt/rouse-2026-11-21.tar.gz')
    .action(async (file: string, { withImages }: { withImages?: boolean }) => {
      const { writeBackup } = await import('../../netboot/host/backup.io.ts');
      const { readVersion } = await import('../version.ts');
      const options = { rouse: readVersion(), hasImages: withImages === true };
      const { files, bytes, isOnline, leftOut } = await writeBackup(context.places(), file, options);
      for (const { name, why } of leftOut) context.warn(printable(`rouse: ${name} is not in it: ${why}`));
      context.print(
        `${file}: ${files} files, ${(bytes / 1e6).toFixed(1)} MB${isOnline ? ', the store as the running boot server has it' : ''}`,
      );
    });

  program
    .command('restore')
    .description('put a backup back on a machine where no boot server runs')
    .argument('<file>')
    .option('--force', 'though a configuration is there: it is moved aside')
    .addHelpText('after', '\nExample:\n  rouse restore /mnt/rouse-2026-11-21.tar.gz')
    .action(async (file: string, { force }: { force?: boolean }) => {
      const { restoreBackup } = await import('../../netboot/host/restore.io.ts');
      const { userNamed } = await import('../../netboot/host/setup.io.ts');
      const owner = process.getuid?.() === 0 ? await userNamed('rouse') : undefined;
      const result = await restoreBackup(context.places(), file, { force: force === true, owner });
      const { note, files, nodes, unbootable, movedAside } = result;
      for (const path of movedAside) context.print(`what was there is now ${path}`);
      context.print(`restored ${files} files of ${note.host}, ${note.at}: ${nodes} nodes`);
      for (const { image, why } of unbootable)
        context.print(`no node can boot image '${image}' here (${why}): rouse image build ${image}`);
      context.print('start it with: systemctl start rouse, or rouse netboot');
    });
}
