// test/netboot/dhcp/replay-client.ts - sends DHCP packets as they are given, for a namespace.
//
// Arguments: an address that its interface has, the boot server's address. Each line of standard input is a port and a packet in
// hexadecimal: 67 broadcasts it from port 68, 4011 sends it to the server from port 4011. Each packet that comes to these is
// printed as a line of JSON, {"packet": "…"}. The first line printed is {"ready": true}.

import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const [, , own = '', server = ''] = process.argv;
// Bound to the broadcast address to hear replies; another socket sends, from the interface's own address.
const hear = createSocket({ type: 'udp4', reuseAddr: true });
const send = createSocket({ type: 'udp4', reuseAddr: true });
const boot = createSocket('udp4');
const show = (packet: Buffer): boolean =>
  process.stdout.write(`${JSON.stringify({ packet: packet.toString('hex') })}\n`);
hear.on('message', show);
boot.on('message', show);
await new Promise<void>((resolve) => hear.bind(68, '255.255.255.255', resolve));
await new Promise<void>((resolve) => send.bind(68, own, resolve));
await new Promise<void>((resolve) => boot.bind(4011, own, resolve));
send.setBroadcast(true);
process.stdout.write('{"ready": true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [port = '', packet = ''] = line.split(' ');
  if (port === '67') send.send(Buffer.from(packet, 'hex'), 67, '255.255.255.255');
  else boot.send(Buffer.from(packet, 'hex'), Number(port), server);
}
