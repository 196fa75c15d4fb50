// Recipes: what is refused and where, and what a role's folder becomes.

import { expect, test } from 'vitest';
import { renderProblem } from '../../formats/yaml/document.ts';
import { conflicts } from '../../images/layerrecord.ts';
import { type LoadedRecipe, parseRecipe, supervisorOf } from '../../images/recipe.ts';
import { layoutRole, type RoleFile } from '../../images/role.ts';

const problems = (text: string): string[] => {
  const parsed = parseRecipe('web/recipe.yaml', text);
  return parsed.ok ? [] : parsed.problems.map(renderProblem);
};

const WRONG: [string, string, string][] = [
  [
    'a misspelt key',
    'version: 1\npackage: [nginx]\n',
    "web/recipe.yaml:2:1 unknown key 'package', did you mean 'packages'?",
  ],
  ['another version', 'version: 2\n', 'web/recipe.yaml:1:10 version: expected 1, got 2'],
  ['a path that leaves the root', 'version: 1\nlinks: {/etc/../../x: y}\n', 'web/recipe.yaml:2:'],
  [
    'a relative path',
    'version: 1\nkeep: [etc/x]\n',
    'web/recipe.yaml:2:8 keep[0]: expected an absolute path on the node, got "etc/x"',
  ],
  [
    'an unknown class of modules',
    'version: 1\nkernel: {package: linux-image-amd64, modules: metl}\n',
    'web/recipe.yaml:2:47 kernel.modules: expected none | virtio | cloud | metal | all, got "metl", did you mean \'metal\'?',
  ],
  [
    'a mode that is not octal',
    'version: 1\ndirectories: [{path: /tmp, mode: 1798}]\n',
    'web/recipe.yaml:2:34 directories[0].mode: expected an octal mode such as 0644, got',
  ],
  [
    'a default of another type',
    'version: 1\nvars: {n: {type: number, default: many, text: how many}}\n',
    'web/recipe.yaml:2:35 vars.n.default: expected a number, got "many"',
  ],
  [
    'a mirror of another kind',
    'version: 1\narchive: {mirror: "ftp://x", suites: [a]}\n',
    'web/recipe.yaml:2:19 archive.mirror: expected an address such as http://deb.debian.org/debian, got "ftp://x"',
  ],
  [
    'a mirror with a password',
    'version: 1\narchive: {mirror: "http://u:p@x/y", suites: [a]}\n',
    'web/recipe.yaml:2:19 archive.mirror: expected no password in it',
  ],
  [
    'a mirror without suites',
    'version: 1\narchive: {mirror: "http://x/debian"}\n',
    'web/recipe.yaml:2:19 archive.mirror: expected suites: [NAME, …] beside a mirror, got "http://x/debian"',
  ],
  [
    'a keyring for the sources of the host',
    'version: 1\narchive: {keyring: a.gpg}\n',
    'web/recipe.yaml:2:20 archive.keyring: expected a mirror beside a keyring',
  ],
  [
    'a keyring out of the way',
    'version: 1\narchive: {mirror: "file:/x", suites: [a], keyring: ../a.gpg}\n',
    'web/recipe.yaml:2:52 archive.keyring: expected a file name, got "../a.gpg"',
  ],
  [
    'a suite that would be more than a word',
    'version: 1\narchive: {suites: ["a\\nTrusted: yes"]}\n',
    'web/recipe.yaml:2:20 archive.suites[0]: expected a word such as bookworm or main, got "a\\nTrusted: yes"',
  ],
  ['no component', 'version: 1\narchive: {components: []}\n', 'web/recipe.yaml:2:23 archive.components: '],
  [
    'a maker of no processor',
    'version: 1\nmicrocode: [intel, via]\n',
    'web/recipe.yaml:2:20 microcode[1]: expected intel, amd, or a family such as intel/06-4f or amd/fam17h, got "via"',
  ],
  [
    'a misspelt key of firmware',
    'version: 1\nfirmware: {package: [firmware-bnx2]}\n',
    "web/recipe.yaml:2:12 unknown key 'package', did you mean 'packages'?",
  ],
  [
    'a module as a file',
    'version: 1\nfirmware: {required: [bnx2.ko]}\n',
    'web/recipe.yaml:2:23 firmware.required[0]: expected a module name without .ko, got "bnx2.ko"',
  ],
  [
    'firmware that is done without for no reason',
    'version: 1\nfirmware: {without: {tg3: ""}}\n',
    'web/recipe.yaml:2:27 firmware.without.tg3: ',
  ],
  [
    'a name that is an order to apt',
    'version: 1\npackages: [g++, bash-]\n',
    'web/recipe.yaml:2:17 packages[1]: expected a name without - at its end, got "bash-"',
  ],
  ...['/', '//x', '/x/', '/x//y', `/${'x'.repeat(4096)}`, `/lib/${'x'.repeat(4088)}`].map(
    (path): [string, string, string] => [
      `the directory ${path.slice(0, 8)} of ${path.length} bytes`,
      `version: 1\ndirectories: [{path: ${path}}]\n`,
      'web/recipe.yaml:2:22 directories[0].path: expected a path below /, without empty steps, of at most 4095 bytes',
    ],
  ),
  ['a package name with a blank', 'version: 1\npackages: ["nginx; rm -rf /"]\n', 'web/recipe.yaml:2:12 packages[0]'],
];
for (const [what, text, want] of WRONG) {
  test(`${what} is refused with its place`, () => expect(problems(text)[0]).toContain(want));
}

const load = (text: string, role = 'web'): LoadedRecipe => {
  const parsed = parseRecipe(`${role}/recipe.yaml`, text);
  if (!parsed.ok) throw new Error(parsed.problems.map(renderProblem).join('\n'));
  return { role, file: `${role}/recipe.yaml`, recipe: parsed.value, positions: parsed.positions };
};
const file = (path: string, content = '', executable = false): RoleFile => ({
  kind: 'file',
  path,
  executable,
  data: new TextEncoder().encode(content),
});
const entry = (files: ReturnType<typeof layoutRole>, path: string) => files.entries.find((one) => one.path === path);

test('files, service directories, hooks and templates go to their places; the rest of the folder stays out', () => {
  const recipe = load(
    'version: 1\nservices: [nginx]\nhooks: [tune]\nattributes: [{path: /etc/key, mode: "0600", uid: 33}]\n',
  );
  const result = layoutRole(
    [recipe],
    [
      file('recipe.yaml'),
      file('README'),
      file('other/run'),
      file('files/etc/key', 'k'),
      file('files/bin/tool', 'x', true),
      file('files/srv/index.html.liquid', '{{ node.name }}'),
      file('nginx/run', '#!/bin/sh\n', true),
      file('nginx/log/run', '#!/bin/sh\n', true),
      file('hooks/tune', '#!/bin/sh\n', true),
    ],
  );
  expect(result.problems).toEqual([]);
  expect(result.entries.map(({ path }) => path).sort()).toEqual([
    'etc/key',
    'etc/rouse/hooks/00-tune',
    'service/nginx/log/run',
    'service/nginx/run',
    'usr/bin/tool',
  ]);
  expect(entry(result, 'etc/key')).toMatchObject({ mode: 0o600, uid: 33, gid: 0 });
  expect(entry(result, 'usr/bin/tool')).toMatchObject({ mode: 0o755, uid: 0 });
  expect(result.templates).toEqual([
    { path: '/srv/index.html', mode: 0o644, source: '{{ node.name }}', origin: 'web/files/srv/index.html.liquid' },
  ]);
});

test('users of the whole chain are in /etc/passwd, by uid, with no password', () => {
  const base = load(
    'version: 1\nusers: [{name: nobody, uid: 65534}, {name: root, uid: 0, home: /root, shell: /bin/sh}]\n',
    'base',
  );
  const web = load('version: 1\nusers: [{name: www-data, uid: 33}]\n');
  const text = (path: string): string => {
    const found = entry(layoutRole([base, web], []), path);
    return found?.kind === 'file' && found.data instanceof Uint8Array ? new TextDecoder().decode(found.data) : '';
  };
  expect(text('etc/passwd').split('\n')).toEqual([
    'root:x:0:0:root:/root:/bin/sh',
    'www-data:x:33:33:www-data:/nonexistent:/bin/false',
    'nobody:x:65534:65534:nobody:/nonexistent:/bin/false',
    '',
  ]);
  expect(text('etc/shadow')).toContain('root:*:');
  expect(entry(layoutRole([base, web], []), 'etc/shadow')).toMatchObject({ mode: 0o600 });
});

const ROLE_PROBLEMS: [string, string, RoleFile[], string][] = [
  ['a service without run', 'services: [nginx]', [], 'web/recipe.yaml:2:12 there is no web/nginx/run'],
  [
    'a run that is not executable',
    'services: [nginx]',
    [file('nginx/run')],
    'web/recipe.yaml:2:12 web/nginx/run is not executable',
  ],
  [
    'a log folder that nobody reads for, which would block its service',
    'services: [nginx]',
    [file('nginx/run', '', true), file('nginx/log/main/current')],
    'web/recipe.yaml:2:12 web/nginx/log has neither',
  ],
  ['a hook that is not there', 'hooks: [tune]', [], 'web/recipe.yaml:2:9 there is no web/hooks/tune'],
  ['attributes of no file', 'attributes: [{path: /etc/x}]', [], 'there is no file /etc/x in web/files'],
  [
    'a link where a file is',
    'links: {/etc/x: y}',
    [file('files/etc/x')],
    'web/recipe.yaml:2:17 /etc/x is also a file of web',
  ],
];
test('the highest recipe that names a supervisor chooses it, and its settings files are taken as they are', () => {
  const base = load('version: 1\nservices: [agent]\n', 'base');
  const files = [
    file('agent/run', '', true),
    file('agent/health', 'kind tcp\n'),
    file('agent/log/multilog', 't ./main\n'),
  ];
  expect(supervisorOf([base])).toEqual({ supervisor: 'daemontools', place: undefined });
  const web = load('version: 1\nextends: base\nsupervisor: rouse\n');
  expect(supervisorOf([base, web])).toEqual({ supervisor: 'rouse', place: 'web/recipe.yaml:3:13' });
  expect(layoutRole([base], files, 'rouse').problems).toEqual([]);
  const laid = layoutRole([base], files, 'rouse').entries.map(({ path }) => path);
  expect(laid).toEqual(expect.arrayContaining(['service/agent/health', 'service/agent/log/multilog']));
  expect(entry(layoutRole([base], files, 'rouse'), 'service/agent/supervise')).toMatchObject({
    kind: 'symlink',
    target: '/run/rouse/service/agent',
  });
  expect(layoutRole([base], files, 'daemontools').problems[0]).toContain(
    'base/agent/health:1:1 svscan checks no health',
  );
});

for (const [what, line, files, want] of ROLE_PROBLEMS) {
  test(`${what} is refused with its place`, () => {
    expect(layoutRole([load(`version: 1\n${line}\n`)], files).problems[0]).toContain(want);
  });
}

test('a later layer may replace what it says it overrides, and the generated accounts; nothing else', () => {
  const below = new Map([
    ['etc/passwd', 'base'],
    ['etc/motd', 'base'],
    ['etc/issue', 'base'],
  ]);
  expect(conflicts(['etc/passwd', 'etc/motd', 'etc/issue', 'etc/new'], below, ['/etc/motd'])).toEqual([
    { path: 'etc/issue', layer: 'base' },
  ]);
});

test('a file and a template of one recipe at one path: which one nodes have would be left to chance', () => {
  const layout = layoutRole([load('version: 1\n')], [file('files/etc/a.liquid', 'x'), file('files/etc/a', 'y')]);
  expect(layout.problems).toEqual(['web/recipe.yaml:1:1 /etc/a is both a file and a template of web']);
});

test('live templates are marked in the manifest, and the node gets the list of the whole chain', () => {
  const base = load('version: 1\nlive: [{path: /etc/a, check: try, reload: again}]\n', 'base');
  const web = load('version: 1\nlive: [{path: /etc/b.conf, check: nginx -t -c}]\n');
  const layout = layoutRole([base, web], [file('files/etc/b.conf.liquid', 'x'), file('files/etc/c.liquid', 'y')]);
  expect(layout.problems).toEqual([]);
  expect(layout.templates.map(({ path, live }) => [path, live])).toEqual([
    ['/etc/b.conf', { check: 'nginx -t -c', reload: '' }],
    ['/etc/c', undefined],
  ]);
  const list = entry(layout, 'etc/rouse/live');
  expect(list?.kind === 'file' && list.data instanceof Uint8Array ? new TextDecoder().decode(list.data) : '').toBe(
    '/etc/a\ttry\tagain\n/etc/b.conf\tnginx -t -c\t\n',
  );
  expect(conflicts(['etc/rouse/live'], new Map([['etc/rouse/live', 'base']]), [])).toEqual([]);
});

test('a live path without a template, and a command that would break the list, are refused with their place', () => {
  const { problems: found } = layoutRole([load('version: 1\nlive: [{path: /etc/a}]\n')], []);
  expect(found).toEqual(['web/recipe.yaml:2:15 there is no template web/files/etc/a.liquid']);
  expect(problems('version: 1\nlive: [{path: /etc/a, check: "a\\tb"}]\n')[0]).toContain(
    'live[0].check: expected one line',
  );
});
