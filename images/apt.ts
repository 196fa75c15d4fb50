// images/apt.ts - what apt says, read: a solution, the packages of it, and which of them an image needs.
//
// Owns: apt's configuration for a private root, reading `apt-get -s install` and `apt-cache show`, and the walk over
// Depends that leaves out what no diskless node needs. Does not own: running apt (apt.io.ts), the rules (rules.ts).
//
// Sources: apt.conf(5), apt-get(8), deb-control(5), Debian Policy chapter 7. Pure.

/** A package at one version, as its archive describes it. */
export type ArchivePackage = {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** SHA-256 of the .deb, from the signed index. */
  readonly sha256: string;
  /** Size of the .deb. */
  readonly bytes: number;
  /** Groups of alternatives, by name, of Depends and Pre-Depends. */
  readonly depends: readonly (readonly string[])[];
  readonly provides: readonly string[];
};

/**
 * Configuration that makes apt work in folders of its own: the host's sources, keys, credentials and proxy stay in
 * force (they are read from /etc/apt before this), its hooks and its idea of what is installed do not.
 *
 * @param folder absolute; holds lists/, cache/ and an empty status file.
 * @param sources a folder of sources in place of the host's.
 */
export function renderAptConfig(folder: string, architecture: string, sources?: string): string {
  const quoted = (text: string): string => `"${text.replaceAll('"', '')}"`;
  return [
    ...['APT::Update::Pre-Invoke', 'APT::Update::Post-Invoke', 'APT::Update::Post-Invoke-Success'].map(
      (key) => `#clear ${key};`,
    ),
    ...['DPkg::Pre-Invoke', 'DPkg::Post-Invoke', 'DPkg::Pre-Install-Pkgs', 'APT::Architectures'].map(
      (key) => `#clear ${key};`,
    ),
    // Only package lists are fetched: a host may have asked for contents, icons and translations too.
    '#clear Acquire::IndexTargets;',
    'Acquire::IndexTargets::deb::Packages { MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";',
    '  flatMetaKey "Packages"; ShortDescription "Packages"; Optional "no";',
    '  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages"; flatDescription "$(RELEASE) Packages"; };',
    'Acquire::Languages "none";',
    // However lax the host may be for its own packages.
    ...['APT::Get::AllowUnauthenticated', 'Acquire::AllowInsecureRepositories', 'Acquire::AllowWeakRepositories'].map(
      (key) => `${key} "false";`,
    ),
    ...(sources === undefined
      ? []
      : ['Dir::Etc::sourcelist "/dev/null";', `Dir::Etc::sourceparts ${quoted(sources)};`]),
    'Acquire::Retries "3";',
    `APT::Architecture ${quoted(architecture)};`,
    `APT::Architectures { ${quoted(architecture)}; };`,
    'APT::Install-Recommends "false";',
    'APT::Install-Suggests "false";',
    // The folders belong to whoever builds, and may lie where apt's own user cannot read.
    'APT::Sandbox::User "";',
    'Debug::NoLocking "false";',
    `Dir::State ${quoted(folder)};`,
    `Dir::State::lists ${quoted(`${folder}/lists`)};`,
    `Dir::State::status ${quoted(`${folder}/status`)};`,
    `Dir::State::extended_states ${quoted(`${folder}/extended_states`)};`,
    `Dir::Cache ${quoted(`${folder}/cache`)};`,
    `Dir::Log ${quoted(`${folder}/log`)};`,
    '',
  ].join('\n');
}

/** A version that apt would choose now, and where it is from: "Debian-Security:12/oldstable-security". */
export type Candidate = { readonly name: string; readonly version: string; readonly origins: readonly string[] };

/** Every package that `apt-get -s install` would install. */
export function parseSimulation(output: string): Candidate[] {
  return output.split('\n').flatMap((line) => {
    const match = /^Inst (\S+) (?:\[\S+\] )?\((\S+) (.*?) \[[^\]]*\]\)/.exec(line);
    if (match?.[1] === undefined || match[2] === undefined) return [];
    return [{ name: match[1], version: match[2], origins: (match[3] ?? '').split(', ') }];
  });
}

/** The stanzas of `apt-cache show`; incomplete ones (a package without a file in the archive) are left out. */
export function parseStanzas(output: string): ArchivePackage[] {
  return output.split(/\n\n+/).flatMap((stanza): ArchivePackage[] => {
    const fields = parseFields(stanza);
    const name = fields.get('Package');
    const version = fields.get('Version');
    const architecture = fields.get('Architecture');
    const sha256 = fields.get('SHA256');
    const bytes = Number(fields.get('Size'));
    if (name === undefined || version === undefined || architecture === undefined || sha256 === undefined) return [];
    if (!/^[0-9a-f]{64}$/.test(sha256) || !Number.isSafeInteger(bytes) || bytes <= 0) return [];
    const depends = [...splitGroups(fields.get('Pre-Depends')), ...splitGroups(fields.get('Depends'))];
    return [
      { name, version, architecture, sha256, bytes, depends, provides: splitGroups(fields.get('Provides')).flat() },
    ];
  });
}

function parseFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let key = '';
  for (const line of stanza.split('\n')) {
    if (/^\s/.test(line)) fields.set(key, `${fields.get(key) ?? ''}${line}`);
    else {
      const colon = line.indexOf(':');
      if (colon < 1) continue;
      key = line.slice(0, colon);
      fields.set(key, line.slice(colon + 1).trim());
    }
  }
  return fields;
}

/** "a (>= 1) | b, c:any" becomes [[a, b], [c]]. */
function splitGroups(field: string | undefined): string[][] {
  return (field ?? '')
    .split(',')
    .map((group) =>
      group
        .split('|')
        .map((alternative) => alternative.trim().split(/[\s:(]/, 1)[0] ?? '')
        .filter((name) => name !== ''),
    )
    .filter((group) => group.length > 0);
}

/**
 * The packages of a solution that the named ones reach through their dependencies, without those that are left out.
 *
 * @param leftOut whether a package of that name is not wanted; a named package always is.
 * @returns sorted by name; each once.
 */
export function reachable(
  solution: readonly ArchivePackage[],
  names: readonly string[],
  leftOut: (name: string) => boolean,
): ArchivePackage[] {
  const byName = new Map(solution.map((one) => [one.name, one]));
  const providers = new Map(solution.flatMap((one) => one.provides.map((virtual) => [virtual, one] as const)));
  const found = new Map<string, ArchivePackage>();
  const queue = names.flatMap((name) => byName.get(name) ?? providers.get(name) ?? []);
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (found.has(next.name)) continue;
    found.set(next.name, next);
    for (const alternatives of next.depends) {
      if (alternatives.some(leftOut)) continue;
      const chosen = alternatives
        .map((name) => byName.get(name) ?? providers.get(name))
        .find((one) => one !== undefined);
      if (chosen !== undefined && !leftOut(chosen.name)) queue.push(chosen);
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The name apt gives to a downloaded package: the epoch's colon is escaped. */
export function archiveFileName({ name, version, architecture }: ArchivePackage): string {
  return `${name}_${version.replaceAll(':', '%3a')}_${architecture}.deb`;
}

/**
 * The part of apt's words that says why: its E: lines, or the last line where it wrote none. What is "not signed" may be
 * signed by a stranger, which only a warning says.
 */
export function aptReason(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const stranger = lines.find((line) => line.startsWith('W: GPG error: '))?.slice('W: GPG error: '.length);
  const errors = lines
    .filter((line) => line.startsWith('E: '))
    .map((line) => (line.endsWith(' is not signed.') ? (stranger ?? line.slice(3)) : line.slice(3)));
  return (errors.length > 0 ? [...new Set(errors)].slice(0, 3) : lines.slice(-1)).join('; ');
}

/** How faults begin that are of a whole archive and of no package. */
export const UNREADABLE_LISTS = 'cannot read the package lists';

/** What apt only warns of, and what would end in packages that nobody finds. */
export function absentComponent(said: string): string | undefined {
  const [, repository = '', component] =
    /as repository '([^']*)' doesn't have the component '([^']+)'/.exec(said) ?? [];
  return component === undefined ? undefined : `the repository '${repository}' has no component ${component}`;
}
