// test/netboot/dhcp/pxe-client.ts - as much of UEFI PXE firmware as a test needs to hear ProxyDHCP, for a namespace.
//
// Arguments: MAC, an address that its interface has, the boot server's address, and optionally a number of DISCOVERs to
// send as fast as it can (then it exits). Else: one DISCOVER from port 68, then a REQUEST from port 4011 to port 4011.
// Prints each reply as one line of JSON.

import { createSocket } from 'node:dgram';
import { parseIpv4 } from '../../../formats/ipv4.ts';
import { decodeMessage, encodeMessage } from '../../../netboot/dhcp/message.ts';
import { CLIENTS, mac, message } from './messages.ts';

const [, , from = '', own = '', server = '', flood] = process.argv;
const discover = encodeMessage(message('discover', { from: mac(from), flags: 0x8000, options: CLIENTS.efi }));

const show = (packet: Uint8Array, fromPort: number): void => {
  const decoded = decodeMessage(packet);
  if (!decoded.ok) throw new Error(decoded.why);
  const { yiaddr, siaddr, file, options } = decoded.message;
  const { messageType: type, vendorClass } = options;
  const hasOption43 = options.vendorInformation !== undefined;
  process.stdout.write(`${JSON.stringify({ type, yiaddr, siaddr, file, vendorClass, hasOption43, fromPort })}\n`);
};

// Bound to the broadcast address to hear replies; another socket sends, from the interface's own address.
const hear = createSocket({ type: 'udp4', reuseAddr: true });
const send = createSocket({ type: 'udp4', reuseAddr: true });
hear.on('message', (packet, peer) => show(packet, peer.port));
await new Promise<void>((resolve) => hear.bind(68, '255.255.255.255', resolve));
await new Promise<void>((resolve) => send.bind(68, own, resolve));
send.setBroadcast(true);
if (flood === undefined) {
  send.send(discover, 67, '255.255.255.255');
  const boot = createSocket('udp4');
  boot.on('message', (packet, peer) => show(packet, peer.port));
  await new Promise<void>((resolve) => boot.bind(4011, own, resolve));
  const ciaddr = parseIpv4(own);
  if (ciaddr === undefined) throw new Error(`${own} is no address`);
  boot.send(encodeMessage(message('request', { from: mac(from), ciaddr, options: CLIENTS.efi })), 4011, server);
} else {
  for (let count = 0; count < Number(flood); count += 1) {
    await new Promise<void>((resolve) => send.send(discover, 67, '255.255.255.255', () => resolve()));
  }
  process.exit(0);
}
