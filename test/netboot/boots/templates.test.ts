// Templates as nodes get them: strict, escaped by extension, each error at its line.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { renderTemplateProblems, renderTemplates, type TemplateValues } from '../../../netboot/boots/templates.ts';

const VALUES: TemplateValues = {
  node: {
    name: 'web1',
    hostname: 'web1',
    mac: '52:54:00:77:00:01',
    address: '10.0.0.11',
    labels: { rack: 'r1' },
    note: '<spare>',
    index: 0,
  },
  profile: { name: 'web' },
  boot: { id: '0123456789abcdef', startedAt: '2026-01-02T03:04:05.000Z' },
  vars: { greeting: '<b>hi</b>', names: ['a', 'b'], tls: true },
  pools: { web: [{ name: 'web1', address: '10.0.0.11' as Ipv4Address, weight: 1, state: 'in' }] },
  peers: [],
  subnet: { name: 'rack1', network: '10.0.0.0/24', prefixLength: 24, netmask: '255.255.255.0', router: null },
  directVips: ['10.0.0.200'],
};

const render = (source: string, path = '/etc/x.conf'): string => {
  const result = renderTemplates([{ path, mode: 0o644, source, origin: 'services/web/files/x.liquid' }], VALUES);
  return result.ok ? new TextDecoder().decode(result.files[0]?.content) : renderTemplateProblems(result.problems);
};

const ROWS: [source: string, path: string, want: string][] = [
  ['{{ node.name }} {{ node.labels.rack }} {{ profile.name }} {{ boot.id }}', '/a', 'web1 r1 web 0123456789abcdef'],
  ['{{ vars.greeting }}', '/a.conf', '<b>hi</b>'],
  ['{{ vars.greeting }}', '/a.html', '&lt;b&gt;hi&lt;/b&gt;'],
  ['{{ vars.greeting | raw }}', '/a.html', '<b>hi</b>'],
  ['{% for name in vars.names %}server {{ name }};{% endfor %}', '/a', 'server a;server b;'],
  ['{% if vars.tls %}ssl{% endif %}', '/a', 'ssl'],
  ["{{ boot.startedAt | date: '%Y-%m-%d' }}", '/a', '2026-01-02'],
];
for (const [source, path, want] of ROWS) test(`${path}: ${source}`, () => expect(render(source, path)).toBe(want));

const WRONG: [source: string, want: string][] = [
  ['a\n  {{ vars.nope }}', 'services/web/files/x.liquid:2:6 undefined variable: vars.nope'],
  ['{{ node.constructor }}', 'services/web/files/x.liquid:1:4 undefined variable: node.constructor'],
  ['{{ vars.greeting | shell }}', 'services/web/files/x.liquid:1:1 undefined filter: shell'],
  ['{% include "/etc/shadow" %}', 'services/web/files/x.liquid:1:1 tag "include" not found'],
  ['{% render "/etc/shadow" %}', 'services/web/files/x.liquid:1:1 tag "render" not found'],
  ['{% layout "/etc/shadow" %}', 'services/web/files/x.liquid:1:1 tag "layout" not found'],
  ['a\n{% if vars.tls %}', 'services/web/files/x.liquid:2:1 tag {% if vars.tls %} not closed'],
  ["{{ 'now' | date: '%Y' }}", "services/web/files/x.liquid:1:1 'now' is not known here, use boot.startedAt"],
  ['{% for i in (1..100000000) %}{{ i }}{% endfor %}', 'services/web/files/x.liquid:1:1 memory alloc limit exceeded'],
];
for (const [source, want] of WRONG) test(`refused: ${source}`, () => expect(render(source)).toBe(want));

test('one template that fails keeps all files back, and every failure is told', () => {
  const one = { mode: 0o600, origin: 'o' };
  const result = renderTemplates(
    [
      { ...one, path: '/a', source: 'fine' },
      { ...one, path: '/b', source: '{{ x }}' },
      { ...one, path: '/c', source: '{{ y }}' },
    ],
    VALUES,
  );
  expect(result).toEqual({
    ok: false,
    problems: [
      { file: 'o', line: 1, column: 4, message: 'undefined variable: x' },
      { file: 'o', line: 1, column: 4, message: 'undefined variable: y' },
    ],
  });
});
