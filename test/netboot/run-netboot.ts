// test/netboot/run-netboot.ts - the boot server as a process of its own, for tests that kill it.
//
// node test/netboot/run-netboot.ts HOME: etc, lib, run and services are folders of HOME. Log lines go to stderr.

import { join } from 'node:path';
import { describeFailure } from '../../bin/context.ts';
import { runNetboot } from '../../netboot/serve.io.ts';

const home = process.argv[2] ?? '';
try {
  process.exitCode = await runNetboot({
    configDir: join(home, 'etc'),
    libDir: join(home, 'lib'),
    version: '0.0.0',
    runDir: join(home, 'run'),
    roleDirs: [join(home, 'services')],
    log: (line) => process.stderr.write(`${line}\n`),
  });
} catch (error) {
  const { line, exitCode } = describeFailure(error);
  process.stderr.write(`${line}\n`);
  process.exitCode = exitCode;
}
