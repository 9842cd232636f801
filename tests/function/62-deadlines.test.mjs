// How long a request may take: each endpoint by its own deadlines, and the whole of it.
import assert from 'node:assert/strict';
import { ask, chat, useMesh } from './lib.mjs';

const scene = useMesh({
  config: (config) => {
    config.timeouts = { ...config.timeouts, first_byte_ms: 20_000, total_ms: 30_000,
      endpoints: { embeddings: { first_byte_ms: 300 }, completions: { total_ms: 1000 },
        responses: { stream_idle_ms: 300 } } };
  },
});

const LATE = { delay_ms: 5000 };

// What the caller got, how long it took, and what the A2 says.
async function timed(mesh, path, body, script) {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.each('eu-central', (one) => one.script(script));
  try {
    const began = Date.now();
    const answer = await ask(mesh.central, who, { path, body }).catch((error) => ({ error }));
    const tookMs = Date.now() - began;
    const a2 = await mesh.central.until('the A2', () => mesh.central.readLedger().at(-1).a2
      .find((one) => one.end === 'timeout' && one.times.received >= began - 1000));
    return { ...answer, tookMs, a2 };
  } finally {
    await mesh.each('eu-central', (one) => one.script({}));
  }
}

function isLate(one) {
  assert.equal(one.status, 504, one.text);
  assert.equal(JSON.parse(one.text).error.code, 'upstream_timeout');
  assert.ok(one.tookMs < LATE.delay_ms, `${one.tookMs} ms`);
  assert.deepEqual(one.a2.attempts.map((attempt) => attempt.outcome), ['timeout']);
}

scene('an endpoint has its own time until the answer begins', async (mesh) => {
  isLate(await timed(mesh, '/v1/embeddings', { model: 'small', input: 'a' }, LATE));
});

scene('others are not bound by it', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.each('eu-central', (one) => one.script({ delay_ms: 700, count: 1 }));
  assert.equal((await chat(mesh.central, who)).status, 200);
  await mesh.each('eu-central', (one) => one.script({}));
});

scene('the whole request has a time, whatever came of it so far', async (mesh) => {
  isLate(await timed(mesh, '/v1/completions', { model: 'small', prompt: 'a' }, LATE));
  const events = Array.from({ length: 200 }, () => ['data: {"choices":[]}\n\n', 50]).flat();
  const one = await timed(mesh, '/v1/completions',
    { model: 'small', prompt: 'a', stream: true }, { chunks: events, then: 'stall' });
  assert.ok(one.error !== undefined || one.text.includes('upstream_timeout'), 'cut, and told so');
  assert.ok(one.tookMs < 8000, `${one.tookMs} ms`);
});

scene('a backend that works when the time is over is not ejected for it', async (mesh) => {
  for (let i = 0; i < 4; i += 1) {
    isLate(await timed(mesh, '/v1/completions', { model: 'small', prompt: 'a' }, LATE));
  }
  const { text } = await mesh.central.admin('/ready');
  assert.equal(JSON.parse(text).backends['de-1'], 'up');
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const answer = await chat(mesh.central, who);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(JSON.parse(Buffer.from(answer.headers['residency-attestation'].split('.')[1],
    'base64url')).target.region, 'eu-central');
});

scene('between two bytes of an answer an endpoint has its own time', async (mesh) => {
  const one = await timed(mesh, '/v1/responses', { model: 'small', input: 'a', stream: true },
    { stall_after_events: 2 });
  assert.ok(one.error !== undefined, 'a stream that stops is cut');
  assert.ok(one.tookMs < 5000, `${one.tookMs} ms`);
});

scene('in the queue the time runs too', async (mesh) => {
  const who = { token: await mesh.token('clinic'), from: 'DE' };
  await mesh.serves(mesh.central, 'clinic', 'DE');
  await mesh.de.hold(true);
  const held = Array.from({ length: 16 }, () => chat(mesh.central, who));
  await mesh.de.until('in_flight=16');
  const one = await ask(mesh.central, who, { path: '/v1/completions',
    body: { model: 'small', prompt: 'a' } });
  assert.equal(one.status, 504, one.text);
  await mesh.de.hold(false);
  assert.deepEqual((await Promise.all(held)).map((answer) => answer.status),
    Array.from({ length: 16 }, () => 200));
});
