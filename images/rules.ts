// images/rules.ts - what a diskless node does not need: the one place where that is said.
//
// Owns: packages and paths that are left out of every image, each with its reason. Does not own: how the rules are
// applied (layout.ts), or what one recipe leaves out on its own (`leaveOut` in recipe.ts).
//
// What is left out by rule is proved unused: layout.ts follows the needs of every program and library that stays, and a
// need that a rule took away is an error. A recipe keeps a path in spite of a rule with `keep`. To change a rule, edit its
// row; test/images/layout.test.ts shows the form. Pure.

type Rule = {
  /** Names of packages; `*` is allowed. Absent: any package. */
  readonly packages?: readonly string[];
  /** Patterns of paths (glob.ts). */
  readonly paths: readonly string[];
  readonly reason: string;
};

/** Packages that are never fetched; what only they depend on is not fetched either. */
export const LEFT_OUT_PACKAGES: Readonly<Record<string, string>> = {
  debconf: 'asks questions when packages are installed',
  'debconf-2.0': 'asks questions when packages are installed',
  dpkg: 'package management',
  apt: 'package management',
  'perl-base': 'needed by maintainer scripts only',
  perl: 'needed by maintainer scripts only',
  adduser: "users are the recipe's",
  passwd: "users are the recipe's",
  'base-passwd': "users are the recipe's",
  'init-system-helpers': 'maintainer scripts of another init',
  'sysvinit-utils': 'another init',
  'lsb-base': 'another init',
  systemd: 'another init',
  'systemd-sysv': 'another init',
  udev: 'init loads modules by modalias itself',
  'linux-base': "needed by the kernel package's maintainer scripts only",
  'initramfs-tools': 'another way to make an initramfs',
  kmod: 'busybox has insmod and modprobe',
  coreutils: 'busybox has them',
  iproute2: "needed by nginx's init script only; a recipe that needs it names it",
  procps: 'busybox has them',
  ucf: 'needed by maintainer scripts only',
  'gcc-12-base': 'documentation only',
};

export const LEFT_OUT_PATHS = {
  documentation: {
    paths: ['/usr/share/doc/', '/usr/share/man/', '/usr/share/info/', '/usr/share/doc-base/', '/usr/share/linda/'],
    reason: 'documentation',
  },
  locales: {
    paths: ['/usr/share/locale/', '/usr/lib/locale/', '/usr/share/i18n/', '/usr/lib/*/gconv/', '/usr/share/zoneinfo/'],
    reason: 'locales, character sets and time zones; a node speaks UTF-8 and UTC',
  },
  packaging: {
    paths: [
      ...[
        '/usr/share/lintian/',
        '/usr/share/bug/',
        '/usr/share/debconf/',
        '/var/lib/dpkg/',
        '/etc/apt/',
        '/var/lib/apt/',
      ],
      ...['/usr/share/menu/', '/usr/share/applications/', '/usr/share/pixmaps/', '/var/cache/debconf/'],
    ],
    reason: 'package management',
  },
  otherInits: {
    paths: [
      ...['/etc/init.d/', '/etc/init/', '/etc/default/', '/usr/lib/systemd/', '/etc/systemd/', '/usr/lib/tmpfiles.d/'],
      ...['/usr/lib/sysusers.d/', '/etc/rc?.d/', '/usr/lib/udev/', '/etc/network/', '/usr/share/initramfs-tools/'],
      ...['/etc/runit/', '/etc/sv/', '/usr/share/runit/'],
    ],
    reason: 'start-up files of other inits',
  },
  neighbours: {
    paths: [
      ...['/etc/logrotate.d/', '/etc/cron.*/', '/etc/ufw/', '/etc/apparmor.d/', '/etc/insserv*/', '/etc/ld.so.conf.d/'],
      ...['/usr/share/bash-completion/', '/etc/bash_completion.d/', '/usr/share/zsh/', '/usr/share/vim/'],
      ...['/usr/share/apport/', '/usr/share/gdb/', '/usr/share/gcc*/', '/usr/share/libc-bin/', '/usr/share/perl5/'],
    ],
    reason: 'files for programs that no node runs',
  },
  development: {
    paths: [
      '/usr/include/',
      '/usr/lib/**/*.a',
      '/usr/lib/**/*.la',
      '/usr/lib/**/pkgconfig/',
      '/usr/lib/debug/',
      '/usr/src/',
    ],
    reason: 'for compiling',
  },
  libcTools: {
    packages: ['libc6', 'libc-bin'],
    paths: ['/usr/bin/', '/usr/sbin/', '/usr/lib/*/audit/', '/usr/libexec/', '/etc/'],
    reason: 'tools of the C library; the loader finds its folders without a cache',
  },
  cryptoModules: {
    packages: ['libssl*'],
    paths: ['/usr/lib/*/engines-*/', '/usr/lib/*/ossl-modules/'],
    reason: 'loaded on demand for obsolete ciphers and hardware; a recipe that uses them keeps them',
  },
  kernelFiles: {
    packages: ['linux-image-*'],
    paths: ['/boot/'],
    reason: 'the kernel is a file of its own in the store',
  },
} as const satisfies Record<string, Rule>;
