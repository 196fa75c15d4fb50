// netboot/ndp.io.ts - the raw ICMPv6 socket behind ndp.ts.
//
// Node has no raw sockets. perl-base is essential in Debian: a child of some twenty lines holds the socket and passes
// messages as lines of hexadecimal on its pipes; it ends when its input ends, so it never outlives the boot server. Where
// it cannot run (no perl, no net_raw, no IPv6), the log says what that costs and everything else goes on.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { decideSolicitation, encodeNoRouter } from './ndp.ts';
import type { MacAddress } from '../formats/mac.ts';

/**
 * Numbers are Linux's, the same on x86_64 and arm64: SO_BINDTODEVICE 25, IPV6_UNICAST_HOPS 16, IPV6_JOIN_GROUP 20,
 * ICMPV6_FILTER 1 (a set bit blocks its type). Hop limit 255 proves that the message was not forwarded (RFC 4861 6.1.2).
 */
const SOCKET_HOLDER = String.raw`
use strict; use Socket qw(inet_pton AF_INET6 pack_sockaddr_in6 unpack_sockaddr_in6);
$| = 1;
my $name = $ARGV[0];
open my $f, '<', "/sys/class/net/$name/ifindex" or die "no interface $name\n";
my $index = <$f> + 0;
socket(my $s, AF_INET6, 3, 58) or die "cannot open a raw ICMPv6 socket: $!\n";
setsockopt($s, 1, 25, "$name\0") or die "cannot bind to $name: $!\n";
setsockopt($s, 41, 16, pack('i', 255)) or die "cannot set the hop limit: $!\n";
setsockopt($s, 41, 20, inet_pton(AF_INET6, 'ff02::2') . pack('I', $index)) or die "cannot join ff02::2 on $name: $!\n";
my @filter = (0xffffffff) x 8; $filter[133 >> 5] &= ~(1 << (133 & 31));
setsockopt($s, 58, 1, pack('I8', @filter)) or die "cannot set the filter: $!\n";
my $text = '';
while (1) {
  my $want = ''; vec($want, fileno(STDIN), 1) = 1; vec($want, fileno($s), 1) = 1;
  next if select(my $have = $want, undef, undef, undef) < 1;
  if (vec($have, fileno($s), 1)) {
    my $from = recv($s, my $message, 1500, 0);
    if (defined $from) { my (undef, $address) = unpack_sockaddr_in6($from); print unpack('H*', $address), ' ', unpack('H*', $message), "\n"; }
  }
  if (vec($have, fileno(STDIN), 1)) {
    sysread(STDIN, $text, 4096, length $text) or exit 0;
    while ($text =~ s/^([0-9a-f]{32}) ([0-9a-f]+)\n//) { send($s, pack('H*', $2), 0, pack_sockaddr_in6(0, pack('H*', $1), $index)); }
  }
}
`;

/** An unspecified sender cannot be answered alone; iPXE has its link-local address by then. */
const UNSPECIFIED = '0'.repeat(32);

export type NdpOptions = {
  readonly interfaces: readonly string[];
  readonly loading: (mac: MacAddress) => boolean;
  readonly log: (line: string) => void;
};

/** Answers router solicitations on the interfaces until closed. Never throws: it is a courtesy, not a need. */
export function serveNdp({ interfaces, loading, log }: NdpOptions): { readonly close: () => Promise<void> } {
  const stops = interfaces.map((name) => {
    const child = spawn('perl', ['-e', SOCKET_HOLDER, name], { stdio: ['pipe', 'pipe', 'pipe'] });
    let reason = '';
    let closing = false;
    const gone = new Promise<void>((resolve) => {
      child.on('error', (error) => {
        reason = error.message;
      });
      child.on('close', () => {
        if (!closing)
          log(
            `ndp: router solicitations on ${name} are not answered (${reason.trim() || 'perl ended'}): iPXE waits some 16 s for a router, twice a boot`,
          );
        resolve();
      });
    });
    child.stderr.on('data', (chunk: Buffer) => {
      reason = (reason + chunk.toString()).slice(0, 500);
    });
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [from = '', message = ''] = line.split(' ');
      const { kind, why } = decideSolicitation(loading, Buffer.from(message, 'hex'));
      if (kind === 'ignore' || from === UNSPECIFIED) return;
      log(`ndp: ${why}`);
      child.stdin.write(`${from} ${Buffer.from(encodeNoRouter()).toString('hex')}\n`);
    });
    return async (): Promise<void> => {
      closing = true;
      child.stdin.end();
      await gone;
    };
  });
  return {
    close: async () => {
      await Promise.all(stops.map((stop) => stop()));
    },
  };
}
