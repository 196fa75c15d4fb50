// netboot/lab/forward.io.ts - the way from localhost into the rack's namespace.
//
// A socket belongs to the namespace in which it was made. So the listening socket is made outside, inherited as
// descriptor 3 by this program, which runs inside: it accepts there and connects here. No address translation, no route.
// Run as: node forward.io.ts ADDRESS PORT, with the listening socket as descriptor 3.

import { connect, createServer, type Socket } from 'node:net';

const CONNECTIONS_MAX = 256;
const IDLE_TIMEOUT_MS = 120_000;

const [address = '', port = ''] = process.argv.slice(2);

const server = createServer({ allowHalfOpen: true }, (client) => {
  const node = connect({ host: address, port: Number(port), allowHalfOpen: true });
  join(client, node);
  join(node, client);
});
server.maxConnections = CONNECTIONS_MAX;
server.listen({ fd: 3 });

/** Bytes of `from` go to `to` at the speed `to` takes them; the end of one side ends only that direction. */
function join(from: Socket, to: Socket): void {
  from.setTimeout(IDLE_TIMEOUT_MS, () => from.destroy());
  from.pipe(to);
  from.on('error', () => to.destroy());
  from.on('close', () => to.destroySoon());
}
