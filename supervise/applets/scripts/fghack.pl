# fghack - keeps a program that puts itself into the background in the foreground: waits until nobody holds its pipe.
leave(100, 'fghack: usage: fghack child') if !@ARGV;
$^F = 1 << 20;
pipe my $reader, my $writer or fail_reason('unable to create pipe: ');
my $pid = fork;
fail_reason('unable to fork: ') if !defined $pid;
if (!$pid) {
  close $reader;
  my @copies = map { open my $copy, '>&', $writer; $copy } 1 .. 30;
  run_program(@ARGV);
}
close $writer;
for (;;) {
  my $got = sysread $reader, my $chunk, 4096;
  last if defined $got ? !$got : $! != 4;
}
waitpid($pid, 0) == $pid or fail_reason('wait failed: ');
fail('child crashed') if $? & 127;
exit $? >> 8;
