// bin/log.ts - the boot server's own log on standard error: lines for people, or JSON for a log collector.
//
// Synchronous either way: what was logged before a SIGKILL is there. (The supervisor has its own, which must never block.)

import { pino } from 'pino';

export type LogFormat = 'text' | 'json';

/** @returns a function that writes one line. `text` leaves the time to multilog, `json` carries it. */
export function openLog(name: string, format: LogFormat): (line: string) => void {
  if (format === 'text') return (line) => void process.stderr.write(`${name}: ${line}\n`);
  const logger = pino(
    { name, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  return (line) => logger.info(line);
}
