// Questions and answers of ARP, octet by octet (RFC 826).

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { decodeArpAnswer, encodeArpQuestion } from '../../netboot/arp.ts';

const OWN = { mac: '52:54:00:77:00:fe' as MacAddress, address: '10.77.0.1' as Ipv4Address };
const octets = (hex: string): Uint8Array => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const ANSWER = '5254007700fe 525400770081 0806 0001 0800 06 04 0002 525400770081 0a4d00c8 5254007700fe 0a4d0001';

test('a question goes to everybody, from us, for one address', () => {
  const want = 'ffffffffffff 5254007700fe 0806 0001 0800 06 04 0001 5254007700fe 0a4d0001 000000000000 0a4d00c8';
  const frame = encodeArpQuestion(OWN, '10.77.0.200' as Ipv4Address);
  expect(Buffer.from(frame).toString('hex')).toBe(want.replaceAll(' ', ''));
  // Our own question is no answer.
  expect(decodeArpAnswer(frame)).toBeUndefined();
});

test('an answer says whose address it is; padding of short frames does no harm', () => {
  const want = { address: '10.77.0.200', mac: '52:54:00:77:00:81' };
  expect(decodeArpAnswer(octets(ANSWER))).toEqual(want);
  expect(decodeArpAnswer(octets(ANSWER + '00'.repeat(18)))).toEqual(want);
});

const NONE: Record<string, string> = {
  'cut off by one octet': ANSWER.slice(0, -2),
  'another protocol': ANSWER.replace('0806', '0800'),
  'another kind of hardware': ANSWER.replace('0806 0001', '0806 0006'),
  'longer addresses': ANSWER.replace('06 04', '08 04'),
  'a question': ANSWER.replace('0002', '0001'),
};
for (const [what, frame] of Object.entries(NONE)) {
  test(`${what} is no answer`, () => expect(decodeArpAnswer(octets(frame))).toBeUndefined());
}

test('no frame makes it throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (noise, isHeaded) => {
      const frame = isHeaded ? Uint8Array.from([...octets(ANSWER).subarray(0, 22), ...noise]) : noise;
      const answer = decodeArpAnswer(frame);
      if (frame.length < 42) expect(answer).toBeUndefined();
    }),
  );
});
