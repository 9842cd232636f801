// Between nodes the same strictness in both directions: a node's certificate earns a sender no
// laxer reading, and what a peer writes is judged as what a backend writes.
//
// In the place of eu-central-1, as eu-west-1 sees it, stands a server of raw bytes with that
// node's certificate. It hands requests to the real node and changes what the scene wants.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { Held } from './held.mjs';
import { attestationsOf, chat, until, useMesh } from './lib.mjs';
import { answers, BODY_CHUNK, framings, POISON, requests } from './malformed.mjs';
import { answersIn, CHAT, requestOf, speak, Talk } from './raw.mjs';
import { BODY, CLOSE, CUT, RawBackend, RESET } from './raw-backend.mjs';

const HEALTHY = { status: 200, type: 'application/json', body: '{"status":"ok"}' };
const REAL_PORT = 13; // where eu-central-1 listens in this file, in the mesh's block

let peer = null; // the raw server
let real = null; // eu-central-1's mesh listener, for a sender with eu-west-1's certificate

const scene = useMesh({ prepare, backends: [
  { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

after(() => peer?.stop());

async function prepare(mesh) {
  const file = (node, end) => path.join(node.dir, `mesh.${end}`);
  const port = mesh.ports.base + REAL_PORT;
  const address = mesh.central.readConfig().listeners.mesh.address;
  mesh.central.changeConfig((config) => { config.listeners.mesh.address = `127.0.0.1:${port}`; });
  real = { host: '127.0.0.1', port, authority: `127.0.0.1:${port}`, ca: mesh.central.ca,
    tls: { cert: readFileSync(file(mesh.west, 'pem')), key: readFileSync(file(mesh.west, 'key')),
      checkServerIdentity: () => undefined } }; // it is named by its SPIFFE id
  peer = new RawBackend({ name: 'eu-central-1', port: Number(address.split(':').at(-1)),
    cert: file(mesh.central, 'pem'), key: file(mesh.central, 'key'),
    ca: path.join(mesh.dir, 'ca/ca.pem'), probes: { '/health': () => HEALTHY },
    otherwise: [async (one, request) => one.write((await relay(request)).replace(CLOSES, ''))] });
  await peer.start();
}

// What the real node answers to a request, with `Connection: close`.
const relay = (request) =>
  speak(real, `${request.head}\r\nConnection: close\r\n\r\n${request.body}`);

let isServed = false;

// A caller of the west whose only lawful backend stands behind the peer.
async function caller(mesh) {
  if (!isServed) {
    await mesh.serves(mesh.west, 'acme/de', 'DE', 'eu-central');
    isServed = true;
  }
  peer.forget();
  mesh.de.forget();
  return { token: await mesh.token('acme/de'), from: 'DE' };
}

// ---- what a peer answers --------------------------------------------------------------

// One request that is forwarded, and the answer to it: a script, made of the real node's answer.
async function play(mesh, script) {
  const { token } = await caller(mesh);
  const client = await Held.open(mesh.west);
  peer.play([async (one, request) => {
    for (const step of script(await relay(request), client)) {
      await (typeof step === 'function' ? step() : one.do(step));
    }
  }]);
  client.write(requestOf(mesh.west, token, { fields: ['Connection: close'] }));
  await until('the node ends the connection', () => client.isClosed).finally(() => client.end());
  const { text } = client;
  const [one, ...others] = answersIn(text);
  assert.deepEqual(others, [], text);
  assert.ok(!text.includes('poison'), text);
  assert.equal(peer.requests().length, 1);
  const a2 = await mesh.west.until('the A2', () => mesh.west.readLedger().at(-1).a2
    .find((record) => record.txn === one.fields.get('x-request-id')?.[0]));
  return { ...one, text, a2, outcomes: a2.attempts.map((attempt) => attempt.outcome),
    connection: peer.connections[0] };
}

const isGone = (connection) => until('the connection is ended', () => connection.closed);

async function isRefused(mesh, script, outcome) {
  const one = await play(mesh, script);
  assert.deepEqual([one.status, one.code, one.whole], [502, 'upstream_failed', true], one.text);
  assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', outcome]);
  await isGone(one.connection);
  return one;
}

// The real answer's head with another framing, or another attestation.
const CLOSES = 'Connection: close\r\n';
const headOf = (text) => text.slice(0, text.indexOf('\r\n\r\n') + 2);
const fieldOf = (text) => /Residency-Attestation: ([^\r]*)\r\n/.exec(text)[1];
const chunkedHead = (text) => `${headOf(text).replace(CLOSES, '')
  .replace(/Content-Length: \d+/, 'Transfer-Encoding: chunked')}\r\n`;
const attested = (bytes, text) => {
  const end = bytes.indexOf('\r\n');
  return `${bytes.slice(0, end)}\r\nResidency-Attestation: ${fieldOf(text)}${bytes.slice(end)}`;
};

scene('what the real node answers passes, with both attestations', async (mesh) => {
  const one = await play(mesh, (text) => [text]);
  assert.deepEqual([one.status, one.body], [200, BODY]);
  assert.deepEqual([one.a2.end, ...one.outcomes], ['complete', 'ok']);
  assert.equal(one.fields.get('residency-attestation')[0].split(', ').length, 2);
});

for (const [name, bytes] of answers) {
  scene(`a peer's answer with ${name}: 502, malformed, and the connection is ended`, (mesh) =>
    isRefused(mesh, (text) => [attested(bytes, text)], 'malformed'));
}

for (const [name, bytes] of framings) {
  scene(`a peer's answer with ${name}: 502, or no end, and malformed`, async (mesh) => {
    await isRefused(mesh, (text) => [chunkedHead(text) + bytes], 'malformed').catch((error) => {
      throw new Error(`before anything of the body: ${error.message}`, { cause: error });
    });
    const one = await play(mesh, (text) => [chunkedHead(text) + BODY_CHUNK + bytes]);
    assert.deepEqual([one.status, one.whole, one.body], [200, false, BODY], one.text);
    assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'malformed']);
    await isGone(one.connection);
  });
}

let earlier = null; // a lawful attestation of another request
const unproved = [
  ['no attestation', (text) => text.replace(/Residency-Attestation: [^\r]*\r\n/, '')],
  ['two attestations', (text) => attested(text, text)],
  ['an attestation whose signature was changed',
    (text) => text.replace(/(\.[\w-]{20})([\w-])([\w-]+;idx)/, (all, a, b, c) =>
      `${a}${b === 'A' ? 'B' : 'A'}${c}`)],
  ['the attestation of another request', (text) => {
    const swapped = text.replace(fieldOf(text), earlier);
    assert.notEqual(swapped, text);
    return swapped;
  }],
  ['the sender\'s own attestation', (text, own) => text.replace(fieldOf(text), `${own};idx=1`)],
];
for (const [name, change] of unproved) {
  scene(`a peer's answer with ${name} is handed to nobody`, async (mesh) => {
    earlier ??= fieldOf((await play(mesh, (text) => [text])).text).split(', ')[1];
    const one = await isRefused(mesh, (text) => [change(text,
      peer.requests()[0].fields.get('residency-attestation')[0])], 'malformed');
    assert.deepEqual(one.a2.attempts.map(({ peer: word }) => word), one.outcomes.map(() => undefined),
      'nothing of it is on record as the peer\'s word');
  });
}

for (const [name, end] of [['an orderly end', CLOSE], ['a bare FIN', CUT], ['a reset', RESET]]) {
  scene(`${name} of a peer in its head: 502; in a body: no end, truncated`, async (mesh) => {
    await isRefused(mesh, (text) => [headOf(text), end], 'eof');
    const cuts = [(text) => text.slice(0, -5), (text) => chunkedHead(text) + BODY_CHUNK];
    for (const cut of cuts) {
      const one = await play(mesh, (text, client) => [cut(text),
        () => until('the client has its head', () => client.text.includes('\r\n\r\n')), end]);
      assert.deepEqual([one.status, one.whole], [200, false], one.text);
      assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_truncated', 'eof']);
    }
  });
}

// ---- a peer's connection after its answer ---------------------------------------------

const ends = [
  ['that ends exactly', (text) => text.replace(CLOSES, ''), [2]],
  ['with Connection: close', (text) => text, [1, 1]],
  ['with a byte behind it', (text) => `${text.replace(CLOSES, '')}x`, [1, 1]],
  ['with another behind it', (text) => text.replace(CLOSES, '') + attested(POISON, text), [1, 1]],
];
for (const [name, change, expected] of ends) {
  scene(`two requests, and a peer's answer ${name}: ${expected.length === 1 ? 'one connection'
    : 'two connections'}`,
    async (mesh) => {
      const { token } = await caller(mesh);
      const talk = await Talk.open(mesh.west);
      peer.play([async (one, request) => one.write(change(await relay(request)))]);
      assert.equal((await talk.ask(requestOf(mesh.west, token))).body, BODY);
      if (expected.length > 1) {
        await isGone(peer.connections[0]);
      }
      assert.equal((await talk.ask(requestOf(mesh.west, token))).body, BODY);
      assert.deepEqual(peer.connections.map((one) => one.requests.length), expected);
      assert.ok(!talk.text.includes('poison'));
      await talk.end();
    });
}

// ---- what a sender writes -------------------------------------------------------------

// A request as the west sends it, made once, and what makes others of it for the node itself.
let captured = null;

async function forwarded(mesh) {
  if (captured === null) {
    const answered = await chat(mesh.west, await caller(mesh));
    assert.equal(attestationsOf(answered).length, 2);
    [captured] = peer.requests();
    assert.equal(captured.body, CHAT, 'the alias is the receiver\'s to replace');
  }
  mesh.de.forget();
  const own = ['residency-attestation', 'residency-commitment-key']
    .map((name) => `${name}: ${captured.fields.get(name)[0]}`);
  const make = (change = {}) => requestOf(real, null, { from: null, ...change,
    fields: [...own, ...(change.fields ?? [])] });
  return { head: captured.head, make };
}

scene('the request of a node: this and nothing else, each field once', async (mesh) => {
  const { head, make } = await forwarded(mesh);
  const names = head.split('\r\n').slice(1).map((one) => one.split(':')[0].toLowerCase()).sort();
  assert.deepEqual(names.filter((one) => one !== 'accept-encoding'), ['content-length',
    'content-type', 'host', 'residency-attestation', 'residency-commitment-key', 'x-request-id']);
  // What the scenes below build on is lawful: only what they change is not.
  const [one] = answersIn(await speak(real, make({ fields: ['Connection: close'] })));
  assert.deepEqual([one.status, one.body], [200, BODY]);
  assert.equal(mesh.de.requests().length, 1);
});

for (const [name, change, status] of requests) {
  scene(`a node sends ${name}: ${status}, closed, nothing behind it is read`, async (mesh) => {
    const { make } = await forwarded(mesh);
    const text = await speak(real, make(change) + make({ fields: ['Connection: close'] }));
    const [one, ...others] = answersIn(text);
    assert.deepEqual(others, [], text);
    assert.deepEqual([one.status, one.whole, one.close], [status, true, true], text);
    assert.deepEqual(mesh.de.requests().map((seen) => seen.head), []);
  });
}

scene('a sender without a certificate gets no answer', async (mesh) => {
  const { make } = await forwarded(mesh);
  const held = await Held.open({ ...real, tls: { checkServerIdentity: () => undefined } });
  held.write(make({ fields: ['Connection: close'] }));
  await until('the node ends the connection', () => held.isClosed);
  assert.equal(held.text, '');
  assert.deepEqual(mesh.de.requests(), []);
});
