// HTTP at the edges: what ends a connection, what may be sent ahead, what passes between client
// and backend beside the body, and what every refusal must carry.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { ask, chat, chatBody, FROM, rawAsk, statusesOf, useMesh } from './lib.mjs';
import { Held } from './held.mjs';

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 4 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 4 }],
});
const caller = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

const get = (where, host, more = '') =>
  `GET ${where} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
const post = (mesh, token, body, more = '') =>
  `POST /v1/chat/completions HTTP/1.1\r\nHost: ${mesh.central.authority}\r\n`
  + `Authorization: Bearer ${token}\r\nX-Forwarded-For: ${FROM.DE}\r\n${more}`
  + `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

// One answer of the backend, byte for byte.
async function scripted(mesh, raw, body) {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.script({ raw, count: 1 });
  try {
    await body(await caller(mesh));
  } finally {
    await mesh.de.script({});
  }
}

// --- what ends the connection --------------------------------------------------------------

for (const [name, status, first] of [
  ['another Host', 421, () => get('/.well-known/jwks.json', 'other.example')],
  ['a path of two readings', 400, (host) => get('/v1/a%2fb', host)],
  ['a path with %00', 400, (host) => get('/v1/models%00', host)],
]) {
  scene(`${name}: ${status}, and nothing behind it is interpreted`, async (mesh) => {
    const host = mesh.central.authority;
    const answer = await rawAsk(mesh.central, first(host) + get('/.well-known/jwks.json', host));
    assert.deepEqual(statusesOf(answer), [status], answer);
    assert.match(answer, /\r\nConnection: close\r\n/);
  });
}

scene('what any other refusal stands before goes on', async (mesh) => {
  const host = mesh.central.authority;
  const answer = await rawAsk(mesh.central, get('/v1/nothing', host)
    + get('/.well-known/jwks.json', host, 'Connection: close\r\n'));
  assert.deepEqual(statusesOf(answer), [404, 200], answer);
});

// --- what is sent ahead --------------------------------------------------------------------

scene('requests sent ahead wait, and are answered in their order', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const { token } = await caller(mesh);
  const host = mesh.central.authority;
  const body = JSON.stringify(chatBody());
  await mesh.de.hold(true);
  const held = await Held.open(mesh.central);
  try {
    held.write(post(mesh, token, body) + get('/v1/nothing', host).repeat(40)
      + post(mesh, token, body) + get('/.well-known/jwks.json', host, 'Connection: close\r\n'));
    await mesh.de.until('in_flight=1');
    // Far more than the node holds of what is ahead: it stays in the sockets.
    assert.equal(held.text, '');
  } finally {
    await mesh.de.hold(false);
  }
  await held.closed;
  assert.deepEqual(statusesOf(held.text), [200, ...Array(40).fill(404), 200, 200]);
});

scene('who sent one request ahead and leaves cancels the one under way', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.forget();
  await mesh.de.script({ delay_ms: 60_000 });
  try {
    const { token } = await caller(mesh);
    const held = await Held.open(mesh.central);
    held.write(post(mesh, token, JSON.stringify(chatBody()))
      + get('/v1/models', mesh.central.authority));
    await mesh.de.until('running=1');
    await held.end();
    await mesh.de.until('in_flight=0&aborted=1');
  } finally {
    await mesh.de.script({});
  }
});

// --- the mesh listener ---------------------------------------------------------------------

// A peer's connection to the mesh listener of `node`, with the certificate of `peer`.
function peerAsk(node, peer, bytes) {
  const own = peer.readConfig().listeners.mesh;
  const pem = (name) => readFileSync(path.resolve(peer.dir, own[name]));
  const at = node.readConfig().listeners.mesh.address;
  const port = Number(at.split(':').at(-1));
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, ca: pem('ca'), cert: pem('cert'),
      key: pem('key'), checkServerIdentity: () => undefined }, () => socket.write(bytes));
    let text = '';
    socket.setTimeout(10_000, () => socket.destroy(new Error('the node did not close')));
    socket.on('data', (chunk) => { text += chunk.toString('latin1'); });
    socket.once('error', reject);
    socket.once('close', () => resolve(text));
  });
}

scene('the mesh listener answers to the name in the charter alone', async (mesh) => {
  const close = 'Connection: close\r\n';
  const at = mesh.central.readConfig().listeners.mesh.address;
  for (const host of ['127.0.0.1', '127.0.0.1:1', at]) {
    const answer = await peerAsk(mesh.central, mesh.west, get('/health', host, close));
    assert.deepEqual(statusesOf(answer), [200], answer);
  }
  for (const host of ['other.example', 'localhost', '127.0.0.2', '[::1]', mesh.central.authority]) {
    const answer = await peerAsk(mesh.central, mesh.west,
      get('/health', host) + get('/health', '127.0.0.1'));
    assert.deepEqual(statusesOf(answer), [421], `${host}: ${answer}`);
  }
});

// --- between client and backend ------------------------------------------------------------

const JSON_HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';

scene('a backend is asked for a plain body', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.forget();
  const answer = await chat(mesh.central,
    { ...await caller(mesh), headers: { 'accept-encoding': 'gzip, br' } });
  assert.equal(answer.status, 200, answer.text);
  const [seen] = await mesh.seen('eu-central');
  assert.deepEqual(seen.fields.get('accept-encoding'), ['identity']);
});

for (const [name, fields, status] of [
  ['a coding that nobody asked for', 'Content-Encoding: gzip\r\n', 502],
  ['two codings', 'Content-Encoding: identity\r\nContent-Encoding: br\r\n', 502],
  ['no coding, said so', 'Content-Encoding: Identity\r\n', 200],
  ['two types', 'Content-Type: text/html\r\n', 502],
  ['a type that Connection takes off', 'Connection: content-type\r\n', 502],
  ['a length that no integer holds', 'Content-Length: 9999999999999999999\r\n', 502],
]) {
  scene(`an answer with ${name}: ${status}`, async (mesh) => {
    const length = fields.startsWith('Content-Length') ? '' : 'Content-Length: 2\r\n';
    await mesh.west.stop();
    try {
      await mesh.central.until('its peer is gone', async () =>
        (await mesh.central.admin('/ready')).text.includes('"eu-west-1":false'));
      await scripted(mesh, `${JSON_HEAD}${fields}${length}\r\n{}`, async (who) => {
        const answer = await chat(mesh.central, who);
        assert.equal(answer.status, status, answer.text);
        assert.equal(answer.headers['content-encoding'], undefined);
        if (status !== 200) {
          assert.equal(answer.json().error.code, 'upstream_failed');
        }
      });
    } finally {
      await mesh.west.start();
    }
  });
}

scene('an answer without a body has no field that frames one', async (mesh) => {
  await scripted(mesh, 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', async (who) => {
    const answer = await rawAsk(mesh.central, post(mesh, who.token, JSON.stringify(chatBody()))
      + get('/v1/nothing', mesh.central.authority, 'Connection: close\r\n'));
    assert.deepEqual(statusesOf(answer), [204, 404], answer);
    const [head] = answer.split('\r\n\r\n', 1);
    assert.doesNotMatch(head, /content-length|transfer-encoding/i);
    assert.match(head, /residency-attestation/i);
  });
});

scene('bytes behind an answer are counted, and reach nobody', async (mesh) => {
  const before = await mesh.central.metric('portolan_upstream_desync_total');
  await scripted(mesh, `${JSON_HEAD}Content-Length: 2\r\n\r\n{}${JSON_HEAD}Content-Length: 8\r\n\r\n`
    + '{"a":"b"}', async (who) => {
    const answer = await chat(mesh.central, who);
    assert.equal(answer.text, '{}');
    const next = await chat(mesh.central, who);
    assert.equal(next.json().choices.length, 1, next.text);
  });
  assert.equal(await mesh.central.metric('portolan_upstream_desync_total'), before + 1);
});

scene('a class that Connection would take off is refused, not lost', async (mesh) => {
  const { token } = await caller(mesh);
  for (const name of ['X-Portolan-Class', 'x-forwarded-for', 'Content-Type', 'X-Api-Key']) {
    const answer = await rawAsk(mesh.central, post(mesh, token, JSON.stringify(chatBody()),
      `X-Portolan-Class: health\r\nConnection: keep-alive, ${name}\r\n`));
    assert.deepEqual(statusesOf(answer), [400], `${name}: ${answer}`);
  }
});

// --- what refusals carry -------------------------------------------------------------------

scene('405 says what is taken instead', async (mesh) => {
  const who = await caller(mesh);
  for (const [method, where, allow] of [['GET', '/v1/chat/completions', 'POST'],
    ['DELETE', '/v1/models', 'GET'], ['POST', '/.well-known/jwks.json', 'GET'],
    ['PUT', '/v1/models', 'GET, POST']]) {
    const answer = await ask(mesh.central, who, { path: where, method });
    assert.equal(answer.status, 405, `${method} ${where}: ${answer.text}`);
    assert.equal(answer.headers.allow, allow);
  }
});

scene('503 says when to come again', async (mesh) => {
  const who = await caller(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.stop();
  await mesh.ie.stop();
  try {
    const answer = await mesh.central.until('a refusal with 503', async () => {
      const one = await chat(mesh.central, who);
      return one.status === 503 && one;
    });
    assert.match(answer.headers['retry-after'], /^[1-9]\d*$/);
  } finally {
    await mesh.de.start();
    await mesh.ie.start();
  }
});

// --- the admin listener --------------------------------------------------------------------

scene('the admin listener answers a malformed head', async (mesh) => {
  const { hostname, port } = new URL(mesh.central.adminUrl);
  const talk = (bytes) => new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname, () => socket.write(bytes));
    let text = '';
    socket.on('data', (chunk) => { text += chunk.toString('latin1'); });
    socket.once('error', reject);
    socket.once('close', () => resolve(text));
  });
  for (const [bytes, status] of [['GET /health HTTP/1.1\nHost: a\n\n', 400],
    ['GET /health HTTP/1.1\r\n\r\n', 400], ['PUT /health HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    [get('/health', 'a'), 200]]) {
    assert.deepEqual(statusesOf(await talk(bytes)), [status], bytes);
  }
});
