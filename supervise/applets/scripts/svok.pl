# svok - exit 0 where supervise runs in the directory, 100 where not.
leave(100, 'svok: usage: svok dir') if !@ARGV;
my $dir = $ARGV[0];
chdir $dir or fail_reason("unable to chdir to $dir: ");
exit 0 if sysopen my $ok, 'supervise/ok', 04001;
exit 100 if $! == 2 || $! == 6;
fail_reason("unable to open $dir/supervise/ok: ");
