# pgrphack - runs a program in a session of its own.
leave(100, 'pgrphack: usage: pgrphack child') if !@ARGV;
syscall $CALL{setsid};
run_program(@ARGV);
