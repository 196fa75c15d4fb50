// images/glob.ts - the patterns with which recipes and rules name paths.
//
// `*` stands for any characters within one step of a path, `**` for any characters at all, `?` for one. Everything else is
// itself. A pattern that ends in a slash means the folder and all that is in it. Pure.

/** Whether a path on the node (absolute) is meant by the pattern. Patterns without a leading slash mean no path. */
export type PathMatcher = (path: string) => boolean;

/** Compiles patterns into one question; without patterns the answer is no. */
export function matcherOf(patterns: readonly string[]): PathMatcher {
  if (patterns.length === 0) return () => false;
  const all = new RegExp(`^(?:${patterns.map(source).join('|')})$`);
  return (path) => all.test(path);
}

function source(pattern: string): string {
  const folder = pattern.endsWith('/');
  const escaped = (folder ? pattern.slice(0, -1) : pattern)
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('**', '\0')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]')
    .replaceAll('\0', '.*');
  return folder ? `${escaped}(?:/.*)?` : escaped;
}
