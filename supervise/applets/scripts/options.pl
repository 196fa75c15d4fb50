# options.pl - options as sgetopt reads them: "-dx", "-o5", "-o 5"; "--" ends them.
# Calls back with letter and value; with '?' after it has said what is wrong.
sub options {
  my ($known, $each) = @_;
  while (@ARGV && $ARGV[0] =~ /\A-(?!-|\z)/) {
    my $word = shift @ARGV;
    my $letters = substr $word, 1;
    while (length $letters) {
      my $letter = substr $letters, 0, 1, '';
      my $at = $letter eq ':' ? -1 : index $known, $letter;
      if ($at < 0) {
        say_error("$NAME: illegal option -- $letter");
        $each->('?');
        next;
      }
      if (substr($known, $at + 1, 1) ne ':') { $each->($letter); next }
      if (length $letters) { $each->($letter, $letters) }
      elsif (@ARGV) { $each->($letter, shift @ARGV) }
      else { say_error("$NAME: option requires an argument -- $letter"); $each->('?') }
      last;
    }
  }
  # All of a word that begins so is dropped, as there.
  shift @ARGV if @ARGV && $ARGV[0] =~ /\A--/;
}
