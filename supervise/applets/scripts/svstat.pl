# svstat - one line for each directory from the first 18 octets of supervise/status.
sub state_of {
  chdir $_[0] or return 'unable to chdir: ' . reason();
  my $is_up_normally = !stat 'down';
  return 'unable to stat down: ' . reason() if $is_up_normally && $! != 2;
  sysopen my $ok, 'supervise/ok', 04001
    or return $! == 6 ? 'supervise not running' : 'unable to open supervise/ok: ' . reason();
  sysopen my $file, 'supervise/status', 04000 or return 'unable to open supervise/status: ' . reason();
  my $got = sysread $file, my $status, 18;
  return 'unable to read supervise/status: ' . (defined $got ? 'bad format' : reason()) if ($got // 0) < 18;
  my ($stamp, $pid, $paused, $want) = unpack 'Q> x4 V C a', $status;
  my $now = 4611686018427387914 + time;
  # Through a double, as the original prints it.
  my $age = sprintf '%.0f', $now > $stamp ? $now - $stamp : 0;
  my $text = ($pid ? "up (pid $pid) " : 'down ') . "$age seconds";
  $text .= ', normally down' if $pid && !$is_up_normally;
  $text .= ', normally up' if !$pid && $is_up_normally;
  $text .= ', paused' if $pid && $paused;
  $text .= ', want up' if !$pid && $want eq 'u';
  $text .= ', want down' if $pid && $want eq 'd';
  return $text;
}
opendir my $here, '.' or fail_reason('unable to open current directory: ');
for my $dir (@ARGV) {
  print "$dir: ", state_of($dir), "\n";
  chdir $here or fail_reason('unable to set directory: ');
}
exit 0;
