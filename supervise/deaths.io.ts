// supervise/deaths.io.ts - seeing the death of processes that are not our children.
//
// Owns: one helper process for all adopted services, and the poll that stands in where the helper cannot run.
//
// The helper is a few lines of perl (perl-base is on every Debian) around pidfd_open and epoll: nothing polls, and a
// death arrives in about half a millisecond. It looks at start times itself after opening the pidfd, so that a reused
// pid is reported as dead and never watched. It leaves when its input ends, that is with the supervisor.
// Where the kernel is too old (before 5.3), perl is missing or the helper died, kill(pid, 0) once a second with the start
// time does the same more slowly. Sources: pidfd_open(2), epoll(7), Linux 6.15 PIDFD_GET_INFO.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { isLiving } from './procfs.io.ts';

/** Exit code or signal where the kernel told; both undefined where it did not. */
export type OnDeath = (exitCode: number | undefined, signal: string | undefined) => void;

type Watch = {
  readonly pid: number;
  readonly startTime: string;
  readonly onDeath: OnDeath;
};

const POLL_MS = 1000;

/** pidfd_open, epoll_create1, epoll_ctl, epoll_pwait; struct epoll_event is packed on x86-64 alone. */
const SYSCALLS: Partial<Record<NodeJS.Architecture, readonly string[]>> = {
  x64: ['434', '291', '233', '281', 'L L L'],
  arm64: ['434', '20', '21', '22', 'L x4 L L'],
};

/** Reads "pid starttime" lines; prints "pid" or "pid waitstatus" when that process is no more. */
const HELPER = String.raw`
my $form = pop @ARGV;
# syscall passes what looks like text as a pointer.
my ($open, $create, $ctl, $wait) = map { $_ + 0 } @ARGV;
$| = 1;
my $event = length pack $form, 0, 0, 0;
my $ep = syscall $create, 0x80000;
exit 1 if $ep < 0;
my (%fd, %time);
sub add { my ($fd, $id) = @_; my $e = pack $form, 1, $id, 0; syscall $ctl, $ep, 1, $fd, $e }
sub fields { open my $f, '<', "/proc/$_[0]/stat" or return (''); my $l = <$f> // ''; $l =~ s/.*\)//s; return split ' ', $l }
sub start { my @w = fields($_[0]); return '' if !@w || $w[0] =~ /^[ZX]?$/; return $w[19] }
sub gone {
  my $pid = shift;
  my $code = '';
  # Not yet reaped: the zombie still shows its status (field 52). Reaped: the pidfd knows it from Linux 6.15 on.
  my @w = fields($pid);
  $code = " $w[49]" if @w > 49 && $w[0] eq 'Z' && $w[19] eq $time{$pid};
  my $info = pack 'Q8', 8;
  if ($fd{$pid} and open my $h, '<&=', $fd{$pid}) {
    if ($code eq '' and ioctl $h, 0xC040FF0B, $info) { my ($mask) = unpack 'Q', $info; $code = ' ' . unpack('x60 l', $info) if $mask & 8 }
    close $h;
  }
  delete $time{$pid};
  delete $fd{$pid};
  print "$pid$code\n";
}
add(0, 0);
my $buffer = '';
while (1) {
  my $events = "\0" x ($event * 64);
  my $n = syscall $wait, $ep, $events, 64, -1, 0, 8;
  next if $n < 0;
  for my $i (0 .. $n - 1) {
    my (undef, $id) = unpack $form, substr $events, $i * $event, $event;
    if ($id) { gone($id); next }
    my $got = sysread STDIN, $buffer, 65536, length $buffer;
    exit 0 unless $got;
    while ($buffer =~ s/^(\d+) (\d+)\n//) {
      my ($pid, $time) = ($1 + 0, $2);
      my $p = syscall $open, $pid, 0;
      if ($p < 0 or start($pid) ne $time) { print "$pid\n"; next }
      $fd{$pid} = $p;
      $time{$pid} = $time;
      add($p, $pid);
    }
  }
}
`;

export class DeathWatch {
  readonly #watches = new Map<number, Watch>();
  readonly #log: (line: string) => void;
  #helper: ChildProcess | undefined;
  #poll: NodeJS.Timeout | undefined;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /**
   * Watches a process until its death.
   *
   * @param startTime as /proc gives it; a process with the same pid and another start time counts as dead.
   * @param onDeath called once, never before this returns.
   */
  watch(pid: number, startTime: string, onDeath: OnDeath): void {
    this.#watches.set(pid, { pid, startTime, onDeath });
    this.#startHelper();
    if (this.#helper === undefined) this.#startPoll();
    else this.#helper.stdin?.write(`${pid} ${startTime}\n`);
  }

  /** Stops watching; the helper goes by itself. */
  close(): void {
    clearInterval(this.#poll);
    this.#watches.clear();
    this.#helper?.stdin?.destroy();
    this.#helper?.stdout?.destroy();
    this.#helper?.unref();
  }

  #startHelper(): void {
    const syscalls = SYSCALLS[process.arch];
    if (this.#helper !== undefined || this.#poll !== undefined || syscalls === undefined) return;
    const helper = spawn('perl', ['-e', HELPER, ...syscalls], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#helper = helper;
    // Out of descriptors there are no streams, and the error event is yet to come.
    const { stdin, stdout } = helper as ChildProcess;
    let text = '';
    stdout?.on('data', (chunk: Buffer) => {
      const lines = (text + chunk.toString('latin1')).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#report(line);
    });
    // A helper that goes away ends its input: writes to it then fail, and the poll takes over.
    stdin?.on('error', () => stdin.destroy());
    const fallBack = (): void => {
      if (this.#helper !== helper) return;
      this.#helper = undefined;
      if (this.#watches.size === 0) return;
      this.#log('the helper that watches adopted services is gone; looking once a second instead');
      this.#startPoll();
    };
    helper.once('error', fallBack);
    helper.once('exit', fallBack);
  }

  #report(line: string): void {
    const [pid = '', waitStatus] = line.split(' ');
    const watch = this.#watches.get(Number(pid));
    // The helper may have run out of descriptors, for a thousand services it has a thousand: nobody is dead by its word alone.
    if (watch !== undefined && waitStatus === undefined && isLiving(watch.pid, watch.startTime)) {
      this.#startPoll();
      return;
    }
    this.#watches.delete(Number(pid));
    if (waitStatus === undefined) watch?.onDeath(undefined, undefined);
    else watch?.onDeath(...readWaitStatus(Number(waitStatus)));
  }

  #startPoll(): void {
    this.#poll ??= setInterval(() => {
      for (const { pid, startTime } of this.#watches.values()) {
        if (!isLiving(pid, startTime)) this.#report(String(pid));
      }
      if (this.#watches.size > 0) return;
      clearInterval(this.#poll);
      this.#poll = undefined;
    }, POLL_MS);
  }
}

/** wait(2): the low seven bits are the signal, 0 = exited with the code in the next octet. */
function readWaitStatus(status: number): Parameters<OnDeath> {
  const signalNumber = status & 0x7f;
  if (signalNumber === 0) return [(status >> 8) & 0xff, undefined];
  const name = Object.entries(constants.signals).find(([, number]) => number === signalNumber)?.[0];
  return [undefined, name ?? `signal ${signalNumber}`];
}
