# softlimit - runs a program with new soft limits; "=" is the hard limit, more than that counts as that.
# Resource numbers: getrlimit(2) on Linux.
my %RESOURCES = (
  a => [9], c => [4], d => [2], f => [1], l => [8], m => [2, 3, 8, 9], o => [7], p => [6], r => [5], s => [3], t => [0],
);
my $usage = 'softlimit: usage: softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] [-l lockbytes] '
  . '[-m membytes] [-o openfiles] [-p processes] [-r residentbytes] [-s stackbytes] [-t cpusecs] child';
my @wanted;
options('a:c:d:f:l:m:o:p:r:s:t:', sub {
  my ($letter, $value) = @_;
  leave(100, $usage) if $letter eq '?' || $value !~ /\A(?:=|[0-9]*)\z/;
  push @wanted, map { [$_, $value] } @{ $RESOURCES{$letter} };
});
leave(100, $usage) if !@ARGV;
# Set only now: perl itself needs memory until here.
for (@wanted) {
  my ($resource, $value) = @$_;
  my $limit = "\0" x 16;
  syscall($CALL{prlimit64}, 0, $resource, 0, $limit) == 0 or fail_reason('getrlimit failed: ');
  my (undef, $hard) = unpack 'Q Q', $limit;
  my $soft = $hard;
  if ($value ne '=') {
    # Digits beyond 64 bits fall out at the top, as in the original.
    use integer;
    $soft = 0;
    $soft = $soft * 10 + $_ for split //, $value;
    $soft = unpack 'Q', pack 'q', $soft;
  }
  $soft = $hard if $soft > $hard;
  syscall($CALL{prlimit64}, 0, $resource, pack('Q Q', $soft, $hard), 0) == 0 or fail_reason('setrlimit failed: ');
}
run_program(@ARGV);
