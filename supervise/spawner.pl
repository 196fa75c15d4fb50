# spawner.pl - starts the processes of services and sees them die. Run by supervise/spawner.io.ts, with perl-base alone.
#
# Owns: fork, the gate, descriptors, what a process finds when it becomes ./run; deaths, by waitpid and by pidfd.
# Does not own: what is started, and when; why there is such a process at all (spawner.ts).
#
# Orders arrive on descriptor 3, each a length (4 octets, big-endian) and words that end with NUL; reports leave on 4, one
# line each. Every order has a number, and reports refer to it. 0 to 2 are the supervisor's own, for services to inherit.
# Arguments: NAME=NUMBER of each system call that perl has no function for, last the form of struct epoll_event.
# Sources: pidfd_open(2), epoll(7), signalfd(2) on blocked signals, fcntl(2), Linux 6.15 PIDFD_GET_INFO.

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
    # Killed, as one that hangs on its way to the gate would not see the end of it. Not yet reaped, so it is the same process.
    elsif ($verb eq 'leave') { delete $gate{$number}; kill 9, grep { $child{$_} == $number } keys %child }
    elsif ($verb eq 'ping') { report('pong') }
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
