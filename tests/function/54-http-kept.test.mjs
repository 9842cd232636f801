// A backend's connection after its answer: kept only where both sides know that nothing is left
// on it, and never for another customer.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { until, useMesh } from './lib.mjs';
import { BODY_CHUNK, CHUNKED, POISON } from './malformed.mjs';
import { answersIn, CHAT, requestOf, Talk } from './raw.mjs';
import { answer, BODY, CLOSE, CUT, GOOD, RawBackend, RESET } from './raw-backend.mjs';

const PLAIN_PORT = 29; // of two backends behind one address, in the mesh's block

let plain = null; // what stands at that address

const scene = useMesh({ prepare, backends: [
  { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

after(() => plain?.stop());

// Two more backends for the clinic, each with a model of its own, on one plain address.
async function prepare(mesh) {
  const port = mesh.ports.base + PLAIN_PORT;
  plain = new RawBackend({ name: 'plain', kind: 'openai', model: ['one', 'two'], port });
  await plain.start();
  await mesh.signCharter(({ backends, models, tenants }) => {
    for (const name of ['one', 'two']) {
      const { spki_sha256: pin, ...like } = backends['de-1'];
      models[`${name}@1`] = {};
      tenants.clinic.models[name] = [`${name}@1`];
      backends[`de-${name}`] = { ...like, assurance: 'network', url: `http://127.0.0.1:${port}`,
        models: { [`${name}@1`]: name } };
    }
  });
}

const OTHER = answer('{"id":"other"}');
const CHUNKS = `${CHUNKED}${BODY_CHUNK}0\r\n`;

// One client's connection: all its requests are one worker's, which has one pool.
async function begin(mesh) {
  const token = await mesh.token('clinic');
  await mesh.serves(mesh.central, 'clinic', 'DE');
  mesh.de.forget();
  const talk = await Talk.open(mesh.central);
  return { talk, ask: () => talk.ask(requestOf(mesh.central, token)) };
}

const kept = [
  ['a length', GOOD],
  ['a length of 0', answer('')],
  ['chunks', `${CHUNKS}\r\n`],
  ['chunks with trailers', `${CHUNKS}X-Late: a\r\n\r\n`],
  ['204', 'HTTP/1.1 204 No Content\r\n\r\n'],
  ['1xx before', `HTTP/1.1 103 Early Hints\r\n\r\n${GOOD}`],
  ['a refusal of the backend\'s own', GOOD.replace('200 OK', '400 Bad Request')],
  ['HTTP/1.0 and Connection: keep-alive',
    answer(BODY, ['Connection: keep-alive'], 'HTTP/1.0 200 OK')],
];
for (const [name, bytes] of kept) {
  scene(`an answer with ${name} ended exactly: the next request comes on the same connection`,
    async (mesh) => {
      const { talk, ask } = await begin(mesh);
      mesh.de.play([bytes], [bytes], [OTHER]);
      await ask();
      await ask();
      assert.equal((await ask()).body, '{"id":"other"}');
      assert.deepEqual(mesh.de.connections.map((one) => one.requests.length), [3]);
      // What the node wrote is three requests, with nothing between or behind them.
      const [{ text, requests }] = mesh.de.connections;
      assert.equal(text, requests.map((one) => `${one.head}\r\n\r\n${one.body}`).join(''));
      await talk.end();
    });
}

// Where the node sees what stands behind the answer as it reads it, or while the connection is
// idle. The first answer is the client's whole and at once in any case.
const idle = (client, ...steps) => [GOOD, () => until('the client has its answer',
  () => client.answers.length === 1), ...steps];
const left = [
  ['Connection: close', () => [answer(BODY, ['Connection: close'])]],
  ['Connection: keep-alive, Close', () => [answer(BODY, ['Connection: keep-alive, Close'])]],
  ['HTTP/1.0', () => [GOOD.replace('1.1', '1.0')]],
  ['no framing', () => [`HTTP/1.1 200 OK\r\n\r\n${BODY}`, CLOSE]],
  ['a byte behind it', () => [`${GOOD}x`]],
  ['an empty line behind it', () => [`${GOOD}\r\n`]],
  ['a second answer behind it', () => [GOOD + POISON]],
  ['a second answer behind its chunks', () => [`${CHUNKS}\r\n${POISON}`]],
  ['a body behind 204', () => [`HTTP/1.1 204 No Content\r\n\r\n${POISON}`]],
  ['a second answer while idle', (client) => idle(client, POISON)],
  ['a byte while idle', (client) => idle(client, 'x')],
  ['an orderly end while idle', (client) => idle(client, CLOSE)],
  ['a bare FIN while idle', (client) => idle(client, CUT)],
  ['a reset while idle', (client) => idle(client, RESET)],
];
for (const [name, script] of left) {
  scene(`${name}: the answer is whole, the connection is not used again`, async (mesh) => {
    const { talk, ask } = await begin(mesh);
    mesh.de.play(script(talk), [OTHER]);
    const first = await ask();
    const [used] = mesh.de.connections;
    await until('the node ends the backend\'s connection', () => used.closed);
    const second = await ask();
    assert.deepEqual([first.status === 204 ? 200 : first.status, second.status], [200, 200]);
    assert.equal(first.body, first.status === 204 ? '' : BODY);
    assert.equal(second.body, '{"id":"other"}');
    assert.deepEqual(mesh.de.connections.map((one) => one.requests.length), [1, 1]);
    assert.ok(!talk.text.includes('poison'), talk.text);
    assert.equal(answersIn(talk.text).length, 2);
    await talk.end();
  });
}

scene('bytes that answer nothing are counted, an end is not', async (mesh) => {
  const counted = () => mesh.central.metric('portolan_upstream_desync_total');
  for (const [name, script] of left) {
    const before = await counted();
    const { talk, ask } = await begin(mesh);
    mesh.de.play(script(talk));
    await ask();
    await until('the node ends the backend\'s connection', () => mesh.de.connections[0].closed);
    const isDesync = /behind|second|byte/.test(name);
    assert.equal(await counted() - before, isDesync ? 1 : 0, name);
    await talk.end();
  }
});

for (const [name, end] of [['closed', CLOSE], ['cut', CUT], ['reset', RESET]]) {
  scene(`a kept connection that is ${name} under a request: the only backend is asked again`,
    async (mesh) => {
      const { talk, ask } = await begin(mesh);
      mesh.de.play([GOOD], [end], [GOOD], [end], [end]);
      assert.equal((await ask()).status, 200);
      assert.equal((await ask()).status, 200);
      assert.deepEqual(mesh.de.connections.map((one) => one.requests.length), [2, 1]);
      assert.equal((await ask()).status, 502, 'once: what a new connection does is the backend\'s');
      await talk.end();
      mesh.de.scripts.length = 0;
      await mesh.serves(mesh.central, 'clinic', 'DE');
    });
}

scene('what came of a connection that was cut is nobody\'s answer', async (mesh) => {
  const { talk } = await begin(mesh);
  const token = await mesh.token('clinic');
  mesh.de.play([() => until('the client left', () => talk.isClosed), POISON], [OTHER]);
  talk.write(requestOf(mesh.central, token));
  await until('the backend has it', () => mesh.de.requests().length === 1);
  await talk.end();
  await until('the node ends the backend\'s connection', () => mesh.de.connections[0].closed);
  const next = await Talk.open(mesh.central);
  assert.equal((await next.ask(requestOf(mesh.central, token))).body, '{"id":"other"}');
  await next.end();
});

scene('two customers never share a connection; two tenants of one customer may', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const { talk } = await begin(mesh);
  const order = ['clinic', 'acme/de', 'clinic', 'acme', 'acme/de', 'clinic', 'acme'];
  for (const tenant of order) {
    const one = await talk.ask(requestOf(mesh.central, await mesh.token(tenant)));
    assert.equal(one.status, 200, one.body);
  }
  assert.deepEqual(mesh.de.connections.map((one) => one.requests.length), [3, 4]);
  const tenantsOf = (connection) => new Set(connection.requests.map((one) =>
    JSON.parse(Buffer.from(one.fields.get('residency-attestation')[0].split('.')[1], 'base64url'))
      .tenant.split('/')[0]));
  assert.deepEqual(mesh.de.connections.map((one) => [...tenantsOf(one)]), [['clinic'], ['acme']]);
  await talk.end();
});

scene('two backends never share a connection, not even behind one address', async (mesh) => {
  const { talk } = await begin(mesh);
  const token = await mesh.token('clinic');
  const ask = (model) => talk.ask(requestOf(mesh.central, token,
    { body: CHAT.replace('"small"', `"${model}"`) }));
  for (const model of ['one', 'two']) {
    await mesh.central.until(`${model} is served`, async () => (await ask(model)).status === 200);
  }
  plain.forget();
  for (const model of ['one', 'two', 'one', 'one', 'two']) {
    assert.equal((await ask(model)).status, 200);
  }
  assert.deepEqual(plain.connections.map((one) =>
    one.requests.map((request) => JSON.parse(request.body).model)),
  [['one', 'one', 'one'], ['two', 'two']]);
  await talk.end();
});
