// images/keys.io.ts - the key that signs images, and the keys whose images are booted.
//
// Owns: lib/keys: images.key (PKCS #8, mode 0600, made at the first build) and its public half images.pub. Every other
// *.pub beside it is trusted too: a boot server that does not build is given its builder's. Does not own: what is signed
// (signature.ts).

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { publishFile, publishNew, readIfThere } from './files.io.ts';
import type { Manifest } from './manifest.ts';
import { type CheckSignature, renderSigned, signedOctets } from './signature.ts';

const folderOf = (libDir: string): string => join(libDir, 'keys');

/** The manifest's text with its signature; the key is made where there is none. @throws Fault E_STORE for a key that is no key. */
export async function signManifest(libDir: string, manifest: Manifest): Promise<string> {
  return signedBy(await ownKey(folderOf(libDir)), manifest);
}

/**
 * Takes the key from the eyes of all but its owner, where others may read it: a restore by hand or a copy leaves it so.
 *
 * @returns what was done, for people; undefined where nothing had to be.
 */
export async function closeKey(libDir: string): Promise<string | undefined> {
  const path = join(folderOf(libDir), 'images.key');
  const mode = await keyMode(libDir);
  if (mode === undefined || (mode & 0o077) === 0) return undefined;
  await chmod(path, 0o600);
  return `${path} was of mode ${mode.toString(8)}, open to others, and is 600 now; who may have read it can sign images`;
}

/** The permission bits of the key that signs. @returns undefined where there is none. */
export async function keyMode(libDir: string): Promise<number | undefined> {
  const found = await stat(join(folderOf(libDir), 'images.key')).catch(() => undefined);
  return found === undefined ? undefined : found.mode & 0o777;
}

/** The manifest's text, signed with a private key. */
export function signedBy(key: KeyObject, manifest: Manifest): string {
  const ed25519 = sign(null, signedOctets(manifest), key).toString('base64');
  return renderSigned(manifest, { key: nameOf(createPublicKey(key)), ed25519 });
}

async function ownKey(folder: string): Promise<KeyObject> {
  const path = join(folder, 'images.key');
  await mkdir(folder, { recursive: true });
  if ((await readIfThere(path)) === undefined) {
    const { privateKey } = generateKeyPairSync('ed25519');
    // Of two first builds one makes the key; both read it.
    await publishNew(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600);
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(await readFile(path));
    if (key.asymmetricKeyType !== 'ed25519') throw new Error(`it is of type ${key.asymmetricKeyType ?? 'unknown'}`);
  } catch (error) {
    throw new Fault('E_STORE', {
      what: `cannot sign with ${path}`,
      why: reasonOf(error),
      todo: 'put the key back from a backup, or remove it and build every image again',
    });
  }
  const published = join(folder, 'images.pub');
  const half = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  if ((await readIfThere(published))?.toString() !== half) await publishFile(published, half);
  return key;
}

/** Reads the trusted keys. A file that is no key is none. */
export async function readTrusted(libDir: string): Promise<CheckSignature> {
  const folder = folderOf(libDir);
  const names = await readdir(folder).catch((): string[] => []);
  const keys = new Map<string, KeyObject>();
  for (const name of names.filter((one) => one.endsWith('.pub'))) {
    try {
      const key = createPublicKey(await readFile(join(folder, name)));
      if (key.asymmetricKeyType === 'ed25519') keys.set(nameOf(key), key);
    } catch {
      // What it should have vouched for is refused, by the name of its key.
    }
  }
  return ({ key: name, ed25519 }, octets) => {
    const key = keys.get(name);
    if (key === undefined) return `the key ${name} that signed it is not among the trusted ones, ${folder}/*.pub`;
    return verify(null, octets, key, Buffer.from(ed25519, 'base64')) ? undefined : 'it was changed after it was signed';
  };
}

function nameOf(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}
