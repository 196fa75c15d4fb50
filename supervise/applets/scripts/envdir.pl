# envdir - sets the environment from the files of a folder: the first line each; an empty file unsets.
leave(111, 'envdir: usage: envdir dir child') if @ARGV < 2;
my $dir = shift @ARGV;
opendir my $here, '.' or fail_reason('unable to switch to current directory: ');
chdir $dir or fail_reason("unable to switch to directory $dir: ");
opendir my $list, '.' or fail_reason("unable to read directory $dir: ");
for my $name (readdir $list) {
  next if $name =~ /\A\./;
  my $text = '';
  if (!sysopen my $file, $name, 04000) {
    next if $! == 2;
    fail_reason("unable to read $dir/$name: ");
  } else {
    for (;;) {
      my $got = sysread $file, $text, 8192, length $text;
      fail_reason("unable to read $dir/$name: ") if !defined $got;
      last if !$got;
    }
  }
  if ($text eq '') { delete $ENV{$name}; next }
  $text =~ s/\n.*//s;
  $text =~ s/[ \t]+\z//;
  $text =~ tr/\0/\n/;
  $ENV{$name} = $text;
}
chdir $here or fail_reason('unable to switch to starting directory: ');
run_program(@ARGV);
