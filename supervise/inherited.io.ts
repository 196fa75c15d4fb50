// supervise/inherited.io.ts - descriptors that we were started with, and would pass on to every service.
//
// Owns: closing them. Does not own: which they are (launch.ts). libuv closes only the first few in a child.

import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isInherited } from './launch.ts';

export function closeInherited(): void {
  const keep = Number(process.env['NODE_CHANNEL_FD'] ?? -1);
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2 || fd === keep) continue;
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      if (isInherited(target, readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))) closeSync(fd);
    } catch {
      // The descriptor of the listing itself, closed by now.
    }
  }
}
