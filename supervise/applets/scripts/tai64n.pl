# tai64n - writes the time, as a TAI64N label, in front of each line.
my $is_start = 1;
for (;;) {
  my $got = sysread STDIN, my $chunk, 8192;
  exit 111 if !defined $got;
  exit 0 if !$got;
  my $out = '';
  for my $line ($chunk =~ /[^\n]*\n|[^\n]+/g) {
    if ($is_start) {
      my $now = "\0" x 16;
      syscall $CALL{gettimeofday}, $now, 0;
      my ($seconds, $microseconds) = unpack 'q q', $now;
      $out .= sprintf '@%016x%08x ', 4611686018427387914 + $seconds, $microseconds * 1000 + 500;
    }
    $out .= $line;
    $is_start = $line =~ /\n\z/;
  }
  while (length $out) {
    my $put = syswrite STDOUT, $out;
    exit 111 if !defined $put;
    substr $out, 0, $put, '';
  }
}
