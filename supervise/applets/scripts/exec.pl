# exec.pl - replaces this process by a program as pathexec_run does: its own search of PATH, and execve(2) itself,
# because perl's exec would run a file without #! by the shell where the original says "exec format error".
sub run_program {
  my @argv = @_;
  # perl ignores SIGFPE, and what is ignored stays so in the program.
  $SIG{FPE} = 'DEFAULT';
  my @env = map { "$_=$ENV{$_}" } keys %ENV;
  my $argv = pack 'p*', @argv, undef;
  my $env = pack 'p*', @env, undef;
  my $saved = 0;
  my @paths = $argv[0] =~ m{/} ? ($argv[0])
    : map { ($_ eq '' ? '.' : $_) . "/$argv[0]" } split /:/, $ENV{PATH} // '/bin:/usr/bin', -1;
  @paths = ("./$argv[0]") if !@paths;
  for my $path (@paths) {
    syscall $CALL{execve}, "$path", $argv, $env;
    next if $! == 2;
    $saved = $! + 0;
    last if $saved != 13 && $saved != 1 && $saved != 21;
  }
  $! = $saved || 2;
  my $why = reason();
  leave(111, "$SELF: fatal: unable to run $argv[0]: $why");
}
