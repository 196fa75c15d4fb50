// netboot/dhcp/broadcast.io.ts - sockets that hear the DHCP broadcasts of one interface and of no other.
//
// Owns: UDP 67 (requests) and 68 (what other servers answer) bound to a device. Does not own what is heard (server.io.ts).
//
// Node cannot bind a socket to a device, and a socket that hears every interface's broadcasts cannot say whose they are.
// perl-base is essential in Debian: a child of some twenty lines opens the sockets and hands them over as Node's own
// children hand over handles, by SCM_RIGHTS on the channel that Node gives a child; then it ends. Nothing of it is left
// when packets come. What the interface's own address sends is filtered out by the kernel: Linux loops broadcasts back.
//
// Sources: socket(7) SO_BINDTODEVICE, SO_ATTACH_FILTER; unix(7) SCM_RIGHTS; cmsg(3); Node lib/internal/child_process.js
// (NODE_HANDLE). Numbers are Linux's, the same on x86_64 and arm64 except that of sendmsg.

import { spawn } from 'node:child_process';
import type { Socket } from 'node:dgram';
import { Fault } from '../../formats/errors.ts';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import { bindFault } from '../ports.io.ts';
import { CLIENT_PORT, SERVER_PORT } from './destination.ts';

/**
 * Arguments: the number of sendmsg, interface, its address, then ADDRESS:PORT:SHARED for each socket. Port 68 is shared (SO_REUSEADDR) with a DHCP
 * client of this machine; port 67 is not, so that a second server is noticed. The filter reads the sender from the IP
 * header (SKF_NET_OFF + 12): ld, jeq own, ret 0, ret all.
 */
const OPENER = String.raw`
use strict; use Socket;
my ($sendmsg, $name, $own, @wanted) = @ARGV;
open my $channel, '+<&=', $ENV{NODE_CHANNEL_FD} or die "no channel: $!\n";
for (@wanted) {
  my ($address, $port, $shared) = split /:/;
  my $fail = sub { syswrite $channel, sprintf(qq({"port":%d,"errno":%d}\n), $port, $!); };
  socket(my $s, AF_INET, SOCK_DGRAM, 0) or $fail->(), next;
  setsockopt($s, SOL_SOCKET, SO_BROADCAST, 1);
  setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) if $shared;
  setsockopt($s, SOL_SOCKET, 25, "$name\0") or $fail->(), next;
  my $filter = pack('SCCL' x 4, 0x20, 0, 0, 0xfff0000c, 0x15, 0, 1, unpack('N', inet_aton($own)), 6, 0, 0, 0, 6, 0, 0, 0xffff);
  setsockopt($s, SOL_SOCKET, 26, pack('S x![P] P', 4, $filter)) or $fail->(), next;
  bind($s, pack_sockaddr_in($port, inet_aton($address))) or $fail->(), next;
  my $text = qq({"cmd":"NODE_HANDLE","type":"dgram.Socket","dgramType":"udp4","msg":{"port":$port}}\n);
  my $data = pack('P J', $text, length $text);
  my $rights = pack('J l l l x![J]', length pack('J l l l', 0, 0, 0, 0), SOL_SOCKET, 1, fileno $s);
  my $message = pack('J L x![J] P J P J i x![J]', 0, 0, $data, 1, $rights, length $rights, 0);
  syscall($sendmsg + 0, fileno $channel, $message, 0) > 0 or $fail->(), next;
  sysread $channel, my $acknowledged, 200;
}
`;

const SENDMSG = process.arch === 'arm64' ? 211 : 46;

type Said = { readonly port: number; readonly errno?: number };

/** Linux's numbers of the errors that have sentences of their own (ports.io.ts). */
const ERRNO: Readonly<Record<number, string>> = { 1: 'EPERM', 13: 'EACCES', 19: 'ENODEV', 98: 'EADDRINUSE' };

export type BroadcastSockets = {
  /** Hears requests that clients of the interface broadcast. */
  readonly requests: Socket;
  /** Hears what other servers answer, and sends as a client does. Undefined where another program has port 68 for itself. */
  readonly replies: Socket | undefined;
};

/** @throws Fault E_PORT_TAKEN, E_PRIVILEGE or E_MISSING_TOOL, with nothing left open. */
export async function openBroadcasts(name: string, own: Ipv4Address): Promise<BroadcastSockets> {
  const where = `${name} (${own})`;
  const wanted = [`255.255.255.255:${SERVER_PORT}:0`, `0.0.0.0:${CLIENT_PORT}:1`];
  const child = spawn('perl', ['-e', OPENER, String(SENDMSG), name, own, ...wanted], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const sockets = new Map<number, Socket>();
  const errors = new Map<number, number>();
  let words = '';
  await new Promise<void>((resolve) => {
    child.on('error', (error) => {
      words = error.message;
      resolve();
    });
    child.on('message', (said, socket) => {
      const { port, errno } = said as Said;
      if (errno === undefined) sockets.set(port, socket as Socket);
      else errors.set(port, errno);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      words = (words + chunk.toString()).slice(0, 500);
    });
    child.on('close', () => resolve());
  });
  const requests = sockets.get(SERVER_PORT);
  const replies = sockets.get(CLIENT_PORT);
  // Errors that a peer (ICMP) or a vanished interface causes; the next packet may find it well again.
  for (const socket of sockets.values()) socket.on('error', () => undefined);
  if (requests !== undefined) return { requests, replies };
  replies?.close();
  const errno = errors.get(SERVER_PORT);
  if (errno !== undefined) {
    const code = ERRNO[errno] ?? `errno ${errno}`;
    throw await bindFault(Object.assign(new Error(code), { code }), SERVER_PORT, where);
  }
  throw new Fault('E_MISSING_TOOL', {
    what: `cannot listen for the broadcasts of ${where}`,
    why: words.trim() || 'perl ended',
    todo: 'see that perl works (apt-get install perl-base)',
  });
}
