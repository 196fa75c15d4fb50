// netboot/host/segments.io.ts - which DHCP servers answer on the served segments: asked of the boot server, else of the wire.
//
// Owns: one question as a client would ask it, and listening for who answers. Does not own the questions and what counts as
// another server's answer (dhcp/foreign.ts), whether that is bad (doctor.ts). Nobody is bound to anything.

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { reasonOf } from '../../formats/errors.ts';
import { type Ipv4Address, IPV4_ANY, IPV4_BROADCAST } from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import { CLIENT_PORT, SERVER_PORT } from '../dhcp/destination.ts';
import { foreignReply, questions } from '../dhcp/foreign.ts';
import { decodeMessage, encodeMessage } from '../dhcp/message.ts';
import { hostAddresses } from '../listen.io.ts';
import type { Site } from '../site/site.ts';
import { servedInterfaces } from '../world.ts';
import type { DoctorFacts } from './doctor.ts';

/** dnsmasq pings the address that it will offer for 3 s. */
const LISTEN_MS = 4000;

/** @param others what the running boot server hears, by interface: those segments are not asked again. @param isQuick asks none. */
export async function lookAtSegments(
  site: Site,
  others: ReadonlyMap<string, readonly Ipv4Address[]>,
  isQuick: boolean,
): Promise<DoctorFacts['segments']> {
  const host = hostAddresses();
  return Promise.all(
    site.subnets.map(async ({ name: subnet, mode, interface: interfaceName, answerBesideOthers }) => {
      const known = others.get(interfaceName);
      if (known !== undefined) return { subnet, mode, interfaceName, answerBesideOthers, servers: known };
      const own = servedInterfaces(site, host).interfaces.find((one) => one.name === interfaceName);
      const servers = isQuick
        ? { why: 'not looked at' }
        : own === undefined
          ? { why: 'the interface is not here' }
          : await askSegment(
              own.name,
              own.address,
              host.map(({ address }) => address),
            );
      return { subnet, mode, interfaceName, answerBesideOthers, servers };
    }),
  );
}

/** The DHCP servers that answer on an interface: asked as a client would ask, with the interface's own MAC. */
async function askSegment(
  name: string,
  address: Ipv4Address,
  ownAddresses: readonly Ipv4Address[],
): Promise<readonly Ipv4Address[] | { readonly why: string }> {
  const mac: MacAddress | undefined = parseMac(
    (await readFile(`/sys/class/net/${name}/address`, 'utf8').catch(() => '')).trim(),
  );
  if (mac === undefined) return { why: 'the interface has no MAC address' };
  const found = new Set<Ipv4Address>();
  const xid = randomInt(2 ** 32);
  const hearing = createSocket({ type: 'udp4', reuseAddr: true });
  // A broadcast leaves by the interface that owns the socket's address.
  const asking = createSocket({ type: 'udp4' });
  try {
    await bound(hearing, IPV4_ANY, CLIENT_PORT);
    await bound(asking, address, 0);
    asking.setBroadcast(true);
    hearing.on('message', (packet) => {
      const decoded = decodeMessage(packet);
      if (!decoded.ok || decoded.message.xid !== xid) return;
      const reply = foreignReply(decoded.message);
      if (reply !== undefined && !ownAddresses.includes(reply.server)) found.add(reply.server);
    });
    for (const question of questions({ address, mac }, xid))
      asking.send(encodeMessage(question), SERVER_PORT, IPV4_BROADCAST);
    await delay(LISTEN_MS);
    return [...found];
  } catch (error) {
    return { why: `cannot ask there: ${reasonOf(error)}` };
  } finally {
    hearing.close();
    asking.close();
  }
}

function bound(socket: ReturnType<typeof createSocket>, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address, port }, () => {
      socket.on('error', () => undefined);
      resolve();
    });
  });
}
