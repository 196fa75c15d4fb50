// netboot/http/range.ts - conditional and partial requests: RFC 9110 sections 13 and 14, as far as boot files need them.
//
// Owns: one byte range (several are answered with the whole, which the RFC allows), If-Range and If-None-Match against a
// strong entity tag. Does not own headers or sockets. Pure.

/** A stretch of a body: `from` included, `to` not; in bytes. */
export type Slice = { readonly from: number; readonly to: number };

export type Selection =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly slice: Slice }
  | { readonly kind: 'unsatisfiable' }
  | { readonly kind: 'unchanged' };

export type Conditions = {
  readonly range?: string | undefined;
  readonly ifRange?: string | undefined;
  readonly ifNoneMatch?: string | undefined;
};

/**
 * What of a body is asked for.
 *
 * @param etag the strong tag with its quotes, or undefined where the body has none: then conditions fail.
 * @returns `whole` for headers that are malformed, as RFC 9110 14.2 asks.
 */
export function select(conditions: Conditions, sizeBytes: number, etag: string | undefined): Selection {
  const { range, ifRange, ifNoneMatch } = conditions;
  if (ifNoneMatch !== undefined && etag !== undefined) {
    const tags = ifNoneMatch.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
    if (tags.includes('*') || tags.includes(etag)) return { kind: 'unchanged' };
  }
  if (range === undefined) return { kind: 'whole' };
  // A range of an older version glued to this one would be neither.
  if (ifRange !== undefined && ifRange !== etag) return { kind: 'whole' };
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range.trim());
  if (match === null) return { kind: 'whole' };
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return { kind: 'whole' };
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0
      ? { kind: 'unsatisfiable' }
      : { kind: 'part', slice: { from: sizeBytes - length, to: sizeBytes } };
  }
  const from = Number(first);
  if (last !== '' && Number(last) < from) return { kind: 'whole' };
  if (from >= sizeBytes) return { kind: 'unsatisfiable' };
  const to = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  return { kind: 'part', slice: { from, to } };
}
