// netboot/ports.ts - who has a port: reading /proc/net.
//
// Owns: the format of /proc/net/udp and /proc/net/tcp. Does not own reading the files (ports.io.ts).
// Source: proc(5): "local_address" is the address in host byte order and the port, in hexadecimal. Pure.

/** include/net/tcp_states.h: TCP_LISTEN. */
const LISTENING = '0A';

/** The columns of each socket that a table shows bound to the port, on any address. */
function socketsOnPort(table: string, port: number): string[][] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[1]?.endsWith(suffix) === true);
}

/** Whether a socket keeps others from the port: of TCP only one that listens does. */
export function isPortTaken(table: string, protocol: 'udp' | 'tcp', port: number): boolean {
  return socketsOnPort(table, port).some((columns) => protocol === 'udp' || columns[3] === LISTENING);
}

/** Inodes of the sockets on the port. */
export function inodesOnPort(table: string, port: number): string[] {
  return socketsOnPort(table, port).flatMap((columns) => columns[9] ?? []);
}

/** The clauses of a Fault about a taken port. @param holder undefined where /proc does not tell. */
export function portTaken(
  port: number,
  holder: { pid: number; command: string } | undefined,
): {
  why: string;
  todo: string;
} {
  if (holder === undefined) {
    return {
      why: `another process has port ${port}`,
      todo: `find it with: ss -lnp | grep :${port}`,
    };
  }
  const { pid, command } = holder;
  return {
    why: `${command} (pid ${pid}) has it`,
    todo: `stop it (systemctl stop ${command}, or kill ${pid}) and try again`,
  };
}
