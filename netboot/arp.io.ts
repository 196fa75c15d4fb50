// netboot/arp.io.ts - the packet socket behind arp.ts, open for the length of one question.
//
// Node has no packet sockets. perl-base is essential in Debian: a child of a dozen lines sends the questions that it is given
// as hexadecimal, prints the answers to us for what was asked, so many at most, and ends by the clock: whoever floods the wire
// prolongs nothing and fills nothing. Needs net_raw, as netboot/ndp.io.ts does.

import { spawn } from 'node:child_process';
import type { Ipv4Address } from '../formats/ipv4.ts';
import type { MacAddress } from '../formats/mac.ts';
import type { HostAddress } from './world.ts';
import { decodeArpAnswer, encodeArpQuestion } from './arp.ts';

/** A machine answers in a millisecond; an emulated one, or one that is starved, takes longer. */
const LISTEN_MS = 1000;
/** A child that has not ended by then is ended. */
const MOST_MS = 3000;
/** Two holders of each of a rack's addresses are far fewer. */
const MOST_ANSWERS = 300;

/** Numbers are Linux's: AF_PACKET 17, SOCK_RAW 3, ETH_P_ARP 0x0806. Four-argument select says on Linux how long is left. */
const ASKER = String.raw`
use strict;
my ($name, $listenMs, $most, @questions) = @ARGV;
# Of a question: our hardware address at 22, the address that is asked for at 38 (RFC 826).
my %asked = map { (substr(pack('H*', $_), 38, 4) => 1) } @questions;
my $own = @questions ? substr(pack('H*', $questions[0]), 22, 6) : '';
open my $f, '<', "/sys/class/net/$name/ifindex" or die "no interface $name\n";
my $index = <$f> + 0;
my $arp = unpack('S', pack('n', 0x0806));
socket(my $s, 17, 3, $arp) or die "cannot open a packet socket: $!\n";
bind($s, pack('S S i x12', 17, $arp, $index)) or die "cannot bind to $name: $!\n";
for (@questions) { syswrite($s, pack('H*', $_)) or die "cannot send on $name: $!\n"; }
my $left = $listenMs / 1000;
my $end = time + 1 + $left;
while ($left > 0 && $most > 0 && time < $end) {
  my $want = ''; vec($want, fileno($s), 1) = 1;
  (my $found, $left) = select($want, undef, undef, $left);
  last if $found < 1;
  sysread($s, my $frame, 1500) or next;
  next unless length $frame >= 42 && substr($frame, 12, 10) eq pack('H*', '08060001080006040002');
  next unless substr($frame, 32, 6) eq $own && $asked{substr($frame, 28, 4)};
  print unpack('H84', $frame), "\n";
  $most -= 1;
}
`;

export type Heard =
  /** Every machine that answered, by address. */
  | { readonly kind: 'heard'; readonly macs: ReadonlyMap<Ipv4Address, readonly MacAddress[]> }
  | { readonly kind: 'not-asked'; readonly why: string };

/** Asks the wire of an interface for addresses. Takes a second. */
export async function askWire({ name, address, mac }: HostAddress, targets: readonly Ipv4Address[]): Promise<Heard> {
  if (mac === undefined) return { kind: 'not-asked', why: `${name} has no hardware address` };
  const questions = targets.map((target) => Buffer.from(encodeArpQuestion({ mac, address }, target)).toString('hex'));
  const child = spawn('perl', ['-e', ASKER, name, String(LISTEN_MS), String(MOST_ANSWERS), ...questions], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: MOST_MS,
    killSignal: 'SIGKILL',
  });
  let heard = '';
  child.stdout.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(0, 500);
  });
  const code = await new Promise<number | null>((resolve) => {
    child.on('error', (error) => {
      words = error.message;
    });
    child.on('close', resolve);
  });
  if (code !== 0) return { kind: 'not-asked', why: words.trim() || 'perl ended' };
  const answers = heard.split('\n').flatMap((line) => decodeArpAnswer(Buffer.from(line, 'hex')) ?? []);
  const macsOf = (target: Ipv4Address): MacAddress[] =>
    answers.filter((answer) => answer.address === target).map((answer) => answer.mac);
  return { kind: 'heard', macs: new Map(targets.map((target) => [target, [...new Set(macsOf(target))].sort()])) };
}
