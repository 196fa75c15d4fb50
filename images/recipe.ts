// images/recipe.ts - what an image is made of: services/ROLE/recipe.yaml.
//
// Owns: the schema, reading a recipe. Does not own: finding the files (roles.io.ts), what a recipe and those it extends come to
// together (chain.ts, asked.ts), the values of vars (netboot/site: profiles and nodes set them).
//
// To add a key, add it to RecipeSchema; what describe() says of it is its line of docs/recipe.md. Pure.

import { z } from 'zod';
import { Fault } from '../formats/errors.ts';
import { parseYaml, type Parsed } from '../formats/yaml/document.ts';
import { ArchiveSchema } from './archive.ts';
import { CPIO_PATH_LIMIT_BYTES, pathProblem } from './cpio.ts';
import { mergedPath } from './layout.ts';
import { VarSchema } from './manifest.ts';
import { MICROCODE_WISH } from './microcode.ts';
import { MODULE_CLASS_NAMES } from './modules.ts';

const name = z.string().regex(/^[a-z0-9][a-z0-9+.-]{0,62}$/, 'expected lower-case letters, digits, + . -');
// apt-get(8): NAME- is an order to leave NAME out.
const packageName = name.refine((text) => !text.endsWith('-'), 'expected a name without - at its end');
/** A path on the node, or a pattern of paths. */
const pattern = z
  .string()
  .regex(/^\/[^\0]*$/, 'expected an absolute path on the node')
  .refine(
    (text) => !text.split('/').some((step) => step === '.' || step === '..'),
    'a path leaves the root with . or ..',
  );
const path = pattern.refine(
  (text) => pathProblem(mergedPath(text.slice(1))) === undefined,
  `expected a path below /, without empty steps, of at most ${CPIO_PATH_LIMIT_BYTES} bytes`,
);
const command = z.string().regex(/^\P{C}*$/u, 'expected one line');
const moduleName = z.string().regex(/^[A-Za-z0-9_-]+$/, 'expected a module name without .ko');
const octal = z.string().regex(/^[0-7]{3,4}$/, 'expected an octal mode such as 0644');
const id = z.int().min(0).max(65_534);
const MODE = 'permission bits, in octal';
const mode = octal.describe(MODE);
const onNode = path.describe('where it is on the node');
const uid = id.default(0).describe('its owner');
const gid = id.default(0).describe('its group');

/** daemontools is what an image without the key has: it fits into 128 MB. */
const SUPERVISORS = ['daemontools', 'rouse'] as const;
export type Supervisor = (typeof SUPERVISORS)[number];

export const RecipeSchema = z.strictObject({
  version: z.literal(1).describe('of this format'),
  text: z.string().default('').describe('what the role is, in one sentence'),
  extends: name.optional().describe("a recipe whose layers lie below this one's"),
  supervisor: z
    .enum(SUPERVISORS)
    .optional()
    .describe(
      "what supervises /service on the node: Debian's svscan, which needs no memory and knows few settings, or rouse itself, which brings Node (30 MB to load, 110 MB of memory). The highest recipe of a chain that says so decides",
    ),
  kernel: z
    .strictObject({
      package: packageName.describe('a Debian package, or one that depends on it, that holds /boot/vmlinuz-RELEASE'),
      modules: z.enum(MODULE_CLASS_NAMES).describe('class of machines: which drivers are carried'),
      extraModules: z
        .array(moduleName)
        .default([])
        .describe('further modules by name; each must exist and is loaded at boot'),
    })
    .optional()
    .describe('what its nodes run; one recipe of a chain has it'),
  memoryMb: z
    .int()
    .min(32)
    .max(1_048_576)
    .optional()
    .describe(
      'the least memory of its nodes, in MiB: an image whose unpacked files do not fit is refused, and so is a node with less',
    ),
  architecture: z
    .enum(['amd64', 'arm64'])
    .optional()
    .describe(
      "what its nodes are; the kernel's package must be of the same. A recipe is of one: another architecture is another role",
    ),
  archive: ArchiveSchema.optional().describe(
    'where packages come from, if not from the sources of the host that builds',
  ),
  firmware: z
    .strictObject({
      packages: z
        .array(packageName)
        .default([])
        .describe('Debian packages that hold them; most are of the component non-free-firmware'),
      required: z
        .array(moduleName)
        .default([])
        .describe('modules whose firmware must all be there: an image without it is refused'),
      without: z
        .record(moduleName, z.string().min(1))
        .default({})
        .describe('modules whose missing firmware is not told of, each with the reason why the nodes do without'),
    })
    .optional()
    .describe('what devices load through their drivers. Only files that modules of the image name are taken'),
  microcode: z
    .array(z.string().regex(MICROCODE_WISH, 'expected intel, amd, or a family such as intel/06-4f or amd/fam17h'))
    .default([])
    .describe(
      'microcode of processors, which the kernel loads before all else: intel, amd, or a family as their packages name it',
    ),
  requiresModules: z
    .array(moduleName)
    .default([])
    .describe(
      'modules that the role cannot do without: an image whose kernel neither carries nor contains one is refused',
    ),
  packages: z.array(packageName).default([]).describe('Debian packages; what they depend on comes with them'),
  keep: z
    .array(pattern)
    .default([])
    .describe(
      'patterns of paths that stay although a rule leaves them out, and libraries that are loaded by name at run time',
    ),
  leaveOut: z.array(pattern).default([]).describe('patterns of paths of the packages that this image does without'),
  override: z
    .array(pattern)
    .default([])
    .describe('patterns of paths that may replace a file or template of an earlier layer'),
  attributes: z
    .array(z.strictObject({ path: onNode, mode: mode.optional(), uid, gid }))
    .default([])
    .describe("owner and mode of paths of files/, where they are not root's with 0644 (0755 if executable)"),
  directories: z
    .array(z.strictObject({ path: onNode, mode: octal.default('0755').describe(MODE), uid, gid }))
    .default([])
    .describe('folders that must exist'),
  links: z.record(path, z.string().min(1)).default({}).describe('symbolic links: where, and to what'),
  devices: z
    .array(
      z.strictObject({
        path: onNode,
        mode,
        major: z.int().min(0).max(4095).describe('its driver'),
        minor: z.int().min(0).max(1_048_575).describe('its number at that driver'),
      }),
    )
    .default([])
    .describe('character devices that must exist before /dev is mounted'),
  services: z
    .array(name)
    .default([])
    .describe('service directories beside the recipe, in start order; on the node /service/NAME'),
  users: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[a-z_][a-z0-9_-]{0,30}$/, 'expected a user name')
          .describe('what it is called'),
        uid: id.describe('its number'),
        gid: id.optional().describe("its group's number, if not the same"),
        home: pattern.default('/nonexistent').describe('its home'),
        shell: pattern.default('/bin/false').describe('its shell'),
      }),
    )
    .default([])
    .describe("users with a group of their own; uids are the recipe's, so that they stay the same over builds"),
  hooks: z
    .array(name)
    .default([])
    .describe(
      'executable files below hooks/, run by init in this order once the network is up and before services start',
    ),
  live: z
    .array(
      z.strictObject({
        path: onNode,
        check: command.default('').describe('says 0 of a new file that may be used; its path is the last argument'),
        reload: command.default('').describe('makes its service take the new file'),
      }),
    )
    .default([])
    .describe(
      'templates of this recipe that are rendered again on running nodes when an input changes. The node writes the new file beside the old, runs `check` with its path behind it (empty: no check), and if that says 0 renames it and runs `reload`',
    ),
  vars: z
    .record(z.string().regex(/^[a-z][A-Za-z0-9]*$/, 'expected a name in camelCase'), VarSchema)
    .default({})
    .describe('what profiles and nodes may set, and templates read'),
});

export type Recipe = z.infer<typeof RecipeSchema>;

/** One recipe of a chain, with where it came from. */
export type LoadedRecipe = {
  readonly role: string;
  /** As shown in messages. */
  readonly file: string;
  readonly recipe: Recipe;
  readonly positions: Extract<Parsed<Recipe>, { ok: true }>['positions'];
};

/** Reads one recipe; positions name `file`. */
export function parseRecipe(file: string, text: string): Parsed<Recipe> {
  const parsed = parseYaml(file, text, RecipeSchema as z.ZodType<Recipe>);
  if (!parsed.ok) return parsed;
  const { value, positions } = parsed;
  const wrong = Object.entries(value.vars).filter(([, { type, default: given }]) => !matches(type, given));
  if (wrong.length === 0) return parsed;
  return {
    ok: false,
    problems: wrong.map(([key, { type, default: given }]) => ({
      ...positions.of(['vars', key, 'default']),
      message: `vars.${key}.default: expected ${EXPECTED[type]}, got ${JSON.stringify(given)}`,
    })),
  };
}

/** All that is wrong with a recipe: the first of it as the message, which is one line, and the whole list as its cause. */
export function recipeFault(code: 'E_CONFIG' | 'E_BUILD', problems: readonly string[]): Fault {
  const [what = '', ...more] = problems;
  const todo = more.length === 0 ? undefined : `rouse check shows ${more.length} more`;
  return new Fault(code, { what, todo }, { cause: problems });
}

const EXPECTED = {
  string: 'a string',
  number: 'a number',
  boolean: 'a boolean',
  ipv4: 'an IPv4 address in quotes, or an empty text for none',
  list: 'a list of texts',
  object: 'a map or a list of maps',
} satisfies Record<Recipe['vars'][string]['type'], string>;

function matches(type: Recipe['vars'][string]['type'], given: Recipe['vars'][string]['default']): boolean {
  switch (type) {
    case 'list':
      return Array.isArray(given) && given.every((item) => typeof item === 'string');
    case 'object':
      return typeof given === 'object' && given !== null;
    case 'ipv4':
      return typeof given === 'string';
    case 'string':
    case 'number':
    case 'boolean':
      return typeof given === type;
  }
}

/** The supervisor of a chain of recipes, the lowest first, and where it is said; undefined: nowhere. */
export function supervisorOf(chain: readonly LoadedRecipe[]): { supervisor: Supervisor; place: string | undefined } {
  const owner = chain.findLast(({ recipe }) => recipe.supervisor !== undefined);
  const place = owner === undefined ? undefined : placeOf(owner, ['supervisor']);
  return { supervisor: owner?.recipe.supervisor ?? 'daemontools', place };
}

/** "services/web/recipe.yaml:4:5" of a value in a recipe. */
export function placeOf({ positions }: LoadedRecipe, at: readonly (string | number)[]): string {
  const { file, line, column } = positions.of(at);
  return `${file}:${line}:${column}`;
}
