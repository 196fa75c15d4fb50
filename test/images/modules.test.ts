// Which modules are carried and in what order they are loaded.

import { expect, test } from 'vitest';
import type { ModuleInfo } from '../../images/modinfo.ts';
import {
  missingModules,
  MODULE_CLASSES,
  moduleEntries,
  renderModuleIndex,
  selectModules,
} from '../../images/modules.ts';

const info = (name: string, more: Partial<ModuleInfo> = {}): ModuleInfo => ({
  name,
  depends: [],
  softBefore: [],
  softAfter: [],
  aliases: [],
  firmware: [],
  ...more,
});
const kernel = (...all: ModuleInfo[]) => {
  const byName = new Map(all.map((one) => [one.name, { path: `kernel/${one.name}.ko`, info: one }]));
  return (name: string) => byName.get(name);
};
const select = (find: ReturnType<typeof kernel>, extra: string[], builtin: string[] = []) =>
  selectModules({ className: 'none', extra, find, builtin: (name) => builtin.includes(name) });

test('what a module needs comes before it, once, however often it is needed', () => {
  const find = kernel(
    info('a', { depends: ['c', 'b'] }),
    info('b', { depends: ['d'] }),
    info('c', { depends: ['d'] }),
    info('d'),
  );
  const result = select(find, ['a', 'b']);
  expect(result.ok && result.selection.load).toEqual(['d', 'c', 'b', 'a']);
});

test('soft dependencies come before and after where they exist; what is built in or missing is no problem', () => {
  const find = kernel(
    info('a', { softBefore: ['early', 'crc32c', 'none'], softAfter: ['late'], depends: ['core'] }),
    info('early'),
    info('late'),
  );
  const result = select(find, ['a'], ['core', 'crc32c']);
  expect(result.ok && result.selection.load).toEqual(['early', 'a', 'late']);
});

test('a circle of soft dependencies ends', () => {
  const find = kernel(info('a', { softBefore: ['b'] }), info('b', { softBefore: ['a'] }));
  const result = select(find, ['a']);
  expect(result.ok && result.selection.load).toEqual(['b', 'a']);
});

test('a module that the kernel lacks is told, with who depends on it', () => {
  expect(select(kernel(), ['e1000'])).toEqual({
    ok: false,
    problems: [{ module: 'e1000', message: 'the kernel package has no such module' }],
  });
  const result = select(kernel(info('a', { depends: ['gone'] })), ['a']);
  expect(!result.ok && result.problems).toEqual([
    { module: 'gone', message: 'a depends on it, and the kernel package lacks it' },
  ]);
});

test('dashes and underscores are the same; firmware is told by module', () => {
  const find = kernel(info('bnx2_x', { firmware: ['bnx2/x.fw'] }));
  const result = select(find, ['bnx2-x']);
  expect(result.ok && result.selection.firmware).toEqual([{ module: 'bnx2_x', file: 'bnx2/x.fw' }]);
});

test('a class loads what every node needs and carries the rest; what it allows to be absent is named', () => {
  const find = kernel(
    ...MODULE_CLASSES.cloud.load.map((name) => info(name)),
    info('ena', { depends: ['x'] }),
    info('x'),
  );
  const result = selectModules({ className: 'cloud', extra: [], find, builtin: () => false });
  if (!result.ok) throw new Error(result.problems[0]?.message);
  expect(result.selection.load).toEqual(MODULE_CLASSES.cloud.load);
  expect(result.selection.modules.map(({ info: one }) => one.name)).toEqual([...MODULE_CLASSES.cloud.load, 'x', 'ena']);
  expect(result.selection.absent).toContain('mlx5_core');
});

test('the index is what modprobe reads: dependencies all the way down, aliases, softdeps of what is carried', () => {
  const find = kernel(
    info('a', { depends: ['b'], aliases: ['pci:v1*', 'a-alias'], softBefore: ['c', 'absent'] }),
    info('b', { depends: ['c'] }),
    info('c'),
  );
  const result = select(find, ['a']);
  if (!result.ok) throw new Error('selected');
  expect(renderModuleIndex(result.selection.modules)).toEqual({
    dep: 'kernel/a.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\n',
    alias: 'alias a-alias a\nalias pci:v1* a\n',
    softdep: 'softdep a pre: c\n',
  });
});

test('what two modules need is loaded before both: from the end of the line', () => {
  // virtio_pci and its kin in Linux 6.1.
  const find = kernel(
    info('pci', { depends: ['ring', 'modern', 'virtio'] }),
    info('virtio', { depends: ['ring'] }),
    info('ring'),
    info('modern'),
  );
  const result = select(find, ['pci']);
  if (!result.ok) throw new Error('selected');
  const [line = ''] = renderModuleIndex(result.selection.modules).dep.match(/^kernel\/pci.*$/m) ?? [];
  const loaded = line.split(' ').slice(1).reverse();
  expect(loaded.indexOf('kernel/ring.ko')).toBeLessThan(loaded.indexOf('kernel/virtio.ko'));
  expect(loaded).toHaveLength(3);
});

test('a role is told which of the modules it needs are missing, whatever way the kernel has the others', () => {
  const paths = ['usr/lib/modules/6.1/kernel/net/netfilter/ipvs/ip_vs.ko', 'etc/rouse/modules'];
  expect(missingModules(['ip_vs', 'ip-vs', 'nf_conntrack', 'ip_vs_rr'], paths, new Set(['nf_conntrack']))).toEqual([3]);
});

test('the files of an image: modules from their package, and the list that init loads; only with more than that it looks for devices', () => {
  const one = (name: string) => ({ path: `kernel/${name}.ko`, info: info(name) });
  const entriesOf = (load: string[]) =>
    moduleEntries('6.1', { modules: [one('a'), one('b')], load }, (path) =>
      new TextEncoder().encode(`octets of ${path}`),
    );
  const text = (load: string[], wanted: string): string | undefined => {
    const found = entriesOf(load).find(({ path }) => path === wanted);
    return found?.kind === 'file' && found.data instanceof Uint8Array
      ? new TextDecoder().decode(found.data)
      : undefined;
  };
  expect(entriesOf(['b']).map(({ path }) => path)).toEqual([
    'usr/lib/modules/6.1/kernel/a.ko',
    'usr/lib/modules/6.1/kernel/b.ko',
    'usr/lib/modules/6.1/modules.dep',
    'usr/lib/modules/6.1/modules.alias',
    'usr/lib/modules/6.1/modules.softdep',
    'etc/rouse/modules',
    'etc/rouse/coldplug',
  ]);
  expect(text(['b'], 'usr/lib/modules/6.1/kernel/a.ko')).toBe('octets of kernel/a.ko');
  expect(text(['b', 'a'], 'etc/rouse/modules')).toBe(
    '/usr/lib/modules/6.1/kernel/b.ko\n/usr/lib/modules/6.1/kernel/a.ko\n',
  );
  expect(text(['b', 'a'], 'etc/rouse/coldplug')).toBeUndefined();
});
