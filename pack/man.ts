// pack/man.ts - rouse(8), written from the command table: what the page says is what --help says.
//
// Owns: the roff. Does not own: a word of what a command does (bin/commands/).
// Source: man(7).

import type { Argument, Command, Option } from 'commander';

/** @param date as the page shows it, 2026-11-21. */
export function manPage(program: Command, version: string, date: string): string {
  const commands = leaves(program).map((command) => section(command));
  return [
    `.TH ROUSE 8 ${date} "rouse ${version}"`,
    '.SH NAME',
    `rouse \\- ${text(firstLower(program.description())).replace(/\.$/, '')}`,
    '.SH SYNOPSIS',
    '.B rouse',
    '.I command',
    '.RI [ argument " ...]"',
    '.SH OPTIONS',
    ...program.options.flatMap(option),
    '.SH COMMANDS',
    ...commands.flat(),
    '.SH EXIT STATUS',
    '.TP\n.B 0\nDone.',
    '.TP\n.B 1\nThe answer is no.',
    '.TP\n.B 100\nUsed wrongly.',
    '.TP\n.B 111\nTemporary failure.',
    '.SH FILES',
    '.TP\n.I /etc/rouse\nConfiguration, and in services/ the service directories of this host.',
    '.TP\n.I /var/lib/rouse\nLeases, boots, images.',
    '.TP\n.I /run/rouse\nSockets.',
    '.TP\n.I /usr/share/doc/rouse\nThe pages for people: operating.md says what to look at when something is wrong.',
    '.TP\n.I /usr/lib/rouse/applets\nThe daemontools commands.',
    '.SH SEE ALSO',
    '.BR svscan (8),\n.BR supervise (8),\n.BR multilog (8)',
    '',
  ].join('\n');
}

/** Commands that do something, in the table's order. */
function leaves(command: Command): Command[] {
  return command.commands.flatMap((sub) => (sub.commands.length > 0 ? leaves(sub) : [sub]));
}

function section(command: Command): string[] {
  const words = command.registeredArguments.map(argument).join(' ');
  return [
    `.SS rouse ${text(pathOf(command))}${words === '' ? '' : ` ${words}`}`,
    text(sentence(command.description())),
    ...command.registeredArguments.filter(({ description }) => description !== '').flatMap(explained),
    ...command.options.flatMap(option),
  ];
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent === null || parent.parent === null ? command.name() : `${pathOf(parent)} ${command.name()}`;
}

function argument(each: Argument): string {
  const name = text(each.name().toUpperCase()) + (each.variadic ? ' ...' : '');
  return each.required ? name : `[${name}]`;
}

function explained(each: Argument): string[] {
  return ['.TP', `.I ${text(each.name().toUpperCase())}`, text(sentence(each.description))];
}

function option(each: Option): string[] {
  return ['.TP', `.B ${text(each.flags)}`, text(sentence(each.description))];
}

function sentence(words: string): string {
  return words === '' ? '' : `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?!]$/.test(words) ? '' : '.'}`;
}

function firstLower(words: string): string {
  return words.charAt(0).toLowerCase() + words.slice(1);
}

/** Roff's own characters escaped; what people type keeps its plain hyphen and quote. */
function text(words: string): string {
  return words
    .replaceAll('\\', String.raw`\e`)
    .replaceAll('-', String.raw`\-`)
    .replaceAll("'", String.raw`\(aq`)
    .replaceAll('…', '...')
    .replaceAll(/^\./gm, String.raw`\&.`);
}
