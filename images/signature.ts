// images/signature.ts - a manifest that says who built it.
//
// Owns: what is signed, and what makes a published manifest one to trust: its signature, and that it is the generation that
// its place says. Does not own: keys and the arithmetic (keys.io.ts), the manifest's shape (manifest.ts).
//
// The signature covers the manifest, and the manifest names every layer and the kernel by their SHA-256: with it, all
// that a node boots is the builder's. It is made over the manifest's JSON as JSON.stringify writes it, which reading and
// writing again does not change, so the file may be indented as people like it.
//
// Sources: RFC 8032 (Ed25519). Pure.

import { z } from 'zod';
import { type Manifest, ManifestSchema } from './manifest.ts';

const SignatureSchema = z.strictObject({
  /** Which key: the first 16 hexadecimal digits of the SHA-256 of its SubjectPublicKeyInfo. */
  key: z.string().regex(/^[0-9a-f]{16}$/),
  /** 64 octets, base64. */
  ed25519: z.base64().length(88),
});

export type Signature = z.infer<typeof SignatureSchema>;

/** Why a manifest's signature does not count; undefined where it does. */
export type CheckSignature = (signature: Signature, octets: Uint8Array) => string | undefined;

/** A signature of anything else by the same key must not pass as one of a manifest. */
const DOMAIN = 'rouse image manifest\n';

/** What is signed of a manifest. @param manifest as it is published, without its signature. */
export function signedOctets(manifest: object): Uint8Array {
  return new TextEncoder().encode(DOMAIN + JSON.stringify(manifest));
}

/** The text of a published manifest. */
export function renderSigned(manifest: Manifest, signature: Signature): string {
  return `${JSON.stringify({ ...manifest, signature }, undefined, 1)}\n`;
}

/** A manifest as it was read; only a `trusted` one may be used. `why` is in words for `rouse image verify` and refusals. */
export type Opened =
  /** It is that of its place, signed by a trusted key. */
  | { readonly kind: 'trusted'; readonly manifest: Manifest }
  /** To be looked at, never booted: nobody who counts vouches for it. */
  | { readonly kind: 'untrusted'; readonly manifest: Manifest; readonly why: string }
  | { readonly kind: 'unreadable'; readonly why: string };

/**
 * Reads a published manifest.
 *
 * @param place the image and generation that the file's path names: another one's manifest, signed as it is, is not this.
 */
export function openSigned(
  text: string,
  place: { readonly image: string; readonly generation: number },
  check: CheckSignature,
): Opened {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { kind: 'unreadable', why: `it is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  if (typeof value !== 'object' || value === null) return { kind: 'unreadable', why: 'it is no manifest' };
  const { signature, ...rest } = value as { signature?: unknown };
  const parsed = ManifestSchema.safeParse(rest);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { kind: 'unreadable', why: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it does not validate'}` };
  }
  const manifest = parsed.data;
  if (manifest.image !== place.image || manifest.generation !== place.generation) {
    const found = `generation ${manifest.generation} of ${manifest.image}`;
    return { kind: 'untrusted', manifest, why: `it is the manifest of ${found}, put in another one's place` };
  }
  if (signature === undefined) return { kind: 'untrusted', manifest, why: 'it is not signed' };
  const signed = SignatureSchema.safeParse(signature);
  if (!signed.success) return { kind: 'untrusted', manifest, why: 'its signature is no signature' };
  const why = check(signed.data, signedOctets(rest));
  return why === undefined ? { kind: 'trusted', manifest } : { kind: 'untrusted', manifest, why };
}
