// netboot/site/adopt.ts - a rack named at once: which discovered machine becomes which node.
//
// Owns: the order by which names are given (switch port, serial number, or a table), the reason for each machine that is
// left out, and which MACs a node has when another machine takes its place. Does not own what is known of machines
// (api/machines.ts), the files (newnodes.ts, write.io.ts). Pure.

import { type MacAddress, parseMac } from '../../formats/mac.ts';
import type { CsvRow } from './csv.ts';
import type { NewNode } from './newnodes.ts';

/** What of a machine its name may hang on. */
export type Candidate = {
  readonly mac: string;
  readonly macs: readonly string[];
  readonly serial: string | undefined;
  readonly port: { readonly switch: string; readonly port: string } | undefined;
  readonly hardware: string | undefined;
};

const ADOPT_ORDERS = ['switch-port', 'serial', 'mac', 'csv'] as const;
export type AdoptOrder = (typeof ADOPT_ORDERS)[number];
type KeyOrder = Exclude<AdoptOrder, 'csv'>;

type Adoption = {
  readonly nodes: readonly NewNode[];
  /** The comment of each file, by the node's name. */
  readonly comments: Readonly<Record<string, string>>;
  readonly left: readonly { readonly mac: string; readonly why: string }[];
};

export type AdoptionResult = ({ readonly ok: true } & Adoption) | { readonly ok: false; readonly why: string };

export type AdoptionQuestion = {
  readonly machines: readonly Candidate[];
  readonly by: AdoptOrder;
  /** Names in the order in which they are given; those that nodes have are passed over. */
  readonly names: readonly string[];
  /** Addresses, one for each name; undefined: from the pool. */
  readonly addresses: readonly string[] | undefined;
  readonly profile: string;
  readonly taken: ReadonlySet<string>;
  /** Of --by csv: columns name, and of mac, serial, switch, port what tells the machine; profile, address, note if given. */
  readonly table: { readonly file: string; readonly rows: readonly CsvRow[] } | undefined;
};

export function planAdoption(question: AdoptionQuestion): AdoptionResult {
  const { by } = question;
  return by === 'csv' ? byTable(question) : byOrder({ ...question, by });
}

type Key = { readonly key: string } | { readonly why: string };

/** What machines are sorted by, or why one has no such thing. */
const KEYS: Record<KeyOrder, (machine: Candidate) => Key> = {
  'switch-port': ({ port }) =>
    port === undefined
      ? { why: 'no switch port is known of it: neither LLDP nor option 82 told one' }
      : { key: `${port.switch} ${port.port}` },
  serial: ({ serial }) => (serial === undefined ? { why: 'it has no serial number' } : { key: serial }),
  mac: ({ mac }) => ({ key: mac }),
};

function byOrder({
  machines,
  by,
  names,
  addresses,
  profile,
  taken,
}: AdoptionQuestion & { readonly by: KeyOrder }): AdoptionResult {
  if (addresses !== undefined && addresses.length !== names.length) {
    return { ok: false, why: `${names.length} names and ${addresses.length} addresses: expected one for each` };
  }
  const left: { mac: string; why: string }[] = [];
  const keyed: { machine: Candidate; key: string }[] = [];
  for (const machine of machines) {
    const key = KEYS[by](machine);
    if ('why' in key) left.push({ mac: machine.mac, why: key.why });
    else keyed.push({ machine, key: key.key });
  }
  for (const [key, same] of Map.groupBy(keyed, (one) => one.key)) {
    if (same.length === 1) continue;
    for (const { machine } of same) left.push({ mac: machine.mac, why: `${same.length} machines say '${key}'` });
  }
  const doubtful = new Set(left.map(({ mac }) => mac));
  const sorted = keyed
    .filter(({ machine }) => !doubtful.has(machine.mac))
    .sort((a, b) => a.key.localeCompare(b.key, 'en', { numeric: true }));
  const free = names.flatMap((name, index) => (taken.has(name) ? [] : [{ name, address: addresses?.[index] }]));
  const nodes: NewNode[] = [];
  const comments: Record<string, string> = {};
  for (const [index, { machine }] of sorted.entries()) {
    const given = free[index];
    if (given === undefined) {
      left.push({ mac: machine.mac, why: 'there are more machines than free names' });
      continue;
    }
    const { name, address } = given;
    nodes.push({ name, macs: [...machine.macs], profile, ...(address === undefined ? {} : { address }) });
    comments[name] = commentOf(machine);
  }
  return { ok: true, nodes, comments, left };
}

function byTable({ machines, profile, taken, table }: AdoptionQuestion): AdoptionResult {
  if (table === undefined) return { ok: false, why: '--by csv needs the table: --table FILE' };
  const nodes: NewNode[] = [];
  const comments: Record<string, string> = {};
  const lines = new Map<string, number>();
  const refused = new Map<string, string>();
  for (const { line, cells } of table.rows) {
    const at = `${table.file}:${line}`;
    const { name = '', address = '', note = '' } = cells;
    if (name === '') return { ok: false, why: `${at}: there is no name in it` };
    const tells = ['mac', 'serial', 'switch', 'port'].filter((key) => (cells[key] ?? '') !== '');
    if (tells.length === 0)
      return { ok: false, why: `${at}: expected a mac, a serial or a port that tells the machine` };
    const fits = machines.filter((machine) => tells.every((key) => matches(machine, key, cells[key] ?? '')));
    const [machine] = fits;
    // The rest of the rack may not be powered yet.
    if (machine === undefined) continue;
    if (taken.has(name)) {
      for (const { mac } of fits) refused.set(mac, `${name} of line ${line} of ${table.file} is a node already`);
      continue;
    }
    if (fits.length > 1) return { ok: false, why: `${at}: ${fits.length} machines fit it, expected one` };
    const earlier = lines.get(machine.mac);
    if (earlier !== undefined) return { ok: false, why: `${at}: ${machine.mac} is the machine of line ${earlier} too` };
    lines.set(machine.mac, line);
    nodes.push({
      name,
      macs: [...machine.macs],
      profile: cells['profile'] || profile,
      ...(address === '' ? {} : { address }),
      ...(note === '' ? {} : { note }),
    });
    comments[name] = `${commentOf(machine)}; ${at}`;
  }
  const left = machines
    .filter(({ mac }) => !lines.has(mac))
    .map(({ mac }) => ({ mac, why: refused.get(mac) ?? `no line of ${table.file} tells it` }));
  return { ok: true, nodes, comments, left };
}

/**
 * Another machine in the place of a node.
 *
 * @param before the MACs of the node's file. @param mac of the new machine. @param cards all that it reported of itself.
 * @returns the MACs that the file is to have, and those that give way: their leases are free for the new one.
 */
export function planReplacement(
  before: readonly MacAddress[],
  mac: MacAddress,
  cards: readonly MacAddress[],
): { readonly macs: readonly MacAddress[]; readonly gone: readonly MacAddress[] } {
  const macs = [...new Set([mac, ...cards])];
  return { macs, gone: before.filter((old) => !macs.includes(old)) };
}

function matches({ macs, serial, port }: Candidate, key: string, text: string): boolean {
  switch (key) {
    case 'mac':
      return macs.includes(parseMac(text) ?? '');
    case 'serial':
      return serial?.toLowerCase() === text.toLowerCase();
    case 'switch':
      return port?.switch.toLowerCase() === text.toLowerCase();
    default:
      return port?.port.toLowerCase() === text.toLowerCase();
  }
}

function commentOf({ serial, port, hardware }: Candidate): string {
  const parts = [
    hardware === undefined ? 'adopted by its MAC' : 'discovered',
    ...(port === undefined ? [] : [`${port.switch} ${port.port}`]),
    ...(serial === undefined ? [] : [`serial ${serial}`]),
    ...(hardware === undefined ? [] : [hardware]),
  ];
  return parts.join(', ');
}
