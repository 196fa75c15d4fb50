# reasons.pl - what a system call's error is called by daemontools (error_str.c), and how its programs end.
my %REASON = (
  1 => 'permission denied', 2 => 'file does not exist', 3 => 'no such process', 4 => 'interrupted system call',
  5 => 'input/output error', 6 => 'device not configured', 7 => 'argument list too long', 8 => 'exec format error',
  9 => 'file descriptor not open', 10 => 'no child processes', 11 => 'temporary failure', 12 => 'out of memory',
  13 => 'access denied', 14 => 'bad address', 15 => 'not a block device', 16 => 'device busy',
  17 => 'file already exists', 18 => 'cross-device link', 19 => 'device does not support operation',
  20 => 'not a directory', 21 => 'is a directory', 22 => 'invalid argument', 23 => 'system cannot open more files',
  24 => 'process cannot open more files', 25 => 'not a tty', 26 => 'text busy', 27 => 'file too big',
  28 => 'out of disk space', 29 => 'unseekable descriptor', 30 => 'read-only file system', 31 => 'too many links',
  32 => 'broken pipe', 33 => 'input out of range', 34 => 'output out of range', 35 => 'operation would cause deadlock',
);
my ($NAME) = $0 =~ m{([^/]*)\z};
sub reason { $REASON{ $! + 0 } // 'unknown error' }
sub say_error { my $text = join '', @_, "\n"; syswrite STDERR, $text }
sub leave { my $code = shift; say_error(@_); exit $code }
sub fail { leave(111, "$SELF: fatal: ", @_) }
sub fail_reason { my $why = reason(); fail(@_, $why) }
