// test/netboot/store-writer.ts - commits leases without end and prints the number of each that was acknowledged.
//
// node test/netboot/store-writer.ts FILE FIRST. Killed by the test in mid-write.

import { writeSync } from 'node:fs';
import { ipv4FromNumber } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { openStore } from '../../netboot/store.io.ts';

const [file = '', first = '0'] = process.argv.slice(2);
const store = await openStore(file);
writeSync(1, `opened ${store.content.leases.length}\n`);
let next = Number(first);

async function client(): Promise<never> {
  for (;;) {
    const number = next;
    next += 1;
    const address = ipv4FromNumber(0x0a000000 + number);
    const mac = '52:54:00:77:00:01' as MacAddress;
    await store.commit([{ kind: 'lease', lease: { address, mac, subnet: 'a', state: 'bound', expiresAtS: number } }]);
    // Straight to the kernel: what was acknowledged must not be lost with this process.
    writeSync(1, `${number}\n`);
  }
}
await Promise.all(Array.from({ length: 32 }, client));
