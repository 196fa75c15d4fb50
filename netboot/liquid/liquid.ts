// netboot/liquid/liquid.ts - the template dialect: LiquidJS, strict and without includes or a clock.
//
// Owns: the engine and reading a line and column out of its errors. Does not own: which templates there are, or their
// values (../boots/templates.ts). A project of its own, because LiquidJS's types bring Node's with them: in the core's project
// they would undo its purity. Nothing of LiquidJS is in what this file exports. Source: LiquidJS 10 documentation. Pure.

import { Liquid, TokenizationError } from 'liquidjs';
import { reasonOf } from '../../formats/errors.ts';

/** Text, or why there is none; line and column start at 1. */
export type LiquidResult =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly line: number; readonly column: number; readonly message: string };

/** `html` escapes every output. */
type Dialect = 'html' | 'plain';

const ENGINES: Readonly<Record<Dialect, Liquid>> = { html: engine('escape'), plain: engine(undefined) };

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

/** @param values plain data; only own properties are seen. */
export function renderLiquid(dialect: Dialect, source: string, values: object): LiquidResult {
  const liquid = ENGINES[dialect];
  try {
    return { ok: true, text: String(liquid.renderSync(liquid.parse(source), values)) };
  } catch (error) {
    // LiquidJS ends its messages with ", line:3, col:5".
    const message = reasonOf(error);
    const place = /, line:(\d+), col:(\d+)$/.exec(message);
    const words = message.replace(/, line:\d+, col:\d+$/, '').replace(/^[a-z]*Error: /i, '');
    const kind = error instanceof TokenizationError ? 'not a template: ' : '';
    return { ok: false, line: Number(place?.[1] ?? 1), column: Number(place?.[2] ?? 1), message: `${kind}${words}` };
  }
}
