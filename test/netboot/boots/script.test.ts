// The scripts as text, whole: an operator reads them on a screen, iPXE of 2019 runs them.

import { expect, test } from 'vitest';
import { bootScript, kernelCommandLine, onScreen, refusalScript } from '../../../netboot/boots/script.ts';
import { A, B, C, IDENTITY, K, LINUX, MAC, plan, SERVER } from './plan.ts';

const AGAIN = `:again
echo rouse: web1 could not load its boot files \${errno}; trying again in 10 s
imgfree ||
sleep 10
chain --replace --autofree http://10.77.0.1:8080/ipxe/${MAC.replaceAll(':', '-')} || goto again
`;

test('linux: kernel, each layer in order, the overlay last, every step tried again', () => {
  expect(bootScript(plan(LINUX), SERVER, IDENTITY)).toBe(`#!ipxe
echo rouse: web1 boots as web, image web generation 3, boot 0123456789abcdef
imgfree ||
kernel --name vmlinuz http://10.77.0.1:8080/kernel/${K} initrd=layer0 initrd=layer1 initrd=overlay BOOTIF=01-52-54-00-77-00-01 rouse.server=10.77.0.1:8080 rouse.boot=0123456789abcdef rouse.layers=${A},${B},${C} rouse.readyTimeoutS=120 console=ttyS0 || goto again
initrd --name layer0 http://10.77.0.1:8080/layer/${A}.zst || goto again
initrd --name layer1 http://10.77.0.1:8080/layer/${B}.gz || goto again
initrd --name overlay http://10.77.0.1:8080/boot/0123456789abcdef/overlay || goto again
boot || goto again
${AGAIN}`);
});

test('local: the firmware goes on by itself, a BIOS is handed its first disk', () => {
  expect(bootScript(plan({ kind: 'local' }), SERVER, IDENTITY)).toBe(`#!ipxe
echo rouse: web1 boots as web from its own disk
iseq \${platform} efi && exit 0 ||
sanboot --no-describe --drive 0x80 || goto again
${AGAIN}`);
});

test('chain: to the url', () => {
  const script = bootScript(plan({ kind: 'chain', url: 'http://10.0.0.9/menu.ipxe' }), SERVER, IDENTITY);
  expect(script).toContain('\nchain http://10.0.0.9/menu.ipxe || goto again\n');
});

test('a refusal says why and goes round', () => {
  expect(refusalScript("image 'web' is not built; build it with: rouse image build web", SERVER, MAC)).toBe(`#!ipxe
echo rouse: image 'web' is not built, build it with: rouse image build web
:again
echo rouse: no boot for this machine yet \${errno}; trying again in 10 s
imgfree ||
sleep 10
chain --replace --autofree http://10.77.0.1:8080/ipxe/${MAC.replaceAll(':', '-')} || goto again
`);
});

test('free text cannot become a command', () => {
  expect(onScreen('a\nshell ${net0/mac} && reboot || poweroff; é')).toBe(
    'a?shell $(net0/mac} and reboot or poweroff, ?',
  );
  expect(refusalScript('x\nreboot', SERVER, MAC).split('\n')).not.toContain('reboot');
});

test('no secret is on the command line: nothing of it but names and hashes', () => {
  const names = kernelCommandLine(plan(LINUX), SERVER, IDENTITY).map((word) => word.split('=')[0]);
  expect(names).toEqual(['BOOTIF', 'rouse.server', 'rouse.boot', 'rouse.layers', 'rouse.readyTimeoutS', 'console']);
});
