// netboot/ports.io.ts - listening on a UDP port of an interface, and saying who has a port.
//
// Owns: binding without sharing, and the Fault of a port that cannot be had. Used by DHCP, TFTP and HTTP.
// Other users' processes show their sockets to root only; then the Fault says how to find out.

import { createSocket, type Socket } from 'node:dgram';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { Fault, reasonOf } from '../formats/errors.ts';
import { inodesOnPort, type PortHolder, portTaken, programOf, unitOf } from './ports.ts';

/**
 * Binds one UDP socket, exclusively: a second server on this machine is noticed, not half-heard.
 * @param where names the interface in messages: "eth1 (10.0.0.1)".
 * @throws Fault E_PORT_TAKEN or E_PRIVILEGE.
 */
export async function bindUdp(address: string, port: number, where: string): Promise<Socket> {
  // Addresses are numbers here; the usual lookup asks a resolver for each packet that is sent.
  const socket = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address, port, exclusive: true }, () => resolve());
    });
  } catch (thrown) {
    socket.close();
    throw await bindFault(thrown, port, where);
  }
  socket.removeAllListeners('error');
  // Errors that a peer (ICMP) or a vanished interface causes; the next packet may find it well again.
  socket.on('error', () => undefined);
  return socket;
}

/** The Fault of a UDP port that cannot be had. @param thrown an error with the `code` of the kernel's refusal. */
export async function bindFault(thrown: unknown, port: number, where: string): Promise<Fault> {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  const what = `cannot listen on UDP port ${port} of ${where}`;
  if (code === 'EADDRINUSE') {
    return new Fault('E_PORT_TAKEN', { what, ...portTaken(port, await portHolder('udp', port)) }, { cause: thrown });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const why = 'a port below 1024 needs the capability net_bind_service';
    const todo = 'run it as root, or through: setpriv --ambient-caps +net_bind_service';
    return new Fault('E_PRIVILEGE', { what, why, todo }, { cause: thrown });
  }
  const todo = 'see with `ip address` whether the interface is there and has that address';
  return new Fault('E_PORT_TAKEN', { what, why: reasonOf(thrown), todo }, { cause: thrown });
}

/** The process that has a port bound, if /proc lets us see it. */
export async function portHolder(protocol: 'udp' | 'tcp', port: number): Promise<PortHolder | undefined> {
  const inodes = inodesOnPort(await readFile(`/proc/net/${protocol}`, 'utf8').catch(() => ''), port);
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`));
  if (links.size === 0) return undefined;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const link = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (!links.has(link)) continue;
      const [line, comm, cgroup] = await Promise.all(
        ['cmdline', 'comm', 'cgroup'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')),
      );
      return {
        pid: Number(pid),
        program: programOf(line ?? '', comm?.trim() || 'a process'),
        unit: unitOf(cgroup ?? ''),
      };
    }
  }
  return undefined;
}
