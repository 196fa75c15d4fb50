// netboot/lab/console.ts - one command through the shell on a machine's serial console: what is typed, what came back.
//
// A serial console has no end of output and no exit status, and it echoes what is typed. So the command is followed by a
// line with a mark that the typed text does not itself contain. Pure.

/** What is typed: the command in a subshell, and then the mark with its exit status. @param token letters and digits. */
export function typeCommand(command: string, token: string): string {
  // The mark is put together by printf, so that the echo of this line cannot be taken for it.
  return `stty -echo 2>/dev/null; printf '\\n%s-%s\\n' BEGIN ${token}; ( ${command} ) 2>&1; printf '\\n%s-%s-%d\\n' END ${token} $?; stty echo 2>/dev/null\r`;
}

/** Whether a shell has begun the command: its echo alone does not say so. */
export function hasBegun(received: string, token: string): boolean {
  return received.replaceAll('\r', '').includes(`\nBEGIN-${token}\n`);
}

/** @returns undefined until the closing mark has come. */
export function readCommand(received: string, token: string): { output: string; exitCode: number } | undefined {
  const text = received.replaceAll('\r', '');
  const end = new RegExp(`\\nEND-${token}-(\\d+)\\n`).exec(text);
  const begin = text.indexOf(`\nBEGIN-${token}\n`);
  if (end === null || begin < 0) return undefined;
  return { output: text.slice(begin + `\nBEGIN-${token}\n`.length, end.index), exitCode: Number(end[1]) };
}
