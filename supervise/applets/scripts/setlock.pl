# setlock - runs a program while holding a lock (flock) on a file.
my ($no_delay, $quiet) = (0, 0);
my $usage = 'setlock: usage: setlock [ -nNxX ] file program [ arg ... ]';
options('nNxX', sub {
  my $letter = shift;
  leave(100, $usage) if $letter eq '?';
  $no_delay = $letter eq 'n' if lc $letter eq 'n';
  $quiet = $letter eq 'x' if lc $letter eq 'x';
});
leave(100, $usage) if @ARGV < 2;
my $path = shift @ARGV;
$^F = 1 << 20;
# Write only, append, create, not waiting.
if (!sysopen my $file, $path, 06101, 0600) {
  exit 0 if $quiet;
  fail_reason("unable to open $path: ");
} else {
  if (!flock $file, $no_delay ? 6 : 2) {
    exit 0 if $quiet;
    fail_reason("unable to lock $path: ");
  }
  run_program(@ARGV);
}
