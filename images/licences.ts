// images/licences.ts - under which licences a Debian package is, by its copyright file.
//
// Owns: reading the machine-readable form, and the names of licences in SPDX's words. Does not own: getting at the file
// (licences.io.ts), the bill of materials (compare.ts).
//
// What a copyright file says of a package's sources holds for some files of it, not for all: the list is of everything that is
// named. A file of the older, free form leads to texts of /usr/share/common-licenses, and may tell of licences in prose.
//
// To understand another phrase, add a row to PROSE. Sources: Debian's copyright-format 1.0 (DEP-5), base-files' common-licenses, SPDX licence list 3.29. Pure.

/** Debian's short names, in lower case, as SPDX identifiers. To translate another, add a row. */
export const SPDX: Readonly<Record<string, string>> = {
  '0bsd': '0BSD',
  'apache-2': 'Apache-2.0',
  'apache-2.0': 'Apache-2.0',
  artistic: 'Artistic-1.0-Perl',
  'artistic-2': 'Artistic-2.0',
  'artistic-2.0': 'Artistic-2.0',
  'bsd-2-clause': 'BSD-2-Clause',
  'bsd-3-clause': 'BSD-3-Clause',
  'bsd-4-clause': 'BSD-4-Clause',
  'bsd-4-clause-uc': 'BSD-4-Clause-UC',
  'bsl-1': 'BSL-1.0',
  'bsl-1.0': 'BSL-1.0',
  'cc0-1.0': 'CC0-1.0',
  curl: 'curl',
  expat: 'MIT',
  'gfdl-1.2': 'GFDL-1.2-only',
  'gfdl-1.3': 'GFDL-1.3-only',
  'gfdl-1.3+': 'GFDL-1.3-or-later',
  'gpl-1': 'GPL-1.0-only',
  'gpl-1+': 'GPL-1.0-or-later',
  'gpl-2': 'GPL-2.0-only',
  'gpl-2+': 'GPL-2.0-or-later',
  'gpl-2.0': 'GPL-2.0-only',
  'gpl-2.0+': 'GPL-2.0-or-later',
  'gpl-3': 'GPL-3.0-only',
  'gpl-3+': 'GPL-3.0-or-later',
  'gpl-3.0': 'GPL-3.0-only',
  'gpl-3.0+': 'GPL-3.0-or-later',
  isc: 'ISC',
  'lgpl-2': 'LGPL-2.0-only',
  'lgpl-2+': 'LGPL-2.0-or-later',
  'lgpl-2.0': 'LGPL-2.0-only',
  'lgpl-2.0+': 'LGPL-2.0-or-later',
  'lgpl-2.1': 'LGPL-2.1-only',
  'lgpl-2.1+': 'LGPL-2.1-or-later',
  'lgpl-3': 'LGPL-3.0-only',
  'lgpl-3+': 'LGPL-3.0-or-later',
  'lgpl-3.0+': 'LGPL-3.0-or-later',
  mit: 'MIT',
  'mpl-1.1': 'MPL-1.1',
  'mpl-2.0': 'MPL-2.0',
  'openldap-2.8': 'OLDAP-2.8',
  openssl: 'OpenSSL',
  'psf-2': 'PSF-2.0',
  unlicense: 'Unlicense',
  x11: 'X11',
  zlib: 'Zlib',
};
/** Phrases of files in the free form, spaces as they fall. */
const PROSE: readonly (readonly [phrase: RegExp, name: string])[] = [
  [/\bLGPL \(v2\.1 or later\)/, 'lgpl-2.1+'],
  [/\b3-clause BSD\b/, 'bsd-3-clause'],
  [/\b2-clause BSD\b/, 'bsd-2-clause'],
  [/\b0-clause BSD\b/, '0bsd'],
  [/\bpublic domain\b/i, 'public-domain'],
];

const IDENTIFIERS: ReadonlySet<string> = new Set(Object.values(SPDX));
/** A file that names more is not worth more lines. */
const MOST = 64;

/** A licence by SPDX's identifier, or by whatever the package calls it. */
export type Licence = { readonly id: string } | { readonly name: string };

/** @param text of /usr/share/doc/PACKAGE/copyright. @returns every licence that it names, once, in its order, by SPDX's name if known. */
export function licencesIn(text: string): string[] {
  const isMachineReadable = /^Format(?:-Specification)?:/im.test(text.slice(0, 1000));
  const found = isMachineReadable
    ? [...text.matchAll(/^License:[ \t]*(\S[^\n]*)$/gim)].flatMap(([, names = '']) =>
        names.split(/,?\s+(?:and|or|and\/or)\s+|[|,]\s*/i),
      )
    : [
        ...[...text.matchAll(/\/usr\/share\/common-licenses\/([A-Za-z0-9.+-]*[A-Za-z0-9+])/g)].map(
          ([, name = '']) => name,
        ),
        ...PROSE.flatMap(([phrase, name]) => (phrase.test(text.replaceAll(/\s+/g, ' ')) ? [name] : [])),
      ];
  const names = found
    .map((name) => name.replace(/\s+with\s+.*$/i, '').trim())
    .filter((name) => /^[\x21-\x7e][\x20-\x7e]{0,99}$/.test(name))
    .map((name) => SPDX[name.toLowerCase()] ?? name);
  return [...new Set(names)].slice(0, MOST);
}

/** How a bill of materials says it. */
export function asLicence(name: string): Licence {
  return IDENTIFIERS.has(name) ? { id: name } : { name };
}
