// netboot/boots/templates.ts - the Liquid templates of an image, rendered for one node.
//
// Owns: what templates may name, escaping by the file's extension, and errors as origin:line:column.
// Does not own: the dialect (liquid/), the templates (the image's manifest), where the values come from (site/plan.ts), the overlay's archive.
//
// To give templates another value, add it to TemplateInputs (fleet/inputs.ts): TemplateValues has what that has. Pure.

import { type Problem, renderProblem } from '../../formats/yaml/document.ts';
import type { Template } from '../../images/manifest.ts';
import type { TemplateInputs } from '../fleet/inputs.ts';
import { renderLiquid } from '../liquid/liquid.ts';
import type { BootPlan } from '../site/plan.ts';
import type { VarValue } from '../site/schema.ts';

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

/** Files of these kinds escape what templates put into them. */
const HTML = /\.(html?|xhtml|svg|xml)$/;

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
    const rendered = renderLiquid(HTML.test(path) ? 'html' : 'plain', source, values);
    if (rendered.ok) files.push({ path, mode, content: new TextEncoder().encode(rendered.text) });
    else problems.push({ file: origin, line: rendered.line, column: rendered.column, message: rendered.message });
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, files };
}

/** "services/web/files/index.html.liquid:3:5 undefined variable: vars.greting; …": one line for a refusal. */
export function renderTemplateProblems(problems: readonly Problem[]): string {
  return problems.map(renderProblem).join('; ');
}
