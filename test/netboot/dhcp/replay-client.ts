// test/netboot/dhcp/replay-client.ts - sends DHCP packets as they are given, for a namespace.
//
// Argument: an address that its interface has. Each line of standard input is a packet in hexadecimal, broadcast from port 68;
// each that comes to port 68 is printed as a line of JSON, {"packet": "…"}. The first line printed is {"ready": true}.

import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const own = process.argv[2] ?? '';
// Bound to the broadcast address to hear replies; another socket sends, from the interface's own address.
const hear = createSocket({ type: 'udp4', reuseAddr: true });
const send = createSocket({ type: 'udp4', reuseAddr: true });
hear.on('message', (packet) => process.stdout.write(`${JSON.stringify({ packet: packet.toString('hex') })}\n`));
await new Promise<void>((resolve) => hear.bind(68, '255.255.255.255', resolve));
await new Promise<void>((resolve) => send.bind(68, own, resolve));
send.setBroadcast(true);
process.stdout.write('{"ready": true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  send.send(Buffer.from(line, 'hex'), 67, '255.255.255.255');
}
