# svc - sends its letters to each service's supervise/control, one write each, in the order given.
$SIG{PIPE} = 'IGNORE';
my @letters;
options('udopchaitkx', sub {
  my $letter = shift;
  leave(100, 'svc options: u up, d down, o once, x exit, p pause, c continue, h hup, a alarm, i interrupt, t term, k kill')
    if $letter eq '?';
  push @letters, $letter if !grep { $_ eq $letter } @letters;
});
opendir my $here, '.' or fail_reason('unable to open current directory: ');
for my $dir (@ARGV) {
  if (!chdir $dir) { my $why = reason(); say_error("svc: warning: unable to chdir to $dir: $why") }
  # Write only, not waiting: only a FIFO that somebody reads can be opened so.
  elsif (!sysopen my $control, 'supervise/control', 04001) {
    my $why = $! == 6 ? 'supervise not running' : reason();
    say_error("svc: warning: unable to control $dir: $why");
  } else {
    fcntl $control, 4, 0;
    for my $letter (@letters) {
      next if defined syswrite $control, $letter;
      my $why = reason();
      say_error("svc: warning: error writing commands to $dir: $why");
      last;
    }
  }
  chdir $here or fail_reason('unable to set directory: ');
}
exit 0;
