// What a backend writes, byte by byte: what is malformed reaches nobody and costs the connection,
// what is lawful arrives rebuilt, and the record says how each attempt ended.
import assert from 'node:assert/strict';
import { Held } from './held.mjs';
import { chat, until, useMesh } from './lib.mjs';
import { answers, BODY_CHUNK, CHUNKED, framings, head, HEX, line, sized } from './malformed.mjs';
import { answersIn, requestOf } from './raw.mjs';
import { answer, BODY, CLOSE, CUT, GOOD, RESET } from './raw-backend.mjs';

// Each request finds a connection of its own: what happens on kept ones is in 54-http-kept.
const prepare = (mesh) => { mesh.de.otherwise = [answer(BODY, ['Connection: close'])]; };
const scene = useMesh({ prepare, backends: [
  { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

// One request of the clinic, for which there is no other backend. `script` is the answer to it,
// or gives it to the client's connection. Two good answers before it keep what it costs the
// backend from ejecting it.
async function exchange(mesh, script, change) {
  const token = await mesh.token('clinic');
  await mesh.central.until('the backend serves', async () => {
    const good = [await chat(mesh.central, { token, from: 'DE' }),
      await chat(mesh.central, { token, from: 'DE' })];
    return good.every((one) => one.status === 200);
  });
  mesh.de.forget();
  const client = await Held.open(mesh.central);
  mesh.de.play(typeof script === 'function' ? script(client) : script);
  client.write(requestOf(mesh.central, token, change));
  await until('the node ends the connection', () => client.isClosed).finally(() => client.end());
  return client;
}

async function play(mesh, script) {
  const { text } = await exchange(mesh, script, { fields: ['Connection: close'] });
  const [one, ...others] = answersIn(text);
  assert.deepEqual(others, [], text);
  assert.ok(!text.includes('poison'), text);
  assert.equal(mesh.de.requests().length, 1);
  const a2 = await mesh.central.until('the A2', () => mesh.central.readLedger().at(-1).a2
    .find((record) => record.txn === one.fields.get('x-request-id')?.[0]));
  return { ...one, text, a2, outcomes: a2.attempts.map((attempt) => attempt.outcome),
    connection: mesh.de.connections[0] };
}

const isGone = (connection) => until('the connection is ended', () => connection.closed);

// ---- refused whole --------------------------------------------------------------------

for (const [name, bytes] of answers) {
  scene(`${name}: 502, on record as malformed, and the connection is ended`, async (mesh) => {
    const one = await play(mesh, [bytes]);
    assert.deepEqual([one.status, one.code, one.whole], [502, 'upstream_failed', true], one.text);
    assert.deepEqual([one.a2.end, one.a2.status, ...one.outcomes],
      ['upstream_error', 502, 'malformed']);
    await isGone(one.connection);
  });
}

for (const [name, bytes] of framings) {
  scene(`${name}, before anything of the body: 502, malformed`, async (mesh) => {
    const one = await play(mesh, [CHUNKED + bytes]);
    assert.deepEqual([one.status, one.code, one.whole], [502, 'upstream_failed', true], one.text);
    assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'malformed']);
    await isGone(one.connection);
  });
  scene(`${name}, behind the first chunk: the answer has no end, malformed`, async (mesh) => {
    const one = await play(mesh, [CHUNKED + BODY_CHUNK + bytes]);
    assert.deepEqual([one.status, one.whole, one.body], [200, false, BODY], one.text);
    assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'malformed']);
    await isGone(one.connection);
  });
}

scene('what stands in place of a chunk\'s CRLF is not skipped', async (mesh) => {
  const one = await play(mesh, [`${CHUNKED}${HEX}\r\n${BODY}XX0\r\n\r\n`]);
  assert.deepEqual([one.status, one.whole, one.body], [200, false, BODY], one.text);
  assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'malformed']);
  await isGone(one.connection);
});

// ---- ends too early -------------------------------------------------------------------

const LENGTH_HEAD = head(`Content-Length: ${BODY.length}`);
const OPEN_HEAD = head('Connection: close');
const ends = [['an orderly end', CLOSE], ['a bare FIN', CUT], ['a reset', RESET]];
for (const [name, end] of ends) {
  scene(`${name} in place of an answer, or inside its head: 502, eof`, async (mesh) => {
    for (const bytes of [[], ['HTTP/1.1 2'], [LENGTH_HEAD.slice(0, -2)]]) {
      const one = await play(mesh, [...bytes, end]);
      assert.deepEqual([one.status, one.code, one.whole], [502, 'upstream_failed', true], one.text);
      assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'eof']);
    }
  });

  scene(`${name} inside a body: the answer has no end, truncated`, async (mesh) => {
    const bodies = [LENGTH_HEAD + BODY.slice(0, 5), CHUNKED + BODY_CHUNK.slice(0, 8),
      CHUNKED + BODY_CHUNK, `${CHUNKED}${BODY_CHUNK}0\r\n`,
      ...(end === CLOSE ? [] : [OPEN_HEAD + BODY])];
    for (const bytes of bodies) {
      const one = await play(mesh, (client) => [bytes,
        () => until('the client has its head', () => client.text.includes('\r\n\r\n')), end]);
      assert.deepEqual([one.status, one.whole], [200, false], one.text);
      assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_truncated', 'eof']);
    }
  });
}

// ---- what passes ----------------------------------------------------------------------

const inBytes = (text) => [...text];
const good = [
  ['a length', [GOOD], BODY],
  ['a length of 0', [answer('')], ''],
  ['chunks', [`${CHUNKED}${BODY_CHUNK}0\r\n\r\n`], BODY],
  ['a chunk size of 16 digits',
    [`${CHUNKED}${HEX.padStart(16, '0')}\r\n${BODY}\r\n0\r\n\r\n`], BODY],
  ['an extension of a chunk', [`${CHUNKED}${HEX};a="b c"\r\n${BODY}\r\n0;z\r\n\r\n`], BODY],
  ['trailers', [`${CHUNKED}${BODY_CHUNK}0\r\nX-Late: yes\r\nSet-Cookie: a=b\r\n\r\n`], BODY],
  ['a length, byte by byte', inBytes(GOOD), BODY],
  ['chunks, byte by byte', inBytes(`${CHUNKED}5\r\nabcde\r\n0\r\nX-Late: yes\r\n\r\n`), 'abcde'],
  ['heads of 1xx before it', ['HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', GOOD], BODY],
  ['HTTP/1.0', [GOOD.replace('HTTP/1.1', 'HTTP/1.0')], BODY],
  ['no framing, up to an orderly end', [head() + BODY, CLOSE], BODY],
  ['no framing on HTTP/1.0', [head().replace('HTTP/1.1', 'HTTP/1.0') + BODY, CLOSE], BODY],
  ['100 fields', [sized(...Array.from({ length: 98 }, (_, i) => `X-${i}: a`))], BODY],
  ['a value of 16 KiB', [sized(`X-A: ${'a'.repeat(16 * 1024)}`)], BODY],
];
// All that an answer has, whatever its backend wrote.
const FIELDS = ['connection', 'content-type', 'link', 'residency-attestation', 'x-request-id'];
for (const [name, script, body] of good) {
  scene(`an answer with ${name} passes, rebuilt`, async (mesh) => {
    const one = await play(mesh, script);
    assert.deepEqual([one.status, one.body, one.whole], [200, body, true], one.text);
    const framing = one.fields.has('content-length') ? 'content-length' : 'transfer-encoding';
    assert.deepEqual([...one.fields.keys()].sort(), [...FIELDS, framing].sort());
    assert.ok([...one.fields.values()].every((values) => values.length === 1));
    assert.deepEqual([one.a2.end, ...one.outcomes], ['complete', 'ok']);
    assert.equal(one.a2.answer?.bytes ?? 0, body.length);
  });
}

scene('204: no body and no framing', async (mesh) => {
  const one = await play(mesh, ['HTTP/1.1 204 No Content\r\n\r\n']);
  assert.deepEqual([one.status, one.body, one.whole], [204, '', true], one.text);
  assert.deepEqual([one.a2.end, ...one.outcomes], ['complete', 'ok']);
});

scene('an answer in a coding that nobody asked for is not handed on as if it were plain',
  async (mesh) => {
    const one = await play(mesh, [sized('Content-Encoding: gzip')]);
    assert.ok(one.status === 502 || one.fields.get('content-encoding')?.[0] === 'gzip', one.text);
  });

// Readers that take any end of a connection for that of the answer are many.
scene('to HTTP/1.0 an answer without a length ends with its connection; a cut one by a reset',
  async (mesh) => {
    for (const [script, error] of [[[`${CHUNKED}${BODY_CHUNK}0\r\n\r\n`], null],
      [[CHUNKED + BODY_CHUNK, CLOSE], 'ECONNRESET']]) {
      const client = await exchange(mesh, (one) => [script[0],
        () => until('the client has it', () => one.text.includes(BODY)), ...script.slice(1)],
      line('POST /v1/chat/completions HTTP/1.0'));
      const [head10, body] = client.text.split('\r\n\r\n');
      assert.doesNotMatch(head10, /content-length|transfer-encoding/i);
      assert.deepEqual([body, client.error], [BODY, error]);
    }
  });

scene('of a backend\'s fields none but the type is handed on', async (mesh) => {
  const one = await play(mesh, [sized('Set-Cookie: a=b', 'Server: x', 'Date: x', 'Upgrade: h2c',
    'Connection: X-Hop', 'X-Hop: a', 'Keep-Alive: timeout=5', 'Alt-Svc: h2=":443"',
    'Strict-Transport-Security: max-age=1', 'Access-Control-Allow-Origin: *', 'Location: /',
    'X-Request-Id: theirs', 'Link: </theirs>', 'Residency-Receipt: theirs',
    'Transfer-Encodin: chunked', 'WWW-Authenticate: Basic')]);
  assert.deepEqual([one.status, one.body], [200, BODY], one.text);
  assert.deepEqual([...one.fields.keys()].sort(), [...FIELDS, 'content-length'].sort());
  assert.ok(!one.text.includes('theirs'));
});
