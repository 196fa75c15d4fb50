// netboot/tftp/transfer.ts - one TFTP read transfer, from its request to its last ACK, as a pure state machine.
//
// Owns: option negotiation, windows, block numbers, retransmission and its timing, and how a transfer ends. Does not own
// sockets and timers (run.io.ts), names (names.ts), or which transfers are admitted (admission.ts).
//
// Blocks are counted from 1 without wrapping; on the wire they are taken modulo 65536, so that block 65536 is sent as 0.
// `acked` is the last block the client has confirmed, `sent` the last one sent; the window is what lies between.
//
// What keeps it tame:
//   - a duplicate ACK sends nothing (the sorcerer's apprentice, RFC 1123 4.2.3.1); with windows, where it means that the
//     first block of the window was lost (RFC 7440 section 4), it restarts the window once;
//   - a peer that has never acknowledged anything is sent at most UNPROVEN_SENDS packets of one block, so that a forged
//     request draws little;
//   - the retransmission time follows the measured round trip (RFC 6298) and doubles with each silence.
// ERROR 8 or 0 in answer to an OACK is how PXE firmware asks for a size: an ending, not a failure.
//
// Sources: RFC 1350, 2347, 2348, 2349, 7440; RFC 6298. Pure: time is an argument.

import { ERROR_CODES, type Request, type TftpOptions, type TftpPacket } from './packet.ts';

/** RFC 6298 section 2, in milliseconds; TFTP clients are simpler than TCP's, hence a lower ceiling. */
const INITIAL_TIMEOUT_MS = 1000;
const LEAST_TIMEOUT_MS = 250;
const MOST_TIMEOUT_MS = 8000;
/** Silences in a row after which the client is gone: about half a minute with doubling. */
const MOST_SILENCES = 6;
/** Packets sent to a peer that has not yet shown that it receives them. */
const UNPROVEN_SENDS = 4;
/** A request that comes so soon after an ACK is an old one that was late: a ROM takes seconds from its reset to its request. */
const LATE_REQUEST_MS = 1000;
/** Windows beyond this overrun a NIC's or a client's queue and gain nothing. */
export const MOST_WINDOW_BLOCKS = 32;
const DEFAULT_BLOCK_BYTES = 512;
/** Ethernet's datagram. Larger ones would reach the client only where every switch on the way carries them. */
const ETHERNET_MTU_BYTES = 1500;
/** The headers of IPv4, UDP and DATA. */
const HEADER_BYTES = 32;

export type Outcome =
  | 'complete'
  /** Everything was sent, the last ACK never came; some firmware starts the file without sending it. */
  | 'unconfirmed'
  /** The client only wanted to know the size (or did not like an option) and will ask again. */
  | 'probed'
  | 'aborted-by-client'
  | 'timeout';

export type Transfer = {
  readonly content: Uint8Array;
  readonly blockBytes: number;
  readonly windowBlocks: number;
  /** Options to be acknowledged; undefined where the client sent none that are understood. */
  readonly oack: TftpOptions | undefined;
  /** Whether the client has acknowledged anything. */
  readonly isProven: boolean;
  /** When it last did. */
  readonly heardMs: number;
  readonly acked: number;
  readonly sent: number;
  readonly lastBlock: number;
  /** The block at which a duplicate ACK has already restarted the window. */
  readonly restartedAt: number;
  readonly silences: number;
  /** Smoothed round trip and its variation; undefined before the first sample. */
  readonly roundTrip: { readonly meanMs: number; readonly variationMs: number } | undefined;
  readonly timeoutMs: number;
  /** What the client asked for with the timeout option. */
  readonly mostTimeoutMs: number;
  /** When the newest packets were sent; undefined when they were repeated, which makes their ACK ambiguous (Karn). */
  readonly sampleFromMs: number | undefined;
  /** When the shell must call step() with a timeout. */
  readonly deadlineMs: number;
  readonly bytesSent: number;
  readonly repeatedBlocks: number;
  readonly outcome: Outcome | undefined;
  /** The client's words when it ended the transfer. */
  readonly detail?: string | undefined;
};

export type TransferEvent = { readonly kind: 'packet'; readonly packet: TftpPacket } | { readonly kind: 'timeout' };
export type StepResult = readonly [transfer: Transfer, packets: readonly TftpPacket[]];

export type Limits = {
  /** What fits the path in one datagram: MTU less 32. */
  readonly mostBlockBytes: number;
};

/** Begins the transfer that `request` asks for. @param content the file, already in the mode's form (netascii.ts). */
export function beginTransfer(request: Request, content: Uint8Array, limits: Limits, nowMs: number): StepResult {
  const oack = negotiate(request, content, limits);
  const blockBytes = oack?.blksize ?? DEFAULT_BLOCK_BYTES;
  const mostTimeoutMs = Math.min((request.options.timeout ?? 255) * 1000, MOST_TIMEOUT_MS);
  const transfer: Transfer = {
    content,
    blockBytes,
    windowBlocks: oack?.windowsize ?? 1,
    oack,
    isProven: false,
    heardMs: nowMs,
    acked: 0,
    sent: 0,
    // A file that is a multiple of the block size, the empty one included, ends with an empty block.
    lastBlock: Math.floor(content.length / blockBytes) + 1,
    restartedAt: -1,
    silences: 0,
    roundTrip: undefined,
    timeoutMs: Math.min(INITIAL_TIMEOUT_MS, mostTimeoutMs),
    mostTimeoutMs,
    sampleFromMs: nowMs,
    deadlineMs: nowMs + Math.min(INITIAL_TIMEOUT_MS, mostTimeoutMs),
    bytesSent: 0,
    repeatedBlocks: 0,
    outcome: undefined,
  };
  if (oack === undefined) return sendWindow(transfer, nowMs);
  return [transfer, [{ kind: 'oack', options: oack }]];
}

/** The largest block that one datagram holds on a network with that MTU; many a ROM cannot put fragments together. */
export function blockFitting(mtuBytes = ETHERNET_MTU_BYTES): number {
  return Math.max(DEFAULT_BLOCK_BYTES, Math.min(mtuBytes, ETHERNET_MTU_BYTES) - HEADER_BYTES);
}

/**
 * The length of the datagrams that a transfer will send many of at a time.
 *
 * @returns undefined where it sends one block at a time, or hardly more than a window in all.
 */
export function segmentBytes(request: Request, content: Uint8Array, limits: Limits): number | undefined {
  const { blksize = DEFAULT_BLOCK_BYTES, windowsize = 1 } = negotiate(request, content, limits) ?? {};
  return windowsize > 1 && content.length > windowsize * blksize ? blksize + 4 : undefined;
}

/** Only what was asked for is acknowledged; each value may only be lowered (RFC 2347, 2348, 7440). */
function negotiate({ options, mode }: Request, content: Uint8Array, limits: Limits): TftpOptions | undefined {
  const granted: TftpOptions = {
    ...(options.blksize === undefined ? {} : { blksize: Math.min(options.blksize, limits.mostBlockBytes) }),
    ...(options.tsize === undefined ? {} : { tsize: content.length }),
    ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
    ...(options.windowsize === undefined || mode === 'netascii'
      ? {}
      : { windowsize: Math.min(options.windowsize, MOST_WINDOW_BLOCKS) }),
  };
  return Object.keys(granted).length === 0 ? undefined : granted;
}

/** One event. A transfer with an outcome has ended: nothing is sent any more, whatever comes. */
export function step(transfer: Transfer, event: TransferEvent, nowMs: number): StepResult {
  if (transfer.outcome !== undefined) return [transfer, []];
  if (event.kind === 'timeout') return stepTimeout(transfer, nowMs);
  const { packet } = event;
  if (packet.kind === 'ack') return stepAck(transfer, packet.block, nowMs);
  if (packet.kind === 'error') {
    const isProbe = transfer.oack !== undefined && transfer.acked === 0;
    return [{ ...transfer, outcome: isProbe ? 'probed' : 'aborted-by-client', detail: packet.message }, []];
  }
  if (packet.kind === 'rrq') {
    // Its client has not seen our answer yet, and the timer repeats that; or a repeated request waited in a queue while the
    // first was answered, as in a storm; or it began anew, as a ROM does after a reset.
    return transfer.acked === 0 || nowMs - transfer.heardMs < LATE_REQUEST_MS
      ? [transfer, []]
      : [{ ...transfer, outcome: 'aborted-by-client', detail: 'began anew' }, []];
  }
  const refusal: TftpPacket = { kind: 'error', code: ERROR_CODES['illegal-operation'], message: 'only reads' };
  return [{ ...transfer, outcome: 'aborted-by-client', detail: `sent ${packet.kind}` }, [refusal]];
}

function stepAck(transfer: Transfer, wireBlock: number, nowMs: number): StepResult {
  const ahead = (wireBlock - transfer.acked) & 0xffff;
  if (ahead > transfer.sent - transfer.acked) return [transfer, []];
  const heard = measured({ ...transfer, silences: 0, isProven: true, heardMs: nowMs }, nowMs);
  if (ahead > 0) {
    const acked = transfer.acked + ahead;
    // An ACK inside the window: what came after it was lost, or is late; either way the client goes on from here.
    const isGap = acked < transfer.sent;
    const moved: Transfer = {
      ...heard,
      acked,
      restartedAt: isGap ? acked : -1,
      repeatedBlocks: heard.repeatedBlocks + (isGap ? transfer.sent - acked : 0),
      sent: acked,
    };
    if (acked === transfer.lastBlock) return [{ ...moved, outcome: 'complete' }, []];
    return sendWindow(moved, nowMs);
  }
  // ACK of the OACK: block 0 before anything was sent.
  if (transfer.sent === 0) return sendWindow(heard, nowMs);
  if (transfer.windowBlocks === 1 || transfer.restartedAt === transfer.acked) return [transfer, []];
  return resend({ ...heard, restartedAt: transfer.acked }, nowMs);
}

function stepTimeout(transfer: Transfer, nowMs: number): StepResult {
  const silences = transfer.silences + 1;
  if (silences >= (transfer.isProven ? MOST_SILENCES : UNPROVEN_SENDS)) {
    const isOut = transfer.isProven && transfer.sent === transfer.lastBlock;
    return [{ ...transfer, silences, outcome: isOut ? 'unconfirmed' : 'timeout' }, []];
  }
  const timeoutMs = Math.min(transfer.timeoutMs * 2, transfer.mostTimeoutMs);
  const patient: Transfer = {
    ...transfer,
    silences,
    timeoutMs,
    deadlineMs: nowMs + timeoutMs,
    sampleFromMs: undefined,
  };
  if (transfer.sent === 0 && transfer.oack !== undefined) return [patient, [{ kind: 'oack', options: transfer.oack }]];
  return resend(patient, nowMs);
}

/** Sends the window again from behind the last ACK. */
function resend(transfer: Transfer, nowMs: number): StepResult {
  const repeated = transfer.sent - transfer.acked;
  const [next, packets] = sendWindow(
    { ...transfer, sent: transfer.acked, repeatedBlocks: transfer.repeatedBlocks + repeated },
    nowMs,
  );
  return [{ ...next, sampleFromMs: undefined }, packets];
}

/** Sends the blocks behind `sent` that the window allows. */
function sendWindow(transfer: Transfer, nowMs: number): StepResult {
  const { content, blockBytes, acked, windowBlocks, lastBlock } = transfer;
  const until = Math.min(acked + windowBlocks, lastBlock);
  const packets: TftpPacket[] = [];
  let bytesSent = transfer.bytesSent;
  for (let block = transfer.sent + 1; block <= until; block += 1) {
    const data = content.subarray((block - 1) * blockBytes, block * blockBytes);
    packets.push({ kind: 'data', block: block & 0xffff, data });
    bytesSent += data.length;
  }
  return [
    { ...transfer, sent: until, bytesSent, deadlineMs: nowMs + transfer.timeoutMs, sampleFromMs: nowMs },
    packets,
  ];
}

/** Takes the round trip of what was just acknowledged into the timeout: RFC 6298 2.2 and 2.3. */
function measured(transfer: Transfer, nowMs: number): Transfer {
  if (transfer.sampleFromMs === undefined) return transfer;
  const sampleMs = Math.max(0, nowMs - transfer.sampleFromMs);
  const old = transfer.roundTrip;
  const roundTrip =
    old === undefined
      ? { meanMs: sampleMs, variationMs: sampleMs / 2 }
      : {
          meanMs: old.meanMs * 0.875 + sampleMs * 0.125,
          variationMs: old.variationMs * 0.75 + Math.abs(old.meanMs - sampleMs) * 0.25,
        };
  const estimateMs = Math.max(LEAST_TIMEOUT_MS, roundTrip.meanMs + 4 * roundTrip.variationMs);
  return { ...transfer, roundTrip, timeoutMs: Math.min(estimateMs, transfer.mostTimeoutMs) };
}
