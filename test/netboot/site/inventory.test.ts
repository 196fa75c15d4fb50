// What machines say of themselves: what is read from it, what is refused with which words, and that nothing throws.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseInventory, renderHardware } from '../../../netboot/site/inventory.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const WHOLE = `vendor Dell Inc.
product PowerEdge R640
serial 7KX\u001b[2JYZ
cpu 32 Intel(R) Xeon(R)
memoryKb 197000000
firmware uefi
secureBoot on
bmc 10.9.0.17
disk nvme0n1 1600321314816 solid Dell Ent NVMe
disk sda 4000787030016 rotating
nic eno1 24:6E:96:00:00:01 ixgbe up 10000
switch eno1 tor-1.r1
port eno1 Ethernet 7
nic eno2 24:6e:96:00:00:02 ixgbe down 0
word of a later version
`;

test('a whole inventory', () => {
  const result = parseInventory(bytes(WHOLE));
  expect(result).toEqual({
    ok: true,
    value: {
      vendor: 'Dell Inc.',
      product: 'PowerEdge R640',
      serial: '7KX?[2JYZ',
      uuid: undefined,
      cpus: 32,
      cpuModel: 'Intel(R) Xeon(R)',
      memoryKb: 197_000_000,
      firmware: 'uefi',
      secureBoot: true,
      bmc: '10.9.0.17',
      disks: [
        { name: 'nvme0n1', bytes: 1_600_321_314_816, isRotating: false, model: 'Dell Ent NVMe' },
        { name: 'sda', bytes: 4_000_787_030_016, isRotating: true, model: '' },
      ],
      nics: [
        {
          name: 'eno1',
          mac: '24:6e:96:00:00:01',
          driver: 'ixgbe',
          hasLink: true,
          speedMbit: 10_000,
          neighbour: { system: 'tor-1.r1', port: 'Ethernet 7' },
        },
        {
          name: 'eno2',
          mac: '24:6e:96:00:00:02',
          driver: 'ixgbe',
          hasLink: false,
          speedMbit: 0,
          neighbour: undefined,
        },
      ],
    },
  });
  if (result.ok) {
    expect(renderHardware(result.value)).toBe(
      '32 x Intel(R) Xeon(R), 187.9 GiB, 2 disks (5601 GB), uefi with Secure Boot',
    );
  }
});

const NIC = 'nic eth0 52:54:00:77:00:01 virtio_net up 0\n';
const REFUSED: readonly [string, string][] = [
  ['', 'expected at least one line'],
  ['serial x\n', 'expected at least one line'],
  ['nic eth0 ff:ff:ff:ff:ff:ff x up 0', "expected 'nic NAME MAC"],
  [`${NIC}disk sda lots solid`, "expected 'disk NAME BYTES"],
  [`${NIC}serial a\nserial b`, "the word 'serial' comes twice"],
  [`${NIC}firmware coreboot`, "expected 'firmware bios|uefi'"],
  [`${NIC}memoryKb -1`, "expected a number after 'memoryKb'"],
  [`${NIC}!`, 'a line is not of the form'],
  ['x\n'.repeat(401), 'more than 400 lines'],
  ['x\n'.repeat(2), "the word 'x' comes twice"],
  [NIC.repeat(65), "expected 'nic NAME MAC"],
  ['a'.repeat(20_000), 'the body is longer than 16384 bytes'],
];
for (const [body, why] of REFUSED) {
  test(`refused: ${JSON.stringify(body.slice(0, 40))}`, () => {
    const result = parseInventory(bytes(body));
    expect(result.ok ? 'taken' : result.why).toContain(why);
  });
}

test.each(['To Be Filled By O.E.M.', 'Default string', '0000000', 'None', 'System Serial Number', '123456789'])(
  'a board whose maker left %j has no serial number',
  (serial) => {
    expect(parseInventory(bytes(`${NIC}serial ${serial}\n`))).toMatchObject({ ok: true, value: { serial: undefined } });
  },
);

test('any bytes have an answer, and what is taken is printable', () => {
  const line = fc.oneof(
    fc.constantFrom(NIC.trim(), 'cpu 4 x', 'disk sda 1 solid \u202e', 'serial \u009b31m'),
    fc.string({ unit: 'binary' }),
  );
  fc.assert(
    fc.property(fc.array(line), (all) => {
      const result = parseInventory(bytes(all.join('\n')));
      // eslint-disable-next-line no-control-regex
      if (result.ok) expect(JSON.stringify(result.value)).toMatch(/^[ -~]*$/);
    }),
  );
});
