// Every refusal is typed, in OpenAI's error object, and nothing of the request reaches a backend.
import assert from 'node:assert/strict';
import { APIError } from 'openai';
import { ask, attestationsOf, chatBody, openai, rawAsk, statusesOf, useMesh } from './lib.mjs';

const scene = useMesh();
const caller = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

async function untouched(mesh, body) {
  await mesh.each('eu-central', (one) => one.forget());
  await mesh.each('eu-west', (one) => one.forget());
  await body();
  assert.deepEqual(await mesh.seen('eu-central'), []);
  assert.deepEqual(await mesh.seen('eu-west'), []);
}

function isError(answer, status, code, param) {
  assert.equal(answer.status, status, answer.text);
  const { error } = answer.json();
  assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
  assert.equal(error.code, code);
  assert.ok(error.message.length > 0);
  if (param !== undefined) {
    assert.equal(error.param, param);
  }
}

const image = (url) => [{ role: 'user', content: [
  { type: 'text', text: 'what is this' }, { type: 'image_url', image_url: { url } }] }];

const bodies = [
  ['an unknown model', chatBody({ model: 'nothing' }), 404, 'model_not_found'],
  ['a pinned version by its own name', chatBody({ model: 'small@1' }), 404, 'model_not_found'],
  ['no model', { messages: [] }, 400, 'bad_request'],
  ['a model that is no string', chatBody({ model: 7 }), 400, 'bad_request'],
  ['two models', '{"model":"small","messages":[],"model":"nothing"}', 400, 'bad_request'],
  ['two models, one of them escaped', '{"model":"small","mo\\u0064el":"nothing","messages":[]}',
    400, 'bad_request'],
  ['a remote image', chatBody({ messages: image('https://evil.example/a.png') }), 403,
    'remote_reference'],
  ['a remote image without a scheme', chatBody({ messages: image('//evil.example/a.png') }), 403,
    'remote_reference'],
  ['a file', chatBody({ messages: image('file:///etc/passwd') }), 403, 'remote_reference'],
  ['an array', '[]', 400, 'bad_request'],
  ['an empty body', '', 400, 'bad_request'],
  ['text that is cut', '{"model":"small"', 400, 'bad_request'],
  ['text behind the end', '{"model":"small","messages":[]} {}', 400, 'bad_request'],
  ['a NUL', '{"model":"small\\u0000x","messages":[]}', 400, 'bad_request'],
  ['bytes that are no UTF-8', Buffer.from('{"model":"small","messages":"\xff"}', 'latin1'), 400,
    'bad_request'],
  ['too deep a body', `{"model":"small","messages":${'['.repeat(80)}${']'.repeat(80)}}`, 400,
    'bad_request'],
];
for (const [name, body, status, code] of bodies) {
  scene(`${name}: ${status} ${code}`, async (mesh) => {
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    await untouched(mesh, async () => {
      const answer = await ask(mesh.central, await caller(mesh), { method: 'POST', body });
      isError(answer, status, code);
      const [{ claims }] = attestationsOf(answer);
      assert.equal(claims.verdict, 'deny');
      assert.equal(claims.hop, 0);
    });
  });
}

scene('an image that is in the body passes', async (mesh) => {
  const answer = await ask(mesh.central, await caller(mesh),
    { body: chatBody({ messages: image('data:image/png;base64,AAAA') }) });
  assert.equal(answer.status, 200, answer.text);
});

scene('the OpenAI client throws what it knows', async (mesh) => {
  const client = openai(mesh.central, await caller(mesh));
  await assert.rejects(client.chat.completions.create({ model: 'nothing', messages: [] }),
    (error) => error instanceof APIError && error.status === 404
      && error.code === 'model_not_found');
});

scene('an unknown path, and another method', async (mesh) => {
  const who = await caller(mesh);
  isError(await ask(mesh.central, who, { path: '/v1/nothing' }), 404, 'not_found');
  isError(await ask(mesh.central, who, { path: '/v1/chat/completions' }), 405,
    'method_not_allowed');
});

for (const [name, body] of [['announced', 0], ['sent', 8_388_609]]) {
  scene(`a body above the limit, ${name}`, async (mesh) => {
    const token = await mesh.token('acme/de');
    await untouched(mesh, async () => {
      const answer = await rawAsk(mesh.central, [`POST /v1/chat/completions HTTP/1.1\r\n`
        + `Host: ${mesh.central.authority}\r\nAuthorization: Bearer ${token}\r\n`
        + 'Content-Type: application/json\r\nContent-Length: 8388609\r\n\r\n',
      Buffer.alloc(body, ' ')]);
      assert.deepEqual(statusesOf(answer), [413], answer);
      assert.match(answer, /request_too_large/);
    });
  });
}

// Raw heads: [name, bytes behind the request line's place, status].
const head = (mesh, lines, body = '') => `${['POST /v1/chat/completions HTTP/1.1', ...lines]
  .join('\r\n')}\r\n\r\n${body}`;
const good = JSON.stringify(chatBody());
const smuggled = 'GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n';
const heads = [
  ['two Hosts', (host) => [host, 'Host: other.example', 'Content-Length: 0'], '', 400],
  ['no Host', () => ['Content-Length: 0'], '', 400],
  ['another Host', () => ['Host: other.example', 'Content-Length: 0'], '', 421],
  ['Content-Length and Transfer-Encoding', (host) => [host, `Content-Length: ${good.length}`,
    'Transfer-Encoding: chunked'], `0\r\n\r\n${smuggled}`, 400],
  ['two Content-Lengths', (host) => [host, 'Content-Length: 0', 'Content-Length: 37'], smuggled, 400],
  ['a signed Content-Length', (host) => [host, 'Content-Length: +3'], 'abc', 400],
  ['a coding that is not chunked', (host) => [host, 'Transfer-Encoding: xchunked'],
    `0\r\n\r\n${smuggled}`, 400],
  ['a chunk size with 0x', (host) => [host, 'Transfer-Encoding: chunked'],
    '0x3\r\nabc\r\n0\r\n\r\n', 400],
  ['a folded line', (host) => [host, 'X-A: b', ' c', 'Content-Length: 0'], '', 400],
  ['a space before the colon', (host) => [host, 'X-A : b', 'Content-Length: 0'], '', 400],
  ['101 fields', (host) => [host, ...Array.from({ length: 101 }, (_, i) => `X-${i}: 1`)], '', 431],
  ['a value of 17 KiB', (host) => [host, `X-A: ${'a'.repeat(17 * 1024)}`], '', 431],
  ['an unknown expectation', (host) => [host, 'Expect: 200-ok', 'Content-Length: 0'], '', 417],
];
for (const [name, lines, body, status] of heads) {
  scene(`${name}: ${status}, closed, and nothing behind it is read`, async (mesh) => {
    await untouched(mesh, async () => {
      const token = await mesh.token('acme/de');
      const answer = await rawAsk(mesh.central, head(mesh, [
        ...lines(`Host: ${mesh.central.authority}`), `Authorization: Bearer ${token}`], body));
      assert.deepEqual(statusesOf(answer), [status], answer);
    });
  });
}

const lines = [
  ['a request line of 9 KiB', `GET /${'a'.repeat(9 * 1024)} HTTP/1.1\r\nHost: x\r\n\r\n`, 414],
  ['a bare LF', 'GET /health HTTP/1.1\nHost: x\n\n', 400],
  ['CONNECT', 'CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n', 405],
  ['HTTP/2 in clear', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
];
for (const [name, bytes, status] of lines) {
  scene(`${name}: ${status}`, async (mesh) => {
    const [first] = statusesOf(await rawAsk(mesh.central, bytes));
    assert.ok(first === status || (name === 'HTTP/2 in clear' && first === 505), String(first));
  });
}

scene('100-continue is answered by the node', async (mesh) => {
  const token = await mesh.token('acme/de');
  const answer = await rawAsk(mesh.central, head(mesh, [`Host: ${mesh.central.authority}`,
    `Authorization: Bearer ${token}`, 'X-Forwarded-For: 194.25.0.125', 'Expect: 100-continue',
    'Connection: close', `Content-Length: ${good.length}`], good));
  assert.deepEqual(statusesOf(answer), [100, 200], answer);
  const [seen] = (await mesh.seen('eu-central')).slice(-1);
  assert.equal(seen.fields.get('expect'), undefined);
});

scene('unauthenticated refusals are counted in the ledger, not one by one', async (mesh) => {
  await ask(mesh.central, {}, { body: chatBody() });
  await mesh.central.until('a count of refusals in the ledger', () =>
    mesh.central.readLedger().at(-1).control.some((leaf) =>
      leaf.kind === 'refusals' && leaf.counts.unauthenticated >= 1));
});
