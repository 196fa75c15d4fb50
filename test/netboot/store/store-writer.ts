// test/netboot/store/store-writer.ts - commits leases without end and prints the number of each commit that was acknowledged.
//
// node test/netboot/store/store-writer.ts FILE FIRST. Killed by the test in mid-write.

import { writeSync } from 'node:fs';
import { ipv4FromNumber } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import type { StoreRecord } from '../../../netboot/store/records.ts';
import { openStore } from '../../../netboot/store/store.io.ts';

const LEASES_PER_COMMIT = 50;

const [file = '', first = '0'] = process.argv.slice(2);
const store = await openStore(file);
writeSync(1, `opened ${store.content.leases.length}\n`);
let next = Number(first);

async function client(): Promise<never> {
  for (;;) {
    const number = next;
    next += 1;
    const mac = '52:54:00:77:00:01' as MacAddress;
    // Many leases a commit, so that a kill is likely to fall into the writing and not between two.
    const leases = Array.from({ length: LEASES_PER_COMMIT }, (_, index): StoreRecord => {
      const address = ipv4FromNumber(0x0a000000 + number * LEASES_PER_COMMIT + index);
      return { kind: 'lease', lease: { address, mac, subnet: 'a', state: 'bound', expiresAtS: number } };
    });
    await store.commit(leases);
    // Straight to the kernel: what was acknowledged must not be lost with this process.
    writeSync(1, `${number}\n`);
  }
}
await Promise.all(Array.from({ length: 8 }, client));
