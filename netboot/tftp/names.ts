// netboot/tftp/names.ts - the file names that TFTP clients ask for, made safe and uniform.
//
// Owns: the cleaning. Does not own which names exist: the boot plans name those, and nothing is looked up in a folder.
// Firmware writes "\\boot\\x" or "//x", and prefixes "/" at will. Pure.

const MOST_CHARACTERS = 255;

export type NameResult = { readonly ok: true; readonly name: string } | { readonly ok: false; readonly why: string };

/** @returns "dir/file" without a leading slash, or why nothing can have this name. */
export function cleanName(foreign: string): NameResult {
  if (foreign.length > MOST_CHARACTERS) return { ok: false, why: 'the name is longer than 255 characters' };
  if (!/^[ -~]*$/.test(foreign)) return { ok: false, why: 'the name has characters that no boot file has' };
  const segments = foreign
    .replaceAll('\\', '/')
    .split('/')
    .filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) return { ok: false, why: 'the name points outside with ".."' };
  if (segments.length === 0) return { ok: false, why: 'the name is empty' };
  return { ok: true, name: segments.join('/') };
}
