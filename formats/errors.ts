// formats/errors.ts - every way in which rouse can refuse or fail, in one table.
//
// Owns: the codes, what each means, and the exit status that a command ends with.
// Does not own: the sentences of a single occurrence; the place that fails writes those, in a Fault.
//
// Exit statuses are daemontools': 0 done, 1 the answer is no, 100 used wrongly, 111 temporary failure.
// To add an error, add a row. docs/errors.md is generated from the rows (test/formats/errors.test.ts keeps it equal).
// Pure.

import { printable } from './printable.ts';

type ErrorRow = {
  /** Exit status of a command that ends with this error. */
  readonly exitCode: 1 | 100 | 111;
  /** One sentence for docs/errors.md. */
  readonly meaning: string;
  /** What an operator does about it, for docs/errors.md. */
  readonly remedy: string;
};

export const ERRORS = {
  E_USAGE: { exitCode: 100, meaning: 'The command was typed wrongly.', remedy: 'Read the --help it names.' },
  E_CONFIG: {
    exitCode: 100,
    meaning: 'A configuration file does not validate.',
    remedy: 'Mend the file at the line and column that the message names; `rouse check` shows all problems at once.',
  },
  E_NOT_FOUND: {
    exitCode: 1,
    meaning: 'Something named on the command line does not exist.',
    remedy: 'The message lists what does.',
  },
  E_NO: { exitCode: 1, meaning: 'The question was understood and the answer is no.', remedy: 'The message says why.' },
  E_PORT_TAKEN: {
    exitCode: 111,
    meaning: 'A port that rouse must listen on belongs to another process.',
    remedy: 'Stop that process or give rouse another port; the message names both.',
  },
  E_PRIVILEGE: {
    exitCode: 111,
    meaning: 'The operation needs a privilege that this process does not have.',
    remedy: 'Run the command that the message prints.',
  },
  E_MISSING_TOOL: {
    exitCode: 111,
    meaning: 'A program or device that rouse builds on is not on this machine.',
    remedy: 'Run the apt-get line that the message prints.',
  },
  E_COMMAND: {
    exitCode: 111,
    meaning: 'A program that rouse ran failed.',
    remedy: 'Its own words are in the message.',
  },
  E_ARCHIVE: {
    exitCode: 111,
    meaning: 'Debian packages could not be fetched or verified.',
    remedy: 'See which package and which source in the message; nothing was published.',
  },
  E_BUILD: {
    exitCode: 111,
    meaning: 'An image could not be built.',
    remedy: 'The message names the recipe line; the published image is unchanged.',
  },
  E_UNTRUSTED: {
    exitCode: 1,
    meaning: 'An image is not what a trusted builder signed.',
    remedy: 'Build it again; where another machine builds, copy its lib/keys/images.pub to lib/keys/NAME.pub.',
  },
  E_STORE: {
    exitCode: 111,
    meaning: 'The state on disk could not be read or written.',
    remedy: 'See the file and the reason in the message; free space or restore a copy.',
  },
  E_LOCKED: {
    exitCode: 111,
    meaning: 'Another rouse is already doing this.',
    remedy: 'Use that one, or stop it; the message names its pid where it is known.',
  },
  E_UNREACHABLE: {
    exitCode: 111,
    meaning: 'A rouse daemon does not answer on its socket.',
    remedy: 'Start it with the command that the message prints.',
  },
  E_TIMEOUT: {
    exitCode: 1,
    meaning: 'What was waited for did not happen in time.',
    remedy: 'The message says how far it came.',
  },
  E_INTERNAL: {
    exitCode: 111,
    meaning: 'A bug in rouse.',
    remedy: 'Report it with the message and the steps that led to it.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** What a Fault says; each part is a clause without a final full stop. */
export type FaultFacts = {
  /** What failed and on what: "cannot listen on UDP 67 of rack0". */
  readonly what: string;
  /** Why: "dnsmasq (pid 812) has it". */
  readonly why?: string | undefined;
  /** What to do: "stop it with: systemctl stop dnsmasq". */
  readonly todo?: string | undefined;
};

/** One failure, told to an operator: what, where, why, what to do. Its message is one line. */
export class Fault extends Error {
  readonly code: ErrorCode;
  readonly facts: FaultFacts;

  constructor(code: ErrorCode, facts: FaultFacts, options?: { cause?: unknown }) {
    super(renderFault(facts), options);
    this.name = 'Fault';
    this.code = code;
    this.facts = facts;
  }

  /** Exit status of a command that ends with this fault. */
  get exitCode(): number {
    return ERRORS[this.code].exitCode;
  }
}

/** "what: why; todo", leaving out what is not known. One line, whatever the names in it hold. */
export function renderFault({ what, why, todo }: FaultFacts): string {
  return printable(`${what}${why === undefined ? '' : `: ${why}`}${todo === undefined ? '' : `; ${todo}`}`);
}

/** The words of whatever was thrown, without a stack. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
