# setuidgid - runs a program as an account, with that account's main group alone.
leave(100, 'setuidgid: usage: setuidgid account child') if @ARGV < 2;
my $account = shift @ARGV;
my (undef, undef, $uid, $gid) = getpwnam $account or fail("unknown account $account");
# The system calls themselves: perl's $< and $> would leave a saved user behind.
syscall($CALL{setgroups}, 1, pack 'I', $gid) == 0 && syscall($CALL{setgid}, $gid + 0) == 0
  or fail_reason('unable to setgid: ');
syscall($CALL{setuid}, $uid + 0) == 0 or fail_reason('unable to setuid: ');
run_program(@ARGV);
