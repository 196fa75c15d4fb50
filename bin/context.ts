// bin/context.ts - what every command is given: the places on disk and how to speak to the person who typed it.

import { reasonOf, Fault } from '../formats/errors.ts';

/** The four folders that rouse uses; ARCHITECTURE.md, "Places". All absolute. */
export type Places = {
  readonly configDir: string;
  readonly libDir: string;
  readonly cacheDir: string;
  readonly runDir: string;
  /** Folders searched in order for ROLE/recipe.yaml and ROLE/profile.yaml: the site's own, then rouse's services/. */
  readonly roleDirs: readonly string[];
};

export type CommandContext = {
  /** Resolved once, after the global options (--config) are known. */
  readonly places: () => Places;
  /** Standard output, one line; also where --json goes. */
  readonly print: (line: string) => void;
  /** Standard error, one line. */
  readonly warn: (line: string) => void;
  /** Whether standard output is a terminal: colour, progress and --watch only then. */
  readonly isTerminal: boolean;
  /** Ends the command with this exit status once the event loop is empty. */
  readonly exit: (code: number) => void;
  /** Asking a boot server about nodes; absent on nodes themselves, which do not carry that part of rouse. */
  readonly nodes?: () => Promise<NodeStatus>;
  /** What must be known of the boot server here before anything else; undefined where all is well, or none runs. */
  readonly bootServerTrouble?: (places: Places) => Promise<string | undefined>;
};

export type NodeStatus = typeof import('./nodestatus.ts');

/** One line for standard error, and the exit status: what any thrown value becomes. */
export function describeFailure(thrown: unknown): { line: string; exitCode: number } {
  if (thrown instanceof Fault) return { line: `rouse: ${thrown.message}`, exitCode: thrown.exitCode };
  return {
    line: `rouse: a bug in rouse: ${reasonOf(thrown)}; please report it with what you typed (ROUSE_TRACE=1 prints where)`,
    exitCode: 111,
  };
}
