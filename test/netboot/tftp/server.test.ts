// The server's word that a client is where its request said: it comes with an acknowledgement, never with the request.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { encodePacket } from '../../../netboot/tftp/packet.ts';
import { serveTftp } from '../../../netboot/tftp/server.io.ts';

const LOOPBACK = '127.0.0.1' as Ipv4Address;

test('a client is proven by what it acknowledges', async () => {
  const said: string[] = [];
  const content = new Uint8Array(5);
  const server = await serveTftp({
    interfaces: [{ name: 'lo', address: LOOPBACK }],
    files: () => ({ kind: 'file', content, onProven: () => said.push('proven'), onSent: () => said.push('sent') }),
    onEvent: () => undefined,
    port: 0,
  });
  const client = createSocket('udp4');
  try {
    client.send(Buffer.from('\0\x01file\0octet\0'), server.port, LOOPBACK);
    const [, from] = (await once(client, 'message')) as [Buffer, { port: number }];
    expect(said).toEqual([]);
    client.send(encodePacket({ kind: 'ack', block: 1 }), from.port, LOOPBACK);
    await expect.poll(() => said).toEqual(['proven', 'sent']);
  } finally {
    client.close();
    await server.close();
  }
});
