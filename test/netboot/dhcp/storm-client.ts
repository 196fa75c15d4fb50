// test/netboot/dhcp/storm-client.ts - a relay with thousands of clients behind it, for a namespace: each wants one lease.
//
// Arguments: its own address (giaddr), the server's, how many clients, how many at once. Who is not answered asks again
// from the start after a second, as long as it takes. Prints "MAC ADDRESS" for each ACK, straight to the kernel, and ends
// when all have one.

import { createSocket } from 'node:dgram';
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { decodeMessage, encodeMessage, MESSAGE_TYPES, requestFrom } from '../../../netboot/dhcp/message.ts';
import type { DhcpOptions } from '../../../netboot/dhcp/options.ts';

const [giaddr, server, count, atOnce] = process.argv.slice(2) as [Ipv4Address, string, string, string];
const REPEAT_MS = 1000;

type Waiting = { readonly mac: MacAddress; sentMs: number };
const waiting = new Map<number, Waiting>();
let next = 0;
let done = 0;

const socket = createSocket({ type: 'udp4', lookup: (address, _options, found) => found(null, address, 4) });
await new Promise<void>((resolve) => socket.bind(67, giaddr, resolve));
const send = (mac: MacAddress, xid: number, options: DhcpOptions): void =>
  socket.send(encodeMessage(requestFrom(mac, { xid, giaddr, hops: 1, options })), 67, server, () => undefined);
const discover = (xid: number, one: Waiting): void => {
  one.sentMs = performance.now();
  send(one.mac, xid, { messageType: MESSAGE_TYPES.discover });
};
const begin = (): void => {
  if (next >= Number(count)) return;
  const xid = next;
  next += 1;
  const pair = (shift: number): string => ((xid >>> shift) & 255).toString(16).padStart(2, '0');
  const one = { mac: `02:00:00:${pair(16)}:${pair(8)}:${pair(0)}` as MacAddress, sentMs: 0 };
  waiting.set(xid, one);
  discover(xid, one);
};

socket.on('message', (packet) => {
  const decoded = decodeMessage(packet);
  if (!decoded.ok) throw new Error(decoded.why);
  const { xid, yiaddr, options } = decoded.message;
  const one = waiting.get(xid);
  if (one === undefined) return;
  if (options.messageType === MESSAGE_TYPES.offer) {
    const { serverIdentifier } = options;
    send(one.mac, xid, { messageType: MESSAGE_TYPES.request, serverIdentifier, requestedAddress: yiaddr });
  } else if (options.messageType === MESSAGE_TYPES.ack) {
    writeSync(1, `${one.mac} ${yiaddr}\n`);
    waiting.delete(xid);
    done += 1;
    begin();
  } else discover(xid, one);
});
for (let index = 0; index < Number(atOnce); index += 1) begin();
while (done < Number(count)) {
  await sleep(100);
  for (const [xid, one] of waiting) if (performance.now() - one.sentMs > REPEAT_MS) discover(xid, one);
}
socket.close();
