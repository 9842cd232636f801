// A reload forbids the place where a stream comes from: `on_revoke` says whether the stream may
// finish, or is cut.
import assert from 'node:assert/strict';
import { ask, chat, chatBody, readA1, until, useMesh } from './lib.mjs';

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 }],
});

const setRevoke = (charter, value) => { charter.tenants['acme/de'].on_revoke = value; };

async function a2Of(mesh) {
  const [seen] = await mesh.de.requests();
  const { claims } = readA1(seen.fields.get('residency-attestation')[0]);
  return mesh.central.until('the A2', () =>
    mesh.central.readLedger().at(-1).a2.find((one) => one.txn === claims.txn));
}

// A request of acme/de at de-1 while a reload takes DE out of its policy (or does what `change`
// says); gives how it came out. `when` says that it is where it is to be then.
async function whileRevoked(mesh, value, { script, body, when, change } = {}) {
  await mesh.signCharter((charter) => setRevoke(charter, value));
  await mesh.reload([mesh.central]);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.forget();
  await mesh.de.script(script);
  const source = mesh.readCharter().tenants['acme/de'];
  const revoked = await mesh.central.metric('portolan_requests_revoked_total');
  let head = null;
  const controller = new AbortController();
  const answer = ask(mesh.central, { token: await mesh.token('acme/de'), from: 'DE' }, {
    body: chatBody(body), onHead: (one) => {
      head = one;
      one.on('data', (chunk) => { one.seen = (one.seen ?? '') + chunk; });
    }, signal: controller.signal })
    .catch((error) => ({ broken: error.code ?? error.message, seen: head?.seen }));
  try {
    await when(() => head);
    await mesh.signCharter(change ?? ((charter) => {
      charter.tenants['acme/de'].operators_from = ['FR'];
    }));
    await mesh.reload([mesh.central]);
    if ((await mesh.de.stats()).running > 0 && value === 'cut' && change === undefined) {
      await mesh.de.until('in_flight=0');
    }
    const end = await answer; // a worker may take the new charter after the reload has answered
    return { ...end, a2: await a2Of(mesh),
      cut: (await mesh.central.metric('portolan_requests_revoked_total')) - revoked };
  } finally {
    controller.abort();
    await mesh.de.script({});
    await mesh.signCharter((charter) => { charter.tenants['acme/de'] = source; });
    await mesh.reload([mesh.central]);
  }
}

const streaming = {
  script: { token_interval_ms: 100, tokens: 30 }, body: { stream: true },
  when: (head) => until('the stream has begun', () => head()?.seen?.includes('data: ')),
};

scene('finish: the stream has its end', async (mesh) => {
  const { cut, status, text, a2 } = await whileRevoked(mesh, 'finish', streaming);
  assert.equal(cut, 0);
  assert.equal(status, 200);
  assert.ok(text.endsWith('data: [DONE]\n\n'), text);
  assert.equal(a2.end, 'complete');
});

scene('cut: the stream ends with an error event and no end', async (mesh) => {
  const { cut, broken, seen, a2 } = await whileRevoked(mesh, 'cut', streaming);
  assert.equal(cut, 1);
  assert.equal(broken, 'ECONNRESET', 'no final chunk');
  const events = seen.split('\n\n').filter((one) => one !== '');
  assert.match(events.at(-1), /^data: \{"error":\{.*"code":"residency_denied"\}\}$/);
  assert.ok(!seen.includes('[DONE]'));
  assert.equal(a2.end, 'denied');
  assert.deepEqual(a2.attempts.map((one) => [one.target, one.outcome]), [['de-1', 'revoked']]);
  await mesh.de.until('in_flight=0');
});

scene('cut: what has no answer yet is refused', async (mesh) => {
  const { cut, status, json, a2 } = await whileRevoked(mesh, 'cut', {
    script: { delay_ms: 60_000 }, body: {}, when: () => mesh.de.until('running=1') });
  assert.equal(cut, 1);
  assert.equal(status, 403);
  assert.equal(json().error.code, 'residency_denied');
  assert.equal(a2.end, 'denied');
  assert.equal(a2.attempts[0].outcome, 'revoked');
});

scene('cut: a place that stays lawful is left alone', async (mesh) => {
  const { cut, status, text, a2 } = await whileRevoked(mesh, 'cut', { ...streaming,
    change: (charter) => { charter.tenants['acme/de'].operators_from = ['DE', 'FR']; } });
  assert.equal(cut, 0);
  assert.equal(status, 200);
  assert.ok(text.endsWith('data: [DONE]\n\n'), text);
  assert.equal(a2.end, 'complete');
});

scene('cut: a caller who is forbidden is cut too', async (mesh) => {
  const { cut, broken, a2 } = await whileRevoked(mesh, 'cut', { ...streaming,
    change: (charter) => { charter.tenants['acme/de'].origins = ['FR']; } });
  assert.equal(cut, 1);
  assert.equal(broken, 'ECONNRESET');
  assert.equal(a2.end, 'denied');
});

scene('the ledger is whole, and everything is answered as before', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const answer = await chat(mesh.central, { token: await mesh.token('acme/de'), from: 'DE' });
  assert.equal(answer.status, 200);
  await mesh.whileStopped([mesh.central], async () => {
    const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
    assert.equal(code, 0, stdout + stderr);
  });
});
