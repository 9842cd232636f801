// A backend that died before anything of its answer was forwarded: what may be done twice goes to
// the next lawful backend once, what is dear to do twice goes nowhere. A connection that was kept
// from an earlier request and ends without a byte says nothing about the backend, which may be asked
// again on a new connection (docs/endpoints.md).
import assert from 'node:assert/strict';
import { attestationsOf, chat, chatBody, useMesh } from './lib.mjs';
import { askForm, BOUNDARY, formOf } from './form.mjs';
import { answer, BODY, CLOSE, RESET } from './raw-backend.mjs';

const DIES = ['HTTP/1.1 2', CLOSE]; // its answer began, so that the connection was no stale one

// Both play one list of scripts: who of them comes first does not matter.
const scene = useMesh({
  backends: [
    { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
    { name: 'de-2', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
    { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
  ],
  charter: (charter) => { charter.tenants.acme.passthrough = ['/v1/own/thing']; },
  prepare: (mesh) => { mesh.standins.get('de-2').scripts = mesh.de.scripts; },
});

const seen = async (mesh) => mesh.seen('eu-central');

// Until both backends answer. Retries are a tenth of the requests: eleven good ones earn the one
// that a scene needs, and keep what it costs from ejecting anybody.
async function settle(mesh, who) {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.each('eu-central', (one) => one.forget());
  await mesh.central.until('both backends answer', async () => {
    for (let i = 0; i < 11; i += 1) {
      const one = await chat(mesh.central, who, { messages: [{ role: 'user', content: `${i}` }] });
      assert.equal(one.status, 200, one.text);
    }
    return mesh.in('eu-central').every((backend) => backend.requests().length > 0);
  });
}

// One request that the first backend answers with the script; what came of it.
async function play(mesh, path, body, type, script = [RESET]) {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await settle(mesh, who);
  await mesh.each('eu-central', (one) => one.forget());
  mesh.de.play(script);
  const one = await askForm(mesh.central, who, { path, body: Buffer.from(body),
    headers: { 'content-type': type } });
  mesh.de.scripts.length = 0;
  const a2 = await mesh.central.until('the A2', () => mesh.central.readLedger().at(-1).a2
    .find((record) => record.txn === one.headers['x-request-id']));
  const requests = await seen(mesh);
  assert.equal(requests.length, a2.attempts.length, 'what is on record is what they received');
  return { ...one, a2, requests, outcomes: a2.attempts.map((attempt) => attempt.outcome) };
}

const JSON_TYPE = 'application/json';
const FORM_TYPE = `multipart/form-data; boundary=${BOUNDARY}`;
const json = (more) => [JSON.stringify({ model: 'small', ...more }), JSON_TYPE];
// The model is last, so that the form is held whole and could be sent again.
const form = (name) => [formOf([name, 'bytes', 'a.wav'], ['model', 'small']), FORM_TYPE];

const again = [
  ['/v1/chat/completions', ...json(chatBody())],
  ['/v1/chat/completions', ...json(chatBody({ stream: true }))],
  ['/v1/completions', ...json({ prompt: 'a' })],
  ['/v1/embeddings', ...json({ input: 'a' })],
  ['/v1/responses', ...json({ input: 'a' })],
  ['/v1/messages', ...json({ max_tokens: 4, messages: [] })],
  ['/v1/moderations', ...json({ input: 'a' })],
  ['/v1/rerank', ...json({ query: 'a', documents: ['b'] })],
  ['/v1/score', ...json({ text_1: 'a', text_2: 'b' })],
  ['/v1/audio/transcriptions', ...form('file')],
  ['/v1/audio/translations', ...form('file')],
];
for (const [i, [path, body, type]] of again.entries()) {
  scene(`${path}${i === 1 ? ', streamed' : ''}: it dies, then sent to the other backend, once`,
    async (mesh) => {
      const one = await play(mesh, path, body, type, DIES);
      assert.equal(one.status, 200, one.text);
      assert.deepEqual(one.outcomes, ['eof', 'ok']);
      assert.notEqual(one.a2.attempts[0].target, one.a2.attempts[1].target);
      const [first, second] = one.requests;
      assert.deepEqual(second.bytes, first.bytes, 'the same body');
      assert.notDeepEqual(second.fields.get('residency-attestation'),
        first.fields.get('residency-attestation'), 'under an attestation of its own');
    });
}

for (const [name, end] of [['reset', RESET], ['closed', CLOSE]]) {
  scene(`a kept connection is ${name} under a request: it goes out again on a new one, once`,
    async (mesh) => {
      const one = await play(mesh, '/v1/chat/completions', ...json(chatBody()), [end]);
      assert.equal(one.status, 200, one.text);
      assert.deepEqual(one.outcomes, ['eof', 'ok']);
      const [first, second] = one.requests;
      assert.deepEqual(second.bytes, first.bytes, 'the same body');
    });
}

const once = [
  ['/v1/audio/speech', ...json({ input: 'a', voice: 'b' })],
  ['/v1/images/generations', ...json({ prompt: 'a ship' })],
  ['/v1/images/edits', ...form('image')],
  ['/v1/images/variations', ...form('image')],
  ['/v1/own/thing', ...json({})],
  ['/v1/audio/transcriptions', formOf(['model', 'small'], ['file', 'bytes', 'a.wav']), FORM_TYPE],
];
for (const [i, [path, body, type]] of once.entries()) {
  scene(`${path}${i === 5 ? ', streamed through' : ''}: reset, and no other backend hears of it`,
    async (mesh) => {
      const one = await play(mesh, path, body, type);
      assert.deepEqual([one.status, one.json().error.code], [502, 'upstream_failed'], one.text);
      assert.deepEqual([one.a2.end, ...one.outcomes], ['upstream_error', 'eof']);
    });
}

for (const path of ['/v1/audio/speech', '/v1/images/generations']) {
  scene(`${path}: turned away unheard with 503, it goes to the other backend`, async (mesh) => {
    const [body, type] = json({ input: 'a', voice: 'b', prompt: 'c' });
    const one = await play(mesh, path, body, type,
      [answer(BODY, ['Retry-After: 1'], 'HTTP/1.1 503 Busy')]);
    assert.equal(one.status, 200, one.text);
    assert.deepEqual(one.outcomes, ['status_503', 'ok']);
    assert.equal(attestationsOf(one).length, 1);
  });
}

scene('half an answer\'s head is no answer, and no reason to stay', async (mesh) => {
  const [body, type] = json(chatBody());
  const one = await play(mesh, '/v1/chat/completions', body, type,
    ['HTTP/1.1 200 OK\r\nX-', RESET]);
  assert.deepEqual([one.status, ...one.outcomes], [200, 'eof', 'ok'], one.text);
});

scene('of an answer that has begun nothing is repeated', async (mesh) => {
  const [body, type] = json(chatBody());
  await assert.rejects(play(mesh, '/v1/chat/completions', body, type,
    [answer(BODY).slice(0, -5), RESET]), /aborted|reset/i);
  assert.equal((await seen(mesh)).length, 1);
});
