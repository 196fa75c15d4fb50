// Copyright files of Debian packages: which licences they name, in SPDX's words.

import { expect, test } from 'vitest';
import { asLicence, licencesIn } from '../../images/licences.ts';

const DEP5 = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: nginx

Files: *
Copyright: 2002-2021 Igor Sysoev
License: BSD-2-clause

Files: debian/*
License: GPL-2+ with OpenSSL exception

Files: contrib/*
License: Expat or GPL-3, BSD-2-clause and made-up

License: BSD-2-clause
 Redistribution and use in source and binary forms
 License: is not a field here
`;

test('the machine-readable form: each licence once, translated where it is known', () => {
  expect(licencesIn(DEP5)).toEqual(['BSD-2-Clause', 'GPL-2.0-or-later', 'MIT', 'GPL-3.0-only', 'made-up']);
});

test('the free form: the common licences that it leads to', () => {
  const text = `It was downloaded from somewhere.
On Debian systems the text is in \`/usr/share/common-licenses/LGPL-2.1'.
See /usr/share/common-licenses/GPL-2. And /usr/share/common-licenses/LGPL-2.1 again.`;
  expect(licencesIn(text)).toEqual(['LGPL-2.1-only', 'GPL-2.0-only']);
  expect(licencesIn('All rights reserved.')).toEqual([]);
});

test('the free form: licences that are told in prose, wherever its lines end', () => {
  const text = ` * Copyright Björn Esser; LGPL (v2.1
   or later): crypt.c
 * Copyright David Burren et al.; 3-clause BSD:
   alg-des.c
 * Public domain, written by Ulrich Drepper et al.: crypt-sha256.c
 * Copyright Colin Percival; 0-clause BSD: alg-yescrypt-common.c`;
  expect(licencesIn(text)).toEqual(['LGPL-2.1-or-later', 'BSD-3-Clause', '0BSD', 'public-domain']);
});

test('a file that was made to hurt gives few and printable names', () => {
  const many = `Format: x\n${Array.from({ length: 1000 }, (_, index) => `License: l${index}`).join('\n')}`;
  expect(licencesIn(many)).toHaveLength(64);
  expect(licencesIn(`Format: x\nLicense: a\u001b[2Jb\nLicense: ${'x'.repeat(500)}\n`)).toEqual([]);
});

test('an identifier is told from a name', () => {
  expect(asLicence('MIT')).toEqual({ id: 'MIT' });
  expect(asLicence('public-domain')).toEqual({ name: 'public-domain' });
});
