// netboot/templates.ts - the Liquid templates of an image, rendered for one node.
//
// Owns: the dialect (strict variables and filters, no includes, no clock), escaping by the file's extension, and errors as
// origin:line:column.
// Does not own: the templates (the image's manifest), where the values come from (site/plan.ts), the overlay's archive.
//
// To give templates another value, add it to TemplateInputs (inputs.ts). Source: LiquidJS 10 documentation. Pure.

import { Liquid, type Template as Parsed, TokenizationError } from 'liquidjs';
import { type Problem, renderProblem } from '../formats/yaml/document.ts';
import { reasonOf } from '../formats/errors.ts';
import type { Template } from '../images/manifest.ts';
import type { TemplateInputs } from './inputs.ts';
import type { BootPlan } from './site/plan.ts';
import type { VarValue } from './site/schema.ts';

/** What a template may name. */
export type TemplateValues = {
  readonly node: {
    readonly name: string;
    readonly hostname: string;
    readonly mac: string;
    /** Empty where the node has no address yet. */
    readonly address: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly note: string;
    /** Place among its peers, from 0. */
    readonly index: number;
  };
  readonly profile: { readonly name: string };
  readonly boot: { readonly id: string /** ISO 8601, UTC. */; readonly startedAt: string };
  readonly vars: Readonly<Record<string, VarValue>>;
} & Omit<TemplateInputs, 'index'>;

/** A file of a node's overlay. */
export type RenderedFile = { readonly path: string; readonly mode: number; readonly content: Uint8Array };

export type Rendered =
  | { readonly ok: true; readonly files: readonly RenderedFile[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

export type BootFacts = {
  /** What the node booted with; empty where that is not known. */
  readonly address: string;
  readonly bootId: string;
  /** When the boot was made, milliseconds since 1970. */
  readonly startedAtMs: number;
};

export function valuesOf(
  { node, profile, vars }: Pick<BootPlan, 'node' | 'profile' | 'vars'>,
  { address, bootId, startedAtMs }: BootFacts,
  { index, ...inputs }: TemplateInputs,
): TemplateValues {
  const { name, mac, labels, note } = node;
  return {
    node: { name, hostname: name, mac, address, labels, note, index },
    profile: { name: profile.name },
    boot: { id: bootId, startedAt: new Date(startedAtMs).toISOString() },
    vars,
    ...inputs,
  };
}

const HTML = /\.(html?|xhtml|svg|xml)$/;

const ENGINES = { html: engine('escape'), plain: engine(undefined) };

function engine(outputEscape: 'escape' | undefined): Liquid {
  const liquid = new Liquid({
    strictVariables: true,
    strictFilters: true,
    ownPropertyOnly: true,
    // Includes would read files that no manifest names.
    templates: {},
    memoryLimit: 16_000_000,
    parseLimit: 1_000_000,
    ...(outputEscape === undefined ? {} : { outputEscape }),
  });
  for (const tag of ['include', 'render', 'layout', 'block']) delete liquid.tags[tag];
  const date = liquid.filters['date'];
  liquid.registerFilter('date', function (value: unknown, ...rest: unknown[]) {
    // The same boot must render the same bytes whenever it is asked for.
    if (value === 'now' || value === 'today') throw new Error(`'${value}' is not known here, use boot.startedAt`);
    return (date as (...all: unknown[]) => unknown).call(this, value, ...rest);
  });
  return liquid;
}

/**
 * Renders templates for one node.
 *
 * @returns the files in the templates' order, or every template that failed with file, line and column; then the boot
 *   must be refused, for a node with a part of its files is worse than one that says why it waits.
 */
export function renderTemplates(templates: readonly Template[], values: TemplateValues): Rendered {
  const files: RenderedFile[] = [];
  const problems: Problem[] = [];
  for (const { path, mode, source, origin } of templates) {
    const liquid = HTML.test(path) ? ENGINES.html : ENGINES.plain;
    try {
      const parsed: Parsed[] = liquid.parse(source);
      const text: unknown = liquid.renderSync(parsed, values);
      files.push({ path, mode, content: new TextEncoder().encode(String(text)) });
    } catch (error) {
      problems.push(problemOf(origin, error));
    }
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, files };
}

/** "services/web/files/index.html.liquid:3:5 undefined variable: vars.greting; …": one line for a refusal. */
export function renderTemplateProblems(problems: readonly Problem[]): string {
  return problems.map(renderProblem).join('; ');
}

/** LiquidJS ends its messages with ", line:3, col:5" and keeps the token that it stumbled over. */
function problemOf(file: string, error: unknown): Problem {
  const message = reasonOf(error);
  const place = /, line:(\d+), col:(\d+)$/.exec(message);
  const words = message.replace(/, line:\d+, col:\d+$/, '').replace(/^[a-z]*Error: /i, '');
  const kind = error instanceof TokenizationError ? 'not a template: ' : '';
  return { file, line: Number(place?.[1] ?? 1), column: Number(place?.[2] ?? 1), message: `${kind}${words}` };
}
