// Ten thousand clients that leave at random moments, two hundred at a time, in all phases at once:
// afterwards nothing is counted any more, and every record has its end. A sanitizer gets fewer,
// which take it as long.
import assert from 'node:assert/strict';
import https from 'node:https';
import { chat, FROM, useMesh } from './lib.mjs';
import { BOUNDARY, formOf } from './form.mjs';
import { isSanitized } from './memory.mjs';

const LEFT = 10_000;
const LEFT_SANITIZED = 2000;
const AT_ONCE = 200;
const SCRIPT_MS = 200; // for so long the backends behave in one way

// The west's only server is operated from outside the EU: what acme/de asks for there is forwarded.
const scene = useMesh({
  backends: [
    { name: 'de-1', region: 'eu-central', kind: 'ollama', operator: 'DE', slots: 24 },
    { name: 'de-2', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 24 },
    { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 24 },
  ],
  charter: (charter) => {
    for (const tenant of Object.values(charter.tenants)) {
      delete tenant.limits;
    }
  },
});

const messages = [{ role: 'user', content: 'one two three four' }];
const form = formOf(['model', 'small'], ['file', Buffer.alloc(60_000, 'x'), 'a.wav']);
const json = (path, body) => ({ path, type: 'application/json',
  body: Buffer.from(JSON.stringify({ model: 'small', ...body })) });
const asked = [
  json('/v1/chat/completions', { messages }),
  json('/v1/chat/completions', { messages, stream: true }),
  json('/v1/completions', { prompt: 'one two', stream: true }),
  json('/v1/embeddings', { input: 'one two' }),
  json('/v1/responses', { input: 'one two', stream: true }),
  json('/v1/messages', { messages, max_tokens: 9, stream: true }),
  json('/api/chat', { messages }),
  { path: '/v1/audio/transcriptions', type: `multipart/form-data; boundary=${BOUNDARY}`, body: form },
];

const scripts = [
  { delay_ms: 30 },
  { first_byte_delay_ms: 30, token_interval_ms: 15 },
  { stall_after_events: 1 },
  { status: 503, count: 20 },
  {},
];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

// When a client leaves: so long after it began, after its request was written, or after the head
// of its answer came.
const moments = [['begun', 150], ['written', 100], ['written', 10], ['head', 30], ['head', 0]];

// One request that is left at some moment: how far it had come.
function leave({ node, agent, headers }) {
  const { path, type, body } = pick(asked);
  const [moment, ms] = pick(moments);
  return new Promise((resolve) => {
    const seen = { connected: false, written: false, head: false, whole: false };
    let timer;
    const request = https.request({ host: node.host, port: node.port, path, method: 'POST', agent,
      ca: node.ca, servername: node.servername,
      headers: { ...headers, 'content-type': type, 'content-length': body.length } });
    const at = (name) => {
      if (name === moment) {
        timer = setTimeout(() => request.destroy(), Math.random() * ms);
      }
    };
    request.on('socket', (socket) => {
      seen.connected = !socket.connecting; // one that was kept
      if (socket.connecting) {
        socket.once('secureConnect', () => { seen.connected = true; });
      }
    });
    request.on('finish', () => {
      seen.written = true;
      at('written');
    });
    request.on('response', (answer) => {
      seen.head = true;
      answer.on('error', () => {});
      answer.on('end', () => { seen.whole = true; });
      answer.resume();
      at('head');
    });
    request.on('error', () => {});
    request.on('close', () => {
      clearTimeout(timer);
      resolve({ ...seen, left: !seen.whole });
    });
    at('begun');
    request.end(body);
  });
}

async function storm(mesh, left) {
  const callers = await Promise.all([mesh.central, mesh.west].map(async (node) => ({
    node, agent: new https.Agent({ keepAlive: true, maxCachedSessions: 1000 }),
    headers: { host: node.authority, authorization: `Bearer ${await mesh.token('acme/de')}`,
      'x-forwarded-for': FROM.DE } })));
  const changing = setInterval(() =>
    mesh.each('eu-central', (one) => one.script(pick(scripts))).catch(() => {}), SCRIPT_MS);
  const counts = { left: 0, connected: 0, written: 0, head: 0, whole: 0 };
  const queued = [0];
  const looking = setInterval(async () => queued.push(
    await mesh.central.metric('portolan_queued').catch(() => 0)), SCRIPT_MS);
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (counts.left < left) {
      const seen = await leave(pick(callers));
      Object.keys(counts).forEach((name) => { counts[name] += seen[name]; });
    }
  }));
  clearInterval(changing);
  clearInterval(looking);
  callers.forEach(({ agent }) => agent.destroy());
  await mesh.each('eu-central', (one) => one.script({}));
  return { ...counts, queued: Math.max(...queued) };
}

const GAUGES = ['portolan_requests', 'portolan_queued', 'portolan_ledger_open_requests',
  'portolan_body_bytes', 'portolan_backend_in_flight{backend="de-1"}',
  'portolan_backend_in_flight{backend="de-2"}'];

const becomes = (node, name, value) =>
  node.until(`${name} is ${value}`, async () => await node.metric(name) === value);

// Every permit has one end, and no end is without its permit.
function isClosed(node) {
  const { a1, a2 } = node.readLedger().at(-1);
  const permitted = new Set(a1.filter(({ claims }) => claims.verdict === 'permit')
    .map(({ claims }) => claims.txn));
  const ended = new Set(a2.map((one) => one.txn));
  assert.equal(ended.size, a2.length, 'one end each');
  assert.deepEqual([...permitted].filter((txn) => !ended.has(txn)).slice(0, 3), []);
  assert.equal(ended.size, permitted.size);
  const ends = {};
  a2.forEach(({ end }) => { ends[end] = (ends[end] ?? 0) + 1; });
  return ends;
}

scene('requests that are left at random moments, thousands of them', async (mesh, t) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const nodes = [mesh.central, mesh.west];
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.serves(mesh.west, 'acme/de', 'DE', 'eu-central');
  const started = Date.now();
  const counts = await storm(mesh, isSanitized(mesh.central) ? LEFT_SANITIZED : LEFT);
  t.diagnostic(`${(Date.now() - started) / 1000} s; ${JSON.stringify(counts)}`);
  assert.ok(counts.queued > 0, 'some were queued');
  for (const name of GAUGES) {
    await Promise.all(nodes.map((node) => becomes(node, name, 0)));
  }
  await Promise.all(mesh.in('eu-central').map((one) => one.until('in_flight=0&running=0&waiting=0')));
  await becomes(mesh.west, 'portolan_clients', 1); // the other node, which looks whether it lives
  for (const node of nodes) {
    assert.equal((await chat(node, who)).status, 200);
  }
  await mesh.west.stop();
  await becomes(mesh.central, 'portolan_clients', 0); // and those that were kept for forwarding
  await mesh.central.stop();
  for (const node of nodes) {
    const ends = isClosed(node);
    assert.ok(ends.client_abort > 0);
    t.diagnostic(`${node.name}: ${JSON.stringify(ends)}`);
    const { code, stdout, stderr } = await mesh.verifyLedger(node);
    assert.equal(code, 0, stdout + stderr);
  }
}, { timeout: 180_000 });
