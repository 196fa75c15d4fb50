// netboot/journal/worth.ts - what of what DHCP, TFTP and HTTP tell is worth a line in the log, and what a place in the journal.
//
// Owns: what is a step of a boot and what a system's daily talk, how many lines unknown machines get, what of it goes to disk.
// Does not own: the log and the store (memory.io.ts), what a boot's events come to (journal.ts), the words of an answer
// (dhcp/event.ts).
//
// Anybody can make up MACs, senders and file names. What nobody here knows, or nobody acknowledged, gets a bounded number of
// lines, the others are counted; and it begins no boot of a machine that is not booting. Pure: the time is an argument.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { DhcpEvent } from '../dhcp/event.ts';
import { loaderFiles } from '../dhcp/loaders.ts';
import { Pacer } from '../dhcp/pace.ts';
import type { TftpEvent } from '../tftp/event.ts';
import type { Attempt, BootEvent } from './journal.ts';
import { isLoading } from './progress.ts';

/** What is to be done about something that was heard. */
export type Told = {
  /** For the log. */
  readonly lines: readonly string[];
  /** For the journal. */
  readonly event?: BootEvent;
  /** Whether the event goes to disk, not only into memory. */
  readonly isKept?: boolean;
};

export type WorthFacts = {
  /** Whether a node file names a machine, or it was seen to boot. */
  readonly isKnown: (mac: MacAddress) => boolean;
  readonly latestOf: (mac: MacAddress) => Attempt | undefined;
};

/** A loader that left, or was broken off. */
type SentLoader = { readonly bytes: number; readonly durationMs: number; readonly complete: boolean };

const NOTHING: Told = { lines: [] };
const CROWD = 'many messages of unknown machines: most of them are not logged from here on';
/** An ignored machine is journalled once in this time for one reason. */
const IGNORED_QUIET_MS = 60_000;
const MOST_IGNORED = 10_000;
/** Lines about machines that nothing here names, all together: at once, and a second after that. */
const STRANGERS_PACE = { burst: 100, refillPerS: 2 } as const;
/** Lines about requests in a known machine's name that nobody acknowledged, for each machine. */
const UNPROVEN_PACE = { burst: 20, refillPerS: 0.2 } as const;

export class Worth {
  readonly #facts: WorthFacts;
  /** When an ignored message was last told, by machine, type and reason. */
  readonly #ignored = new Map<string, number>();
  readonly #strangers = new Pacer(STRANGERS_PACE);
  readonly #unproven = new Pacer(UNPROVEN_PACE);
  #leftOut = 0;

  constructor(facts: WorthFacts) {
    this.#facts = facts;
  }

  /** @param atMs since 1970, here and below. */
  ofDhcp(mac: MacAddress, event: DhcpEvent, atMs: number): Told {
    switch (event.outcome) {
      case 'ignore':
        return this.#ofIgnored(mac, event, atMs);
      case 'record':
        return { lines: [`dhcp: ${mac} ${event.text}`] };
      case 'offer':
      case 'ack':
      case 'nak':
        return this.#ofAnswer(mac, event, event.outcome, atMs);
    }
  }

  #ofIgnored(mac: MacAddress, event: DhcpEvent, atMs: number): Told {
    const key = `${mac} ${event.type} ${event.why}`;
    if (atMs - (this.#ignored.get(key) ?? 0) < IGNORED_QUIET_MS) return NOTHING;
    if (this.#ignored.size > MOST_IGNORED) this.#ignored.clear();
    this.#ignored.set(key, atMs);
    const isKept = this.#facts.isKnown(mac);
    const lines = this.#lines(isKept, undefined, `dhcp: ${mac} ${event.text}`, atMs);
    if (lines.length === 0 || lines[0] === CROWD) return { lines };
    // Strangers' messages are not kept: they would push the boots of known machines out of the store.
    return { lines, event: { kind: 'ignored', atMs, mac, why: event.text }, isKept };
  }

  #ofAnswer(mac: MacAddress, event: DhcpEvent, message: 'offer' | 'ack' | 'nak', atMs: number): Told {
    const client = clientKind(event);
    if (client === 'system' && this.#facts.latestOf(mac)?.outcome.kind !== 'running') {
      // Renewals all day long are no news; a machine that must give up its address is.
      if (message !== 'nak') return NOTHING;
      return { lines: this.#lines(this.#facts.isKnown(mac), undefined, `dhcp: ${mac} ${event.text}`, atMs) };
    }
    const { address, text: why } = event;
    return {
      lines: [`dhcp: ${mac} ${why}`],
      event: { kind: 'dhcp', atMs, mac, client, message, address, why },
      isKept: true,
    };
  }

  /** @param mac whose address the peer has; undefined for a stranger's. */
  ofTftp(event: TftpEvent, mac: MacAddress | undefined, atMs: number): Told {
    if (event.kind === 'crowded') {
      const { waiting } = event;
      return {
        lines: [`tftp: ${waiting} requests wait for a place: those of machines without a lease are let go`],
      };
    }
    const { file, peer } = event;
    const isProven = event.kind === 'ended' && event.isProven;
    const ended =
      event.kind === 'refused'
        ? `refused: ${event.why}`
        : `${event.outcome}, ${event.bytesSent} bytes in ${Math.round(event.durationMs)} ms`;
    const unproven = isProven ? undefined : mac;
    const lines = this.#lines(mac !== undefined, unproven, `tftp: ${peer.address} ${file} ${ended}`, atMs);
    // Other names (autoexec.ipxe, grub.cfg) are what loaders ask for by habit.
    if (mac === undefined || lines.length === 0 || !loaderFiles().includes(file)) return { lines };
    // What nobody acknowledged tells something of a machine that is booting; of any other it may be anybody's.
    if (!isProven && !isLoading(this.#facts.latestOf(mac))) return { lines };
    if (event.kind === 'refused') {
      return { lines, ...loaderEvent(mac, file, { bytes: 0, durationMs: 0, complete: false }, event.why, atMs) };
    }
    // Firmware that only asks how long a file is comes back for it: no stage of its own.
    if (event.outcome === 'probed') return { lines };
    const complete = event.outcome === 'complete' || event.outcome === 'unconfirmed';
    const sent = { bytes: event.bytesSent, durationMs: event.durationMs, complete };
    return { lines, ...loaderEvent(mac, file, sent, event.detail ?? event.outcome, atMs) };
  }

  /** A loader by HTTP: UEFI HTTP boot. */
  ofHttpLoader(peer: Ipv4Address, file: string, sent: SentLoader, mac: MacAddress | undefined, atMs: number): Told {
    const outcome = sent.complete ? 'complete' : 'broken off';
    const said = `http: ${peer} ${file} ${outcome}, ${sent.bytes} bytes in ${Math.round(sent.durationMs)} ms`;
    const lines = this.#lines(mac !== undefined, undefined, said, atMs);
    return mac === undefined ? { lines } : { lines, ...loaderEvent(mac, file, sent, outcome, atMs) };
  }

  /** What was not told since it was last asked: a line with their number, or none. */
  leftOut(): readonly string[] {
    const count = this.#leftOut;
    this.#leftOut = 0;
    return count === 0 ? [] : [`${count} more lines about unknown machines or unconfirmed requests were left out`];
  }

  /** @param unproven the known machine in whose name something was asked that it did not acknowledge. */
  #lines(isKnown: boolean, unproven: MacAddress | undefined, line: string, atMs: number): readonly string[] {
    if (isKnown && unproven === undefined) return [line];
    const pace = isKnown ? this.#unproven.admit(unproven ?? '', atMs) : this.#strangers.admit('', atMs);
    if (pace === 'pass') return [line];
    this.#leftOut += 1;
    return pace === 'drop-first' && !isKnown ? [CROWD] : [];
  }
}

function loaderEvent(
  mac: MacAddress,
  file: string,
  { bytes, durationMs, complete }: SentLoader,
  why: string,
  atMs: number,
): Required<Pick<Told, 'event' | 'isKept'>> {
  const outcome = complete ? 'done' : 'failed';
  const event = { kind: 'loader', atMs, mac, file, bytes, durationMs: Math.round(durationMs), outcome, why } as const;
  return { event, isKept: true };
}

/** iPXE that is pointed at its script is the loader; whoever is pointed at a loader's file is firmware, iPXE in ROM too. */
function clientKind({ boot }: DhcpEvent): 'firmware' | 'loader' | 'system' {
  switch (boot?.kind) {
    case 'script':
      return 'loader';
    case 'tftp':
    case 'http':
      return 'firmware';
    case 'nothing':
    case undefined:
      return 'system';
  }
}
