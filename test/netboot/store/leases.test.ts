// The lease book and the choice of an address: which client gets which, and that no two living clients share one.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Ipv4Address, parseIpv4, parseNetwork, parseRange } from '../../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../../formats/mac.ts';
import { type AddressQuestion, chooseAddress, isAlive, type Lease, LeaseBook } from '../../../netboot/store/leases.ts';

const NOW_S = 1_800_000_000;
const ip = (text: string): Ipv4Address => parseIpv4(text)!;
const client = (number: number): MacAddress => parseMac(`52:54:00:00:00:${number.toString(16).padStart(2, '0')}`)!;
const network = parseNetwork('10.0.0.0/24')!;

function question(more: Partial<AddressQuestion> & { pools?: string[] } = {}): AddressQuestion {
  const { pools = ['10.0.0.10-10.0.0.13'], ...rest } = more;
  return {
    mac: client(1),
    subnet: { name: 'rack', network, pools: pools.map((pool) => parseRange(pool)!) },
    excluded: [],
    isReserved: () => false,
    nowS: NOW_S,
    ...rest,
  };
}

function lease(address: string, holder: number, more: Partial<Lease> = {}): Lease {
  return { address: ip(address), mac: client(holder), subnet: 'rack', state: 'bound', expiresAtS: NOW_S + 10, ...more };
}

type Row = { what: string; leases?: Lease[]; ask?: Parameters<typeof question>[0]; want: string };
const full = [lease('10.0.0.10', 2), lease('10.0.0.11', 3), lease('10.0.0.12', 4), lease('10.0.0.13', 5)];
const expired = { expiresAtS: NOW_S - 1 };
const ROWS: Row[] = [
  { what: 'a reservation', ask: { reservation: ip('10.0.0.99') }, want: '10.0.0.99 reservation' },
  {
    what: 'a reservation before the last address',
    leases: [lease('10.0.0.12', 1)],
    ask: { reservation: ip('10.0.0.99') },
    want: '10.0.0.99 reservation',
  },
  { what: 'a reservation inside a pool', ask: { reservation: ip('10.0.0.12') }, want: '10.0.0.12 reservation' },
  {
    what: 'the last address, though it expired',
    leases: [lease('10.0.0.12', 1, expired)],
    want: '10.0.0.12 last-address',
  },
  {
    what: 'the latest of two addresses',
    leases: [lease('10.0.0.12', 1, expired), lease('10.0.0.13', 1)],
    want: '10.0.0.13 last-address',
  },
  {
    what: 'the last address before the requested one',
    leases: [lease('10.0.0.12', 1)],
    ask: { requested: ip('10.0.0.11') },
    want: '10.0.0.12 last-address',
  },
  {
    what: 'not the last address of another subnet',
    leases: [lease('10.0.0.12', 1, { subnet: 'other' })],
    ask: { pools: ['10.0.0.11-10.0.0.11'] },
    want: '10.0.0.11 from-pool',
  },
  {
    what: 'not a last address that left the pools',
    leases: [lease('10.0.0.50', 1)],
    ask: { pools: ['10.0.0.11-10.0.0.11'] },
    want: '10.0.0.11 from-pool',
  },
  { what: 'the requested address', ask: { requested: ip('10.0.0.11') }, want: '10.0.0.11 requested-address' },
  {
    what: 'not a requested address that is taken',
    leases: full.slice(0, 3),
    ask: { requested: ip('10.0.0.11') },
    want: '10.0.0.13 from-pool',
  },
  {
    what: 'not a requested address outside the pools',
    ask: { requested: ip('10.0.0.77'), pools: ['10.0.0.11-10.0.0.11'] },
    want: '10.0.0.11 from-pool',
  },
  {
    what: 'the one free address',
    leases: full.filter(({ address }) => address !== '10.0.0.12'),
    want: '10.0.0.12 from-pool',
  },
  {
    what: 'an address nobody had before one that somebody had',
    leases: [...full.slice(0, 2), lease('10.0.0.12', 4, expired)],
    want: '10.0.0.13 from-pool',
  },
  {
    what: 'of used ones the longest unused',
    leases: [
      lease('10.0.0.10', 2, { expiresAtS: 30 }),
      lease('10.0.0.11', 3, { expiresAtS: 10 }),
      lease('10.0.0.12', 4, { expiresAtS: 20 }),
      lease('10.0.0.13', 5),
    ],
    want: '10.0.0.11 from-pool',
  },
  {
    what: 'a released address',
    leases: [...full.slice(0, 3), lease('10.0.0.13', 5, { state: 'released' })],
    want: '10.0.0.13 from-pool',
  },
  {
    what: 'not an address in quarantine',
    leases: [...full.slice(0, 3), lease('10.0.0.13', 1, { state: 'declined' })],
    want: 'none pool-full',
  },
  {
    what: 'not the address that it declined itself, though it asks for it',
    leases: [lease('10.0.0.13', 1, { state: 'declined' })],
    ask: { requested: ip('10.0.0.13'), pools: ['10.0.0.11-10.0.0.11', '10.0.0.13-10.0.0.13'] },
    want: '10.0.0.11 from-pool',
  },
  {
    what: 'not its reservation while that is in quarantine',
    leases: [lease('10.0.0.99', 1, { state: 'declined' })],
    ask: { reservation: ip('10.0.0.99'), pools: ['10.0.0.11-10.0.0.11'] },
    want: '10.0.0.11 from-pool',
  },
  {
    what: 'an address out of quarantine',
    leases: [...full.slice(0, 3), lease('10.0.0.13', 1, { state: 'declined', ...expired })],
    want: '10.0.0.13 from-pool',
  },
  {
    what: 'not an address that is reserved',
    leases: full.slice(0, 3),
    ask: { isReserved: (address) => address === '10.0.0.13' },
    want: 'none pool-full',
  },
  {
    what: 'not an excluded address',
    leases: full.slice(0, 3),
    ask: { excluded: [ip('10.0.0.13')] },
    want: 'none pool-full',
  },
  {
    what: 'not the broadcast address of a pool that goes too far',
    ask: { pools: ['10.0.0.255-10.0.0.255'] },
    want: 'none pool-full',
  },
  { what: 'nothing of a full pool', leases: full, want: 'none pool-full' },
  { what: 'nothing without a pool', ask: { pools: [] }, want: 'none no-pool' },
  {
    what: 'a pool address while another client has the reservation',
    leases: [lease('10.0.0.99', 2)],
    ask: { reservation: ip('10.0.0.99'), pools: ['10.0.0.11-10.0.0.11'] },
    want: '10.0.0.11 from-pool',
  },
  {
    what: 'nothing when another has the reservation and there is no pool',
    leases: [lease('10.0.0.99', 2)],
    ask: { reservation: ip('10.0.0.99'), pools: [] },
    want: 'none reservation-in-use',
  },
  {
    what: 'the second of two pools',
    leases: [lease('10.0.0.10', 2)],
    ask: { pools: ['10.0.0.10-10.0.0.10', '10.0.0.20-10.0.0.20'] },
    want: '10.0.0.20 from-pool',
  },
];
for (const { what, leases = [], ask, want } of ROWS) {
  test(`a client gets ${what}`, () => {
    const answer = chooseAddress(new LeaseBook(leases), question(ask));
    expect(`${answer.kind === 'none' ? 'none' : answer.address} ${answer.why}`).toBe(want);
  });
}

test('only an address that no living lease vouches for can be in conflict', () => {
  const isNew = (leases: Lease[], ask?: Parameters<typeof question>[0]): unknown => {
    const answer = chooseAddress(new LeaseBook(leases), question(ask));
    return answer.kind === 'address' && answer.isNew;
  };
  expect(isNew([])).toBe(true);
  expect(isNew([], { requested: ip('10.0.0.11') })).toBe(true);
  expect(isNew([lease('10.0.0.12', 1)])).toBe(false);
  expect(isNew([lease('10.0.0.12', 1, expired)])).toBe(true);
  expect(isNew([lease('10.0.0.12', 1, { state: 'offered' })])).toBe(true);
  expect(isNew([], { reservation: ip('10.0.0.99') })).toBe(false);
});

test('a client whose lease was lost meets its address again', () => {
  const pools = ['10.0.0.10-10.0.0.200'];
  const first = chooseAddress(new LeaseBook(), question({ pools }));
  expect(chooseAddress(new LeaseBook(), question({ pools }))).toEqual(first);
  const many = Array.from({ length: 50 }, (_, index) =>
    chooseAddress(new LeaseBook(), question({ pools, mac: client(index) })),
  );
  expect(new Set(many.map((answer) => answer.kind === 'address' && answer.address)).size).toBeGreaterThan(30);
});

test('the book has one lease an address, and forgets its earlier holder', () => {
  const book = new LeaseBook([lease('10.0.0.10', 1)]);
  book.put(lease('10.0.0.10', 2));
  expect(book.size).toBe(1);
  expect(book.byMac(client(1))).toEqual([]);
  expect(book.byMac(client(2))).toMatchObject([{ address: '10.0.0.10' }]);
});

test('offers that nobody took up are dropped, bound leases stay as memory', () => {
  const book = new LeaseBook([lease('10.0.0.10', 1, { state: 'offered', ...expired }), lease('10.0.0.11', 2, expired)]);
  book.dropStaleOffers(NOW_S);
  expect(book.all().map(({ address }) => address)).toEqual(['10.0.0.11']);
});

type Step = { client: number; kind: 'take' | 'release' | 'decline' | 'wait'; requested: number };

test('never one address to two living clients, whatever they do in whatever order', () => {
  const step: fc.Arbitrary<Step> = fc.record({
    client: fc.nat(5),
    kind: fc.constantFrom('take', 'take', 'take', 'release', 'decline', 'wait'),
    requested: fc.nat(5),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const book = new LeaseBook();
      const living = new Map<Ipv4Address, { by: MacAddress; untilS: number }>();
      let nowS = NOW_S;
      for (const { client: who, kind, requested } of steps) {
        const by = client(who);
        const mine = book.byMac(by).find((one) => one.state === 'bound' && isAlive(one, nowS));
        if (kind === 'wait') nowS += 7;
        else if (kind === 'take') {
          const answer = chooseAddress(
            book,
            question({
              mac: by,
              requested: ip(`10.0.0.${10 + requested}`),
              reservation: who === 0 ? ip('10.0.0.11') : undefined,
              isReserved: (address) => address === '10.0.0.11',
              nowS,
            }),
          );
          if (answer.kind === 'none') continue;
          const held = living.get(answer.address);
          if (held !== undefined && held.untilS > nowS) expect(held.by).toBe(by);
          living.set(answer.address, { by, untilS: nowS + 20 });
          book.put({ address: answer.address, mac: by, subnet: 'rack', state: 'bound', expiresAtS: nowS + 20 });
        } else if (mine !== undefined) {
          living.delete(mine.address);
          book.put({
            ...mine,
            state: kind === 'release' ? 'released' : 'declined',
            expiresAtS: kind === 'release' ? nowS : nowS + 30,
          });
        }
      }
    }),
    { numRuns: 500 },
  );
});
