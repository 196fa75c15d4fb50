// netboot/site/schema.ts - the shape of rouse.yaml, profiles/*.yaml and nodes/*.yaml: the one source of it.
//
// Owns: every key, its type, its default and the words in which a wrong value is answered. Types, validation and the
// JSON Schema that editors use are derived from here.
// Does not own: what holds between files (checks.ts), positions in files (formats/yaml/document.ts).
//
// To add a key, add it here with its own "expected …" text, then to Effective in settings.ts if a profile, a group or
// a node may set it, and for nodes to the keys that site.ts lays over their profile. Pure.

import { z } from 'zod';
import {
  type Ipv4Address,
  type Ipv4Network,
  type Ipv4Range,
  parseIpv4,
  parseNetwork,
  parseRange,
} from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import { parseClientId, parseUuid } from '../dhcp/reservations.ts';
import type { PlainValue } from '../../images/manifest.ts';
import { RecipeSchema } from '../../images/recipe.ts';
import { LOADER_SETTINGS } from '../dhcp/loaders.ts';

/** A text that a parser of formats/ understands, as what the parser makes of it. */
function parsed<T>(parse: (text: string) => T | undefined, expected: string) {
  return z.string({ error: expected }).transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
}

const ipv4 = parsed<Ipv4Address>(parseIpv4, 'expected an IPv4 address such as 10.77.0.11');
const network = parsed<Ipv4Network>(
  parseNetwork,
  'expected a network such as 10.77.0.0/24, no bits set behind the prefix',
);
const range = parsed<Ipv4Range>(
  parseRange,
  'expected a range such as 10.77.0.100-10.77.0.199, the lower address first',
);
const MAC_EXPECTED = 'expected a MAC address such as 52:54:00:77:00:01';
const mac = parsed<MacAddress>(parseMac, MAC_EXPECTED);
/** One as its writer has it, for a file that is yet to be read. */
export const macText = z.string().refine((text) => parseMac(text) !== undefined, MAC_EXPECTED);

/** RFC 1123 host label: node names become host names. */
export const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names of profiles, subnets, pools, images and roles: they become parts of paths and of lines shown to people. */
export const SLUG = /^[a-z0-9][a-z0-9_-]{0,62}$/;
/** Names of vars: they are Liquid variables. */
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;
/** RFC 1035 section 2.3.1, as names of hosts have it: labels of at most 63 characters, 253 in all. */
const domain = z
  .string()
  .regex(
    /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/,
    'expected a domain such as rack.example.org, no dot at its end',
  );

export const slug = z
  .string()
  .regex(SLUG, 'expected a name of lower-case letters, digits, - and _, at most 63, starting with a letter or digit');
const extendsName = z
  .string()
  .regex(/^(role\/)?[a-z0-9][a-z0-9_-]{0,62}$/, 'expected the name of a profile, or role/NAME');
const interfaceName = z
  .string()
  .regex(/^[^\s/:]{1,15}$/, 'expected the name of a network interface, 1 to 15 characters without blanks, : and /');

/** Parameters that the boot server itself puts on the command line. */
const RESERVED_PARAMETERS = ['BOOTIF', 'initrd', 'rouse.server', 'rouse.boot', 'rouse.layers', 'rouse.readyTimeoutS'];

const kernelParameter = z
  .string()
  // iPXE expands ${…} in a script and takes the words || && ; # for its own; a quote or a blank would end the parameter.
  .regex(
    /^(?!.*\$\{)[A-Za-z0-9_][!#-&(-~]{0,255}$/,
    "expected one kernel parameter: a letter or digit first, no blanks, no quotes, no '${'",
  )
  .refine((text) => !RESERVED_PARAMETERS.includes(text.split('=')[0] ?? ''), {
    error: `expected a parameter that rouse does not set itself (${RESERVED_PARAMETERS.join(', ')})`,
  });

/** A label's value, a note: one line for people. */
export const line = z.string().regex(/^[^\p{Cc}]{0,500}$/u, 'expected one line of at most 500 characters');

const scalar = [z.string().max(65_536), z.number(), z.boolean()] as const;
const BAD_VALUE = { error: 'expected a text, a number, true or false, a list, or a map' };
/** Maps and lists within each other, four levels deep: what an image takes of them, its recipe says (vars.ts). */
const nested = (inner: z.ZodType<PlainValue>): z.ZodType<PlainValue> =>
  z.union([...scalar, z.array(inner).max(4096), z.record(z.string().max(64), inner)], BAD_VALUE);
const varValue = nested(nested(nested(nested(z.union(scalar, BAD_VALUE)))));
const vars = z.record(z.string().regex(IDENTIFIER, 'expected a variable name such as docRoot'), varValue);
export const labels = z.record(slug, line);

const loader = z.enum(LOADER_SETTINGS);

/** What the machine has, in MiB: an image that needs more is refused. */
const memoryMb = z
  .int('expected whole MiB')
  .min(16, 'expected at least 16 MiB')
  .max(67_108_864, 'expected at most 67108864 MiB (64 TiB)')
  .optional();

/** An address for a machine without a node file: what it boots, `unknown` says. */
const ReservationSchema = z
  .strictObject({
    address: ipv4.describe('what it is given'),
    clientId: parsed<string>(parseClientId, 'expected 2 to 64 octets such as 01:52:54:00:77:00:01')
      .optional()
      .describe('DHCP option 61'),
    uuid: parsed<string>(parseUuid, 'expected a UUID such as 4c4c4544-0033-5a10-8052-b4c04f4d3132, not all zeros')
      .optional()
      .describe('DHCP option 97'),
    mac: mac.optional().describe('its card'),
  })
  .refine(({ clientId, uuid, mac: of }) => [clientId, uuid, of].filter((one) => one !== undefined).length === 1, {
    error: 'expected exactly one of clientId, uuid and mac',
  });

const SubnetSchema = z.strictObject({
  name: slug.describe('what messages and leases call it'),
  interface: interfaceName.describe('where its machines are heard, directly or through relays'),
  network: network.describe('its addresses'),
  mode: z
    .enum(['dhcp', 'proxy', 'observe'])
    .default('dhcp')
    .describe(
      'dhcp: rouse gives addresses; proxy: another server does; observe: nothing is answered, everything journalled',
    ),
  answerBesideOthers: z
    .boolean()
    .default(false)
    .describe('with mode dhcp: answer though another DHCP server answers on the interface'),
  pools: z.array(range).default([]).describe('addresses for machines that have none of their own'),
  reservations: z.array(ReservationSchema).max(4096).default([]).describe('addresses for machines without a node file'),
  router: ipv4.optional().describe('the default route of its machines'),
  dns: z.array(ipv4).max(8).default([]).describe('their resolvers'),
  domain: domain.optional().describe('the domain of their names'),
  domainSearch: z.array(domain).max(8).optional().describe('domains in which they look short names up'),
  ntp: z.array(ipv4).max(8).optional().describe('their time servers'),
  mtuBytes: z
    .int('expected whole bytes')
    .min(576, 'expected at least 576 bytes')
    .max(65_535, 'expected at most 65535 bytes')
    .optional()
    .describe('the longest IP packet of their network, where that is not what their cards assume'),
  leaseTimeS: z
    .int('expected whole seconds')
    .min(60, 'expected at least 60 seconds')
    .max(31_536_000, 'expected at most 31536000 seconds (a year)')
    .default(3600)
    .describe('how long an address is given for'),
  unknown: z
    .enum(['ignore', 'discover', 'default'])
    .default('ignore')
    .describe('a machine that no node file names: ignore, boot its inventory, or boot defaultProfile'),
});

export const DEFAULT_HTTP_PORT = 8080;

export const RouseSchema = z.strictObject({
  version: z.literal(1).describe('of this format'),
  subnets: z.array(SubnetSchema).min(1, 'expected at least one subnet').describe('the networks that are served'),
  defaultProfile: slug.optional().describe('what `unknown: default` boots'),
  groups: z
    .array(
      z.strictObject({
        match: labels.describe('labels that a node must have, all of them'),
        vars: vars.default({}).describe('what those nodes have in common'),
      }),
    )
    .default([])
    .describe('vars for nodes by their labels; later groups win'),
  pools: z
    .record(
      slug,
      z.strictObject({
        match: z
          .strictObject({
            profile: slug.optional().describe('nodes of this profile'),
            labels: labels.default({}).describe('nodes with these labels'),
          })
          .describe('which nodes are in it'),
        minimum: z
          .int('expected a whole number')
          .min(0, 'expected 0 or more')
          .default(0)
          .describe('how many must stay in service while others are changed'),
      }),
    )
    .default({})
    .describe('queries over node files, for load balancers'),
  http: z
    .strictObject({
      port: z
        .int('expected a port number')
        .min(1, 'expected a port number, 1 to 65535')
        .max(65_535, 'expected a port number, 1 to 65535')
        .default(DEFAULT_HTTP_PORT)
        .describe('TCP port of boot files and of the node protocol'),
    })
    .default({ port: DEFAULT_HTTP_PORT })
    .describe('the boot port'),
  store: z
    .strictObject({ kind: z.literal('sqlite').describe('a file of this machine') })
    .default({ kind: 'sqlite' })
    .describe('where leases and boots are kept'),
});

/** Every key optional: a profile says what differs from what it extends. */
export const ProfileSchema = z.strictObject({
  extends: extendsName.optional().describe('a profile, or role/NAME, that this one differs from'),
  boot: z
    .enum(['linux', 'local', 'chain'])
    .optional()
    .describe("linux: kernel and layers of an image; local: the machine's own disk; chain: another boot server's file"),
  image: slug.optional().describe('what `boot: linux` boots'),
  url: z
    .string()
    .regex(
      /^(https?|tftp):\/\/(?!.*\$\{)[!#-&(-~]{1,480}$/,
      'expected an http, https or tftp URL without blanks and user data',
    )
    .optional()
    .describe('what `boot: chain` hands over to'),
  cmdline: z.array(kernelParameter).max(64).optional().describe('further parameters of the kernel'),
  loader: loader.optional().describe('the boot program; auto tries one after the other'),
  readyTimeoutS: z
    .int('expected whole seconds')
    .min(10, 'expected at least 10 seconds')
    .max(86_400, 'expected at most 86400 seconds (a day)')
    .optional()
    .describe('a boot that is not ready by then has failed; 300 where nobody says'),
  rollback: z
    .boolean()
    .optional()
    .describe('whether the last good boot follows one that failed; true where nobody says'),
  memoryMb: memoryMb.describe('what its machines have: an image that needs more is refused'),
  vars: vars.optional().describe('values for the templates of the image; its recipe declares them'),
});

/** The MAC addresses of one machine. */
export const cards = <T extends z.ZodType>(one: T) => z.array(one).min(1, 'expected at least one MAC address').max(64);

export const NodeSchema = z.strictObject({
  macs: cards(mac).describe('its cards: any of them may boot it'),
  profile: slug.describe('what it is'),
  address: ipv4.optional().describe('its own; without one it is given one of a pool'),
  labels: labels.default({}).describe('for groups and pools'),
  note: line.default('').describe('for people'),
  loader: loader.optional().describe('as in its profile, which it goes before'),
  memoryMb: memoryMb.describe('as in its profile, which it goes before'),
  vars: vars.default({}).describe('as in its profile, which they go before'),
});

export type VarValue = PlainValue;
export type Subnet = z.infer<typeof SubnetSchema>;
export type RouseFile = z.infer<typeof RouseSchema>;
export type ProfileFile = z.infer<typeof ProfileSchema>;
export type NodeFile = z.infer<typeof NodeSchema>;
export type BootKind = NonNullable<ProfileFile['boot']>;

/** The kinds of files, and the schema of each. */
export const FILE_SCHEMAS = { rouse: RouseSchema, profile: ProfileSchema, node: NodeSchema } as const;
/** What an editor can be told of: also what images are made of, which is read elsewhere (images/roles.io.ts). */
export const EDITOR_SCHEMAS = { ...FILE_SCHEMAS, recipe: RecipeSchema } as const;

/** JSON Schema (draft 2020-12) of one kind of file, for editors. */
export function jsonSchemaOf(kind: keyof typeof EDITOR_SCHEMAS): Record<string, unknown> {
  return z.toJSONSchema(EDITOR_SCHEMAS[kind], { io: 'input' });
}
