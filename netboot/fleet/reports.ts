// netboot/fleet/reports.ts - what a running node tells: its report, and its acknowledgements of orders.
//
// Owns: reading these bodies. Does not own the form of lines (lines.ts), who may send them (http/route.ts), what follows from
// them (fleet.io.ts), stages (stages.ts), the body of orders (orders.ts).
// Source: ARCHITECTURE.md, "Node protocol, version 1". Pure.

import { type Ipv4Address, parseIpv4 } from '../../formats/ipv4.ts';
import { linesOf, no, type Read } from './lines.ts';

type ServiceReport = {
  readonly name: string;
  readonly isUp: boolean;
  /** 0 while it is down. */
  readonly pid: number;
  /** Since it came up or went down. */
  readonly forS: number;
  readonly isReady: boolean;
  /** Why it is not ready; undefined where it is, or the node did not say. */
  readonly why?: string | undefined;
};

export type NodeReport = {
  readonly uptimeMs: number;
  readonly isReady: boolean;
  /** What supervises its services; undefined where the node does not say it. */
  readonly supervisor?: 'rouse' | 'daemontools' | undefined;
  readonly load: number;
  readonly memoryFreeKb: number;
  readonly services: readonly ServiceReport[];
  readonly addresses: readonly {
    readonly interface: string;
    readonly address: Ipv4Address;
    readonly prefixLength: number;
  }[];
  /** The revision of live files that is applied; undefined before the first. */
  readonly filesRevision: string | undefined;
  /** Live files whose last check failed, with its last line. */
  readonly refused: readonly { readonly path: string; readonly detail: string }[];
};

export type Acknowledgement = { readonly number: number; readonly isDone: boolean; readonly detail: string };

const DETAIL_LIMIT = 500;

/** Whatever is no character of a text may act on a terminal. */
const fit = (line: string): string => line.replace(/\p{C}/gu, '?');

/** Reads the body of POST …/report. Never throws. */
export function parseReport(body: Uint8Array): Read<NodeReport> {
  const lines = linesOf(body, fit);
  if (!lines.ok) return lines;
  const one = (word: string): string | undefined => lines.value.find(([name]) => name === word)?.[1];
  const number = (word: string): number | undefined => {
    const text = one(word) ?? '0';
    return /^\d{1,12}(\.\d{1,6})?$/.test(text) ? Number(text) : undefined;
  };
  const uptimeMs = number('uptimeMs');
  const load = number('load');
  const memoryFreeKb = number('memoryFreeKb');
  if (uptimeMs === undefined || load === undefined || memoryFreeKb === undefined) {
    return no("expected numbers after 'uptimeMs', 'load' and 'memoryFreeKb'");
  }
  const ready = one('ready');
  if (ready !== 'yes' && ready !== 'no') return no("expected a line 'ready' with yes or no");
  const services: ServiceReport[] = [];
  const addresses: NodeReport['addresses'][number][] = [];
  const refused: { path: string; detail: string }[] = [];
  for (const [word, value] of lines.value) {
    if (word === 'service') {
      const match = /^(\S{1,64}) (up|down) (\d{1,10}) (\d{1,10}) (ready|waiting)(?: (.*))?$/.exec(value);
      if (match === null) return no("expected 'service NAME up|down PID SECONDS ready|waiting'");
      const [, name = '', state, pid, forS, readiness, why] = match;
      services.push({
        name,
        isUp: state === 'up',
        pid: Number(pid),
        forS: Number(forS),
        isReady: readiness === 'ready',
        why: why?.slice(0, DETAIL_LIMIT),
      });
    } else if (word === 'address') {
      const match = /^(\S{1,32}) ([0-9.]{7,15})\/(\d{1,2})$/.exec(value);
      const address = parseIpv4(match?.[2] ?? '');
      const prefixLength = Number(match?.[3] ?? 99);
      if (address === undefined || prefixLength > 32) return no("expected 'address INTERFACE ADDRESS/PREFIX'");
      addresses.push({ interface: match?.[1] ?? '', address, prefixLength });
    } else if (word === 'file') {
      const match = /^(\/\S{0,255}) (applied|refused)(?: (.*))?$/.exec(value);
      if (match === null) return no("expected 'file PATH applied|refused DETAIL'");
      const [, path = '', state, detail = ''] = match;
      if (state === 'refused') refused.push({ path, detail: detail.slice(0, DETAIL_LIMIT) });
    }
  }
  const files = one('files') ?? 'none';
  if (!/^(none|[0-9a-f]{16})$/.test(files)) return no("expected 'files REVISION' or 'files none'");
  const filesRevision = files === 'none' ? undefined : files;
  const isReady = ready === 'yes';
  const said = one('supervisor');
  const supervisor = said === 'rouse' || said === 'daemontools' ? said : undefined;
  return {
    ok: true,
    value: { uptimeMs, isReady, supervisor, load, memoryFreeKb, services, addresses, filesRevision, refused },
  };
}

/** Reads the body of POST …/acks. Never throws. */
export function parseAcks(body: Uint8Array): Read<readonly Acknowledgement[]> {
  const lines = linesOf(body, fit);
  if (!lines.ok) return lines;
  const acks: Acknowledgement[] = [];
  for (const [word, value] of lines.value) {
    if (word !== 'order') continue;
    const match = /^(\d{1,9}) (done|failed)(?: (.*))?$/.exec(value);
    if (match === null) return no("expected 'order NUMBER done|failed DETAIL'");
    acks.push({
      number: Number(match[1]),
      isDone: match[2] === 'done',
      detail: (match[3] ?? '').slice(0, DETAIL_LIMIT),
    });
  }
  return acks.length === 0
    ? no("expected at least one line 'order NUMBER done|failed DETAIL'")
    : { ok: true, value: acks };
}

/** What of a report is worth a place on the disk: not what differs each time. */
export function lastingPart({ isReady, services, addresses, filesRevision, refused }: NodeReport): string {
  const states = services.map(({ name, isUp, pid, isReady: ready }) => [name, isUp, pid, ready]);
  return JSON.stringify([isReady, states, addresses, filesRevision, refused]);
}
