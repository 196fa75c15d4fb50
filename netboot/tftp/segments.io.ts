// netboot/tftp/segments.io.ts - sockets that take a whole window of TFTP in one send, where this machine can have them.
//
// Owns: the helper that makes them. The kernel cuts one send into datagrams of equal size where the socket says so
// (UDP_SEGMENT); Node can send so, but not say so, and it takes ready sockets only over the channel of a child process.
// Perl, which every Debian has (perl-base), makes the socket, sets the option and passes it: one question for each transfer,
// nothing for each packet. A third to a tenth of the processor time, and several times the rate, of one send per packet.
// Does not own which transfers want one (transfer.ts), or what is sent (run.io.ts). Without perl there are none, and all works.
//
// Sources: udp(7) (UDP_SEGMENT), unix(7) (SCM_RIGHTS), sendmsg(2), cmsg(3); node lib/internal/child_process.js (NODE_HANDLE).

import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:dgram';
import type { Ipv4Address } from '../../formats/ipv4.ts';

/** The number of sendmsg(2) where pointers have 8 bytes; elsewhere there is no helper. */
const SENDMSG: Readonly<Partial<Record<string, number>>> = { x64: 46, arm64: 211 };

/** Reads questions, one JSON line each; answers with Node's own message that carries a socket. 17, 103: SOL_UDP, UDP_SEGMENT. */
const HELPER = String.raw`
use strict; use Socket;
my $sendmsg = shift;
open my $channel, '+<&=', $ENV{NODE_CHANNEL_FD} or exit 1;
my $text = '';
while (sysread $channel, $text, 4096, length $text) {
  while ($text =~ s/^(.*)\n//) {
    my ($id, $address, $bytes) = $1 =~ /^\{"id":(\d+),"address":"([\d.]+)","bytes":(\d+)\}$/ or next;
    socket my $udp, AF_INET, SOCK_DGRAM, 0 or exit 1;
    my $is = bind($udp, pack_sockaddr_in 0, inet_aton $address) && setsockopt $udp, 17, 103, pack 'i', $bytes;
    my $says = sprintf qq({"cmd":"NODE_HANDLE","type":"dgram.Socket","dgramType":"udp4","msg":{"id":%d,"cuts":%s}}\n),
      $id, $is ? 'true' : 'false';
    my $part = pack 'PQ', $says, length $says;
    my $rights = pack 'Qiiix4', 20, SOL_SOCKET, SCM_RIGHTS, fileno $udp;
    my $message = pack 'QQPQPQQ', 0, 0, $part, 1, $rights, length $rights, 0;
    syscall($sendmsg, fileno $channel, $message, 0) > 0 or exit 1;
  }
}
`;
/** A helper that does not answer is done without. */
const PATIENCE_MS = 1000;

type Waiting = { readonly resolve: (socket: Socket | undefined) => void; readonly timer: NodeJS.Timeout };

/** A source of such sockets; its helper starts with the first question. */
export class Segments {
  readonly #waiting = new Map<number, Waiting>();
  #helper: ChildProcess | 'none' | undefined;
  #asked = 0;
  readonly #patienceMs: number;

  constructor(patienceMs = PATIENCE_MS) {
    this.#patienceMs = patienceMs;
  }

  /**
   * A socket bound to a free port of `address`, which cuts what it is sent into datagrams of `bytes`.
   *
   * @returns undefined where there is none to be had.
   */
  async take(address: Ipv4Address, bytes: number): Promise<Socket | undefined> {
    const helper = (this.#helper ??= this.#start());
    if (helper === 'none') return undefined;
    this.#asked += 1;
    const id = this.#asked;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#answer(id, undefined), this.#patienceMs);
      this.#waiting.set(id, { resolve, timer });
      helper.send({ id, address, bytes }, (error) => {
        if (error !== null) this.#answer(id, undefined);
      });
    });
  }

  close(): void {
    if (this.#helper !== undefined && this.#helper !== 'none') this.#helper.disconnect();
    this.#end();
  }

  #start(): ChildProcess | 'none' {
    const sendmsg = SENDMSG[process.arch];
    if (sendmsg === undefined) return 'none';
    const helper = spawn('perl', ['-e', HELPER, String(sendmsg)], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      env: { PATH: process.env['PATH'] ?? '' },
    });
    helper.on('message', (message, handle) => {
      const { id, cuts } = message as { id: number; cuts: boolean };
      const socket = handle as Socket;
      if (cuts && this.#answer(id, socket)) return;
      socket.close();
      this.#answer(id, undefined);
    });
    for (const end of ['error', 'disconnect'] as const) helper.once(end, () => this.#end());
    helper.unref();
    helper.channel?.unref();
    return helper;
  }

  /** @returns whether anybody still waits for it. */
  #answer(id: number, socket: Socket | undefined): boolean {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return false;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    waiting.resolve(socket);
    return true;
  }

  #end(): void {
    this.#helper = 'none';
    for (const id of [...this.#waiting.keys()]) this.#answer(id, undefined);
  }
}
