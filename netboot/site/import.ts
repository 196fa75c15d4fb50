// netboot/site/import.ts - the reservations of another DHCP server as nodes: dnsmasq's, ISC dhcpd's, or a table of MACs.
//
// Owns: finding reservations in these files, and saying with file and line what cannot become a node. Does not own the nodes'
// files (newnodes.ts, write.io.ts) or CSV itself (csv.ts). What is no reservation is passed over: a server's other settings
// are no business of ours. Sources: dnsmasq(8), --dhcp-host and dhcp-hostsfile; dhcpd.conf(5), host declarations. Pure.

import { parseIpv4 } from '../../formats/ipv4.ts';
import { parseMac } from '../../formats/mac.ts';
import { printableAscii } from '../../formats/printable.ts';
import { parseCsv } from './csv.ts';
import type { NewNode } from './newnodes.ts';
import { NODE_NAME } from './schema.ts';

export const IMPORT_FORMATS = ['dnsmasq', 'dhcpd', 'csv'] as const;
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

export type ImportResult =
  | {
      readonly ok: true;
      readonly nodes: readonly NewNode[];
      readonly comments: Readonly<Record<string, string>>;
      /** What was passed over and an operator may miss, each "file:line: …". */
      readonly notes: readonly string[];
    }
  /** Each "file:line: …". */
  | { readonly ok: false; readonly problems: readonly string[] };

/** One reservation as found. */
type Found = {
  readonly line: number;
  readonly name: string | undefined;
  readonly macs: readonly string[];
  readonly address: string | undefined;
  readonly profile?: string | undefined;
  readonly note?: string | undefined;
  readonly labels?: Readonly<Record<string, string>>;
};

type Reading = { readonly found: Found[]; readonly problems: string[]; readonly notes: string[] };
type Reader = (file: string, text: string) => Reading;

/** A host name of theirs as a node's: the first label, in lower case. */
function nodeName(text: string): string {
  return (text.split('.')[0] ?? '').toLowerCase().replaceAll('_', '-');
}

/**
 * Reads a file of another server.
 *
 * @param file its name in messages. @param options.profile for nodes whose row names none.
 * @returns nodes, or every problem; a file with one problem gives no node.
 */
export function importNodes(
  file: string,
  text: string,
  options: { readonly format?: ImportFormat; readonly profile?: string },
): ImportResult {
  const { found, problems, notes } = READERS[options.format ?? formatOf(text)](file, text);
  const nodes: NewNode[] = [];
  const comments: Record<string, string> = {};
  const lineOf = new Map<string, number>();
  for (const one of found) {
    const at = `${file}:${one.line}`;
    const name = one.name === undefined ? undefined : nodeName(one.name);
    const profile = one.profile ?? options.profile;
    if (name === undefined) {
      problems.push(`${at}: the reservation of ${one.macs[0] ?? one.address ?? 'nothing'} has no name`);
    } else if (!NODE_NAME.test(name)) {
      problems.push(
        `${at}: '${printableAscii(one.name ?? '')}' is no host name: lower-case letters, digits and -, at most 63`,
      );
    } else if (lineOf.has(name)) {
      problems.push(`${at}: '${name}' is the name of line ${lineOf.get(name)} too`);
    } else if (profile === undefined) {
      problems.push(`${at}: no profile is named for '${name}': give one with --profile`);
    } else {
      lineOf.set(name, one.line);
      const { macs, address, note, labels } = one;
      nodes.push({
        name,
        macs: [...macs],
        profile,
        ...(address === undefined ? {} : { address }),
        ...(note === undefined ? {} : { note }),
        ...(labels === undefined || Object.keys(labels).length === 0 ? {} : { labels: { ...labels } }),
      });
      comments[name] = `imported from ${at}`;
    }
  }
  if (found.length === 0 && problems.length === 0) problems.push(`${file}:1: there is no reservation in it`);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, nodes, comments, notes };
}

/** dhcpd.conf has blocks, dnsmasq.conf has dhcp-host= or the bare lines of a hosts file; a table names its columns. */
function formatOf(text: string): ImportFormat {
  if (/^[ \t]*(host[ \t]+\S+\s*\{|subnet\s|group\s*\{|shared-network\s)/m.test(text)) return 'dhcpd';
  if (/^[ \t]*dhcp-/m.test(text)) return 'dnsmasq';
  const [head = ''] = text.split('\n', 1);
  return /(^|[,;\t])\s*"?macs?"?\s*([,;\t]|\r?$)/i.test(head) ? 'csv' : 'dnsmasq';
}

const READERS = { dnsmasq: readDnsmasq, dhcpd: readDhcpd, csv: readCsv } satisfies Record<ImportFormat, Reader>;

function readDnsmasq(file: string, text: string): Reading {
  const found: Found[] = [];
  const problems: string[] = [];
  const notes: string[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = index + 1;
    const at = `${file}:${line}`;
    const words = raw.replace(/(^|\s)#.*$/, '').trim();
    if (words === '') continue;
    const option = /^(?:--)?([a-z0-9-]+)(?:\s*=\s*(.*))?$/.exec(words);
    const isHost = option?.[1] === 'dhcp-host';
    if (option?.[1] === 'conf-file' || option?.[1] === 'conf-dir' || option?.[1] === 'dhcp-hostsfile') {
      notes.push(`${at}: ${words}: not followed, import that file too`);
    }
    // A hosts file has the values alone.
    if (!isHost && !words.includes(',')) continue;
    if (!isHost && option?.[2] !== undefined) continue;
    const macs: string[] = [];
    let name: string | undefined;
    let address: string | undefined;
    let isIgnored = false;
    for (const part of (isHost ? (option[2] ?? '') : words).split(',').map((one) => one.trim())) {
      const mac = parseMac(part.replace(/^[0-9]{1,2}-(?=.{2}:)/, ''));
      const ipv4 = parseIpv4(part);
      if (mac !== undefined) macs.push(mac);
      else if (ipv4 !== undefined) address = ipv4;
      else if (part === 'ignore') isIgnored = true;
      else if (part.includes('*'))
        problems.push(`${at}: '${printableAscii(part)}' is a pattern of MACs: a node has whole ones`);
      else if (/^(set|tag|net|id):|^\[|^\d+[smhdw]?$|^infinite$/.test(part) || part === '') continue;
      else name = part;
    }
    if (isIgnored) notes.push(`${at}: ${macs[0] ?? name ?? ''} is ignored there: no node is made of it`);
    else if (macs.length === 0) notes.push(`${at}: no MAC is in it: no node is made of it`);
    else found.push({ line, name, macs, address });
  }
  return { found, problems, notes };
}

/** Tokens of dhcpd.conf: words, texts in quotes, and { } ; , with the line of each. */
function* tokensOf(text: string): Iterable<{ line: number; token: string }> {
  let line = 1;
  for (const match of text.matchAll(/\n|#[^\n]*|"(?:[^"\\\n]|\\.)*"|[{};,]|[^\s{};,"#]+/g)) {
    const [token] = match;
    if (token === '\n') line += 1;
    else if (!token.startsWith('#')) yield { line, token };
  }
}

function readDhcpd(file: string, text: string): Reading {
  const found: Found[] = [];
  const problems: string[] = [];
  const notes: string[] = [];
  let depth = 0;
  let statement: { line: number; words: string[] } = { line: 1, words: [] };
  let host:
    | { line: number; depth: number; name: string; macs: string[]; addresses: string[]; hostName?: string }
    | undefined;
  for (const { line, token } of tokensOf(text)) {
    if (token === '{') {
      depth += 1;
      const [word, name = ''] = statement.words;
      if (word === 'host' && host === undefined) host = { line: statement.line, depth, name, macs: [], addresses: [] };
      statement = { line, words: [] };
    } else if (token === '}') {
      if (host?.depth === depth) {
        const at = `${file}:${host.line}`;
        const [address, second] = host.addresses;
        if (second !== undefined) notes.push(`${at}: '${host.name}' has several addresses: the first is taken`);
        if (host.macs.length === 0) notes.push(`${at}: '${host.name}' has no hardware ethernet: no node is made of it`);
        else found.push({ line: host.line, name: host.hostName ?? host.name, macs: host.macs, address });
        host = undefined;
      }
      depth -= 1;
      statement = { line, words: [] };
      if (depth < 0) problems.push(`${file}:${line}: '}' closes nothing`);
    } else if (token === ';') {
      const [first, second, third] = statement.words;
      if (first === 'include')
        notes.push(`${file}:${statement.line}: include ${second ?? ''}: not followed, import that file too`);
      if (host !== undefined) {
        const at = `${file}:${statement.line}`;
        if (first === 'hardware' && second === 'ethernet') {
          // dhcpd takes octets of one digit.
          const mac = parseMac((third ?? '').replace(/\b[0-9a-f]\b/gi, '0$&'));
          if (mac === undefined) problems.push(`${at}: '${printableAscii(third ?? '')}' is no MAC address`);
          else host.macs.push(mac);
        } else if (first === 'fixed-address') {
          for (const word of statement.words.slice(1)) {
            if (parseIpv4(word) === undefined)
              problems.push(`${at}: '${printableAscii(word)}' is no IPv4 address: names are not looked up`);
            else host.addresses.push(word);
          }
        } else if (first === 'option' && second === 'host-name') host.hostName = (third ?? '').replaceAll('"', '');
      }
      statement = { line, words: [] };
    } else if (token !== ',') {
      if (statement.words.length === 0) statement = { line, words: [token] };
      else statement.words.push(token);
    }
  }
  if (depth > 0) problems.push(`${file}:${host?.line ?? statement.line}: '{' is never closed`);
  return { found, problems, notes };
}

function readCsv(file: string, text: string): Reading {
  const table = parseCsv(text);
  if (!table.ok) return { found: [], problems: [`${file}:${table.line}: ${table.why}`], notes: [] };
  const problems: string[] = [];
  const notes: string[] = [];
  const known = ['name', 'mac', 'macs', 'profile', 'address', 'note'];
  for (const column of table.columns) {
    if (!known.includes(column) && !column.startsWith('label.'))
      notes.push(`${file}:1: the column '${printableAscii(column)}' is passed over`);
  }
  const found = table.rows.flatMap(({ line, cells }): Found[] => {
    const at = `${file}:${line}`;
    const words = (cells['macs'] ?? cells['mac'] ?? '').split(/[\s,;]+/).filter(Boolean);
    const macs = words.flatMap((word) => parseMac(word) ?? []);
    const bad = words.find((word) => parseMac(word) === undefined);
    const address = cells['address'] || undefined;
    if (bad !== undefined || macs.length === 0) {
      problems.push(
        `${at}: ${bad === undefined ? 'there is no MAC in it' : `'${printableAscii(bad)}' is no MAC address`}`,
      );
      return [];
    }
    if (address !== undefined && parseIpv4(address) === undefined) {
      problems.push(`${at}: '${printableAscii(address)}' is no IPv4 address`);
      return [];
    }
    const labels = Object.fromEntries(
      Object.entries(cells)
        .filter(([column, cell]) => column.startsWith('label.') && cell !== '')
        .map(([column, cell]) => [column.slice('label.'.length), cell]),
    );
    const { name = '', profile = '', note = '' } = cells;
    return [
      { line, name: name || undefined, macs, address, profile: profile || undefined, note: note || undefined, labels },
    ];
  });
  return { found, problems, notes };
}
