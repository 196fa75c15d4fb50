// A rack named from one table: the order of names, the machines that are left out with their reasons, the files' text.

import { expect, test } from 'vitest';
import { parseYaml } from '../../../formats/yaml/document.ts';
import { type AdoptionQuestion, type Candidate, planAdoption, planReplacement } from '../../../netboot/site/adopt.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { parseCsv } from '../../../netboot/site/csv.ts';
import { renderNodeFile } from '../../../netboot/site/newnodes.ts';
import { NodeSchema } from '../../../netboot/site/schema.ts';

const machine = (number: number, over: Partial<Candidate> = {}): Candidate => {
  const mac = `52:54:00:00:00:0${number}`;
  return {
    mac,
    macs: [mac],
    serial: `S${number}`,
    port: { switch: 'sw1', port: `Ethernet${number}` },
    hardware: '2 x CPU',
    ...over,
  };
};

const ask = (over: Partial<AdoptionQuestion>) => {
  const plan = planAdoption({
    machines: [machine(2), machine(1)],
    by: 'switch-port',
    names: ['n1', 'n2', 'n3'],
    addresses: undefined,
    profile: 'web',
    taken: new Set(),
    table: undefined,
    ...over,
  });
  return plan.ok
    ? {
        nodes: plan.nodes.map(({ name, macs, address }) =>
          [name, macs[0]?.slice(-1), ...(address ?? '').split(' ')].join(' ').trim(),
        ),
        left: plan.left.map(({ mac, why }) => `${mac.slice(-1)}: ${why}`),
      }
    : plan.why;
};
const table = (text: string): AdoptionQuestion['table'] => {
  const parsed = parseCsv(text);
  if (!parsed.ok) throw new Error(parsed.why);
  return { file: 'rack.csv', rows: parsed.rows };
};

const ROWS: readonly [string, Partial<AdoptionQuestion>, unknown][] = [
  ['by switch port', {}, { nodes: ['n1 1', 'n2 2'], left: [] }],
  [
    'ports in the order of their numbers, not of their letters',
    { machines: [machine(1, { port: { switch: 'sw1', port: 'Ethernet10' } }), machine(2), machine(9)] },
    { nodes: ['n1 2', 'n2 9', 'n3 1'], left: [] },
  ],
  ['names in use are passed over', { taken: new Set(['n1']) }, { nodes: ['n2 1', 'n3 2'], left: [] }],
  [
    'an address goes with its name',
    { taken: new Set(['n1']), addresses: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] },
    { nodes: ['n2 1 10.0.0.2', 'n3 2 10.0.0.3'], left: [] },
  ],
  ['one address for each name', { addresses: ['10.0.0.1'] }, '3 names and 1 addresses: expected one for each'],
  [
    'a machine whose port nobody knows',
    { machines: [machine(1, { port: undefined }), machine(2)] },
    { nodes: ['n1 2'], left: ['1: no switch port is known of it: neither LLDP nor option 82 told one'] },
  ],
  [
    'two machines that claim one port',
    { machines: [machine(1), machine(2, { port: machine(1).port }), machine(3)] },
    {
      nodes: ['n1 3'],
      left: ["1: 2 machines say 'sw1 Ethernet1'", "2: 2 machines say 'sw1 Ethernet1'"],
    },
  ],
  [
    'by serial',
    { by: 'serial', machines: [machine(1, { serial: 'S9' }), machine(2)] },
    { nodes: ['n1 2', 'n2 1'], left: [] },
  ],
  [
    'fewer names than machines',
    { names: ['n1'] },
    { nodes: ['n1 1'], left: ['2: there are more machines than free names'] },
  ],
  [
    'a table by serial and by port, with a machine that is not here yet',
    {
      by: 'csv',
      table: table('name,serial,switch,port,address\nweb7,s2,,,10.0.0.7\nweb8,,SW1,Ethernet1,\nweb9,S9,,,'),
    },
    { nodes: ['web7 2 10.0.0.7', 'web8 1'], left: [] },
  ],
  [
    'a row whose name a node has, and a machine in no row',
    { by: 'csv', table: table('name,serial\nweb7,S2'), taken: new Set(['web7']) },
    {
      nodes: [],
      left: ['2: web7 of line 2 of rack.csv is a node already', '1: no line of rack.csv tells it'],
    },
  ],
  [
    'by serial, of which one has none',
    { by: 'serial', machines: [machine(1, { serial: undefined }), machine(2)] },
    { nodes: ['n1 2'], left: ['1: it has no serial number'] },
  ],
  [
    'a table that does not tell one machine',
    { by: 'csv', table: table('name,serial,mac\nweb7,S2,\nweb8,,52-54-00-00-00-02') },
    'rack.csv:3: 52:54:00:00:00:02 is the machine of line 2 too',
  ],
  ['a row without a name', { by: 'csv', table: table('name,serial\n,S1') }, 'rack.csv:2: there is no name in it'],
  [
    'a row that tells nothing',
    { by: 'csv', table: table('name,serial\nweb1,') },
    'rack.csv:2: expected a mac, a serial or a port that tells the machine',
  ],
];
for (const [title, question, want] of ROWS) test(title, () => expect(ask(question)).toEqual(want));

test("the file of a new node is a node's file, whatever the machine says of itself", () => {
  const text = renderNodeFile(
    { name: 'n1', macs: ['52:54:00:00:00:01'], profile: 'web', labels: { rack: 'yes: [no' }, note: "it's #1" },
    'discovered, serial a\nprofile: lb',
  );
  expect(text.split('\n')[0]).toBe('# discovered, serial a?profile: lb');
  const parsed = parseYaml('nodes/n1.yaml', text, NodeSchema);
  expect(parsed).toMatchObject({
    ok: true,
    value: { macs: ['52:54:00:00:00:01'], profile: 'web', labels: { rack: 'yes: [no' }, note: "it's #1" },
  });
});

const CSV: readonly [string, unknown][] = [
  ['a,b\r\n1, 2\r\n', [{ line: 2, cells: { a: '1', b: '2' } }]],
  ['A;B\n"x;""y""\nz";2', [{ line: 2, cells: { a: 'x;"y"\nz', b: '2' } }]],
  ['a\n\n# note\n1', [{ line: 4, cells: { a: '1' } }]],
  ['a,b\n1,2,3', '2: 3 cells, and the first row names 2 columns'],
  ['a\n"1', '2: a quote is opened and never closed'],
  ['a,a\n1,2', "1: the column 'a' comes twice"],
  ['', '1: it is empty, expected a first row with the names of the columns'],
];
for (const [text, want] of CSV) {
  test(`the table ${JSON.stringify(text)}`, () => {
    const parsed = parseCsv(text);
    expect(parsed.ok ? parsed.rows : `${parsed.line}: ${parsed.why}`).toEqual(want);
  });
}

test("a new machine's cards take the place of the old ones; a card that was moved over stays", () => {
  const mac = (number: number): MacAddress => `52:54:00:00:00:0${number}` as MacAddress;
  expect(planReplacement([mac(1), mac(2)], mac(9), [mac(9), mac(2), mac(8)])).toEqual({
    macs: [mac(9), mac(2), mac(8)],
    gone: [mac(1)],
  });
  expect(planReplacement([mac(1)], mac(9), [])).toEqual({ macs: [mac(9)], gone: [mac(1)] });
});
