// netboot/tftp/server.io.ts - the port of the TFTP server, and the transfers that its requests begin.
//
// Owns: UDP 69 of the served interfaces, and which transfer hears a request. Does not own what a transfer does
// (transfer.ts) and the socket that it does it on (run.io.ts), which files there are (`files`), or the journal.

import { createSocket, type Socket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { type Ipv4Address, parseIpv4 } from '../../formats/ipv4.ts';
import { reasonOf } from '../../formats/errors.ts';
import { bindUdp } from '../ports.io.ts';
import { printableAscii } from '../../formats/printable.ts';
import { Admission, type Place } from './admission.ts';
import type { TftpEvent, TftpPeer } from './event.ts';
import { cleanName } from './names.ts';
import { toNetascii } from './netascii.ts';
import { decodePacket, encodePacket, ERROR_CODES, type Request, TFTP_PORT } from './packet.ts';
import { runTransfer, type RunningTransfer } from './run.io.ts';
import { Segments } from './segments.io.ts';
import { beginTransfer, blockFitting, segmentBytes, type Transfer } from './transfer.ts';

export type FileAnswer =
  | {
      readonly kind: 'file';
      /** Read, never changed; it may serve any number of transfers at once. */
      readonly content: Uint8Array;
      /** Told when the client has acknowledged for the first time: it is where its request said. */
      readonly onProven?: (() => void) | undefined;
      /** Told when the transfer has ended; not where the client only asked for the size. */
      readonly onSent?: ((sent: { bytes: number; durationMs: number; complete: boolean }) => void) | undefined;
      /** Told when nobody reads the content any more, however it ended. */
      readonly onEnd?: (() => void) | undefined;
    }
  | { readonly kind: 'refuse'; readonly why: string };

export type TftpServerOptions = {
  readonly interfaces: readonly { readonly name: string; readonly address: Ipv4Address }[];
  /** What the name stands for, for this peer. */
  readonly files: (name: string, peer: TftpPeer) => FileAnswer | Promise<FileAnswer>;
  readonly onEvent: (event: TftpEvent) => void;
  /** Whether the address has a lease or a node file: such go first. All do where it is left out. */
  readonly isKnown?: (address: Ipv4Address) => boolean;
  /** 69, except in tests. */
  readonly port?: number;
  /** The largest block that fits the network in one datagram; by default what the interface's MTU leaves of Ethernet's. */
  readonly mostBlockBytes?: number;
};

export type RunningTftp = {
  /** Ends all transfers and lets go of the port. */
  readonly close: () => Promise<void>;
  /** The port it listens on. */
  readonly port: number;
};

type Served = TftpServerOptions['interfaces'][number] & { readonly mostBlockBytes: number };
type Job = { readonly served: Served; readonly request: Request; readonly peer: TftpPeer; readonly key: string };

/** Serves reads by TFTP until closed. @throws Fault E_PORT_TAKEN or E_PRIVILEGE, with nothing left open. */
export async function serveTftp(options: TftpServerOptions): Promise<RunningTftp> {
  const { interfaces, port = TFTP_PORT, mostBlockBytes } = options;
  const transfers = new Transfers(options);
  const listening: Socket[] = [];
  const close = async (): Promise<void> => {
    transfers.close();
    await Promise.all(listening.splice(0).map((one) => new Promise<void>((resolve) => one.close(() => resolve()))));
  };
  try {
    for (const one of interfaces) {
      const served = { ...one, mostBlockBytes: mostBlockBytes ?? blockFitting(await mtuOf(one.name)) };
      const socket = await bindUdp(served.address, port, `${served.name} (${served.address})`);
      listening.push(socket);
      socket.on('message', (octets, from) => transfers.receive(served, octets, from));
    }
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { close, port: listening[0]?.address().port ?? port };
}

/** From a request to the transfer that answers it, as soon as there is a place for one. */
class Transfers {
  readonly #options: TftpServerOptions;
  readonly #segments = new Segments();
  readonly #admission = new Admission<Job>();
  readonly #running = new Map<string, RunningTransfer>();
  #isClosing = false;

  constructor(options: TftpServerOptions) {
    this.#options = options;
  }

  receive(served: Served, octets: Uint8Array, from: { address: string; port: number }): void {
    const decoded = decodePacket(octets);
    const address = parseIpv4(from.address);
    if (!decoded.ok || address === undefined) return;
    const { packet } = decoded;
    // DATA, ACK and ERROR belong to a transfer's own port; answered here they would make two servers chat for ever.
    if (packet.kind !== 'rrq' && packet.kind !== 'wrq') return;
    const { isKnown = () => true, onEvent } = this.#options;
    const key = `${address}:${from.port}`;
    const job: Job = { served, request: packet, peer: { address, port: from.port }, key };
    const ask = (): Place => this.#admission.ask(key, address, job, performance.now(), isKnown(address));
    const place = ask();
    if (place === 'begin') void this.#begin(job);
    if (place === 'full-first') {
      onEvent({ kind: 'crowded', interfaceName: served.name, waiting: this.#admission.waiting });
    }
    if (place === 'wait' || place === 'full' || place === 'full-first') this.#makeRoom();
    if (place !== 'running') return;
    // ROMs use the same port after a reset; the old transfer hears of it here.
    this.#running.get(key)?.feed({ kind: 'packet', packet });
    if (!this.#running.has(key) && ask() === 'begin') void this.#begin(job);
  }

  async #begin(job: Job): Promise<void> {
    const { served, request, peer, key } = job;
    const cleaned = cleanName(request.name);
    if (!cleaned.ok) {
      return this.#refuse(job, printableAscii(request.name), ERROR_CODES['access-violation'], cleaned.why);
    }
    const { name } = cleaned;
    if (request.kind === 'wrq') {
      return this.#refuse(job, name, ERROR_CODES['access-violation'], 'this server only reads');
    }
    let answer: FileAnswer;
    try {
      answer = await this.#options.files(name, peer);
    } catch (thrown) {
      return this.#refuse(job, name, ERROR_CODES.undefined, reasonOf(thrown));
    }
    if (answer.kind === 'refuse') return this.#refuse(job, name, ERROR_CODES['not-found'], answer.why);
    const { onProven, onSent, onEnd: onOver } = answer;
    const content = request.mode === 'netascii' ? toNetascii(answer.content) : answer.content;
    const bytes = segmentBytes(request, content, served);
    const begun = runTransfer({
      local: served.address,
      peer,
      cutting: bytes === undefined ? undefined : this.#segments.take(served.address, bytes),
      start: (nowMs) => beginTransfer(request, content, served, nowMs),
      onProven: () => {
        onProven?.();
        for (const next of this.#admission.prove(key, performance.now())) void this.#begin(next);
      },
      onOver,
      onFail: (reason) => {
        this.#leave(key);
        const why = `no socket: ${reason}`;
        this.#options.onEvent({ kind: 'refused', interfaceName: served.name, file: name, peer, why });
      },
      onEnd: (transfer, durationMs) => {
        this.#leave(key);
        const complete = transfer.outcome === 'complete' || transfer.outcome === 'unconfirmed';
        if (transfer.outcome !== 'probed') onSent?.({ bytes: transfer.bytesSent, durationMs, complete });
        this.#options.onEvent(endedEvent(job, name, content.length, transfer, durationMs));
      },
    });
    this.#running.set(key, begun);
    if (this.#isClosing) begun.stop();
  }

  #refuse({ served, peer, key }: Job, file: string, code: number, why: string): void {
    this.#options.onEvent({ kind: 'refused', interfaceName: served.name, file, peer, why });
    sendError(served.address, peer, code, why);
    this.#leave(key);
  }

  /** Its place is another's. */
  #leave(key: string): void {
    this.#running.delete(key);
    for (const job of this.#admission.end(key, performance.now())) void this.#begin(job);
  }

  /** Places of those who do not answer, for those who wait. A client that is there after all asks again. */
  #makeRoom(): void {
    for (const key of this.#admission.overdue(performance.now())) {
      this.#running.get(key)?.stop();
      this.#leave(key);
    }
  }

  close(): void {
    this.#isClosing = true;
    this.#segments.close();
    for (const transfer of this.#running.values()) transfer.stop();
  }
}

function endedEvent(
  { served, peer }: Job,
  file: string,
  fileBytes: number,
  transfer: Transfer,
  durationMs: number,
): TftpEvent {
  const { outcome = 'timeout', isProven, bytesSent, repeatedBlocks, blockBytes, windowBlocks, detail } = transfer;
  return {
    kind: 'ended',
    interfaceName: served.name,
    file,
    peer,
    outcome,
    isProven,
    fileBytes,
    bytesSent,
    repeatedBlocks,
    blockBytes,
    windowBlocks,
    durationMs,
    detail: detail === undefined ? undefined : printableAscii(detail),
  };
}

async function mtuOf(interfaceName: string): Promise<number | undefined> {
  const text = await readFile(`/sys/class/net/${interfaceName}/mtu`, 'utf8').catch(() => '');
  return Number(text) || undefined;
}

/** One ERROR from a port of its own, as the answer to a request must come. */
function sendError(local: Ipv4Address, peer: TftpPeer, code: number, message: string): void {
  const socket = createSocket({ type: 'udp4' });
  socket.on('error', () => undefined);
  socket.bind({ address: local, port: 0, exclusive: true }, () => {
    const packet = encodePacket({ kind: 'error', code, message: printableAscii(message) });
    socket.send(packet, peer.port, peer.address, () => socket.close());
  });
}
