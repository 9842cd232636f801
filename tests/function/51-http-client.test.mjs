// What a client writes, byte by byte: a refused head gets one answer, nothing behind it is read,
// and no backend hears of it. What passes reaches the backend rebuilt.
import assert from 'node:assert/strict';
import { until, useMesh } from './lib.mjs';
import { coded, field, line, path, requests, without } from './malformed.mjs';
import { answersIn, CHAT, requestOf, speak, statusesIn, Talk } from './raw.mjs';
import { answer } from './raw-backend.mjs';

const scene = useMesh({ backends: [
  { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

const tokenOf = (mesh) => mesh.token('acme/de');

// What stands behind a refused head: a request that would be served, were it read.
const smuggled = (mesh, token) => requestOf(mesh.central, token,
  { body: CHAT.replace('one two three', 'smuggled'), fields: ['Connection: close'] });

async function refused(mesh, bytes, status) {
  const token = await tokenOf(mesh);
  mesh.de.forget();
  const text = await speak(mesh.central, bytes(token) + smuggled(mesh, token));
  const answers = answersIn(text);
  assert.deepEqual(answers.map((one) => one.status), [status], text);
  assert.ok(answers[0].whole && answers[0].close, text);
  assert.deepEqual(mesh.de.requests().map((one) => one.head), []);
}

for (const [name, change, status] of requests) {
  scene(`${name}: ${status}, closed, and nothing behind it is read`, (mesh) =>
    refused(mesh, (token) => requestOf(mesh.central, token, change), status));
}

const hosts = [
  ['a Host that is not ours', { host: 'Host: other.example' }],
  ['a Host that is not ours, and no body',
    { ...without('GET /v1/models HTTP/1.1'), host: 'Host: other.example' }],
  ['a Host that is ours, but not the name that TLS was asked for', { host: 'Host: 127.0.0.1' }],
];
for (const [name, change] of hosts) {
  scene(`${name}: 421, closed, and nothing behind it is read`, (mesh) =>
    refused(mesh, (token) => requestOf(mesh.central, token, change), 421));
}

scene('Expect without a credential: 401, and no 100 before it', (mesh) =>
  refused(mesh, () => requestOf(mesh.central, null, { fields: ['Expect: 100-continue'] }), 401));
scene('a body without a credential: 401, and it is not read', (mesh) =>
  refused(mesh, () => requestOf(mesh.central, null), 401));
scene('Expect with a body that is too large: 413, and no 100 before it', (mesh) =>
  refused(mesh, (token) => requestOf(mesh.central, token,
    { fields: ['Expect: 100-continue'], framing: 'Content-Length: 8388609', body: '' }), 413));

// ---- what passes ----------------------------------------------------------------------

// One request, its answer, and what the backend got: head and body, and nothing else.
async function passes(mesh, change, node = mesh.central) {
  const token = await tokenOf(mesh);
  await mesh.serves(node, 'acme/de', 'DE', 'eu-central');
  mesh.de.forget();
  const talk = await Talk.open(node);
  const answered = await talk.ask(requestOf(node, token, change));
  assert.equal(answered.status, 200, talk.text);
  assert.ok(!answered.fields.has('content-encoding'));
  await talk.end();
  const [seen, ...others] = mesh.de.requests();
  assert.deepEqual(others, []);
  assert.equal(mesh.de.connections[0].text, `${seen.head}\r\n\r\n${seen.body}`);
  return seen;
}

// The whole of a request to a backend, in any case: what the client sent adds nothing. (A coding
// of our own is judged by a scene of its own.)
const NAMES = ['content-length', 'content-type', 'host', 'residency-attestation', 'x-request-id'];

function isRebuilt(mesh, seen, names = NAMES) {
  assert.equal(seen.head.split('\r\n')[0], 'POST /v1/chat/completions HTTP/1.1');
  const got = [...seen.fields.keys()].filter((name) => name !== 'accept-encoding');
  assert.deepEqual(got.sort(), names);
  assert.ok([...seen.fields.values()].every((values) => values.length === 1), 'each once');
  assert.deepEqual(seen.fields.get('host'), [`127.0.0.1:${mesh.de.port}`]);
  assert.deepEqual(seen.fields.get('content-type'), ['application/json']);
  assert.equal(Number(seen.fields.get('content-length')[0]), Buffer.byteLength(seen.body));
}

const LINE = 'POST /v1/chat/completions HTTP/1.1';
const passing = [
  ['an ordinary request', {}],
  ['chunks with an extension of 256 bytes and a trailer',
    coded(`${CHAT.length.toString(16)};${'a'.repeat(255)}\r\n${CHAT}\r\n0\r\nX-Late: a\r\n\r\n`)],
  ['chunks of one byte',
    coded(`${[...CHAT].map((one) => `1\r\n${one}\r\n`).join('')}0\r\n\r\n`)],
  ['HTTP/1.0', line('POST /v1/chat/completions HTTP/1.0')],
  ['credentials, cookies and forwarding fields', { fields: ['X-Api-Token: secret', 'Cookie: a=b',
    'Proxy-Authorization: Basic eDp5', 'Forwarded: for=192.0.2.1', 'X-Forwarded-Host: evil.example',
    'X-Forwarded-Proto: http', 'X-Real-IP: 192.0.2.1', 'Via: 1.1 evil', 'X-Original-URL: /admin',
    'X-HTTP-Method-Override: DELETE', 'Referer: https://a.example/', 'Origin: https://a.example',
  ] }],
  ['Want-*, Residency-* and unknown fields', { fields: ['Want-Residency-Receipt: sse',
    'Want-Digest: sha-256', 'Residency-Attestation: a', 'Residency-Commitment-Key: a',
    'X-Request-Id: theirs', 'X-Unknown: a', 'OpenAI-Organization: acme', 'User-Agent: a',
    'Accept: */*', 'Accept-Encoding: gzip',
    'Range: bytes=0-1', 'If-None-Match: a', 'Traceparent: 00-0-0-0'] }],
  ['what belongs to one hop', { fields: ['Connection: keep-alive, X-Hop', 'X-Hop: a',
    'Keep-Alive: timeout=5', 'Proxy-Connection: keep-alive', 'TE: trailers', 'Trailer: X-Late'] }],
  ['an offer of h2c', { fields: ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'] }],
  ['an offer of WebSocket', { fields: ['Connection: Upgrade', 'Upgrade: websocket',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'Sec-WebSocket-Version: 13'] }],
  ['100 fields', { fields: Array.from({ length: 95 }, (_, i) => `X-${i}: a`) }],
  ['a value of 16 KiB', field(`X-A: ${'a'.repeat(16 * 1024)}`)],
  ['an empty line before it', line(`\r\n${LINE}`)],
  ...['/v1/./chat/completions', '/v1/embeddings/../chat/completions', '/../v1/chat/completions',
    '/v1/%63hat/complet%69ons', '/v1/%2e%2E/v1/chat/completions',
    '/v1/chat/completions?a=b&c=/../d', '/v1/chat/completions?']
    .map((target) => [`the target ${target}`, path(target)]),
];
for (const [name, change] of passing) {
  scene(`${name}: the backend gets the one rebuilt request`, async (mesh) => {
    const seen = await passes(mesh, change);
    isRebuilt(mesh, seen);
    assert.equal(JSON.parse(seen.body).messages[0].content, 'one two three');
    assert.ok(!/late|theirs|evil|secret/.test(seen.head.toLowerCase()));
  });
}

scene('a backend is asked for plain bodies, whatever the client would take', async (mesh) => {
  const seen = await passes(mesh, field('Accept-Encoding: gzip, br'));
  assert.deepEqual(seen.fields.get('accept-encoding'), ['identity']);
});

scene('a request byte by byte', async (mesh) => {
  const token = await tokenOf(mesh);
  mesh.de.forget();
  const talk = await Talk.open(mesh.central);
  const bytes = requestOf(mesh.central, token,
    coded(`${CHAT.length.toString(16)}\r\n${CHAT}\r\n0\r\nX-Late: a\r\n\r\n`));
  for (const byte of bytes.slice(0, -1)) {
    talk.write(byte);
  }
  assert.equal((await talk.ask(bytes.at(-1))).status, 200);
  isRebuilt(mesh, mesh.de.requests()[0]);
  await talk.end();
});

scene('an absolute form that is the Host passes', async (mesh) => {
  const target = `https://${mesh.central.authority}/v1/chat/completions`;
  isRebuilt(mesh, await passes(mesh, path(target)));
});

scene('a request through two nodes: the backend gets the same, and nothing of the mesh\'s own',
  async (mesh) => {
    const seen = await passes(mesh, { fields: ['Cookie: a=b', 'X-Unknown: a'] }, mesh.west);
    isRebuilt(mesh, seen);
  });

scene('of a client\'s own fields the version of Anthropic\'s API goes on, where it is a date',
  async (mesh) => {
    const seen = await passes(mesh, field('Anthropic-Version: 2023-06-01'));
    isRebuilt(mesh, seen, ['anthropic-version', ...NAMES]);
    isRebuilt(mesh, await passes(mesh, field('Anthropic-Version: 2023-06-0x')));
  });

scene('Expect: 100 comes once the caller is known, and the backend does not hear of it',
  async (mesh) => {
    const token = await tokenOf(mesh);
    mesh.de.forget();
    const talk = await Talk.open(mesh.central);
    talk.write(requestOf(mesh.central, token, { body: '', fields: ['Expect: 100-continue'],
      framing: `Content-Length: ${CHAT.length}` }));
    await until('100', () => talk.text !== '');
    assert.equal(talk.text, 'HTTP/1.1 100 Continue\r\n\r\n');
    talk.text = '';
    assert.equal((await talk.ask(CHAT)).status, 200);
    isRebuilt(mesh, mesh.de.requests()[0]);
    await talk.end();
  });

// ---- pipelining -----------------------------------------------------------------------

scene('a request sent ahead is answered behind the one before it', async (mesh) => {
  const token = await tokenOf(mesh);
  mesh.de.forget();
  const [one, two] = ['one', 'two'];
  mesh.de.play([answer(one)], [answer(two)]);
  const ahead = (text, fields) => requestOf(mesh.central, token,
    { body: CHAT.replace('one two three', text), fields });
  const text = await speak(mesh.central, ahead(one) + ahead(two, ['Connection: close']));
  assert.deepEqual(answersIn(text).map((each) => each.body), [one, two]);
  assert.deepEqual(mesh.de.requests().map((each) => JSON.parse(each.body).messages[0].content),
    [one, two]);
});

scene('behind Connection: close nothing is read', async (mesh) => {
  const token = await tokenOf(mesh);
  mesh.de.forget();
  const text = await speak(mesh.central, requestOf(mesh.central, token, field('Connection: close'))
    + smuggled(mesh, token));
  assert.deepEqual(statusesIn(text), [200]);
  assert.equal(mesh.de.requests().length, 1);
});

scene('an answer to HEAD has no body', async (mesh) => {
  const text = await speak(mesh.central, requestOf(mesh.central, await tokenOf(mesh),
    { ...without('HEAD /v1/models HTTP/1.1'), fields: ['Connection: close'] }));
  assert.match(text, /^HTTP\/1\.1 405 /);
  assert.equal(text.indexOf('\r\n\r\n'), text.length - 4, text);
});
