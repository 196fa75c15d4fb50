// MAC and IPv4: every written form that is read, and the look-alikes that must not be.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import * as ipv4 from '../../formats/ipv4.ts';
import { macFromOctets, macToBootif, macToOctets, parseMac } from '../../formats/mac.ts';

const MACS: readonly (readonly [string, string | undefined])[] = [
  ['52:54:00:77:00:01', '52:54:00:77:00:01'],
  ['52-54-00-77-00-0A', '52:54:00:77:00:0a'],
  ['5254.0077.00ff', '52:54:00:77:00:ff'],
  ['525400770001', '52:54:00:77:00:01'],
  ['01-52-54-00-77-00-01', '52:54:00:77:00:01'],
  ['01:52:54:00:77:00:01', undefined],
  ['02-52-54-00-77-00-01', undefined],
  ['52:54:00:77:00', undefined],
  ['52:54:00:77:00:0g', undefined],
  ['52:54-00:77:00:01', undefined],
  ['00:00:00:00:00:00', undefined],
  ['ff:ff:ff:ff:ff:ff', undefined],
  ['01:00:5e:00:00:01', undefined],
  [' 52:54:00:77:00:01', undefined],
  ['', undefined],
];

test.each(MACS)('MAC %j is read as %j', (text, want) => {
  expect(parseMac(text)).toBe(want);
});

test('a MAC survives the wire and BOOTIF', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (octets) => {
      const mac = macFromOctets(octets);
      const unicast = ((octets[0] ?? 0) & 1) === 0 && octets.some((octet) => octet !== 0);
      expect(mac !== undefined).toBe(unicast);
      if (mac === undefined) return;
      expect([...macToOctets(mac)]).toEqual([...octets]);
      expect(parseMac(macToBootif(mac))).toBe(mac);
    }),
  );
});

const ADDRESSES: readonly (readonly [string, boolean])[] = [
  ['10.77.0.1', true],
  ['0.0.0.0', true],
  ['255.255.255.255', true],
  ['010.1.1.1', false],
  ['10.1', false],
  ['10.1.1.1 ', false],
  ['10.1.1.256', false],
  ['0x7f.1.1.1', false],
  ['10.1.1.1.1', false],
  ['', false],
];

test.each(ADDRESSES)('IPv4 %j is an address: %j', (text, want) => {
  expect(ipv4.parseIpv4(text) !== undefined).toBe(want);
});

test('an address survives as a number and as octets', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), (value) => {
      const address = ipv4.ipv4FromNumber(value);
      expect(ipv4.parseIpv4(address)).toBe(address);
      expect(ipv4.ipv4ToNumber(address)).toBe(value);
      expect(ipv4.ipv4FromOctets(ipv4.ipv4ToOctets(address))).toBe(address);
    }),
  );
});

test('a network knows its mask, its broadcast, and what lies in it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 32 }), (value, prefixLength) => {
      const size = 2 ** (32 - prefixLength);
      const base = Math.floor(value / size) * size;
      const network = ipv4.parseNetwork(`${ipv4.ipv4FromNumber(base)}/${prefixLength}`);
      expect(network).toBeDefined();
      if (network === undefined) return;
      expect(ipv4.ipv4ToNumber(ipv4.broadcastOf(network))).toBe(base + size - 1);
      expect(ipv4.networkContains(network, ipv4.ipv4FromNumber(value))).toBe(true);
      expect(ipv4.networkContains(network, ipv4.ipv4FromNumber((base + size) % 2 ** 32))).toBe(prefixLength === 0);
      expect(ipv4.ipv4ToNumber(ipv4.netmaskOf(network))).toBe(
        2 ** 32 - size === 2 ** 32 ? 0 : (2 ** 32 - size) % 2 ** 32,
      );
      expect(ipv4.isHostAddress(network, network.address)).toBe(prefixLength >= 31);
    }),
  );
});

test('bits behind the prefix, and ranges turned round, are refused', () => {
  expect(ipv4.parseNetwork('10.77.0.1/24')).toBeUndefined();
  expect(ipv4.parseNetwork('10.77.0.0/33')).toBeUndefined();
  expect(ipv4.parseRange('10.77.0.9-10.77.0.1')).toBeUndefined();
  const range = ipv4.parseRange('10.77.0.1-10.77.0.9');
  expect(range === undefined ? 0 : ipv4.rangeSize(range)).toBe(9);
});
