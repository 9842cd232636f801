// Clients that are slow on purpose cost bounded memory and time, and never the latency of an
// innocent one. By raw connections, and by Debian's slowhttptest with 500 of them.
import assert from 'node:assert/strict';
import path from 'node:path';
import { chat, chatBody, statusesOf, until, useMesh } from './lib.mjs';
import { chatHead, dribble, Held } from './held.mjs';
import { assertGrewLess, residentKiB } from './memory.mjs';
import { Child } from './process.mjs';

const KIB = 1024;
const MIB = 1024 * KIB;
const HIGH_WATER = 256 * KIB;
const ATTACKERS = 500;
const CONNECTION = 96 * KIB; // more than a waiting one costs with all that belongs to it
const MODEL_SLOTS = 64;
const KEYS = '/.well-known/jwks.json'; // answered by the node, to anyone
const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: MODEL_SLOTS },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 }],
  config: (config) => {
    config.workers = 2;
    config.ledger = { segment_mib: 16 }; // the default: hundreds of requests end at once here
  },
  charter: (charter) => {
    for (const name of ['acme', 'acme/de', 'acme/fr']) {
      delete charter.tenants[name]?.limits;
    }
    charter.tenants['acme/de'].process_in = ['DE'];
  },
});

const caller = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });
const timeouts = (node, phase) => node.metric(`portolan_client_timeouts_total{phase="${phase}"}`);
const buffers = (node) => node.metric('portolan_buffer_bytes');

// The median time of a request, one after the other; all of them succeed.
async function medianMs(node, who, count = 30) {
  const times = [];
  for (let i = 0; i < count; i += 1) {
    const began = process.hrtime.bigint();
    const answer = await chat(node, who);
    assert.equal(answer.status, 200, answer.text);
    times.push(Number(process.hrtime.bigint() - began) / 1e6);
  }
  return times.sort((a, b) => a - b)[Math.floor(count / 2)];
}

// What the buffers hold once that has not changed for 30 looks.
async function steady(node) {
  let last = -1;
  let same = 0;
  await until('buffers are steady', async () => {
    const now = await buffers(node);
    same = now === last ? same + 1 : 0;
    last = now;
    return same === 30;
  }, 40_000);
  return last;
}

// --- deadlines -----------------------------------------------------------------------------

scene('a slow head ends in 408, however steadily it comes', async (mesh) => {
  const node = mesh.central;
  await node.restart((config) => { config.timeouts.head_ms = 700; });
  const slow = await Held.open(node);
  slow.write(`GET ${KEYS} HTTP/1.1\r\nHost: ${node.authority}\r\n`);
  dribble(slow, ['X-A: b\r\n'], 50);
  await slow.closed;
  assert.deepEqual(statusesOf(slow.text), [408]);
  assert.equal(await timeouts(node, 'head'), 1);
  // The same for the second request of a connection, counted from its first byte.
  const second = await Held.open(node);
  second.write(`GET ${KEYS} HTTP/1.1\r\nHost: ${node.authority}\r\n\r\n`);
  await until('its first answer', () => statusesOf(second.text).length === 1);
  dribble(second, ['G'], 50);
  await second.closed;
  assert.deepEqual(statusesOf(second.text), [200, 408]);
  assert.equal(await timeouts(node, 'head'), 2);
});

scene('a handshake that does not come is not waited for', async (mesh) => {
  const node = mesh.central;
  const silent = await Held.open(node, { plain: true });
  const half = await Held.open(node, { plain: true });
  half.write('\x16\x03\x01');
  const opened = await Held.open(node); // and no head
  await Promise.all([silent.closed, half.closed, opened.closed]);
  assert.equal(await timeouts(node, 'handshake'), 2);
  assert.equal(await timeouts(node, 'head'), 3);
  await node.restart((config) => { delete config.timeouts.head_ms; });
});

scene('a body below 1 KiB/s ends in 408 after 10 s; one above goes on', async (mesh) => {
  const node = mesh.central;
  const { token } = await caller(mesh);
  const slow = await Held.open(node);
  const steady = await Held.open(node);
  slow.write(chatHead(node, token, 40_000));
  steady.write(chatHead(node, token, 40_000));
  dribble(slow, [' '.repeat(50)], 100); // 500 B/s
  const stop = dribble(steady, [' '.repeat(400)], 100); // 4 KB/s by the clock, above 1 in any case
  await slow.closed;
  assert.deepEqual(statusesOf(slow.text), [408]);
  assert.match(slow.text, /request_timeout/);
  assert.equal(await timeouts(node, 'body'), 1);
  assert.equal(steady.isClosed, false);
  assert.equal(steady.text, '');
  stop();
  await steady.end();
});

// --- slow readers --------------------------------------------------------------------------

scene('readers who read nothing: the backend waits at the high-water mark', async (mesh) => {
  const node = mesh.central;
  const { token } = await caller(mesh);
  const body = JSON.stringify(chatBody({ stream: true,
    messages: [{ role: 'user', content: 'w'.repeat(4000) }] })); // each token echoes that word
  await mesh.serves(node, 'acme/de', 'DE');
  await mesh.de.script({ tokens: 8000 }); // more than all buffers on the way take
  const before = await buffers(node);
  const held = [];
  try {
    // One after the other: the stand-in is busy while it writes, and must not seem dead.
    for (let i = 0; i < 4; i += 1) {
      const one = await Held.open(node);
      one.socket.pause();
      one.write(chatHead(node, token, body.length) + body);
      held.push(one);
      await until('it is backed up', async () =>
        (await buffers(node)) - before > held.length * HIGH_WATER, 30_000);
    }
    // As long as they don't read, nothing more is taken from the backend.
    const grown = (await steady(node)) - before;
    assert.ok(grown < 4 * (2 * HIGH_WATER + 512 * KIB), `${grown} bytes`);
    assert.equal(await node.metric('portolan_requests'), 4);
    await mesh.de.script({});
    await medianMs(node, await caller(mesh), 10);
    // One who reads on gets all of it.
    held[0].socket.resume();
    await until('the end of the stream', () => held[0].text.includes('data: [DONE]'), 40_000);
    assert.ok(held[0].text.length > 16 * MIB, `only ${held[0].text.length} bytes`);
  } finally {
    await mesh.de.script({});
    await Promise.all(held.map((one) => one.end()));
  }
  await node.until('all is given back', async () => (await buffers(node)) <= before + 64 * KIB);
});

scene('one who asks ahead and reads nothing gets no further answers', async (mesh) => {
  const node = mesh.central;
  const count = 20_000;
  await node.restart((config) => { config.limits = { requests_per_connection: 0 }; });
  const before = await steady(node);
  const one = await Held.open(node);
  const request = `GET ${KEYS} HTTP/1.1\r\nHost: ${node.authority}\r\n\r\n`;
  one.socket.pause();
  one.write(request.repeat(count));
  await until('it is backed up', async () => (await buffers(node)) - before > HIGH_WATER, 30_000);
  for (let i = 0; i < 20; i += 1) {
    const grown = (await buffers(node)) - before;
    assert.ok(grown < MIB, `${grown} bytes`);
  }
  one.socket.resume();
  await until('all answers', () => one.text.split('HTTP/1.1 200 OK\r\n').length === count + 1,
    40_000);
  assert.equal(one.isClosed, false);
  await one.end();
});

// --- keep-alive ----------------------------------------------------------------------------

scene('a connection ends after its requests, or never, or when it is idle', async (mesh) => {
  const node = mesh.central;
  const request = `GET ${KEYS} HTTP/1.1\r\nHost: ${node.authority}\r\n\r\n`;
  const all = await Held.open(node); // still unlimited
  all.write(request.repeat(1500));
  await until('1,500 answers', () => statusesOf(all.text).length === 1500);
  assert.equal(all.isClosed, false);
  assert.doesNotMatch(all.text, /Connection: close/);
  await all.end();

  await node.restart((config) => { config.limits = {}; });
  const thousand = await Held.open(node);
  thousand.write(request.repeat(1001));
  await thousand.closed;
  assert.equal(statusesOf(thousand.text).length, 1000);
  assert.equal(thousand.text.match(/Connection: close/g).length, 1);

  await node.restart((config) => { config.timeouts.idle_ms = 400; });
  const idle = await Held.open(node);
  idle.write(request);
  await idle.closed;
  assert.deepEqual(statusesOf(idle.text), [200]);
  assert.equal(await timeouts(node, 'idle'), 1);
  await node.restart((config) => { delete config.timeouts.idle_ms; });
});

// --- slowhttptest --------------------------------------------------------------------------

// 500 connections; meanwhile an innocent client asks on. What it measures is compared with what
// it measured just before, with a generous factor: machines have other work too.
async function withstands(mesh, mode, { args, gauge = 'portolan_clients' }) {
  const node = mesh.central;
  const who = await caller(mesh);
  await mesh.serves(node, 'acme/de', 'DE');
  const before = await medianMs(node, who);
  const resident = residentKiB(node);
  const attack = new Child('slowhttptest', [mode, '-c', String(ATTACKERS), '-r', '250',
    '-l', '60', '-i', '1', '-p', '60', ...args],
  { log: path.join(mesh.logs, `slowhttptest${mode}.log`) });
  try {
    await attack.until(`${mode}: established`, async () =>
      (await node.metric(gauge)) >= ATTACKERS * 0.8, 30_000);
    const during = await medianMs(node, who);
    const grown = residentKiB(node) - resident;
    const used = await node.metric('portolan_resource_used{resource="memory"}');
    assert.ok(during < before * 25, `${mode}: ${during} ms, ${before} ms before`);
    assertGrewLess(node, grown, ATTACKERS * CONNECTION / KIB);
    assert.ok(used < ATTACKERS * CONNECTION + 4 * MIB, `${mode}: ${used} bytes by its own count`);
    assert.equal(await node.metric('portolan_pressure_stage{resource="memory"}'), 0);
  } finally {
    await attack.end('SIGINT', 2000);
  }
  await node.until('they are gone', async () => (await node.metric('portolan_clients')) < 20, 30_000);
  const after = await medianMs(node, who);
  assert.ok(after < before * 25, `${mode}: ${after} ms afterwards, ${before} ms before`);
}

// It has no option for fields of its own; what it takes for a cookie goes out as it stands.
const smuggledFields = (token) =>
  ['-j', `a=b\r\nAuthorization: Bearer ${token}\r\nX-Forwarded-For: 194.25.0.125`];

scene('slowhttptest -H: 500 slow heads', (mesh) => withstands(mesh, '-H', {
  args: ['-u', `https://localhost:${mesh.central.port}${KEYS}`, '-x', '24'],
}), { timeout: 120_000 });

scene('slowhttptest -B: 500 slow bodies', async (mesh) => withstands(mesh, '-B', {
  args: ['-u', `https://localhost:${mesh.central.port}/v1/chat/completions`, '-s', '8192',
    '-x', '10', '-f', 'application/json', ...smuggledFields((await caller(mesh)).token)],
  gauge: 'portolan_requests', // past identity: their bodies are waited for
}), { timeout: 120_000 });

scene('slowhttptest -X: 500 slow readers', (mesh) => withstands(mesh, '-X', {
  args: ['-u', `https://localhost:${mesh.central.port}${KEYS}`, '-k', '10',
    '-w', '10', '-y', '20', '-n', '5', '-z', '32'],
}), { timeout: 120_000 });
