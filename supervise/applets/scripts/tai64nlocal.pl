# tai64nlocal - turns the TAI64N label that a line begins with into local time.
my $is_start = 1;
my $in = '';
sub local_time {
  my $hex = shift;
  # The original shifts digit by digit into 64 and 32 bits: what is too long falls out at the top.
  my $nanoseconds = hex(substr $hex, length $hex > 8 ? -8 : 0);
  my $seconds = length $hex > 8 ? substr $hex, 0, -8 : 0;
  $seconds = hex(length $seconds > 16 ? substr $seconds, -16 : $seconds);
  { use integer; $seconds = $seconds - 4611686018427387914 }
  my @t = localtime $seconds;
  # Beyond the years of localtime(3) the original crashes; such a label stays as it is.
  return '@' . $hex if !@t || $t[3] < 1;
  return sprintf '%d-%02d-%02d %02d:%02d:%02d.%09u', 1900 + $t[5], 1 + $t[4], @t[3, 2, 1, 0], $nanoseconds;
}
no warnings;
for (;;) {
  my $got = sysread STDIN, $in, 8192, length $in;
  exit 111 if !defined $got;
  exit 0 if !$got;
  my $out = '';
  while (length $in) {
    if ($is_start && $in =~ /\A@/) {
      last if $in !~ s/\A@([0-9a-f]*)(?=[^0-9a-f])//;
      $out .= local_time($1);
    }
    $is_start = 0;
    $in =~ s/\A([^\n]*\n?)//;
    $out .= $1;
    $is_start = 1 if $1 =~ /\n\z/;
  }
  while (length $out) {
    my $put = syswrite STDOUT, $out;
    exit 111 if !defined $put;
    substr $out, 0, $put, '';
  }
}
