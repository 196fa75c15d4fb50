// What an applet's file consists of, for both architectures.

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { APPLETS, frontApplet, isAppletArch, perlApplet, scriptsOf } from '../../../supervise/applets/table.ts';
import type { AppletName } from '../../../supervise/applets/table.ts';

const SCRIPTS = fileURLToPath(new URL('../../../supervise/applets/scripts', import.meta.url));

test('every script belongs to an applet, and every applet has its scripts', () => {
  const named = new Set((Object.keys(APPLETS) as AppletName[]).flatMap((name) => scriptsOf(name)));
  expect([...named].sort()).toEqual(readdirSync(SCRIPTS).sort());
});

test.each([
  ['x64', 'execve => 59', 'setsid => 112'],
  ['arm64', 'execve => 221', 'setsid => 157'],
] as const)('on %s a perl applet has the numbers of that kernel', (arch, ...calls) => {
  expect(isAppletArch(arch)).toBe(true);
  const text = perlApplet('pgrphack', ['one\n', 'two\n'], arch);
  for (const call of calls) expect(text).toContain(call);
  expect(text.startsWith('#!/usr/bin/env -S PERL_SKIP_LOCALE_INIT=1 /usr/bin/perl\n')).toBe(true);
  expect(text.endsWith('one\ntwo\n')).toBe(true);
});

test('no numbers are known for another architecture', () => {
  expect(isAppletArch('riscv64')).toBe(false);
  expect(isAppletArch('toString')).toBe(false);
});

test('a path with blanks and quotes is one word of the launcher', () => {
  expect(frontApplet('svscan', ["/a b/it's/node", 'x.cjs'])).toBe(
    `#!/bin/sh\n# svscan - written by rouse applets.\nexec '/a b/it'\\''s/node' 'x.cjs' 'svscan' "$@"\n`,
  );
});
