// supervise/spawner.ts - the spawner's program, and the words between it and the supervisor.
//
// Owns: the perl program and its arguments, the octets of an order, the reading of a report and of a wait status.
// Does not own: running it, and what is done where there is no perl (spawner.io.ts).
//
// A start by Node is a fork of a large process and costs it more than a millisecond, during which nothing else is done;
// by a perl of two megabytes it costs Node a tenth of that (perl-base is on every Debian). The same process sees deaths: of
// its children by waitpid, of processes that it did not start (adopted ones) by pidfd and epoll, so that nothing polls.
//
// It may be killed at any moment, as the supervisor may. What it started runs on. A child is at its gate until the order
// `go`, and leaves when the spawner, which alone holds the other end of the gate, is gone: so no process ever runs of
// which the supervisor has not put the record on disk. The spawner leaves when its orders end, that is with the supervisor.
//
// Orders arrive on descriptor 3, each a length (4 octets, big-endian) and words that end with NUL; reports leave on 4, one
// line each. Every order has a number, and reports refer to it. 0 to 2 are the supervisor's own, for services to inherit.
// To add a word of a start, add it to `encodeStart` and to `become`.
// Sources: pidfd_open(2), epoll(7), signalfd(2) on blocked signals, fcntl(2), Linux 6.15 PIDFD_GET_INFO. Pure.

type Call =
  | 'pidfd_open'
  | 'epoll_create1'
  | 'epoll_ctl'
  | 'epoll_pwait'
  | 'rt_sigprocmask'
  | 'setsid'
  | 'prlimit64'
  | 'dup3';

type Machine = {
  /** Numbers of the system calls that perl has no function for. */
  readonly calls: Readonly<Record<Call, number>>;
  /** struct epoll_event as perl's `pack` writes it: packed on x86-64 alone. */
  readonly epollEvent: string;
};

/** The machines that it runs on, as Node calls them. */
const MACHINES: Partial<Record<string, Machine>> = {
  x64: {
    calls: {
      pidfd_open: 434,
      epoll_create1: 291,
      epoll_ctl: 233,
      epoll_pwait: 281,
      rt_sigprocmask: 14,
      setsid: 112,
      prlimit64: 302,
      dup3: 292,
    },
    epollEvent: 'L L L',
  },
  arm64: {
    calls: {
      pidfd_open: 434,
      epoll_create1: 20,
      epoll_ctl: 21,
      epoll_pwait: 22,
      rt_sigprocmask: 135,
      setsid: 157,
      prlimit64: 261,
      dup3: 24,
    },
    epollEvent: 'L x4 L L',
  },
};

/**
 * The arguments of PROGRAM.
 *
 * @param machine as Node calls it.
 * @param isQuiet whether it was started with a PERL_BADLANG that its children shall not see.
 * @returns undefined for a machine that it does not run on.
 */
export function programWords(machine: string, isQuiet: boolean): string[] | undefined {
  const known = Object.hasOwn(MACHINES, machine) ? MACHINES[machine] : undefined;
  if (known === undefined) return undefined;
  const calls = Object.entries(known.calls).map(([name, number]) => `${name}=${number}`);
  return [...(isQuiet ? ['quiet=1'] : []), ...calls, known.epollEvent];
}

/** What a login gives, the kernel's own default: Node raises it for itself and its children (libuv issue 3181). */
export const OPEN_FILES_SOFT = 1024;

export const PROGRAM = String.raw`
my $form = pop @ARGV;
# syscall passes what looks like text as a pointer.
my %call = map { my ($name, $number) = split /=/; ($name, $number + 0) } @ARGV;
delete $ENV{PERL_BADLANG} if delete $call{quiet};
$0 = 'rouse spawner';

# SIGCHLD arrives only during epoll_pwait, or it would be missed between looking and waiting.
my ($child_signal, $none) = (pack('Q', 1 << 16), pack('Q', 0));
syscall $call{rt_sigprocmask}, 0, $child_signal, 0, 8;
$SIG{CHLD} = sub { };
$SIG{PIPE} = 'IGNORE';
open my $orders, '<&=', 3;
open my $reports, '>&=', 4;
fcntl $_, 2, 1 for $orders, $reports;
my $event = length pack $form, 0, 0, 0;
my $ep = syscall $call{epoll_create1}, 0x80000;
exit 1 if $ep < 0;

# Of children: by number of the order the gate, by pid the number. Of others: by pidfd number, pid and start time.
my (%gate, %child, %watched);
my $buffer = '';

sub report { syswrite $reports, "@_\n" }
sub await { my $fd = shift; my $e = pack $form, 1, $fd, 0; syscall $call{epoll_ctl}, $ep, 1, $fd, $e }
sub fields { open my $f, '<', "/proc/$_[0]/stat" or return (''); my $l = <$f> // ''; $l =~ s/.*\)//s; return split ' ', $l }
sub watch {
  my ($number, $pid, $time) = @_;
  my $fd = syscall $call{pidfd_open}, $pid + 0, 0;
  if ($fd < 0 or ((fields($pid))[19] // '') ne $time) { report('died', $number); return }
  open my $handle, '<&=', $fd or return report('died', $number);
  $watched{$fd} = [$number, $pid, $time, $handle];
  await($fd);
}

sub gone {
  # A child at its gate holds a copy of every pidfd, so closing ours would not end what epoll reports of it.
  my $none_such = pack $form, 0, 0, 0;
  syscall $call{epoll_ctl}, $ep, 2, $_[0], $none_such;
  my $one = delete $watched{$_[0]} or return;
  my ($number, $pid, $time, $handle) = @$one;
  my $status = '';
  # Not yet reaped, or just being reaped (X): it still shows its status (field 52). Reaped: the pidfd knows it from Linux 6.15 on.
  my @w = fields($pid);
  $status = $w[49] if @w > 49 && $w[0] =~ /[ZX]/ && $w[19] eq $time;
  my $info = pack 'Q8', 8;
  if ($status eq '' and ioctl $handle, 0xC040FF0B, $info) { $status = unpack 'x60 l', $info if unpack('Q', $info) & 8 }
  report('died', $number, $status);
}

sub start {
  my ($number, @words) = @_;
  pipe my $gate, my $opener or return report('failed', $number, "pipe: $!");
  my $pid = fork // return report('failed', $number, "fork: $!");
  if ($pid) { $gate{$number} = $opener; $child{$pid} = $number; return }
  close $_ for $opener, values %gate;
  my $at_gate = eval { become($number, $gate, @words) };
  chomp $@;
  report('failed', $number, $@) unless $at_gate;
  exit 111;
}

# In the child: all that a service is to find, then the gate, then it is the service.
sub become {
  my ($number, $gate, @words) = @_;
  my (%one, @fds, @argv);
  for (@words) {
    my ($key, $value) = split /=/, $_, 2;
    if ($key eq 'fd') { push @fds, [split / /, $value, 3] }
    elsif ($key eq 'arg') { push @argv, $value }
    elsif ($key eq 'set') { my ($name, $is) = split /=/, $value, 2; $ENV{$name} = $is }
    elsif ($key eq 'unset') { delete $ENV{$value} }
    else { $one{$key} = $value }
  }
  syscall $call{setsid};
  chdir $one{directory} or die "the directory cannot be entered: $!\n";
  # All that is still needed above all that is asked for, then each to its place.
  my $above = 5;
  for (@fds) { $above = $_->[0] + 1 if $_->[0] >= $above }
  my @held;
  for (@fds) {
    my ($to, $access, $what) = @$_;
    my $handle;
    if ($access eq 'same') { open $handle, '>&', $what or die "descriptor $what: $!\n" }
    else {
      # A FIFO without a writer must not be waited for.
      sysopen $handle, $what, $access | 0x900 or die "$what cannot be opened: $!\n";
      fcntl $handle, 4, 0;
    }
    my $high = fcntl $handle, 1030, $above or die "out of descriptors: $!\n";
    push @held, [$high + 0, $to + 0];
  }
  open my $up, '>&=', (fcntl($reports, 1030, $above) or die "out of descriptors: $!\n");
  open my $wait, '<&=', (fcntl($gate, 1030, $above) or die "out of descriptors: $!\n");
  for (@held) { die "descriptor $_->[1]: $!\n" if syscall($call{dup3}, @$_, 0) < 0 }
  if (defined $one{cgroup} and open my $procs, '>', "$one{cgroup}/cgroup.procs") { syswrite $procs, '0' }
  my $limit = "\0" x 16;
  syscall $call{prlimit64}, 0, 7, 0, $limit;
  my (undef, $hard) = unpack 'QQ', $limit;
  $limit = pack 'QQ', $hard < $one{files} ? $hard : $one{files}, $hard;
  syscall $call{prlimit64}, 0, 7, $limit, 0;
  syswrite $up, "started $number $$ " . (fields($$))[19] . "\n";
  sysread $wait, my $go, 1 or return 1;
  $SIG{PIPE} = $SIG{CHLD} = 'DEFAULT';
  syscall $call{rt_sigprocmask}, 2, $none, 0, 8;
  exec { $argv[0] } @argv or print STDERR "rouse: cannot start $argv[0]: $!\n";
  return 1;
}

sub take_orders {
  sysread $orders, $buffer, 65536, length $buffer or exit 0;
  while (length $buffer >= 4 and length $buffer >= 4 + unpack 'N', $buffer) {
    my ($verb, $number, @words) = split /\0/, substr $buffer, 4, unpack 'N', $buffer;
    substr($buffer, 0, 4 + unpack 'N', $buffer) = '';
    if ($verb eq 'start') { start($number, @words) }
    elsif ($verb eq 'watch') { watch($number, @words) }
    elsif ($verb eq 'go') { my $opener = delete $gate{$number}; syswrite $opener, "\n" if $opener }
    elsif ($verb eq 'leave') { delete $gate{$number} }
  }
}

await(3);
report('ready');
while (1) {
  my $events = "\0" x ($event * 64);
  my $count = syscall $call{epoll_pwait}, $ep, $events, 64, -1, $none, 8;
  while ((my $pid = waitpid -1, 1) > 0) {
    my $number = delete $child{$pid} // next;
    delete $gate{$number};
    report('died', $number, $?);
  }
  for my $at (0 .. $count - 1) {
    my (undef, $fd) = unpack $form, substr $events, $at * $event, $event;
    $fd == 3 ? take_orders() : gone($fd);
  }
}
`;

/** What the process is to be: the words of the order `start`. Paths mean the same to the spawner as to us. */
export type StartWords = {
  readonly directory: string;
  readonly argv: readonly string[];
  /** Changes of the spawner's own environment, which is ours; undefined removes. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fds: readonly FdWord[];
  /** Folder of the cgroup v2 tree to enter. */
  readonly cgroup: string | undefined;
};

/** A descriptor of the process: one of ours below 3 (`same`), or a file opened anew. */
export type FdWord =
  | { readonly kind: 'same'; readonly asFd: number; readonly fd: number }
  | { readonly kind: 'open'; readonly asFd: number; readonly path: string; readonly access: 'read' | 'both' };

/** open(2), on both machines. */
const ACCESS = { read: 0, both: 2 } as const satisfies Record<string, number>;

export function encodeStart(number: number, { directory, argv, env, fds, cgroup }: StartWords): Uint8Array {
  return encodeOrder([
    'start',
    String(number),
    `directory=${directory}`,
    `files=${OPEN_FILES_SOFT}`,
    ...(cgroup === undefined ? [] : [`cgroup=${cgroup}`]),
    ...fds.map((fd) =>
      fd.kind === 'same' ? `fd=${fd.asFd} same ${fd.fd}` : `fd=${fd.asFd} ${ACCESS[fd.access]} ${fd.path}`,
    ),
    ...Object.entries(env).map(([name, value]) => (value === undefined ? `unset=${name}` : `set=${name}=${value}`)),
    ...argv.map((word) => `arg=${word}`),
  ]);
}

/** @param startTime as /proc gives it; a process with the same pid and another start time counts as dead. */
export function encodeWatch(number: number, pid: number, startTime: string): Uint8Array {
  return encodeOrder(['watch', String(number), String(pid), startTime]);
}

/** Lets a process pass its gate, or has it leave. */
export function encodeGate(number: number, verb: 'go' | 'leave'): Uint8Array {
  return encodeOrder([verb, String(number)]);
}

/** No word holds a NUL: none of paths, arguments and environment can. */
function encodeOrder(words: readonly string[]): Uint8Array {
  const body = new TextEncoder().encode(words.join('\0'));
  const order = new Uint8Array(4 + body.length);
  new DataView(order.buffer).setUint32(0, body.length);
  order.set(body, 4);
  return order;
}

export type Report =
  | { readonly kind: 'ready' }
  /** The process stands at its gate. */
  | { readonly kind: 'started'; readonly number: number; readonly pid: number; readonly startTime: string }
  | { readonly kind: 'failed'; readonly number: number; readonly why: string }
  /** wait(2)'s status; undefined where the kernel did not tell, or the process could not be watched. */
  | { readonly kind: 'died'; readonly number: number; readonly waitStatus: number | undefined };

/** @returns undefined for what no spawner says. */
export function decodeReport(line: string): Report | undefined {
  const [kind = '', number = '', ...words] = line.split(' ');
  if (kind === 'ready') return { kind };
  if (!/^\d+$/.test(number)) return undefined;
  const [first = '', second = ''] = words;
  switch (kind) {
    case 'started':
      if (!/^\d+$/.test(first) || !/^\d+$/.test(second)) return undefined;
      return { kind, number: Number(number), pid: Number(first), startTime: second };
    case 'failed':
      return { kind, number: Number(number), why: words.join(' ') };
    case 'died':
      return { kind, number: Number(number), waitStatus: /^\d+$/.test(first) ? Number(first) : undefined };
    default:
      return undefined;
  }
}

/**
 * wait(2): the low seven bits are the signal, 0 = exited with the code in the next octet.
 *
 * @param signals the numbers of this machine's signals by their names: "SIGTERM".
 * @returns the exit code, or the signal's name; "signal 34" where it has none.
 */
export function readWaitStatus(
  status: number,
  signals: Readonly<Record<string, number>>,
): [exitCode: number | undefined, signal: string | undefined] {
  const signalNumber = status & 0x7f;
  if (signalNumber === 0) return [(status >> 8) & 0xff, undefined];
  const name = Object.entries(signals).find(([, number]) => number === signalNumber)?.[0];
  return [undefined, name ?? `signal ${signalNumber}`];
}
