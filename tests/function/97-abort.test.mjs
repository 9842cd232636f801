// A client that leaves cancels the backend, in every phase, and the record says so.
import assert from 'node:assert/strict';
import { ask, chat, chatBody, readA1, until, useMesh } from './lib.mjs';

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 4 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 4 }],
});

// Generous: the rule is 100 ms, and the machine of a test may have other work.
const BOUND_MS = 2000;

// A caller of a tenant at a node, and the backend in whose hands it leaves once `when` is so.
async function leaves(mesh, { node, tenant, from, backend, script, body, when }) {
  const who = { token: await mesh.token(tenant), from };
  await mesh.serves(node, tenant, from, backend.region);
  await backend.forget();
  await backend.script(script);
  const leaving = new AbortController();
  let head = null;
  const answer = ask(node, who, { body: chatBody(body), signal: leaving.signal,
    onHead: (one) => { head = one; } }).catch(() => 'gone');
  try {
    await when(() => head);
    const started = process.hrtime.bigint();
    leaving.abort();
    await backend.until('in_flight=0&aborted=1');
    const tookMs = Number(process.hrtime.bigint() - started) / 1e6;
    assert.equal(await answer, 'gone');
    assert.ok(tookMs < BOUND_MS, `the backend heard of it after ${tookMs} ms`);
  } finally {
    leaving.abort();
    await backend.script({});
  }
  const [seen] = await backend.requests();
  const { claims } = readA1(seen.fields.get('residency-attestation')[0]);
  const a2 = await node.until('the A2', () =>
    node.readLedger().at(-1).a2.find((one) => one.txn === claims.txn));
  assert.equal(a2.end, 'client_abort');
}

const german = (mesh) => ({
  node: mesh.central, tenant: 'acme/de', from: 'DE', backend: mesh.de, script: {}, body: {},
  when: () => mesh.de.until('running=1'),
});

scene('before the answer begins', (mesh) => leaves(mesh, {
  ...german(mesh), script: { delay_ms: 60_000 },
}));

scene('before the first token of a stream', (mesh) => leaves(mesh, {
  ...german(mesh), script: { first_byte_delay_ms: 60_000 }, body: { stream: true },
}));

scene('in the middle of a stream', (mesh) => leaves(mesh, {
  ...german(mesh), script: { stall_after_events: 2 }, body: { stream: true },
  when: (head) => until('the stream has begun', () => head() !== null),
}));

scene('through two nodes', async (mesh) => {
  await mesh.ie.stop();
  await leaves(mesh, {
    ...german(mesh), node: mesh.west, tenant: 'acme/fr', from: 'FR', script: { delay_ms: 60_000 },
  });
});

scene('afterwards everything is answered as before', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const answers = await Promise.all(Array.from({ length: 4 }, () => chat(mesh.central, who)));
  assert.deepEqual(answers.map((one) => one.status), [200, 200, 200, 200]);
});
