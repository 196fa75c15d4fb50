// images/compare.ts - how two generations of an image differ, and an image told as a CycloneDX bill of materials.
//
// Owns: the differences in packages, files and what nodes are told, the SBOM's form. Does not own: reading layers (compare.io.ts). Pure.
//
// Source: CycloneDX 1.6 JSON; package URLs of Debian packages as in the purl specification.

import type { CpioEntry } from './cpio.ts';
import type { Passed } from './inspect.ts';
import { asLicence } from './licences.ts';
import type { Manifest } from './manifest.ts';

/** One file of an image as two generations of it are compared: everything but its place in a layer. */
export type FileFacts = { readonly path: string; readonly facts: string; readonly bytes: number };

type Change = 'added' | 'removed' | 'changed';

export type ImageDifference = {
  readonly kernel: readonly [string, string] | undefined;
  readonly packages: readonly {
    readonly name: string;
    readonly before: string | undefined;
    readonly after: string | undefined;
    readonly bytes: number;
  }[];
  readonly files: readonly {
    readonly path: string;
    readonly change: Change;
    readonly bytes: number;
  }[];
  /** By path on the node. */
  readonly templates: readonly { readonly path: string; readonly change: Change }[];
  /** As declared: types, defaults, texts. */
  readonly vars: readonly { readonly name: string; readonly change: Change }[];
  /** In MiB; null: not said. */
  readonly memoryMb: readonly [number | null, number | null] | undefined;
  /** Names in their order. */
  readonly services: readonly [readonly string[], readonly string[]] | undefined;
  /** Names of layers that are not the same. */
  readonly layers: readonly string[];
};

/** What is compared of a file. */
export function factsOf(entry: CpioEntry<Passed>): FileFacts {
  const head = [entry.kind, entry.mode, entry.uid, entry.gid];
  const rest =
    entry.kind === 'file'
      ? [entry.data.sha256]
      : entry.kind === 'symlink' || entry.kind === 'link'
        ? [entry.target]
        : entry.kind === 'character' || entry.kind === 'block'
          ? [entry.major, entry.minor]
          : [];
  return {
    path: entry.path,
    facts: [...head, ...rest].join(' '),
    bytes: entry.kind === 'file' ? entry.data.length : 0,
  };
}

/** @param files of each of the two, later layers' files having replaced earlier ones. `bytes` of the result are after minus before. */
export function compareImages(
  before: { readonly manifest: Manifest; readonly files: ReadonlyMap<string, FileFacts> },
  after: { readonly manifest: Manifest; readonly files: ReadonlyMap<string, FileFacts> },
): ImageDifference {
  const releases = [before.manifest.kernel.release, after.manifest.kernel.release] as const;
  const sameKernel = before.manifest.kernel.sha256 === after.manifest.kernel.sha256;
  const paths = [...new Set([...before.files.keys(), ...after.files.keys()])].sort();
  const old = new Map(before.manifest.packages.map((one) => [one.name, one]));
  const now = new Map(after.manifest.packages.map((one) => [one.name, one]));
  const hashes = new Set(before.manifest.layers.map(({ sha256 }) => sha256));
  return {
    kernel: sameKernel ? undefined : releases,
    packages: [...new Set([...old.keys(), ...now.keys()])].sort().flatMap((name) => {
      const [was, is] = [old.get(name), now.get(name)];
      if (was?.version === is?.version && was?.bytes === is?.bytes) return [];
      return [{ name, before: was?.version, after: is?.version, bytes: (is?.bytes ?? 0) - (was?.bytes ?? 0) }];
    }),
    files: paths.flatMap((path) => {
      const [was, is] = [before.files.get(path), after.files.get(path)];
      const change = changeOf(was?.facts, is?.facts);
      return change === undefined ? [] : [{ path: `/${path}`, change, bytes: (is?.bytes ?? 0) - (was?.bytes ?? 0) }];
    }),
    templates: changesOf(templatesOf(before.manifest), templatesOf(after.manifest)).map(([path, change]) => ({
      path,
      change,
    })),
    vars: changesOf(before.manifest.vars, after.manifest.vars).map(([name, change]) => ({ name, change })),
    memoryMb: pairOf(before.manifest.memoryMb ?? null, after.manifest.memoryMb ?? null),
    services: pairOf(before.manifest.services, after.manifest.services),
    layers: after.manifest.layers.filter(({ sha256 }) => !hashes.has(sha256)).map(({ name }) => name),
  };
}

/** Templates by path, without where they were read from: nodes do not see it. */
function templatesOf({ templates }: Manifest): Record<string, unknown> {
  return Object.fromEntries(templates.map(({ path, mode, source, live }) => [path, { mode, source, live }]));
}

/** What differs of two maps whose values are plain, in the order of the keys. */
function changesOf(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>) {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].sort().flatMap((key): [string, Change][] => {
    const change = changeOf(JSON.stringify(before[key]), JSON.stringify(after[key]));
    return change === undefined ? [] : [[key, change]];
  });
}

/** @param was, is undefined: it is not there. @returns undefined where both are the same. */
function changeOf(was: string | undefined, is: string | undefined): Change | undefined {
  if (was === is) return undefined;
  return was === undefined ? 'added' : is === undefined ? 'removed' : 'changed';
}

function pairOf<Value>(was: Value, is: Value): readonly [Value, Value] | undefined {
  return JSON.stringify(was) === JSON.stringify(is) ? undefined : [was, is];
}

/** Lines of `rouse image diff`. */
export function renderDifference(difference: ImageDifference): string[] {
  const { kernel, packages, files, templates, vars, memoryMb, services, layers } = difference;
  if (Object.values(difference).every((one) => one === undefined || one.length === 0)) return ['no difference'];
  const signed = (bytes: number): string => (bytes > 0 ? `+${bytes}` : String(bytes));
  return [
    ...(kernel === undefined ? [] : [`kernel ${kernel[0]} -> ${kernel[1]}`]),
    ...packages.map(
      ({ name, before = 'absent', after = 'absent', bytes }) =>
        `package ${name} ${before} -> ${after} (${signed(bytes)} bytes)`,
    ),
    ...files.map(({ path, change, bytes }) => `${change} ${path} (${signed(bytes)} bytes)`),
    ...templates.map(({ path, change }) => `template ${path} ${change}`),
    ...vars.map(({ name, change }) => `var ${name} ${change}`),
    ...(memoryMb === undefined ? [] : [`memoryMb ${memoryMb.map((one) => one ?? 'not said').join(' -> ')}`]),
    ...(services === undefined ? [] : [`services ${services.map((names) => names.join(' ') || 'none').join(' -> ')}`]),
    `layers to load anew: ${layers.join(' ') || 'none'}`,
  ];
}

/** A CycloneDX 1.6 document of the packages in an image, Node and rouse among them; the same image gives the same document. */
export function renderBillOfMaterials(manifest: Manifest): unknown {
  const { image, generation, builtAt, kernel, packages, layers } = manifest;
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: builtAt,
      component: {
        type: 'operating-system',
        name: image,
        version: String(generation),
        properties: [
          { name: 'rouse:kernel', value: `${kernel.release} ${kernel.sha256}` },
          ...layers.map(({ name, sha256 }) => ({ name: `rouse:layer:${name}`, value: sha256 })),
        ],
      },
    },
    components: [
      ...packages.map(({ name, version, architecture, sha256, licences = [] }) => {
        const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}`;
        return {
          type: 'library',
          'bom-ref': purl,
          name,
          version,
          ...(sha256 === undefined ? {} : { hashes: [{ alg: 'SHA-256', content: sha256 }] }),
          ...(licences.length === 0 ? {} : { licenses: licences.map((licence) => ({ license: asLicence(licence) })) }),
          purl,
        };
      }),
      ...Object.entries(manifest.runtime ?? {}).map(([name, { version }]) => {
        const purl = `pkg:generic/${name}@${encodeURIComponent(version)}`;
        return {
          type: 'application',
          'bom-ref': purl,
          name,
          version,
          licenses: [{ license: { id: 'MIT' } }],
          purl,
        };
      }),
    ],
  };
}
