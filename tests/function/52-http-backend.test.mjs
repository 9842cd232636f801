// What a backend writes, byte by byte: what is malformed reaches nobody and costs the connection,
// what is lawful arrives rebuilt, and the record says how each attempt ended.
import assert from 'node:assert/strict';
import { Held } from './held.mjs';
import { chat, until, useMesh } from './lib.mjs';
import { answersIn, requestOf } from './raw.mjs';
import { answer, BODY, CLOSE, CUT, GOOD, RESET } from './raw-backend.mjs';

const scene = useMesh({ backends: [
  { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

const OK = 'HTTP/1.1 200 OK';
const TYPE = 'Content-Type: application/json';
const CHUNKED = `${OK}\r\n${TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n`;
const SIZE = BODY.length;
const HEX = SIZE.toString(16);
const CHUNK = `${HEX}\r\n${BODY}\r\n`;
const POISON = answer('{"id":"poison"}');
const head = (...lines) => `${[OK, TYPE, ...lines].join('\r\n')}\r\n\r\n`;
const sized = (...lines) => head(`Content-Length: ${SIZE}`, ...lines) + BODY;

// One request of the clinic, for which there is no other backend. `script` is the answer to it,
// or gives it to the client's connection. Two good answers before it keep what it costs the
// backend from ejecting it.
async function play(mesh, script) {
  const token = await mesh.token('clinic');
  await mesh.central.until('the backend serves', async () => {
    const good = [await chat(mesh.central, { token, from: 'DE' }),
      await chat(mesh.central, { token, from: 'DE' })];
    return good.every((one) => one.status === 200);
  });
  mesh.de.forget();
  const client = await Held.open(mesh.central);
  mesh.de.play(typeof script === 'function' ? script(client) : script);
  client.write(requestOf(mesh.central, token, { fields: ['Connection: close'] }));
  await until('the node ends the connection', () => client.isClosed);
  const { text } = client;
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

const heads = [
  ['Content-Length and Transfer-Encoding',
    `${head(`Content-Length: ${SIZE}`, 'Transfer-Encoding: chunked')}${CHUNK}0\r\n\r\n`],
  ['two equal Content-Lengths', sized(`Content-Length: ${SIZE}`)],
  ['two different Content-Lengths', sized('Content-Length: 3')],
  ['a Content-Length of +5', head('Content-Length: +5') + 'abcde'],
  ['a Content-Length of 0x5', head('Content-Length: 0x5') + 'abcde'],
  ['a Content-Length of 5,5', head('Content-Length: 5,5') + 'abcde'],
  ['an empty Content-Length', head('Content-Length:')],
  ['a Content-Length of 20 digits', head('Content-Length: 00000000000000000005') + 'abcde'],
  ['Transfer-Encoding: xchunked', `${head('Transfer-Encoding: xchunked')}${CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding: chunked, gzip', `${head('Transfer-Encoding: chunked, gzip')}${CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding: gzip, chunked', `${head('Transfer-Encoding: gzip, chunked')}${CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding twice',
    `${head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}${CHUNK}0\r\n\r\n`],
  ['Transfer-Encoding on HTTP/1.0',
    `HTTP/1.0 200 OK\r\n${TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNK}0\r\n\r\n`],
  ['bare LFs', sized().replaceAll('\r\n', '\n')],
  ['one bare LF', sized('X-A: a\nX-B: b')],
  ['a bare CR', sized('X-A: a\rContent-Length: 3')],
  ['a NUL', sized('X-A: a\0b')],
  ['a control byte', sized('X-A: a\x07b')],
  ['a folded line', sized('X-A: a', ' b')],
  ['a space before the colon', sized('X-A : a')],
  ['an empty name', sized(': a')],
  ['a line without a colon', sized('X-A')],
  ['a name with _', sized('X_A: a')],
  ['101 fields', sized(...Array.from({ length: 99 }, (_, i) => `X-${i}: a`))],
  ['33 KiB of fields', sized(...Array.from({ length: 3 }, (_, i) => `X-${i}: ${'a'.repeat(11_264)}`))],
  ['a value of 17 KiB', sized(`X-A: ${'a'.repeat(17 * 1024)}`)],
  ['a status line of 9 KiB', sized().replace('OK', 'a'.repeat(9 * 1024))],
  ['a status of 2 digits', sized().replace('200', '20')],
  ['a status of 600', sized().replace('200', '600')],
  ['HTTP/2.0', sized().replace('HTTP/1.1', 'HTTP/2.0')],
  ['what is no HTTP', 'nonsense\r\n\r\n'],
  ['101', `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n${POISON}`],
  ['304', `HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n`],
  ['a redirect', sized('Location: https://evil.example/').replace('200 OK', '307 Elsewhere')],
  ['204 with a length', sized().replace('200 OK', '204 No Content')],
  ['204 with chunks', `${CHUNKED.replace('200 OK', '204 No Content')}${CHUNK}0\r\n\r\n`],
  ['103 with a length', `HTTP/1.1 103 Early Hints\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`],
  ['a nomination of Content-Length', sized('Connection: Content-Length')],
  ['a nomination of Transfer-Encoding',
    `${head('Transfer-Encoding: chunked', 'Connection: transfer-encoding')}${CHUNK}0\r\n\r\n`],
  ['a nomination of Residency-Attestation', sized('Connection: close, residency-attestation')],
  ['a Connection that is no list of tokens', sized('Connection: "close"')],
];
for (const [name, bytes] of heads) {
  scene(`${name}: 502, on record as malformed, and the connection is ended`, async (mesh) => {
    const one = await play(mesh, [bytes]);
    assert.deepEqual([one.status, one.code, one.whole], [502, 'upstream_failed', true], one.text);
    assert.deepEqual([one.a2.end, one.a2.status, ...one.outcomes],
      ['upstream_error', 502, 'malformed']);
    await isGone(one.connection);
  });
}

const framings = [
  ['a chunk size of 0x5', '0x5\r\nabcde\r\n0\r\n\r\n'],
  ['a chunk size of +5', '+5\r\nabcde\r\n0\r\n\r\n'],
  ['a chunk size of -5', '-5\r\nabcde\r\n0\r\n\r\n'],
  ['a chunk size of 17 digits', '00000000000000005\r\nabcde\r\n0\r\n\r\n'],
  ['an empty chunk size', '\r\nabcde\r\n0\r\n\r\n'],
  ['a space before the chunk size', ' 5\r\nabcde\r\n0\r\n\r\n'],
  ['a space behind the chunk size', '5 \r\nabcde\r\n0\r\n\r\n'],
  ['a bare LF behind the chunk size', '5\nabcde\r\n0\r\n\r\n'],
  ['a chunk extension of 300 bytes', `5;a=${'a'.repeat(300)}\r\nabcde\r\n0\r\n\r\n`],
  ['a chunk extension with a bare LF', '5;a\nabcde\r\n0\r\n\r\n'],
  ['a trailer with _', '0\r\nX_A: a\r\n\r\n'],
  ['a trailer without a name', '0\r\n: a\r\n\r\n'],
  ['a folded trailer', '0\r\nX-A: a\r\n b\r\n\r\n'],
  ['a trailer Content-Length', '0\r\nContent-Length: 5\r\n\r\n'],
  ['a trailer Transfer-Encoding', '0\r\ntransfer-encoding: chunked\r\n\r\n'],
  ['33 trailers', `0\r\n${Array.from({ length: 33 }, (_, i) => `X-${i}: a\r\n`).join('')}\r\n`],
];
for (const [name, bytes] of framings) {
  scene(`${name}, before anything of the body: 502, malformed`, async (mesh) => {
    const one = await play(mesh, [CHUNKED + bytes]);
    assert.deepEqual([one.status, one.code, one.whole], [502, 'upstream_failed', true], one.text);
    assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'malformed']);
    await isGone(one.connection);
  });
  scene(`${name}, behind the first chunk: the answer has no end, malformed`, async (mesh) => {
    const one = await play(mesh, [CHUNKED + CHUNK + bytes]);
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

const LENGTH_HEAD = head(`Content-Length: ${SIZE}`);
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
    const bodies = [LENGTH_HEAD + BODY.slice(0, 5), CHUNKED + CHUNK.slice(0, 8), CHUNKED + CHUNK,
      `${CHUNKED}${CHUNK}0\r\n`, ...(end === CLOSE ? [] : [OPEN_HEAD + BODY])];
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
  ['chunks', [`${CHUNKED}${CHUNK}0\r\n\r\n`], BODY],
  ['a chunk size of 16 digits', [`${CHUNKED}${HEX.padStart(16, '0')}\r\n${BODY}\r\n0\r\n\r\n`], BODY],
  ['an extension of a chunk', [`${CHUNKED}${HEX};a="b c"\r\n${BODY}\r\n0;z\r\n\r\n`], BODY],
  ['trailers', [`${CHUNKED}${CHUNK}0\r\nX-Late: yes\r\nSet-Cookie: a=b\r\n\r\n`], BODY],
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

scene('a type that Connection takes off is not handed on', async (mesh) => {
  const one = await play(mesh, [sized('Connection: Content-Type')]);
  assert.ok(one.status === 502 || one.fields.get('content-type')[0] !== 'application/json', one.text);
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
