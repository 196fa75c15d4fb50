// supervise/health.ts - the setting file `health`: is a service that runs also of use?
//
// Owns: its words and targets. Does not own: asking (probe.io.ts), what failures lead to (machine.ts).
//
//   kind icmp|tcp|http|exec     target     icmp: ADDRESS   tcp: HOST:PORT   http: http://…   exec: a command of /bin/sh
//   intervalMs 10000            between the end of a check and the next
//   timeoutMs 5000              a check that lasts longer has failed
//   threshold 3                 so many failures in a row restart the service
//
// To add a kind, add a row to KINDS and to PROBES in probe.io.ts. Pure.

export type HealthKind = keyof typeof KINDS;

export type Health = {
  readonly kind: HealthKind;
  readonly target: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly threshold: number;
};

const KINDS = {
  icmp: { pattern: /^[0-9A-Za-z][0-9A-Za-z.:-]*$/, expected: 'an address' },
  tcp: { pattern: /^(\[[0-9a-f:.]+\]|[0-9A-Za-z][0-9A-Za-z.-]*):\d{1,5}$/i, expected: 'HOST:PORT' },
  http: { pattern: /^http:\/\/[^\s/]+(\/\S*)?$/, expected: 'a URL that begins with http://' },
  exec: { pattern: /./, expected: 'a command' },
} as const satisfies Record<string, { pattern: RegExp; expected: string }>;

const NUMBERS = {
  intervalMs: { min: 100, max: 86_400_000 },
  timeoutMs: { min: 10, max: 3_600_000 },
  threshold: { min: 1, max: 1000 },
} as const satisfies Partial<Record<keyof Health, { min: number; max: number }>>;

export type HealthResult = { readonly health: Health } | { readonly problem: string };

/** @param lines of the file, without comments and blank ones. */
export function parseHealth(lines: readonly string[]): HealthResult {
  const numbers = { intervalMs: 10_000, timeoutMs: 5000, threshold: 3 };
  let kind: HealthKind | undefined;
  let target: string | undefined;
  for (const line of lines) {
    const [word = ''] = line.split(/\s/, 1);
    const value = line.slice(word.length).trim();
    if (word === 'kind') {
      if (!isKind(value)) return { problem: `kind expected ${Object.keys(KINDS).join(', ')}, got ${quote(value)}` };
      kind = value;
    } else if (word === 'target') target = value;
    else if (isNumber(word)) {
      const { min, max } = NUMBERS[word];
      const number = Number(value);
      if (!/^\d{1,9}$/.test(value) || number < min || number > max) {
        return { problem: `${word} expected a whole number from ${min} to ${max}, got ${quote(value)}` };
      }
      numbers[word] = number;
    } else {
      return { problem: `unknown word ${quote(word)}, expected kind, target, ${Object.keys(NUMBERS).join(', ')}` };
    }
  }
  if (kind === undefined || target === undefined)
    return { problem: `${kind === undefined ? 'kind' : 'target'} is missing` };
  if (!KINDS[kind].pattern.test(target)) {
    return { problem: `target of ${kind} expected ${KINDS[kind].expected}, got ${quote(target)}` };
  }
  return { health: { kind, target, ...numbers } };
}

function isKind(word: string): word is HealthKind {
  return Object.hasOwn(KINDS, word);
}

function isNumber(word: string): word is keyof typeof NUMBERS {
  return Object.hasOwn(NUMBERS, word);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text);
}

/** Host and port of a tcp target that parseHealth has let through. */
export function endpointOf(target: string): { readonly host: string; readonly port: number } {
  const colon = target.lastIndexOf(':');
  return { host: target.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(target.slice(colon + 1)) };
}

/** Whether the answer to an http check is a good one; the reason where it is not. */
export function refusalOfStatus(status: number): string | undefined {
  return status >= 200 && status < 400 ? undefined : `answered ${status}`;
}
