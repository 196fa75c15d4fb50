# multilog - reads lines, selects some by patterns, stamps them, keeps them in folders of bounded size.
#
# Octet for octet as the original, where it cuts its files included: that depends on what it writes at once, which is why
# its buffers (1024 octets in, 512 out) are here as well. All lines of one read have one stamp.
use constant { LINE_BYTES => 1000, IN_BYTES => 1024, OUT_BYTES => 512, MARGIN_BYTES => 2000, STATUS_BYTES => 1001 };
use constant { READ => 04000, APPEND => 06101, TRUNCATE => 05101, WRITE => 04001 };
sub pause { my $why = reason(); pause_only(@_, ', pausing: ', $why) }
sub pause_only {
  say_error("$SELF: warning: ", @_);
  my $until = time + 5;
  while ((my $left = $until - time) > 0) { sleep $left }
}
sub stamp {
  my $now = "\0" x 16;
  syscall $CALL{gettimeofday}, $now, 0;
  my ($seconds, $microseconds) = unpack 'q q', $now;
  return sprintf '@%016x%08x', 4611686018427387914 + $seconds, $microseconds * 1000 + 500;
}
sub to_disk { syscall($CALL{fsync}, fileno $_[0]) == 0 }
# Digits as far as they go, in 64 bits; none is 0.
sub number {
  my ($word, $value) = (shift, 0);
  use integer;
  $value = $value * 10 + $_ for $word =~ /\A.([0-9]*)/s ? split //, $1 : ();
  return $value < 0 ? 0x7fffffffffffffff : $value;
}
# A star takes everything up to the first occurrence of the octet after it, be that a star.
sub pattern_of {
  my $text = shift;
  my $regex = '';
  while ($text =~ /\G(.)/sgc) {
    my $next = substr $text, pos $text, 1;
    $regex .= $1 ne '*' ? quotemeta $1 : $next eq '' ? '.*' : "[^\Q$next\E]*(?=\Q$next\E)";
  }
  return qr/\A$regex\z/s;
}

my ($is_leaving, $is_rotating) = (0, 0);
my (@steps, @folders);
# Some step looks at lines.
my $is_judging;
my $start;
my $has_stamps = @ARGV && $ARGV[0] =~ /\At/;

sub finish {
  my ($d, $file, $code) = @_;
  my @stat;
  until (@stat = stat $file) {
    return if $! == 2;
    pause("unable to stat $d->{path}/$file");
  }
  if ($stat[3] == 1) {
    my $name;
    until (link $file, $name = stamp() . ".$code") { pause("unable to link to $d->{path}/$name") }
  }
  until (unlink $file) { pause("unable to remove $d->{path}/$file") }
  for (;;) {
    my $is_read = opendir my $here, '.';
    if (!$is_read) { pause("unable to read $d->{path}"); next }
    my @old = sort grep { /\A@.{24}/s } readdir $here;
    return if @old < $d->{files};
    unlink $old[0] or $! == 2 or pause("unable to remove $d->{path}/$old[0]");
  }
}
sub fail_processor { fail_reason("unable to run $_[0]{processor}: ") }
sub process {
  my $d = shift;
  for (;;) {
    my $pid = fork;
    if (!defined $pid) { pause("unable to fork for processor in $d->{path}"); next }
    if (!$pid) {
      $SIG{$_} = 'DEFAULT' for qw(TERM ALRM FPE);
      my @kept;
      for my $row ([0, 'previous', READ], [1, 'processed', TRUNCATE], [4, 'state', READ], [5, 'newstate', TRUNCATE]) {
        my ($as, $name, $mode) = @$row;
        sysopen $kept[$as], $name, $mode, 0644 or fail_processor($d);
        my $fd = fileno $kept[$as];
        # A number of its own is closed by exec, as all that perl opens; the copies are not.
        ($fd == $as ? fcntl $kept[$as], 2, 0 : syscall($CALL{dup3}, $fd, $as, 0) >= 0) or fail_processor($d);
      }
      exec { '/bin/sh' } 'sh', '-c', $d->{processor};
      fail_processor($d);
    }
    my $ended;
    do { $ended = waitpid $pid, 0 } while $ended == -1 && $! == 4;
    if ($ended == -1) { pause("wait failed for processor in $d->{path}") }
    elsif ($? & 127) { pause("processor crashed in $d->{path}") }
    elsif (!$?) { last }
    pause_only("processor failed in $d->{path}, pausing");
  }
  for my $name ('processed', 'newstate') {
    my $file;
    until (sysopen $file, $name, APPEND, 0600) { pause("unable to create $d->{path}/$name") }
    until (to_disk($file)) { pause("unable to write $d->{path}/$name to disk") }
    if ($name eq 'processed') {
      until (chmod 0744, $file) { pause("unable to set mode of $d->{path}/processed") }
    }
  }
  until (unlink 'previous') { pause("unable to remove $d->{path}/previous") }
  until (rename 'newstate', 'state') { pause("unable to rename newstate to state in directory $d->{path}") }
  finish($d, 'processed', 's');
}
sub rotate {
  my $d = shift;
  until (chdir $d->{folder}) { pause("unable to switch to $d->{path}") }
  until (to_disk($d->{current})) { pause("unable to write $d->{path}/current to disk") }
  close $d->{current};
  until (rename 'current', 'previous') { pause("unable to rename current to previous in directory $d->{path}") }
  until (sysopen $d->{current}, 'current', APPEND, 0600) { pause("unable to create $d->{path}/current") }
  $d->{bytes} = 0;
  until (chmod 0644, $d->{current}) { pause("unable to set mode of $d->{path}/current") }
  until (chmod 0744, 'previous') { pause("unable to set mode of $d->{path}/previous") }
  defined $d->{processor} ? process($d) : finish($d, 'previous', 's');
}

# Writes, and begins a new file after a newline in the last octets of the one before.
sub store {
  my ($d, $text) = @_;
  my $full = $d->{size} - MARGIN_BYTES;
  while (length $text) {
    rotate($d) if $d->{bytes} >= $d->{size};
    my $length = length $text;
    $length = $d->{size} - $d->{bytes} if $length > $d->{size} - $d->{bytes};
    if ($d->{bytes} + $length >= $full) {
      my $newline = rindex $text, "\n", $length - 1;
      $length = $newline + 1 if $newline >= 0;
    }
    my $put;
    until ($put = syswrite $d->{current}, $text, $length) { pause("unable to write to $d->{path}/current") }
    $d->{bytes} += $put;
    my $last = substr $text, $put - 1, 1;
    substr $text, 0, $put, '';
    rotate($d) if $d->{bytes} >= $full && $last eq "\n";
  }
}
sub flush {
  my $d = shift;
  my $text = $d->{buffer};
  $d->{buffer} = '';
  store($d, $text) if length $text;
}
sub put {
  my ($d, $text) = @_;
  if (length $text > OUT_BYTES - length $d->{buffer}) {
    flush($d);
    return store($d, $text) if length $text > OUT_BYTES;
  }
  $d->{buffer} .= $text;
}
# As octets that come one by one.
sub trickle {
  my ($d, $text) = @_;
  while (length $text) {
    flush($d) if length $d->{buffer} >= OUT_BYTES;
    $d->{buffer} .= substr $text, 0, OUT_BYTES - length $d->{buffer}, '';
  }
}

sub open_folder {
  my $d = shift;
  my $path = $d->{path};
  chdir $start or fail_reason('unable to switch to starting directory: ');
  mkdir $path, 0700;
  sysopen $d->{folder}, $path, READ and chdir $d->{folder} or fail_reason("unable to open directory $path: ");
  sysopen $d->{lock}, 'lock', APPEND, 0600 and flock $d->{lock}, 6 or fail_reason("unable to lock directory $path: ");
  my @current = stat 'current';
  fail_reason("unable to stat $path/current: ") if !@current && $! != 2;
  if (@current && $current[2] & 0100) {
    sysopen $d->{current}, 'current', APPEND, 0600 or fail_reason("unable to append to $path/current: ");
    chmod 0644, $d->{current} or fail_reason("unable to set mode of $path/current: ");
    $d->{bytes} = $current[7];
    return;
  }
  unlink 'state', 'newstate';
  my @processed = stat 'processed';
  fail_reason("unable to stat $path/processed: ") if !@processed && $! != 2;
  if (@processed && $processed[2] & 0100) {
    unlink 'previous';
    finish($d, 'processed', 's');
  } else {
    unlink 'processed';
    finish($d, 'previous', 'u');
  }
  finish($d, 'current', 'u');
  sysopen my $state, 'state', TRUNCATE, 0644 or fail_reason("unable to write to $path/state: ");
  sysopen $d->{current}, 'current', APPEND, 0600 or fail_reason("unable to write to $path/current: ");
  chmod 0644, $d->{current} or fail_reason("unable to set mode of $path/current: ");
}

my $line = '';
# Folders that take what follows the first 1000 octets of a line; undefined: the line is not that long yet.
my $tail;
# What each step makes of the line. Returns the folders that it is selected for.
sub judge {
  my $is_selected = 1;
  my @taking;
  for my $step (@steps) {
    my ($kind, $what) = @$step;
    if ($kind eq '+') { $is_selected ||= $line =~ $what }
    elsif ($kind eq '-') { $is_selected &&= $line !~ $what }
    elsif (!$is_selected) { next }
    elsif ($kind eq 'folder') { push @taking, $what; put($what, $line) }
    elsif ($kind eq 'e') { say_error(length $line > 200 ? substr($line, 0, 200) . '...' : $line) }
    else {
      my $text = $line . "\n" x (STATUS_BYTES - length $line);
      for (;;) {
        if (!defined sysseek $what->[1], 0, 0) { pause("unable to move to beginning of $what->[0]") }
        elsif ((syswrite($what->[1], $text) // 0) == STATUS_BYTES) { last }
        else { pause("unable to write $what->[0]") }
      }
    }
  }
  return \@taking;
}
sub end_line {
  my $taking = $tail // judge();
  trickle($_, "\n") for @$taking;
  ($line, $tail) = ('', undef);
}
sub take {
  my ($chunk, $stamp) = @_;
  while (length $chunk) {
    if ($line eq '' && !$tail) {
      my $whole = rindex $chunk, "\n";
      if ($whole >= 0 && !$is_judging) {
        # Nothing to decide, no file to end: lines go through as they are.
        my $lines = substr $chunk, 0, $whole + 1;
        $lines =~ s/^/$stamp/mg if $has_stamps;
        if (!grep { $_->{bytes} + length($_->{buffer}) + length $lines >= $_->{size} - MARGIN_BYTES } @folders) {
          $_->{buffer} .= $lines for @folders;
          substr $chunk, 0, $whole + 1, '';
          next;
        }
      }
      $line = $stamp;
    }
    my $newline = index $chunk, "\n";
    my $length = $newline < 0 ? length $chunk : $newline;
    if ($tail) { my $rest = substr $chunk, 0, $length, ''; trickle($_, $rest) for @$tail }
    else {
      my $room = LINE_BYTES - length $line;
      $length = $room if $length > $room;
      $line .= substr $chunk, 0, $length, '';
      $tail = judge() if length $line == LINE_BYTES;
    }
    if ($chunk =~ /\A\n/) { substr $chunk, 0, 1, ''; end_line() }
  }
}

umask 022;
opendir $start, '.' or fail_reason('unable to switch to current directory: ');
$SIG{TERM} = sub { $is_leaving = 1 };
$SIG{ALRM} = sub { $is_rotating = 1 };
my ($size, $files, $processor) = (99999, 10, undef);
for my $word (@ARGV) {
  my ($kind, $rest) = $word =~ /\A(.)(.*)/s or next;
  if ($kind eq '+' || $kind eq '-') { push @steps, [$kind, pattern_of($rest)] }
  elsif ($kind eq 'e') { push @steps, ['e'] }
  elsif ($kind eq '=') {
    sysopen my $made, $rest, APPEND, 0600 or fail_reason("unable to create $rest: ");
    sysopen my $file, $rest, WRITE or fail_reason("unable to write $rest: ");
    push @steps, ['=', [$rest, $file]];
  } elsif ($kind eq 's') {
    $size = number($word);
    $size = $size < 4096 ? 4096 : $size > 16777215 ? 16777215 : $size;
  } elsif ($kind eq 'n') { $files = number($word); $files = 2 if $files < 2 }
  elsif ($kind eq '!') { $processor = $rest }
  elsif ($kind eq '.' || $kind eq '/') {
    push @folders, { path => $word, size => $size, files => $files, processor => $processor, bytes => 0, buffer => '' };
    push @steps, ['folder', $folders[-1]];
  }
}
$is_judging = grep { $_->[0] ne 'folder' } @steps;
open_folder($_) for @folders;
my $is_line_ended = 1;
for (;;) {
  flush($_) for @folders;
  if ($is_rotating) {
    $_->{bytes} > 0 and rotate($_) for @folders;
    $is_rotating = 0;
  }
  # Told to go, it reads on to the end of the line.
  last if $is_leaving && $is_line_ended;
  my $got = sysread STDIN, my $chunk, $is_leaving ? 1 : IN_BYTES;
  next if !defined $got && $! == 4;
  last if !$got;
  $is_line_ended = $chunk =~ /\n\z/;
  take($chunk, $has_stamps ? stamp() . ' ' : '');
}
end_line() if $line ne '' || $tail;
for my $d (@folders) {
  flush($d);
  until (to_disk($d->{current})) { pause("unable to write $d->{path}/current to disk") }
  until (chmod 0744, $d->{current}) { pause("unable to set mode of $d->{path}/current") }
}
exit 0;
