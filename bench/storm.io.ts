// bench/storm.io.ts - a rack that powers up: simulated nodes that boot at once, each the whole chain of real ones.
//
// A program: node storm.io.ts NODES; it runs in the clients' namespace and prints one line of JSON. Each node asks as UEFI
// firmware by DHCP (through one relay, which this is), fetches its loader by TFTP, asks again as iPXE, and fetches the script
// and all that it names by HTTP, from its own leased address. What is lost or not answered is asked for again, as firmware
// does. Sources: RFC 2131, RFC 1350, RFC 2348; the captures of test/fixtures for the options.

import { spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const SERVER = '10.99.0.1';
const RELAY = '10.99.0.2';
const NODES = Number(process.argv[2] ?? '1000');
const TRY_EVERY_MS = 2000;
/** Of an address that the kernel is about to have. */
const MOST_TRIES = 100;
/** DHCP's own: doubling, as EDK2 does it (4, 8, 16, 32 s) but sooner; a node that is not answered in five minutes is lost. */
const MOST_PAUSE_MS = 16_000;
const PATIENCE_MS = 300_000;
const BLOCK_BYTES = 1432;
/** The rack does not power up in one instant. */
const WITHIN_MS = 2000;

type Answer = { readonly address: string; readonly server: Buffer; readonly file: string };

const counts = { repeats: 0, bytes: 0 };
const relay = createSocket('udp4');
const waiting = new Map<number, (reply: Buffer) => void>();
relay.on('message', (octets) => waiting.get(octets.readUInt32BE(4))?.(octets));
relay.bind(67, RELAY);
await once(relay, 'listening');

// One ip(8) for all: a process for each address would be the load.
const addresses = spawn('ip', ['-force', '-batch', '-'], { stdio: ['pipe', 'ignore', 'ignore'] });

const startedMs = performance.now();
const results = await Promise.allSettled(Array.from({ length: NODES }, (_, index) => boot(index)));
const wallMs = performance.now() - startedMs;
const failed = results.filter(({ status }) => status === 'rejected');
const [first] = failed;
const why = first?.status === 'rejected' ? String(first.reason) : undefined;
process.stdout.write(`${JSON.stringify({ wallMs, booted: NODES - failed.length, ...counts, why })}\n`);
addresses.kill();
process.exit(0);

async function boot(index: number): Promise<void> {
  await sleep((index * WITHIN_MS) / NODES);
  const mac = Buffer.from([0x52, 0x54, 0, 0x99, index >> 8, index & 255]);
  const { address, file } = await lease(index * 2, mac, false);
  addresses.stdin.write(`address add ${address}/32 dev lo\n`);
  await download(address, file);
  const { file: script } = await lease(index * 2 + 1, mac, true);
  const agent = new Agent({ keepAlive: true, maxSockets: 1, localAddress: address });
  const text = (await fetchBody(agent, script)).toString();
  for (const [url] of text.matchAll(/http:\/\/[^\s]+\/(?:kernel|layer|boot)\/\S+/g)) await fetchBody(agent, url);
  agent.destroy();
}

/** DISCOVER, OFFER, REQUEST, ACK. */
async function lease(xid: number, mac: Buffer, isIpxe: boolean): Promise<Answer> {
  const offer = await exchange(xid, request(xid, mac, isIpxe, 1, []), 2);
  const { server, address } = read(offer);
  const chosen = [Buffer.from([54, 4, ...server]), Buffer.from([50, 4, ...address.split('.').map(Number)])];
  return read(await exchange(xid, request(xid, mac, isIpxe, 3, chosen), 5));
}

async function exchange(xid: number, packet: Buffer, wanted: number): Promise<Buffer> {
  const untilMs = performance.now() + PATIENCE_MS;
  for (let pauseMs = TRY_EVERY_MS; performance.now() < untilMs; pauseMs = Math.min(pauseMs * 2, MOST_PAUSE_MS)) {
    if (pauseMs > TRY_EVERY_MS) counts.repeats += 1;
    const reply = new Promise<Buffer>((resolve) => {
      waiting.set(xid, (octets) => {
        if (option(octets, 53)?.[0] === wanted) resolve(octets);
      });
    });
    relay.send(packet, 67, SERVER);
    const late = new AbortController();
    const answer = await Promise.race([
      reply,
      sleep(pauseMs, undefined, { signal: late.signal }).catch(() => undefined),
    ]);
    late.abort();
    if (answer !== undefined) return answer;
  }
  throw new Error('DHCP is not answered');
}

function request(xid: number, mac: Buffer, isIpxe: boolean, type: number, more: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(240);
  head.set([1, 1, 6, 1]);
  head.writeUInt32BE(xid, 4);
  head.set(RELAY.split('.').map(Number), 24);
  head.set(mac, 28);
  head.writeUInt32BE(0x63825363, 236);
  const vendor = Buffer.from('PXEClient:Arch:00007:UNDI:003016');
  const own = isIpxe
    ? [Buffer.from([77, 4]), Buffer.from('iPXE'), Buffer.from([175, 9, 0x13, 1, 1, 0x18, 1, 1, 0x24, 1, 1])]
    : [];
  return Buffer.concat([
    head,
    Buffer.from([53, 1, type, 55, 6, 1, 3, 43, 60, 66, 67, 93, 2, 0, 7, 60, vendor.length]),
    vendor,
    ...own,
    ...more,
    Buffer.from([255]),
  ]);
}

function read(octets: Buffer): Answer {
  const field = octets.subarray(108, 236);
  const name = option(octets, 67) ?? field.subarray(0, Math.max(0, field.indexOf(0)));
  const file = name.toString('latin1').replace(/\0.*$/, '');
  return { address: octets.subarray(16, 20).join('.'), server: option(octets, 54) ?? Buffer.alloc(4), file };
}

function option(octets: Buffer, wanted: number): Buffer | undefined {
  for (let at = 240; at + 1 < octets.length; ) {
    const code = octets[at] ?? 255;
    if (code === 255) return undefined;
    const length = code === 0 ? -1 : (octets[at + 1] ?? 0);
    if (code === wanted) return octets.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
  return undefined;
}

/** One file by TFTP, in lock-step. */
async function download(address: string, file: string): Promise<void> {
  const socket = await bound(address);
  try {
    const ask = Buffer.from(`\0\x01${file}\0octet\0blksize\0${BLOCK_BYTES}\0`, 'latin1');
    let last = ask;
    let port = 69;
    let next = 1;
    let heardMs = performance.now();
    const untilMs = heardMs + PATIENCE_MS;
    await new Promise<void>((done, fail) => {
      const resolve = (): void => {
        clearInterval(timer);
        done();
      };
      const reject = (error: Error): void => {
        clearInterval(timer);
        fail(error);
      };
      const send = (): void => socket.send(last, port, SERVER);
      const timer = setInterval(() => {
        if (performance.now() - heardMs < TRY_EVERY_MS) return;
        counts.repeats += 1;
        if (performance.now() > untilMs) reject(new Error('TFTP is not answered'));
        send();
      }, TRY_EVERY_MS / 2);
      socket.on('message', (octets, from) => {
        const code = octets.readUInt16BE(0);
        if (code === 5) reject(new Error(`TFTP: ${octets.subarray(4).toString('latin1')}`));
        const block = code === 6 ? 0 : octets.readUInt16BE(2);
        if (code === 6 ? next !== 1 : block !== (next & 0xffff)) return;
        port = from.port;
        heardMs = performance.now();
        last = Buffer.from([0, 4, block >> 8, block & 255]);
        send();
        if (code === 6) return;
        next += 1;
        counts.bytes += octets.length - 4;
        if (octets.length - 4 < BLOCK_BYTES) resolve();
      });
      send();
    });
  } finally {
    socket.close();
  }
}

/** A socket at an address that is there in a moment. */
async function bound(address: string): Promise<Socket> {
  for (let turn = 0; turn < MOST_TRIES; turn += 1) {
    const socket = createSocket('udp4');
    const isBound = new Promise<boolean>((resolve) => {
      socket.once('error', () => resolve(false));
      socket.bind(0, address, () => resolve(true));
    });
    if (await isBound) return socket;
    socket.close();
    await sleep(50);
  }
  throw new Error(`${address} cannot be had`);
}

async function fetchBody(agent: Agent, url: string): Promise<Buffer> {
  for (let turn = 0; ; turn += 1) {
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        get(url, { agent }, (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => {
            counts.bytes += chunk.length;
            // Only the script is looked at.
            if (chunks.length < 4) chunks.push(chunk);
          });
          response.on('error', reject);
          response.on('end', () => {
            if (response.statusCode === 200) resolve(Buffer.concat(chunks));
            else reject(new Error(`${url}: ${response.statusCode} ${Buffer.concat(chunks).toString().slice(0, 200)}`));
          });
        }).on('error', reject);
      });
    } catch (error) {
      if (turn >= 3) throw error;
      counts.repeats += 1;
      await sleep(TRY_EVERY_MS);
    }
  }
}
