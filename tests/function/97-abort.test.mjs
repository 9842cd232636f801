// A client that leaves cancels the backend, in every phase, and the record says so.
import assert from 'node:assert/strict';
import { ask, chat, chatBody, until, useMesh } from './lib.mjs';

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 4 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 4 }],
});

// Generous: the rule is 100 ms, and the machine of a test may have other work.
const BOUND_MS = 2000;

async function leaves(mesh, node, tenant, from, backend, script, body, when) {
  const who = { token: await mesh.token(tenant), from };
  await mesh.serves(node, tenant, from);
  await backend.forget();
  await backend.script(script);
  const leaving = new AbortController();
  let head = null;
  const answer = ask(node, who, { body: chatBody(body), signal: leaving.signal,
    onHead: (one) => { head = one; } }).catch(() => 'gone');
  await when(() => head);
  const started = process.hrtime.bigint();
  leaving.abort();
  await backend.until('in_flight=0&aborted=1');
  const tookMs = Number(process.hrtime.bigint() - started) / 1e6;
  await backend.script({});
  assert.equal(await answer, 'gone');
  assert.ok(tookMs < BOUND_MS, `the backend heard of it after ${tookMs} ms`);
  const [seen] = await backend.requests();
  const { txn } = JSON.parse(Buffer.from(
    seen.fields.get('residency-attestation')[0].split('.')[1], 'base64url').toString('utf8'));
  const a2 = await node.until('the A2', () =>
    node.readLedger().at(-1).a2.find((one) => one.txn === txn));
  assert.equal(a2.end, 'client_abort');
}

const waiting = (backend) => () => backend.until('running=1');

scene('before the answer begins', (mesh) => leaves(mesh, mesh.central, 'acme/de', 'DE', mesh.de,
  { delay_ms: 60_000 }, {}, waiting(mesh.de)));

scene('before the first token of a stream', (mesh) => leaves(mesh, mesh.central, 'acme/de', 'DE',
  mesh.de, { first_byte_delay_ms: 60_000 }, { stream: true }, waiting(mesh.de)));

scene('in the middle of a stream', (mesh) => leaves(mesh, mesh.central, 'acme/de', 'DE', mesh.de,
  { stall_after_events: 2 }, { stream: true },
  (head) => until('the stream has begun', () => head() !== null)));

scene('through two nodes', async (mesh) => {
  await mesh.ie.stop();
  await mesh.serves(mesh.west, 'acme/fr', 'FR', 'eu-central');
  await leaves(mesh, mesh.west, 'acme/fr', 'FR', mesh.de, { delay_ms: 60_000 }, {},
    waiting(mesh.de));
});

scene('afterwards everything is answered as before', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const answers = await Promise.all(Array.from({ length: 4 }, () => chat(mesh.central, who)));
  assert.deepEqual(answers.map((one) => one.status), [200, 200, 200, 200]);
});
