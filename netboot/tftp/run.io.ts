// netboot/tftp/run.io.ts - one TFTP transfer on a socket of its own: datagrams out and in, and its timer.
//
// Owns: the socket (the transfer's TID; connected, it hears only its peer and spares the kernel a route lookup for each
// packet), one buffer that all blocks are sent from, and a window in one send where the socket can (segments.io.ts;
// a window has at most 32 blocks, of the 64 datagrams that the kernel makes of one send).
// Does not own what is sent and when (transfer.ts), which transfers run (server.io.ts).
//
// The buffer is written again while an earlier send may still wait in libuv's queue: then that send carries newer blocks,
// each whole and with its own number. Datagrams are lost anyhow; what matters is that none lies.

import { createSocket, type Socket } from 'node:dgram';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { TftpPeer } from './event.ts';
import { decodePacket, encodePacket, putData, type TftpPacket } from './packet.ts';
import { step, type StepResult, type Transfer, type TransferEvent } from './transfer.ts';

export type RunningTransfer = {
  /** Ends it at once, without a word to anybody. */
  readonly stop: () => void;
  readonly feed: (event: TransferEvent) => void;
};

/** The timer is left alone where the deadline has only moved on, or come nearer by less than this. */
const TIMER_SLACK_MS = 20;

/** A port that is let go of is bound again within a second, or the client is left to begin anew. */
const REOPEN_TRIES = 50;
const REOPEN_AFTER_MS = 20;

/** Runs one transfer. Exactly one of onEnd and onFail is called, unless it is stopped; onProven before. */
export function runTransfer(job: {
  local: Ipv4Address;
  peer: TftpPeer;
  /** A bound socket that cuts a window into datagrams; undefined: there is none, or it would not pay. */
  cutting: Promise<Socket | undefined> | undefined;
  start: (nowMs: number) => StepResult;
  /** Its client has answered for the first time. */
  onProven: () => void;
  onEnd: (transfer: Transfer, durationMs: number) => void;
  onFail: (reason: string) => void;
  /** It reads its content no more, however it ended. */
  onOver: (() => void) | undefined;
}): RunningTransfer {
  const { local, peer, onProven, onEnd, onFail } = job;
  const startedMs = performance.now();
  /** Only once it is connected: dgram sends of another would go astray. */
  let socket: Socket | undefined;
  let opening: Socket | undefined;
  let isCutting = false;
  let timer: NodeJS.Timeout | undefined;
  let firesAtMs = Infinity;
  let transfer: Transfer | undefined;
  let buffer: Buffer | undefined;
  let isOver = false;

  const stop = (): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    (socket ?? opening)?.close();
    job.onOver?.();
  };

  const arm = (deadlineMs: number): void => {
    if (firesAtMs - TIMER_SLACK_MS <= deadlineMs) return;
    clearTimeout(timer);
    firesAtMs = deadlineMs;
    timer = setTimeout(onTimer, Math.max(1, deadlineMs - performance.now()));
  };
  const onTimer = (): void => {
    firesAtMs = Infinity;
    if (transfer === undefined || isOver) return;
    if (performance.now() + 1 < transfer.deadlineMs) arm(transfer.deadlineMs);
    else feed({ kind: 'timeout' });
  };

  const send = (packets: readonly TftpPacket[], { blockBytes, windowBlocks }: Transfer): void => {
    if (socket === undefined) return;
    let from = 0;
    let to = 0;
    const flush = (): void => {
      if (to === from || buffer === undefined) return;
      // Only a send with a callback tells of its failure; one datagram that fails is one that was lost.
      if (isCutting) socket?.send(buffer, from, to - from, onCutSent);
      else socket?.send(buffer, from, to - from);
      from = to;
    };
    for (const packet of packets) {
      if (packet.kind === 'data') {
        buffer ??= Buffer.allocUnsafe(windowBlocks * (blockBytes + 4));
        to = putData(buffer, to, packet.block, packet.data);
        if (!isCutting) flush();
      } else if (isCutting) socket.send(encodePacket(packet), onCutSent);
      else socket.send(encodePacket(packet));
    }
    flush();
  };
  const onCutSent = (error: Error | null): void => {
    if (error === null || !isCutting || isOver || socket === undefined) return;
    // The way to this peer is too narrow for it, or its card cannot: on with the same port, one datagram a send.
    isCutting = false;
    const { port } = socket.address();
    const before = socket;
    socket = undefined;
    before.close(() => reopen(port, REOPEN_TRIES));
  };
  /** The helper that made the socket may hold the port a moment longer. */
  const reopen = (port: number, tries: number): void => {
    const again = (): void => {
      if (tries > 0) setTimeout(() => reopen(port, tries - 1), REOPEN_AFTER_MS);
    };
    open(createSocket({ type: 'udp4' }), port, () => feed({ kind: 'timeout' }), again);
  };

  const apply = ([next, packets]: StepResult): void => {
    const isFirstAnswer = next.isProven && transfer?.isProven !== true;
    transfer = next;
    if (isFirstAnswer) onProven();
    if (next.outcome === undefined) {
      send(packets, next);
      arm(next.deadlineMs);
      return;
    }
    clearTimeout(timer);
    const [last] = packets;
    if (last === undefined || socket === undefined) stop();
    else socket.send(encodePacket(last), stop);
    onEnd(next, performance.now() - startedMs);
  };
  const feed = (event: TransferEvent): void => {
    if (transfer !== undefined && transfer.outcome === undefined && !isOver) {
      apply(step(transfer, event, performance.now()));
    }
  };

  const begin = (): void => apply(job.start(performance.now()));
  const open = (fresh: Socket, port: number | 'bound', then: () => void, otherwise: (why: string) => void): void => {
    if (isOver) return void fresh.close();
    opening = fresh;
    // Before it is connected: no socket to be had. After it: "connection refused", the client's port is gone; treated as
    // silence, for a forged ICMP message says so as well.
    fresh.on('error', (error) => {
      if (opening !== fresh || isOver) return;
      opening = undefined;
      fresh.close();
      otherwise(error.message);
    });
    fresh.on('message', (octets) => {
      const decoded = decodePacket(octets);
      if (decoded.ok) feed({ kind: 'packet', packet: decoded.packet });
    });
    const connect = (): void => {
      if (isOver) return;
      fresh.once('connect', () => {
        if (isOver) return;
        opening = undefined;
        socket = fresh;
        then();
      });
      fresh.connect(peer.port, peer.address);
    };
    // exclusive: a worker of node:cluster would otherwise get a socket of its primary, which cannot be connected.
    if (port === 'bound') connect();
    else fresh.bind({ address: local, port, exclusive: true }, connect);
  };

  const fail = (why: string): void => {
    stop();
    onFail(why);
  };
  const plain = (): void => open(createSocket({ type: 'udp4' }), 0, begin, fail);
  if (job.cutting === undefined) plain();
  else {
    void job.cutting.then((cutting) => {
      isCutting = cutting !== undefined;
      if (cutting === undefined) plain();
      else open(cutting, 'bound', begin, fail);
    });
  }
  return { stop, feed };
}
