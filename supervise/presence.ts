// supervise/presence.ts - what a supervisor does whose own files are taken away under it (rm -rf of its folder).
//
// Owns: the decision. Does not own: looking (post.io.ts), carrying it out (main.io.ts). Pure.
// A supervisor that cannot be reached is of no use to anybody; and where the service directories are gone with it, no other
// could adopt the services: they would run on for ever, with a second copy beside them.

/** What has the name now: what we made or opened, nothing, or something else. */
export type Found = 'ours' | 'gone' | 'another';

export type Presence =
  | { readonly kind: 'fine' }
  /** Make what is gone again; where somebody else holds the lock, leave the services to that one. */
  | { readonly kind: 'return' }
  /** Stop all services in order, then exit. */
  | { readonly kind: 'end' };

/** @param folder of the services. */
export function presence(lock: Found, socket: Found, folder: Found): Presence {
  if (lock === 'ours' && socket === 'ours') return { kind: 'fine' };
  return { kind: lock !== 'ours' && folder !== 'ours' ? 'end' : 'return' };
}
