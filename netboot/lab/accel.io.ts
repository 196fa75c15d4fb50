// netboot/lab/accel.io.ts - may QEMU use KVM here? Asked of a guest, not of a device file.
//
// An openable /dev/kvm proves nothing: on nested virtualization the firmware has been seen to start and the kernel never
// to print. So a probe guest boots a kernel under KVM, and only if its first line appears is KVM used. The answer holds
// until the machine reboots.

import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Accelerator } from './rack.ts';

const PROBE_TIMEOUT_MS = 20_000;

/**
 * @param kernel a vmlinuz to probe with.
 * @param memo file that remembers the answer together with the machine's boot id.
 * @returns `kvm` only after a guest has printed under it.
 */
export async function chooseAccelerator(
  kernel: string,
  memo: string,
): Promise<{ accelerator: Accelerator; why: string }> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return { accelerator: 'tcg', why: 'no usable /dev/kvm' };
  }
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const answers = { kvm: 'a probe guest printed under KVM', tcg: 'a probe guest stayed silent under KVM' } as const;
  try {
    const [remembered, answer] = readFileSync(memo, 'utf8').trim().split(' ');
    if (remembered === bootId && (answer === 'kvm' || answer === 'tcg'))
      return { accelerator: answer, why: answers[answer] };
  } catch {
    // No answer yet.
  }
  const accelerator = (await guestPrints(kernel)) ? 'kvm' : 'tcg';
  mkdirSync(dirname(memo), { recursive: true });
  writeFileSync(memo, `${bootId} ${accelerator}\n`);
  return { accelerator, why: answers[accelerator] };
}

async function guestPrints(kernel: string): Promise<boolean> {
  const args = [
    '-accel',
    'kvm',
    '-cpu',
    'host',
    '-m',
    '256',
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-no-reboot',
  ];
  const guest = spawn(
    'qemu-system-x86_64',
    [...args, '-serial', 'stdio', '-kernel', kernel, '-append', 'console=ttyS0 panic=-1'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  return await new Promise<boolean>((resolve) => {
    let text = '';
    const timer = setTimeout(() => guest.kill('SIGKILL'), PROBE_TIMEOUT_MS);
    guest.stdout.on('data', (chunk: Buffer) => {
      // Bounded: only the first lines matter.
      if (text.length < 65_536) text += chunk.toString('latin1');
      if (text.includes('Linux version')) guest.kill('SIGKILL');
    });
    guest.on('error', () => undefined);
    guest.on('close', () => {
      clearTimeout(timer);
      resolve(text.includes('Linux version'));
    });
  });
}
