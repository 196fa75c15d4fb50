// One transfer as a state machine: negotiation, windows, loss, duplication, rollover, and how it ends.
// A client written after the RFCs and a network that loses, doubles and reorders by a seeded plan; no clock, no sockets.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Request, TftpOptions, TftpPacket } from '../../../netboot/tftp/packet.ts';
import {
  beginTransfer,
  MOST_WINDOW_BLOCKS,
  step,
  type StepResult,
  type Transfer,
} from '../../../netboot/tftp/transfer.ts';

const LIMITS = { mostBlockBytes: 1468 };

function content(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, index) => (index * 7 + (index >>> 8)) & 255);
}

function rrq(options: TftpOptions = {}, mode: Request['mode'] = 'octet'): Request {
  return { kind: 'rrq', name: 'f', mode, options };
}

const ack = (block: number) => ({ kind: 'packet', packet: { kind: 'ack', block } }) as const;
const timeout = { kind: 'timeout' } as const;

/** "oack blksize=1024", "1:512" (block 1 with 512 octets), … */
function shown(packets: readonly TftpPacket[]): string[] {
  return packets.map((packet) => {
    if (packet.kind === 'data') return `${packet.block}:${packet.data.length}`;
    if (packet.kind !== 'oack') return packet.kind;
    return `oack ${Object.entries(packet.options)
      .map(([name, value]) => `${name}=${value}`)
      .join(' ')}`;
  });
}

type Row = {
  what: string;
  bytes: number;
  options?: TftpOptions;
  script: (number | 'timeout')[];
  want: string[][];
  outcome?: string;
};

// Each step is an ACK's number or a timeout; `want` is what is sent at the start and after each step.
const ROWS: Row[] = [
  { what: 'a short file', bytes: 100, script: [1], want: [['1:100'], []], outcome: 'complete' },
  { what: 'an empty file', bytes: 0, script: [1], want: [['1:0'], []], outcome: 'complete' },
  {
    what: 'a multiple of the block size ends with an empty block',
    bytes: 1024,
    script: [1, 2, 3],
    want: [['1:512'], ['2:512'], ['3:0'], []],
    outcome: 'complete',
  },
  {
    what: 'options are acknowledged before the first block',
    bytes: 1500,
    options: { blksize: 1024, tsize: 0 },
    script: [0, 1, 2],
    want: [['oack blksize=1024 tsize=1500'], ['1:1024'], ['2:476'], []],
    outcome: 'complete',
  },
  {
    what: 'a block size beyond the path is lowered',
    bytes: 10,
    options: { blksize: 65464 },
    script: [],
    want: [['oack blksize=1468']],
  },
  {
    what: 'a timeout is accepted as asked',
    bytes: 10,
    options: { timeout: 3 },
    script: [],
    want: [['oack timeout=3']],
  },
  {
    what: 'a window beyond the limit is lowered',
    bytes: 10,
    options: { windowsize: 65535 },
    script: [],
    want: [[`oack windowsize=${MOST_WINDOW_BLOCKS}`]],
  },
  {
    what: 'a duplicate ACK sends nothing',
    bytes: 2000,
    script: [1, 1, 1, 2, 1],
    want: [['1:512'], ['2:512'], [], [], ['3:512'], []],
  },
  {
    what: 'an ACK of what was not sent is not believed',
    bytes: 2000,
    script: [2, 9, 65535],
    want: [['1:512'], [], [], []],
  },
  {
    what: 'a timeout repeats the block',
    bytes: 2000,
    script: [1, 'timeout', 2],
    want: [['1:512'], ['2:512'], ['2:512'], ['3:512']],
  },
  {
    what: 'a timeout repeats the OACK',
    bytes: 2000,
    options: { tsize: 0 },
    script: ['timeout', 0],
    want: [['oack tsize=2000'], ['oack tsize=2000'], ['1:512']],
  },
  {
    what: 'the OACK acknowledged twice begins once',
    bytes: 2000,
    options: { tsize: 0 },
    script: [0, 0],
    want: [['oack tsize=2000'], ['1:512'], []],
  },
  {
    what: 'a window is sent at once',
    bytes: 2000,
    options: { windowsize: 3 },
    script: [0, 3, 4],
    want: [['oack windowsize=3'], ['1:512', '2:512', '3:512'], ['4:464'], []],
    outcome: 'complete',
  },
  {
    what: 'an ACK inside the window goes on behind it, once',
    bytes: 4000,
    options: { windowsize: 3 },
    script: [0, 1, 1],
    want: [['oack windowsize=3'], ['1:512', '2:512', '3:512'], ['2:512', '3:512', '4:512'], []],
  },
  {
    what: 'the first block of a window lost: one repetition, not one for each duplicate',
    bytes: 4000,
    options: { windowsize: 2 },
    script: [0, 2, 2, 2],
    want: [['oack windowsize=2'], ['1:512', '2:512'], ['3:512', '4:512'], ['3:512', '4:512'], []],
  },
  {
    what: 'a silent peer draws four packets',
    bytes: 2000,
    script: ['timeout', 'timeout', 'timeout', 'timeout'],
    want: [['1:512'], ['1:512'], ['1:512'], ['1:512'], []],
    outcome: 'timeout',
  },
  {
    what: 'a peer that goes silent later draws five more',
    bytes: 2000,
    script: [1, 'timeout', 'timeout', 'timeout', 'timeout', 'timeout', 'timeout'],
    want: [['1:512'], ['2:512'], ['2:512'], ['2:512'], ['2:512'], ['2:512'], ['2:512'], []],
    outcome: 'timeout',
  },
  {
    what: 'the last ACK never comes',
    bytes: 600,
    script: [1, 'timeout', 'timeout', 'timeout', 'timeout', 'timeout', 'timeout'],
    want: [['1:512'], ['2:88'], ['2:88'], ['2:88'], ['2:88'], ['2:88'], ['2:88'], []],
    outcome: 'unconfirmed',
  },
];
for (const { what, bytes, options, script, want, outcome } of ROWS) {
  test(`${what}: ${outcome ?? 'goes on'}`, () => {
    const sent: string[][] = [];
    let nowMs = 0;
    let transfer: Transfer;
    const take = ([next, packets]: StepResult): Transfer => {
      sent.push(shown(packets));
      return next;
    };
    transfer = take(beginTransfer(rrq(options), content(bytes), LIMITS, nowMs));
    for (const one of script) {
      nowMs = one === 'timeout' ? transfer.deadlineMs : nowMs + 10;
      transfer = take(step(transfer, one === 'timeout' ? timeout : ack(one), nowMs));
    }
    expect(sent).toEqual(want);
    expect(transfer.outcome).toBe(outcome);
  });
}

test('ERROR after an OACK is the probe for the size, later it is an abort', () => {
  const stop = { kind: 'packet', packet: { kind: 'error', code: 8, message: 'User aborted the transfer' } } as const;
  const [probing] = beginTransfer(rrq({ tsize: 0 }), content(2000), LIMITS, 0);
  expect(step(probing, stop, 5)[0]).toMatchObject({ outcome: 'probed', bytesSent: 0 });
  const [started] = step(step(probing, ack(0), 5)[0], ack(1), 10);
  expect(step(started, stop, 15)[0]).toMatchObject({
    outcome: 'aborted-by-client',
    detail: 'User aborted the transfer',
  });
});

test('what is no answer ends the transfer with an error, a repeated request does not', () => {
  const [transfer] = beginTransfer(rrq(), content(2000), LIMITS, 0);
  expect(step(transfer, { kind: 'packet', packet: rrq() }, 5)).toEqual([transfer, []]);
  const [ended, packets] = step(transfer, { kind: 'packet', packet: { kind: 'data', block: 1, data: content(1) } }, 5);
  expect([ended.outcome, shown(packets)]).toEqual(['aborted-by-client', ['error']]);
  expect(step(ended, ack(1), 6)).toEqual([ended, []]);
});

test('a client that begins anew from the same port is noticed; a repeated request that was late is none', () => {
  const [transfer] = step(beginTransfer(rrq(), content(2000), LIMITS, 0)[0], ack(1), 5);
  const again = { kind: 'packet', packet: rrq() } as const;
  expect(step(transfer, again, 900)).toEqual([transfer, []]);
  expect(step(transfer, again, 1100)[0].outcome).toBe('aborted-by-client');
});

test('the timeout follows the round trip, doubles with silence, and never exceeds what the client asked for', () => {
  let [transfer] = beginTransfer(rrq({ timeout: 2 }), content(100_000), LIMITS, 0);
  expect(transfer.timeoutMs).toBe(1000);
  [transfer] = step(transfer, ack(0), 10);
  for (let block = 1; block < 20; block += 1) [transfer] = step(transfer, ack(block), 10 + block * 10);
  expect(transfer.timeoutMs).toBe(250);
  const waits: number[] = [];
  for (let index = 0; index < 5; index += 1) {
    const atMs = transfer.deadlineMs;
    [transfer] = step(transfer, timeout, atMs);
    waits.push(transfer.deadlineMs - atMs);
  }
  expect(waits).toEqual([500, 1000, 2000, 2000, 2000]);
  // A round trip of repeated packets says nothing (Karn): the timeout stays until a clean one is measured.
  const [after] = step(transfer, ack(20), transfer.deadlineMs - 1990);
  expect(after.timeoutMs).toBe(2000);
  const [slow] = step(after, ack(21), transfer.deadlineMs - 490);
  expect(slow.timeoutMs).toBeGreaterThan(500);
});

test('block numbers roll over to 0, with windows too', () => {
  for (const windowsize of [1, 16]) {
    const file = content(70_000 * 8);
    let [transfer] = beginTransfer(rrq({ blksize: 8, windowsize }), file, LIMITS, 0);
    const seen: number[] = [];
    let packets: readonly TftpPacket[] = [];
    let acked = 0;
    let nowMs = 0;
    while (transfer.outcome === undefined) {
      [transfer, packets] = step(transfer, ack(acked & 0xffff), (nowMs += 1));
      for (const packet of packets) if (packet.kind === 'data') seen.push(packet.block);
      acked = seen.length;
    }
    expect(seen.length).toBe(70_001);
    expect(seen.slice(65_534, 65_538)).toEqual([65_535, 0, 1, 2]);
    expect(transfer).toMatchObject({ outcome: 'complete', bytesSent: file.length, repeatedBlocks: 0 });
  }
});

type Plan = { bytes: number; blksize: number; windowsize: number; fates: number[]; isPlain: boolean };

/** A client after RFC 1350 and 7440: keeps what comes in order, acknowledges a full window, a gap and the end. */
class Client {
  readonly #parts: Uint8Array[] = [];
  readonly #blockBytes: number;
  readonly #window: number;
  received = 0;
  isDone = false;
  #sinceAck = 0;

  constructor(blockBytes: number, window: number) {
    this.#blockBytes = blockBytes;
    this.#window = window;
  }

  hear(packet: TftpPacket): TftpPacket | undefined {
    if (packet.kind === 'oack') return { kind: 'ack', block: 0 };
    if (packet.kind !== 'data') return undefined;
    if (packet.block === ((this.received + 1) & 0xffff) && !this.isDone) {
      this.#parts.push(packet.data);
      this.received += 1;
      this.#sinceAck += 1;
      this.isDone = packet.data.length < this.#blockBytes;
      if (!this.isDone && this.#sinceAck < this.#window) return undefined;
    }
    this.#sinceAck = 0;
    return this.ackAgain();
  }

  ackAgain(): TftpPacket {
    return { kind: 'ack', block: this.received & 0xffff };
  }

  file(): Uint8Array {
    return Uint8Array.from(this.#parts.flatMap((part) => [...part]));
  }
}

/** Fates of packets in either direction: lost, doubled, late by one, or as they should be. */
function simulate({ bytes, blksize, windowsize, fates, isPlain }: Plan): {
  transfer: Transfer;
  client: Client;
  sent: number;
} {
  const options = isPlain ? {} : { blksize, windowsize };
  const client = new Client(isPlain ? 512 : blksize, isPlain ? 1 : windowsize);
  let nowMs = 0;
  let sent = 0;
  let turn = 0;
  const late: TftpPacket[] = [];
  const through = (packets: readonly TftpPacket[]): TftpPacket[] =>
    packets.flatMap((packet) => {
      turn += 1;
      // Fates run out: a network that gets well lets every transfer end.
      const fate = turn > fates.length * 3 ? 9 : (fates[turn % fates.length] ?? 9);
      if (fate === 0) return [];
      if (fate === 1) return [packet, packet];
      if (fate === 2) {
        late.push(packet);
        return [];
      }
      return [packet, ...late.splice(0)];
    });
  let [transfer, packets] = beginTransfer(rrq(options), content(bytes), LIMITS, nowMs);
  for (let round = 0; round < 5000 && transfer.outcome === undefined; round += 1) {
    sent += packets.length;
    const answers = through(through(packets).flatMap((packet) => client.hear(packet) ?? []));
    packets = [];
    nowMs += 1;
    // An ACK that is late may arrive as DATA would: only ACKs are the server's to hear.
    const acks = answers.filter((packet) => packet.kind === 'ack');
    for (const packet of acks) {
      const [next, more] = step(transfer, { kind: 'packet', packet }, nowMs);
      transfer = next;
      packets = [...packets, ...more];
    }
    if (packets.length === 0 && transfer.outcome === undefined) {
      nowMs = transfer.deadlineMs;
      [transfer, packets] = step(transfer, timeout, nowMs);
    }
  }
  return { transfer, client, sent };
}

const plan: fc.Arbitrary<Plan> = fc.record({
  bytes: fc.nat(6000),
  blksize: fc.integer({ min: 8, max: 600 }),
  windowsize: fc.integer({ min: 1, max: 12 }),
  fates: fc.array(fc.nat(9), { minLength: 1, maxLength: 40 }),
  isPlain: fc.boolean(),
});

test('whatever is lost, doubled or late: the client has the file, or the transfer says it ended otherwise', () => {
  fc.assert(
    fc.property(plan, (one) => {
      const { transfer, client } = simulate(one);
      expect(transfer.outcome).toBeDefined();
      if (transfer.outcome === 'complete') expect(client.isDone).toBe(true);
      if (client.isDone) expect(client.file()).toEqual(content(one.bytes));
      expect(['complete', 'unconfirmed', 'timeout']).toContain(transfer.outcome);
    }),
    { numRuns: 1500 },
  );
});

test('a network that only doubles everything makes the server send nothing twice, without windows', () => {
  const { transfer, sent } = simulate({ bytes: 20_000, blksize: 512, windowsize: 1, fates: [1], isPlain: true });
  expect(transfer).toMatchObject({ outcome: 'complete', repeatedBlocks: 0 });
  expect(sent).toBe(40);
});

test('a clean network costs exactly the file, whatever the window', () => {
  for (const windowsize of [1, 2, 7, 12]) {
    const { transfer } = simulate({ bytes: 5000, blksize: 100, windowsize, fates: [9], isPlain: false });
    expect(transfer).toMatchObject({ outcome: 'complete', bytesSent: 5000, repeatedBlocks: 0 });
  }
});
