// images/versions.ts - the versions that an image was built from, written down beside it.
//
// Owns: the shape of lib/images/locks/SHA256.json, when a lock may be used again, and how it differs from what an archive
// has now. Does not own: choosing versions (apt), the packages themselves (store.io.ts keeps them beside the lock).
//
// A lock lies beside the store and not in a repository: the archive drops old versions, and a list of what nobody can
// fetch any more pins nothing. With the packages that it names, a generation can be built again without any archive. Pure.

import { z } from 'zod';
import type { Candidate } from './apt.ts';
import { ArchiveSchema } from './archive.ts';

const PackageSchema = z.strictObject({
  name: z.string(),
  version: z.string(),
  architecture: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.int().positive(),
  depends: z.array(z.array(z.string()).readonly()).readonly(),
  provides: z.array(z.string()).readonly(),
});

const LockSchema = z.strictObject({
  version: z.literal(1),
  architecture: z.enum(['amd64', 'arm64']),
  /** SHA-256 of the sources that apt was given: another archive must give another choice. */
  sources: z.string(),
  /** What the recipes say of their archive; absent where the host's sources were asked as they are. */
  archive: ArchiveSchema.optional(),
  /** What the recipes ask for, sorted. */
  asked: z.array(z.string()).readonly(),
  /** What that comes to, with all dependencies. */
  packages: z.array(PackageSchema).readonly(),
});

export type VersionLock = z.infer<typeof LockSchema>;

/** @returns undefined where the text is no lock. */
export function parseLock(text: string): VersionLock | undefined {
  try {
    const parsed = LockSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a value is a choice of packages, as read back from a cache. */
export function isSolution(value: unknown): value is VersionLock['packages'] {
  return z.array(PackageSchema).safeParse(value).success;
}

/** Whether a lock answers the question that a build has. */
export function answers(lock: VersionLock, question: Pick<VersionLock, 'architecture' | 'sources' | 'asked'>): boolean {
  return (
    lock.architecture === question.architecture &&
    lock.sources === question.sources &&
    lock.asked.join('\n') === question.asked.join('\n') &&
    unanswered(lock, question.asked).length === 0
  );
}

/**
 * Whether a build that failed is tried again with newer versions: the archive drops old ones, and packages that were chosen some
 * time ago cannot be fetched any more. Not where the newest were asked for already, or those of one generation and no others.
 */
export function mayChooseAgain(
  { refresh = false, locked }: { readonly refresh?: boolean; readonly locked?: number | undefined },
  downloadFailed: boolean,
): boolean {
  return downloadFailed && !refresh && locked === undefined;
}

/** Names that no package of a choice has or provides: apt takes `x+` and `x-` for orders where no package is called so. */
export function unanswered(lock: Pick<VersionLock, 'packages'>, asked: readonly string[]): string[] {
  const known = new Set(lock.packages.flatMap(({ name, provides }) => [name, ...provides]));
  return asked.filter((name) => !known.has(name));
}

/** A package of an image that the archive has in another version now. */
export type Outdated = {
  readonly name: string;
  readonly version: string;
  readonly candidate: string;
  /** The archive's own word: its origin or suite is named for security. */
  readonly isSecurity: boolean;
};

/**
 * @param names the packages of the image; others of the lock have no file in it.
 * @returns what another build with --refresh would change, security updates first.
 */
export function outdatedOf(
  lock: VersionLock,
  names: ReadonlySet<string>,
  candidates: readonly Candidate[],
): Outdated[] {
  const byName = new Map(candidates.map((one) => [one.name, one]));
  return lock.packages
    .flatMap(({ name, version }) => {
      const now = byName.get(name);
      if (!names.has(name) || now === undefined || now.version === version) return [];
      return [{ name, version, candidate: now.version, isSecurity: now.origins.some((one) => /security/i.test(one)) }];
    })
    .sort((a, b) => Number(b.isSecurity) - Number(a.isSecurity) || (a.name < b.name ? -1 : 1));
}
