// images/archive.ts - which archive the packages of an image come from.
//
// Owns: the recipe's key `archive`, how several recipes' keys join, and the sources that apt is given for them: a mirror of
// the recipe's, or the host's own Debian sources with further components. Does not own: reading the host's files
// (archive.io.ts), running apt (apt.io.ts).
//
// The host's /etc/apt is read and never changed: apt is given a folder of sources in the cache. Signatures are verified as
// for any source: there is no key that turns that off.
//
// Sources: sources.list(5) for both of its formats. Pure.

import { z } from 'zod';

const word = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.+_/-]{0,127}$/, 'expected a word such as bookworm or main');

/** `archive` of a recipe, and of the lock that remembers it. */
export const ArchiveSchema = z
  .strictObject({
    mirror: z
      .string()
      .regex(/^(?:https?:\/\/|file:\/)[^\s"\\]+$/, 'expected an address such as http://deb.debian.org/debian')
      .refine((text) => !text.includes('@'), 'expected no password in it (/etc/apt/auth.conf.d is for those)')
      .optional()
      .describe('packages come from here, and from nowhere else: the sources of the build host are not asked'),
    suites: z
      .array(word)
      .min(1)
      .optional()
      .describe(
        "with a mirror: which of its suites. Without: those of the host's Debian archive in place of the host's own",
      ),
    components: z
      .array(word)
      .min(1)
      .optional()
      .describe(
        "with a mirror: which components, or main. Without: taken from the host's Debian archive beside its own components",
      ),
    keyring: z
      .string()
      .regex(/^(?!.*\.\.)[A-Za-z0-9/][A-Za-z0-9._+/-]*$/, 'expected a file name')
      .optional()
      .describe(
        "who must have signed the mirror: a file beside the recipe, or an absolute path. Without: the keys that the host's apt trusts",
      ),
  })
  .refine(({ mirror, suites }) => mirror === undefined || suites !== undefined, {
    path: ['mirror'],
    message: 'expected suites: [NAME, …] beside a mirror',
  })
  .refine(({ mirror, keyring }) => keyring === undefined || mirror !== undefined, {
    path: ['keyring'],
    message: 'expected a mirror beside a keyring (for its own sources the host’s apt has the keys)',
  });

export type Archive = z.infer<typeof ArchiveSchema>;

/** The archive of an image, and where its recipes say so. */
export type PlacedArchive = {
  readonly archive: Archive;
  /** "services/web/recipe.yaml:4:5" of each key that is said, and of the whole. */
  readonly places: Readonly<Partial<Record<keyof Archive, string>>> & { readonly all: string };
};

/** What is joined of a recipe. */
type Asking = {
  readonly archive: Archive | undefined;
  readonly folder: string;
  readonly place: (...path: string[]) => string;
};

/** What becomes of a key that a recipe says, where those below it may have said it too. @param folder of the recipe. */
const JOINS: {
  readonly [Key in keyof Archive]-?: (below: Archive, said: Archive, folder: string) => Pick<Archive, Key>;
} = {
  mirror: (_, { mirror }) => ({ mirror }),
  suites: (_, { suites }) => ({ suites }),
  components: (below, { components = [] }) => ({
    components: [...new Set([...(below.components ?? []), ...components])],
  }),
  keyring: (_, { keyring = '' }, folder) => ({ keyring: keyring.startsWith('/') ? keyring : `${folder}/${keyring}` }),
};
const KEYS = Object.keys(JOINS) as (keyof Archive)[];

/**
 * Joins what the recipes of a chain say, the lowest first: a mirror of a higher recipe takes the place of all below it, other
 * suites replace, components add up.
 *
 * @returns undefined where none says anything: then the host's own sources are used as they are.
 */
export function joinArchives(chain: readonly Asking[]): PlacedArchive | undefined {
  let joined: PlacedArchive | undefined;
  for (const { archive, folder, place } of chain) {
    if (archive === undefined) continue;
    const below = archive.mirror === undefined ? joined : undefined;
    const said = KEYS.filter((key) => archive[key] !== undefined);
    joined = {
      archive: Object.assign(
        { ...below?.archive },
        ...said.map((key) => JOINS[key](below?.archive ?? {}, archive, folder)),
      ),
      places: {
        ...below?.places,
        ...Object.fromEntries(said.map((key) => [key, place('archive', key)])),
        all: place('archive'),
      },
    };
  }
  return joined;
}

/** One file of sources as the host has it; `name` ends in .list or .sources, which is how apt tells its format. */
export type SourcesFile = { readonly name: string; readonly text: string };

/** One entry of a file of sources, whose words can be replaced. */
type Source = {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly render: (suites: readonly string[], components: readonly string[]) => SourcesFile;
};

export type DerivedSources =
  | { readonly ok: true; readonly files: readonly SourcesFile[] }
  /** `key` of the archive that cannot be answered. */
  | { readonly ok: false; readonly key: keyof Archive; readonly why: string };

/**
 * The files of sources for an archive.
 *
 * @param host what the build host's apt reads. @param signedBy a copy of the keyring for a mirror; absent: the host's keys.
 */
export function deriveSources(archive: Archive, host: readonly SourcesFile[], signedBy?: string): DerivedSources {
  const { mirror, suites, components = [] } = archive;
  if (mirror !== undefined) {
    const fields = {
      Types: 'deb',
      URIs: mirror,
      Suites: (suites ?? []).join(' '),
      // A flat archive (suite "./") has none.
      Components: (suites ?? []).every((suite) => suite.endsWith('/'))
        ? ''
        : (components.length > 0 ? components : ['main']).join(' '),
      'Signed-By': signedBy ?? '',
    };
    const text = Object.entries(fields).flatMap(([key, value]) => (value === '' ? [] : [`${key}: ${value}\n`]));
    return { ok: true, files: [{ name: 'mirror.sources', text: text.join('') }] };
  }
  const debian = host.flatMap(parseSources).filter(isDebian);
  const key = suites === undefined ? 'components' : 'suites';
  if (debian.length === 0) {
    return { ok: false, key, why: 'no source of this host’s apt is Debian’s archive; name a mirror and its suites' };
  }
  if (suites === undefined) {
    const added = debian.flatMap((source) => {
      const further = components.filter((one) => !source.components.includes(one));
      return further.length === 0 ? [] : [source.render(source.suites, further)];
    });
    return { ok: true, files: numbered([...host, ...added]) };
  }
  const files: SourcesFile[] = [];
  for (const suite of suites) {
    const found = debian.find((source) => source.suites.some((one) => isSecurity(one) === isSecurity(suite)));
    if (found === undefined)
      return { ok: false, key, why: `no source of this host’s apt is like ${suite}; name a mirror` };
    files.push(found.render([suite], [...new Set([...found.components, ...components])]));
  }
  return { ok: true, files: numbered(files) };
}

/** apt reads a folder of files, whose names must not meet. */
function numbered(files: readonly SourcesFile[]): SourcesFile[] {
  return files.map(({ name, text }, index) => ({
    name: `${String(index).padStart(2, '0')}${name.slice(name.lastIndexOf('.'))}`,
    text,
  }));
}

/** Debian's archive is known by its address ("…/debian", "…/debian-security", a mirror list "debian.list") and its component main. */
function isDebian({ uris, components }: Source): boolean {
  return components.includes('main') && uris.some((uri) => /\/debian(?:[-.][^/]*)?\/?$/.test(uri));
}

/** Security updates lie in an archive of their own. */
function isSecurity(suite: string): boolean {
  return /-security$|\/updates$/.test(suite);
}

/** The entries for binary packages of a file of sources; what is switched off is left out. */
function parseSources({ name, text }: SourcesFile): Source[] {
  return name.endsWith('.sources') ? parseStanzas(text) : parseLines(text);
}

function parseLines(text: string): Source[] {
  return text.split('\n').flatMap((line): Source[] => {
    const match = /^\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    const [, options = '', uri = '', suite = '', rest = ''] = match ?? [];
    if (match === null) return [];
    return [
      {
        uris: [uri],
        suites: [suite],
        components: words(rest),
        render: (suites, components) => ({
          name: 'x.list',
          text: suites.map((one) => `deb ${options}${uri} ${one} ${components.join(' ')}\n`).join(''),
        }),
      },
    ];
  });
}

/** deb822: stanzas of fields; a value may go on in further lines that begin with a blank (a key, for example). */
function parseStanzas(file: string): Source[] {
  const stanzas = file
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .split(/\n[ \t]*\n/);
  return stanzas.flatMap((stanza): Source[] => {
    const fields = Array.from(
      stanza.matchAll(/^([A-Za-z-]+):(.*(?:\n[ \t].*)*)/gm),
      ([, key = '', text = '']) => [key, text] as const,
    );
    const value = (wanted: string): string => fields.find(([key]) => key.toLowerCase() === wanted)?.[1] ?? '';
    if (!words(value('types')).includes('deb') || /^\s*(?:no|false|off|0)\s*$/i.test(value('enabled'))) return [];
    const replaced = (suites: readonly string[], components: readonly string[]): string =>
      fields
        .map(([key, old]) => {
          const name = key.toLowerCase();
          if (name === 'types') return `${key}: deb`;
          if (name === 'suites') return `${key}: ${suites.join(' ')}`;
          return name === 'components' ? `${key}: ${components.join(' ')}` : `${key}:${old}`;
        })
        .join('\n');
    return [
      {
        uris: words(value('uris')),
        suites: words(value('suites')),
        components: words(value('components')),
        render: (suites, components) => ({ name: 'x.sources', text: `${replaced(suites, components)}\n` }),
      },
    ];
  });
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((one) => one !== '');
}
