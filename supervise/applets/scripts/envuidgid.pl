# envuidgid - sets UID and GID to those of an account.
leave(100, 'envuidgid: usage: envuidgid account child') if @ARGV < 2;
my $account = shift @ARGV;
my (undef, undef, $uid, $gid) = getpwnam $account or fail("unknown account $account");
@ENV{'UID', 'GID'} = ($uid, $gid);
run_program(@ARGV);
