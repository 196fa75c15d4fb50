// Events in, boots out: stages with times and bytes, restarts told apart, what is stuck and why. No clock: times are data.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { Journal, rungOf } from '../../../netboot/journal/attempts.ts';
import type { Attempt, BootEvent, NodeStage } from '../../../netboot/journal/journal.ts';
import { progressOf, renderOutcome } from '../../../netboot/journal/progress.ts';
import { renderWaterfall } from '../../../netboot/journal/waterfall.ts';

const MAC = '52:54:00:77:00:01' as MacAddress;
const IP = '10.0.0.11' as Ipv4Address;
const T0 = 1_000_000;

type Loose = Omit<BootEvent, 'mac' | 'atMs'>;
const at = (s: number, event: Loose): BootEvent => ({ mac: MAC, atMs: T0 + s * 1000, ...event }) as BootEvent;
const dhcp = (client: 'firmware' | 'loader' | 'system', message: 'offer' | 'ack'): Loose =>
  ({ kind: 'dhcp', client, message, address: IP, why: '' }) as Loose;
const loader = {
  kind: 'loader',
  file: 'undionly.kpxe',
  bytes: 68_000,
  durationMs: 500,
  outcome: 'done',
  why: '',
} as Loose;
const script = (bootId: string, target: 'linux' | 'local' = 'linux'): Loose =>
  ({ kind: 'script', bootId, node: 'web1', profile: 'web', target, readyTimeoutS: 100, files: 3 }) as Loose;
const file = (bootId: string, part: 'kernel' | 'initrd', bytes: number, outcome: 'done' | 'aborted' = 'done'): Loose =>
  ({ kind: 'file', bootId, part, name: 'x', bytes, durationMs: 1000, outcome }) as Loose;
const begun = (bootId: string, part: 'kernel' | 'initrd', bytes: number): Loose =>
  ({ kind: 'begun', bootId, part, name: 'x', bytes }) as Loose;
const stage = (bootId: string, name: NodeStage, uptimeS: number, detail = ''): Loose =>
  ({ kind: 'stage', bootId, stage: name, uptimeMs: uptimeS * 1000, detail }) as Loose;

const WHOLE: BootEvent[] = [
  at(0, dhcp('firmware', 'offer')),
  at(1, dhcp('firmware', 'ack')),
  at(2, loader),
  at(4, dhcp('loader', 'offer')),
  at(5, dhcp('loader', 'ack')),
  at(6, script('a')),
  at(8, file('a', 'kernel', 7_000_000)),
  at(10, file('a', 'initrd', 4_000_000)),
  at(12, file('a', 'initrd', 2_000_000)),
  at(13, file('a', 'initrd', 512)),
  at(40, dhcp('system', 'ack')),
  // The kernel started at 20: the first two are sent late, with the uptime at which they happened.
  at(41, stage('a', 'init', 5)),
  at(41, stage('a', 'layers', 6)),
  at(41, stage('a', 'network', 21)),
  at(43, stage('a', 'services', 23)),
  at(47, stage('a', 'ready', 27)),
];

function fold(events: readonly BootEvent[]): Attempt[] {
  const journal = new Journal();
  for (const event of events) journal.put(event);
  return [...journal.ofMac(MAC)];
}

test('a whole boot: every stage where it happened, with its bytes', () => {
  const [boot, ...others] = fold(WHOLE);
  expect(others).toEqual([]);
  const shown = Object.values(boot?.stages ?? {}).map(({ name, startedAtMs, endedAtMs, bytes }) => [
    name,
    (startedAtMs - T0) / 1000,
    (endedAtMs - T0) / 1000,
    bytes,
  ]);
  expect(shown).toEqual([
    ['dhcp', 0, 5, 0],
    ['loader', 1.5, 2, 68_000],
    ['script', 6, 6, 0],
    ['kernel', 7, 8, 7_000_000],
    ['initrd', 9, 13, 6_000_512],
    ['init', 13, 25, 0],
    ['layers', 25, 26, 0],
    ['network', 26, 41, 0],
    ['services', 41, 43, 0],
    ['ready', 43, 47, 0],
  ]);
  expect(boot?.outcome).toEqual({ kind: 'ready', atMs: T0 + 47_000 });
  expect(renderOutcome(boot!, T0 + 99_000)).toBe('ready after 47.0 s');
});

test('a boot that is folded again from what the store kept is the same', () => {
  expect(fold(WHOLE.map((event) => JSON.parse(JSON.stringify(event)) as BootEvent))).toEqual(fold(WHOLE));
});

test('the waterfall is a line a stage', () => {
  const lines = renderWaterfall(fold(WHOLE)[0]!, T0 + 99_000);
  expect(lines[0]).toBe('web1  boot a  profile web  1970-01-01T00:16:40.000Z  ready after 47.0 s');
  expect(lines[2]).toBe(`  loader       1.5 s     0.5 s  ${' ='.padEnd(40)}  68000 bytes  undionly.kpxe`);
  expect(lines[5]).toBe(`  initrd       9.0 s     4.0 s  ${`${' '.repeat(7)}=====`.padEnd(40)}  6000512 bytes`);
  expect(lines.map((line) => line.trim().split(' ')[0])).toEqual([
    'web1',
    'dhcp',
    'loader',
    'script',
    'kernel',
    'initrd',
    'init',
    'layers',
    'network',
    'services',
    'ready',
  ]);
});

test('a clock that is set back in the middle of a boot gives a waterfall all the same', () => {
  for (const backS of [5, 1000]) {
    const shifted = WHOLE.map((event, index) => (index < 6 ? event : { ...event, atMs: event.atMs - backS * 1000 }));
    for (const attempt of fold(shifted)) {
      for (const line of renderWaterfall(attempt, T0 - 50_000)) expect(line.length).toBeLessThan(200);
    }
  }
  const before: Attempt = {
    ...fold(WHOLE)[0]!,
    stages: { init: { name: 'init', startedAtMs: T0 - 90_000, endedAtMs: T0 - 95_000, bytes: 0, detail: '' } },
  };
  expect(renderWaterfall(before, T0)[1]).toMatch(/^ {2}init .*=/);
});

const RESTARTS: { what: string; events: BootEvent[]; want: string[] }[] = [
  {
    what: 'a reset after ready is a new boot, the old one stays ready',
    events: [...WHOLE, at(60, dhcp('firmware', 'offer'))],
    want: ['running', 'ready a'],
  },
  {
    what: 'a reset in the middle of loading breaks the boot off',
    events: [...WHOLE.slice(0, 8), at(11, dhcp('firmware', 'offer')), at(12, dhcp('firmware', 'ack')), at(13, loader)],
    want: ['running', 'abandoned a'],
  },
  {
    what: "a reset while the loader asks for an address is told by the firmware's voice",
    events: [...WHOLE.slice(0, 5), at(6, dhcp('firmware', 'offer'))],
    want: ['running', 'abandoned'],
  },
  {
    what: 'firmware that asks again and again is one boot',
    events: [0, 4, 12, 28].map((s) => at(s, dhcp('firmware', 'offer'))),
    want: ['running'],
  },
  {
    what: 'a script fetched anew (the loader tries again) is a new boot',
    events: [...WHOLE.slice(0, 7), at(20, script('b'))],
    want: ['running b', 'abandoned a'],
  },
  {
    what: 'a stage of the boot before goes to that boot',
    events: [...WHOLE.slice(0, 11), at(50, dhcp('firmware', 'offer')), at(51, stage('a', 'ready', 30))],
    want: ['running', 'ready a'],
  },
  {
    what: 'the address renewals of a node that is up begin nothing',
    events: [...WHOLE, at(1800, dhcp('system', 'ack'))],
    want: ['ready a'],
  },
  {
    what: 'iPXE in the ROM: the script without a loader before it',
    events: [at(0, dhcp('loader', 'offer')), at(1, dhcp('loader', 'ack')), at(2, script('a'))],
    want: ['running a'],
  },
  {
    what: 'a reset during iPXE in the ROM, before its script, is only another DISCOVER',
    events: [
      at(0, dhcp('loader', 'offer')),
      at(9, dhcp('loader', 'offer')),
      at(10, dhcp('loader', 'ack')),
      at(11, script('a')),
    ],
    want: ['running a'],
  },
  {
    what: 'a reset during iPXE in the ROM, after its script, breaks the boot off',
    events: [
      at(0, dhcp('loader', 'ack')),
      at(2, script('a')),
      at(3, file('a', 'kernel', 1)),
      at(9, dhcp('loader', 'offer')),
    ],
    want: ['running', 'abandoned a'],
  },
  { what: 'a local boot is done with its script', events: [at(0, script('a', 'local'))], want: ['ready a'] },
  { what: 'a stage of a boot that nobody remembers', events: [at(0, stage('zz', 'ready', 1))], want: [] },
  { what: 'an ignored packet', events: [at(0, { kind: 'ignored', why: 'no' } as Loose)], want: [] },
];

for (const { what, events, want } of RESTARTS) {
  test(what, () => {
    const shown = fold(events).map(({ outcome, bootId }) => [outcome.kind, bootId].join(' ').trim());
    expect(shown).toEqual(want);
  });
}

const STUCK: { what: string; events: BootEvent[]; afterS: number; want: string }[] = [
  {
    what: 'offered, silence',
    events: WHOLE.slice(0, 1),
    afterS: 61,
    want: 'dhcp: offered but no REQUEST came: DHCP snooping',
  },
  {
    what: 'address given, no loader fetched',
    events: WHOLE.slice(0, 2),
    afterS: 61,
    want: 'loader: the address was given but the loader not asked for: a firewall on UDP 69',
  },
  {
    what: 'loader fetched, silence',
    events: WHOLE.slice(0, 3),
    afterS: 61,
    want: 'dhcp: the loader was fetched but its DHCP does not come',
  },
  {
    what: 'loader has its address, no script',
    events: WHOLE.slice(0, 5),
    afterS: 31,
    want: 'script: the loader has an address but does not fetch its script: a firewall on the HTTP port',
  },
  {
    what: 'script, no kernel',
    events: WHOLE.slice(0, 6),
    afterS: 31,
    want: 'kernel: the script was fetched but not its kernel',
  },
  {
    what: 'kernel, layers not all',
    events: WHOLE.slice(0, 8),
    afterS: 61,
    want: 'initrd: a layer is loading or broke off',
  },
  {
    what: 'all loaded, silence',
    events: WHOLE.slice(0, 10),
    afterS: 121,
    want: 'init: the kernel was loaded and says nothing: too little memory for the image, no driver or firmware for the network card',
  },
  {
    what: 'the system has an address, no report',
    events: WHOLE.slice(0, 11),
    afterS: 61,
    want: 'network: the node has an address but its reports do not arrive',
  },
  {
    what: 'init was reported, nothing after it',
    events: WHOLE.slice(0, 12),
    afterS: 61,
    want: 'network: its first reports arrived and no more',
  },
  {
    what: 'network, no services',
    events: WHOLE.slice(0, 14),
    afterS: 61,
    want: 'services: the supervisor did not start',
  },
  {
    what: 'services, never ready',
    events: WHOLE.slice(0, 15),
    afterS: 101,
    want: "ready: a service's check does not pass",
  },
];

for (const { what, events, afterS, want } of STUCK) {
  test(`stuck: ${what}`, () => {
    const [boot] = fold(events);
    const lastMs = events.at(-1)!.atMs;
    const progress = progressOf(boot!, lastMs + afterS * 1000);
    expect(`${progress?.waitingFor}: ${progress?.stuck}`.slice(0, want.length)).toBe(want);
    // A little earlier it is only slow.
    expect(progressOf(boot!, lastMs + (afterS - 2) * 1000)?.stuck).toBeUndefined();
    expect(renderOutcome(boot!, lastMs + afterS * 1000)).toMatch(
      new RegExp(`^stuck before ${progress?.waitingFor} for ${afterS}.0 s: `),
    );
  });
}

test('failed says the node’s own words; a late ready mends it', () => {
  const failed = [...WHOLE.slice(0, 15), at(60, stage('a', 'failed', 30, 'check of nginx'))];
  expect(renderOutcome(fold(failed)[0]!, T0)).toBe('failed after 60.0 s: check of nginx');
  expect(fold([...failed, at(70, stage('a', 'ready', 50))])[0]?.outcome.kind).toBe('ready');
});

const inVain = (s: number, name: string): BootEvent[] => [
  at(s, dhcp('firmware', 'ack')),
  at(s + 2, { ...loader, file: name } as Loose),
];
const RUNG_CASES: { what: string; events: BootEvent[]; want: number }[] = [
  { what: 'nothing known', events: [], want: 0 },
  { what: 'the first loader is being fetched', events: WHOLE.slice(0, 2), want: 0 },
  { what: 'once is no proof', events: [...inVain(0, 'snponly.efi'), at(90, dhcp('firmware', 'offer'))], want: 0 },
  {
    what: 'twice in vain: the next',
    events: [...inVain(0, 'snponly.efi'), ...inVain(90, 'snponly.efi'), at(180, dhcp('firmware', 'offer'))],
    want: 1,
  },
  {
    what: 'all three in vain: from the start',
    events: ['snponly.efi', 'snponly.efi', 'ipxe.efi', 'ipxe.efi', 'shimx64.efi', 'shimx64.efi'].flatMap(
      (name, index) => inVain(index * 90, name),
    ),
    want: 3,
  },
  {
    what: 'an iPXE that has its address is not the loader’s fault',
    events: [0, 90, 180].flatMap((s) => [...inVain(s, 'snponly.efi'), at(s + 5, dhcp('loader', 'ack'))]),
    want: 0,
  },
  {
    what: 'a loader that was broken off is none that was fetched',
    events: [0, 90].flatMap((s) => [
      at(s, dhcp('firmware', 'ack')),
      at(s + 2, { ...loader, outcome: 'failed', why: 'timeout', bytes: 5000 } as Loose),
    ]),
    want: 0,
  },
  {
    what: 'shim’s GRUB belongs to shim, which led to a script',
    events: [
      ...inVain(0, 'shimx64.efi'),
      at(3, { ...loader, file: 'grubx64.efi' } as Loose),
      at(5, script('a')),
      at(90, dhcp('firmware', 'offer')),
    ],
    want: 2,
  },
  {
    what: 'what led to ready keeps its rung until it fails twice',
    events: [
      ...inVain(0, 'ipxe.efi'),
      at(3, script('a')),
      at(60, stage('a', 'ready', 50)),
      ...inVain(90, 'ipxe.efi'),
      ...inVain(180, 'ipxe.efi'),
      at(270, dhcp('firmware', 'offer')),
    ],
    want: 2,
  },
  { what: 'the first led to a script', events: [...WHOLE, at(90, dhcp('firmware', 'offer'))], want: 0 },
  {
    what: 'the second led to a script',
    events: [
      at(0, dhcp('firmware', 'ack')),
      at(2, { ...loader, file: 'ipxe.efi' } as Loose),
      at(3, script('a')),
      at(90, dhcp('firmware', 'offer')),
    ],
    want: 1,
  },
  {
    what: 'a loader that is not on disk counts as one that led nowhere',
    events: [
      at(0, dhcp('firmware', 'ack')),
      at(2, { ...loader, outcome: 'failed', why: 'not there', bytes: 0 } as Loose),
    ],
    want: 1,
  },
];
for (const { what, events, want } of RUNG_CASES) {
  test(`the loaders' ladder: ${what}`, () => expect(rungOf(fold(events))).toBe(want));
}

test('the journal keeps the latest boots of a machine and forgets the rest', () => {
  const journal = new Journal();
  for (let number = 0; number < 30; number += 1) journal.put(at(number, script(`boot${number}`)));
  expect(journal.ofMac(MAC).length).toBe(20);
  expect(journal.byBootId('boot29')?.bootId).toBe('boot29');
  expect(journal.byBootId('boot0')).toBeUndefined();
});

const told = (bootId: string | undefined): Loose =>
  ({
    kind: 'switch',
    bootId,
    node: 'web1',
    profile: 'lb',
    readyTimeoutS: 100,
    files: 3,
    drainStartedAtMs: T0 + 100_000,
  }) as Loose;

const spans = ({ stages, startedAtMs }: Attempt): Record<string, number[]> =>
  Object.fromEntries(
    Object.values(stages).map((one) => [
      one.name,
      [one.startedAtMs, one.endedAtMs].map((ms) => (ms - startedAtMs) / 1000),
    ]),
  );

test('a switch by kexec is a boot of its own: drain, fetch, kexec and the rest follow each other', () => {
  const [attempt, before] = fold([
    ...WHOLE,
    at(104, told('b')),
    at(106, file('b', 'kernel', 7_000_000)),
    at(107, file('b', 'initrd', 512)),
    at(109, { kind: 'kexec', bootId: 'b' } as Loose),
    // The new kernel started at 112.
    at(130, stage('b', 'init', 5)),
    at(130, stage('b', 'network', 18)),
    at(132, stage('b', 'ready', 20)),
  ]);
  expect(before?.outcome.kind).toBe('ready');
  expect(attempt).toMatchObject({ bootId: 'b', profile: 'lb', outcome: { kind: 'ready' } });
  expect(spans(attempt!)).toMatchObject({
    drain: [0, 4],
    fetch: [4, 9],
    kernel: [5, 6],
    kexec: [9, 12],
    init: [12, 17],
    network: [17, 30],
    ready: [30, 32],
  });
});

test('a node that counts its uptime over the kexec does not move its kernel before the jump', () => {
  const [attempt] = fold([
    at(104, told('b')),
    at(109, { kind: 'kexec', bootId: 'b' } as Loose),
    at(130, stage('b', 'init', 900)),
  ]);
  expect(spans(attempt!)).toMatchObject({ kexec: [9, 9], init: [9, 30] });
});

test('a cold change is one boot from its drain over the firmware to ready', () => {
  const later = WHOLE.map((event) => {
    const moved = { ...event, atMs: event.atMs + 110_000 };
    return 'bootId' in moved ? { ...moved, bootId: 'b' } : moved;
  });
  const attempts = fold([...WHOLE, at(104, told(undefined)), ...later]);
  expect(attempts.map(({ bootId }) => bootId)).toEqual(['b', 'a']);
  expect(Object.keys(spans(attempts[0]!))).toEqual(expect.arrayContaining(['drain', 'dhcp', 'kernel', 'ready']));
  expect(spans(attempts[0]!)['drain']).toEqual([0, 4]);
});

test('a node that does not fetch its new system, or does not come back cold, is stuck with the reason', () => {
  const stuck = (events: BootEvent[], s: number) => progressOf(fold(events)[0]!, T0 + s * 1000)?.stuck;
  expect(stuck([at(104, told('b'))], 800)).toMatch(/^the node does not fetch its new system/);
  expect(stuck([at(104, told('b'))], 600)).toBeUndefined();
  expect(stuck([at(104, told(undefined))], 230)).toMatch(/^the node was told to reboot/);
});

test('a file that is on its way is no silence, however slow; one that broke off is', () => {
  const slow = [...WHOLE.slice(0, 6), at(7, begun('a', 'kernel', 8_000_000))];
  const [loading] = fold(slow);
  expect(progressOf(loading!, T0 + 400_000)).toEqual({ waitingFor: 'kernel', silentMs: 0, stuck: undefined });
  expect(renderOutcome(loading!, T0 + 47_000)).toBe('booting, loads kernel (x), 8000000 bytes, for 40.0 s');
  const [broken] = fold([...slow, at(67, file('a', 'kernel', 3_000_000, 'aborted'))]);
  expect(broken?.loading).toEqual([]);
  expect(progressOf(broken!, T0 + 100_000)?.stuck).toBeUndefined();
  expect(progressOf(broken!, T0 + 130_000)?.stuck).toContain('slow or lossy');
  // One of two files of the same name has left.
  const [twice] = fold([...slow, at(8, begun('a', 'kernel', 8_000_000)), at(9, file('a', 'kernel', 8_000_000))]);
  expect(twice?.loading).toHaveLength(1);
});
