// supervise/probe.io.ts - one health check: is there an answer?
//
// Owns: connecting, asking, pinging, and giving up in time. Does not own: when, and what follows (machine.ts).
// tcp and http are asked from here, without a process; exec is one, and so is icmp, for which Node has no socket: a few
// lines of perl (perl-base is on every Debian, ping is not). Where the kernel gives it no socket either (not root, and
// outside net.ipv4.ping_group_range) nothing is known, and a service is not restarted for what is not known.

import { spawn } from 'node:child_process';
import { get } from 'node:http';
import { connect } from 'node:net';
import { isShortage } from './descriptors.io.ts';
import { endpointOf, refusalOfStatus } from './health.ts';
import type { Health, HealthKind } from './health.ts';

/** Told once: why the check failed; undefined = it did not. */
type Answer = (why: string | undefined) => void;
/** Begins a check. @returns how to end it early. */
type Probe = (health: Health, base: string, answer: Answer) => () => void;

/** One echo request over IPv4; exits 0 at its reply. The time limit is ours. */
const PING = String.raw`
use Socket;
my $to = inet_aton($ARGV[0]) or exit 2;
my $raw = 1;
unless (socket my $h, AF_INET, SOCK_RAW, 1) { $raw = 0; socket my $d, AF_INET, SOCK_DGRAM, 1 or exit 3; *S = $d }
else { *S = $h }
connect S, sockaddr_in(0, $to) or exit 1;
my $id = $$ & 0xffff;
my $sum = 0x0800 + $id + 1;
$sum = ($sum & 0xffff) + ($sum >> 16);
send S, pack('C2n3', 8, 0, ~$sum & 0xffff, $id, 1), 0 or exit 1;
while (defined recv S, my $got, 1500, 0) {
  my ($type, undef, undef, $of, $number) = unpack 'C2n3', $raw ? substr($got, 4 * (ord($got) & 15)) : $got;
  exit 0 if $type == 0 && $number == 1 && (!$raw || $of == $id);
}
exit 1;
`;
const CANNOT_PING = 'perl exited 3';

/** Our own want of descriptors says nothing against the service. */
function reasonAgainst(error: Error): string | undefined {
  return isShortage(error) ? undefined : error.message;
}

const PROBES = {
  tcp: ({ target }, _base, answer) => {
    const socket = connect(endpointOf(target), () => {
      answer(undefined);
      socket.destroy();
    });
    socket.on('error', (error) => answer(reasonAgainst(error)));
    return () => socket.destroy();
  },
  http: ({ target }, _base, answer) => {
    const asking = get(target, { agent: false, headers: { 'user-agent': 'rouse-health' } }, (response) => {
      answer(refusalOfStatus(response.statusCode ?? 0));
      asking.destroy();
    });
    asking.on('error', (error) => answer(reasonAgainst(error)));
    return () => asking.destroy();
  },
  icmp: ({ target }, base, answer) =>
    run('perl', ['-e', PING, target], base, (why) => answer(why === CANNOT_PING ? undefined : why)),
  exec: ({ target }, base, answer) => run('/bin/sh', ['-c', target], base, answer),
} as const satisfies Record<HealthKind, Probe>;

/** Checks once. @param base the service directory. @param done why it failed; undefined = it did not. */
export function probe(health: Health, base: string, done: Answer): void {
  let isDone = false;
  const answer: Answer = (why) => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    done(why);
  };
  const timer = setTimeout(() => {
    answer(`no answer within ${health.timeoutMs} ms`);
    stop();
  }, health.timeoutMs);
  const stop = PROBES[health.kind](health, base, answer);
}

function run(command: string, argv: readonly string[], cwd: string, answer: Answer): () => void {
  // A group of its own, so that what the command has started ends with it.
  const child = spawn(command, argv, { cwd, stdio: 'ignore', detached: true });
  child.once('error', (error) => answer(reasonAgainst(error)));
  child.once('exit', (code, signal) => answer(code === 0 ? undefined : `${command} ${signal ?? `exited ${code}`}`));
  return () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  };
}
