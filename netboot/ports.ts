// netboot/ports.ts - who has a port: reading /proc/net.
//
// Owns: the format of /proc/net/udp and /proc/net/tcp. Does not own reading the files (ports.io.ts).
// Source: proc(5): "local_address" is the address in host byte order and the port, in hexadecimal. Pure.

import { printableAscii } from '../formats/printable.ts';

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

/** Who has a port. */
export type PortHolder = {
  readonly pid: number;
  /** "dnsmasq", "python3 -m http.server". */
  readonly program: string;
  /** Of systemd, where it is one: "dnsmasq.service". */
  readonly unit: string | undefined;
};

/** Programs of which the name says nothing: what they run does. */
const INTERPRETERS = /^(python|perl|ruby|node|java|php|sh$|bash|dash|busybox)/;
const PROGRAM_LETTERS = 60;

/** @param commandLine /proc/PID/cmdline: words, each ended by a NUL. @param comm of /proc/PID/comm. */
export function programOf(commandLine: string, comm: string): string {
  const [path = '', ...words] = commandLine.split('\0').filter((word) => word !== '');
  // Some write their whole title into the first word.
  const name = path.split(' ')[0]?.split('/').at(-1) || comm;
  // The script, and not what it is given: that may be anything, a secret too.
  const script = words.slice(0, words[0]?.startsWith('-') === true ? 2 : 1);
  const said = INTERPRETERS.test(name) ? [name, ...script].join(' ') : name;
  return printableAscii(said, PROGRAM_LETTERS);
}

/** The unit of a process, by /proc/PID/cgroup; undefined for what somebody started by hand. */
export function unitOf(cgroup: string): string | undefined {
  return /\/([^/\n]+\.service)(?:\/[^\n]*)?$/m.exec(cgroup.replace(/.*\/user@\d+\.service.*/g, ''))?.[1];
}

/** The clauses of a Fault about a taken port. @param holder undefined where /proc does not tell. */
export function portTaken(port: number, holder: PortHolder | undefined): { why: string; todo: string } {
  if (holder === undefined) {
    return {
      why: `another process has port ${port}`,
      todo: `find it with: ss -lnp | grep :${port}`,
    };
  }
  const { pid, program, unit } = holder;
  const stop = unit === undefined ? `kill ${pid}` : `systemctl stop ${unit}`;
  return { why: `${program} (pid ${pid}) has it`, todo: `stop it with: ${stop}` };
}
