// What happens when a backend or a whole region fails: the next lawful place, or none.
import assert from 'node:assert/strict';
import { ask, attestationsOf, chat, chatBody, hashOf, isSignedBy, until, useMesh } from './lib.mjs';

const scene = useMesh();
const caller = async (mesh, tenant, from) => ({ token: await mesh.token(tenant), from });

// First: the scenes below leave the clinic's only backend ejected for a while.
scene('the clinic, pinned to DE: 503 when DE is down, though IE is idle; then back', async (mesh) => {
  const who = await caller(mesh, 'clinic', 'DE');
  await mesh.serves(mesh.central, 'clinic', 'DE');
  await mesh.each('eu-west', (one) => one.forget());
  await mesh.each('eu-central', (one) => one.stop());
  try {
    for (const node of [mesh.central, mesh.west]) {
      const answer = await node.until('a refusal with 503', async () => {
        const one = await chat(node, who);
        return one.status === 503 && one;
      });
      assert.equal(answer.json().error.code, 'no_legal_capacity');
      assert.ok(Number(answer.headers['retry-after']) >= 1);
    }
    assert.deepEqual((await mesh.seen('eu-west')), []);
  } finally {
    await mesh.each('eu-central', (one) => one.start());
  }
  await mesh.serves(mesh.central, 'clinic', 'DE');
});

const failures = [['a reset', { reset: true }], ['half a head', { truncate_head: true }],
  ['no HTTP', { raw: 'nonsense\r\n\r\n' }], ['a 500', { status: 500 }],
  ['a 503', { status: 503 }]];
for (const [name, script] of failures) {
  scene(`a backend that answers with ${name} is replaced by the next lawful one`, async (mesh) => {
    const who = await caller(mesh, 'acme/de', 'DE');
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    const [first] = mesh.in('eu-central');
    await first.forget();
    await mesh.central.until('it answers: three failures in a row would eject it', async () => {
      assert.equal((await chat(mesh.central, who)).status, 200);
      return (await first.stats()).total > 0;
    });
    await first.forget();
    await first.script({ ...script, count: 1 });
    await mesh.central.until('the failing backend was asked', async () => {
      const answer = await chat(mesh.central, who);
      assert.equal(answer.status, 200, answer.text);
      return (await first.stats()).total > 0;
    });
    await first.script({});
  });
}

scene('where two fail there is no third attempt: 502', async (mesh) => {
  const who = await caller(mesh, 'acme/de', 'DE');
  // Retries are a tenth of the requests: earn the one that this needs.
  for (let i = 0; i < 20; i++) {
    assert.equal((await chat(mesh.central, who)).status, 200);
  }
  await mesh.each('eu-central', (one) => one.forget());
  await mesh.each('eu-central', (one) => one.script({ truncate_head: true, count: 1 }));
  await mesh.ie.forget();
  const answer = await chat(mesh.central, who);
  await mesh.each('eu-central', (one) => one.script({}));
  assert.equal(answer.status, 502, answer.text);
  assert.equal(answer.json().error.code, 'upstream_failed');
  const totals = await mesh.each('eu-central', async (one) => (await one.stats()).total);
  assert.deepEqual([...totals, (await mesh.ie.stats()).total], [1, 1, 0]);
});

scene('one failing backend of two costs no request', async (mesh) => {
  const who = await caller(mesh, 'acme/de', 'DE');
  const [first] = mesh.in('eu-central');
  await first.script({ reset: true });
  try {
    for (let i = 0; i < 8; i += 1) {
      const answer = await chat(mesh.central, who);
      assert.equal(answer.status, 200, answer.text);
      const [{ claims }] = attestationsOf(answer);
      assert.notEqual(claims.target.backend, first.name);
    }
  } finally {
    await first.script({});
  }
});

scene('the failed attempt is on record beside the good one', async (mesh) => {
  const who = await caller(mesh, 'acme/de', 'DE');
  const records = await mesh.central.until('an A2 with two attempts', async () => {
    const [first] = mesh.in('eu-central');
    await first.script({ reset: true, count: 1 });
    await chat(mesh.central, who);
    await first.script({});
    const { a1, a2 } = mesh.central.readLedger().at(-1);
    const both = a2.find((one) => one.attempts.length === 2 && one.end === 'complete');
    return both && { both, a1: a1.filter((one) => one.claims.txn === both.txn) };
  });
  assert.equal(records.a1.length, 2);
  assert.deepEqual(records.a1.map((one) => one.claims.jti.split('.').at(-1)), ['0', '1']);
  assert.equal(records.both.attempts[1].outcome, 'ok');
  assert.notEqual(records.both.attempts[0].outcome, 'ok');
  assert.equal(records.both.a1.hash, hashOf(records.a1[1].jws));
});

scene('acme/fr goes to eu-central when eu-west has nothing: two hops, two attestations',
  async (mesh) => {
    const who = await caller(mesh, 'acme/fr', 'FR');
    await mesh.serves(mesh.west, 'acme/fr', 'FR');
    await mesh.ie.stop();
    try {
      const answer = await mesh.west.until('a forwarded answer', async () => {
        const one = await chat(mesh.west, who);
        return one.status === 200 && one;
      });
      const [ingress, peer] = attestationsOf(answer);
      assert.deepEqual([ingress.claims.hop, peer.claims.hop], [0, 1]);
      assert.equal(ingress.claims.target.node, mesh.central.name);
      assert.equal(ingress.claims.target.region, 'eu-central');
      assert.equal(peer.claims.target.country, 'DE');
      assert.equal(peer.claims.prev, hashOf(ingress.jws));
      assert.equal(peer.claims.aud, `backend:${peer.claims.target.backend}`);
      for (const name of ['txn', 'tenant', 'sub', 'auth', 'role', 'class', 'origin', 'ingress',
        'policy']) {
        assert.deepEqual(peer.claims[name], ingress.claims[name], name);
      }
      assert.equal(peer.claims.request.commitment, ingress.claims.request.commitment);
      assert.ok(isSignedBy(await mesh.west.jwks(), ingress));
      assert.ok(isSignedBy(await mesh.central.jwks(), peer));
      const a2 = await mesh.west.until('the A2 of the ingress', () =>
        mesh.west.readLedger().at(-1).a2.find((one) => one.txn === ingress.claims.txn));
      assert.deepEqual(a2.attempts.map((one) => one.peer), [hashOf(peer.jws)]);
      // The report has the backend's facts, of which only the peer's record knows.
      const row = await until('a row of it', async () => {
        const { records } = await mesh.report();
        const [head, ...rows] = records.trimEnd().split('\r\n').map((one) => one.split(','));
        const cells = rows.find((one) => one.includes(ingress.claims.txn));
        return Object.fromEntries(head.map((name, i) => [name, cells[i]]));
      });
      const { target, model } = peer.claims;
      assert.deepEqual([row.backend, row.place, row.model_version, row.model_evidence],
        [target.backend, target.country, model.version, model.evidence]);
    } finally {
      await mesh.ie.start();
    }
    await mesh.serves(mesh.west, 'acme/fr', 'FR', 'eu-west');
  });

scene('the backend operated from the US serves nobody whose operators must be of the EU',
  async (mesh) => {
    const who = await caller(mesh, 'acme/fr', 'FR');
    await mesh.us.forget();
    await mesh.each('eu-central', (one) => one.stop());
    await mesh.ie.stop();
    try {
      const answer = await mesh.west.until('a refusal with 503', async () => {
        const one = await chat(mesh.west, who);
        return one.status === 503 && one;
      });
      assert.equal(answer.json().error.code, 'no_legal_capacity');
      assert.deepEqual(await mesh.us.requests(), []);
    } finally {
      await mesh.each('eu-central', (one) => one.start());
      await mesh.ie.start();
    }
    await mesh.serves(mesh.west, 'acme/fr', 'FR', 'eu-west');
  });

scene('a forged Residency-Attestation of a client is dropped', async (mesh) => {
  const who = await caller(mesh, 'acme/de', 'DE');
  await mesh.serves(mesh.central, 'acme/de', 'DE', 'eu-central'); // its servers were just restarted
  await mesh.each('eu-central', (one) => one.forget());
  const before = await mesh.central.metric('portolan_forged_headers_dropped_total');
  const answer = await chat(mesh.central, { ...who, headers: {
    'Residency-Attestation': 'eyJhbGciOiJub25lIn0.e30.;idx=1', 'Residency-Commitment-Key': 'AAAA',
  } });
  assert.equal(answer.status, 200, answer.text);
  const [a1, ...others] = attestationsOf(answer);
  assert.deepEqual(others, []);
  const [seen] = await mesh.seen('eu-central');
  assert.deepEqual(seen.fields.get('residency-attestation'), [a1.jws]);
  assert.equal(seen.fields.get('residency-commitment-key'), undefined);
  assert.equal(await mesh.central.metric('portolan_forged_headers_dropped_total') - before, 2);
});

scene('a forged Residency-Attestation of a backend is dropped', async (mesh) => {
  const who = await caller(mesh, 'acme/de', 'DE');
  const body = '{"id":"x","choices":[]}';
  await mesh.each('eu-central', (one) => one.script({ raw: 'HTTP/1.1 200 OK\r\n'
    + 'Content-Type: application/json\r\nResidency-Attestation: forged;idx=1\r\n'
    + `Set-Cookie: a=b\r\nContent-Length: ${body.length}\r\n\r\n${body}`, count: 1 }));
  const answer = await chat(mesh.central, who);
  await mesh.each('eu-central', (one) => one.script({}));
  assert.equal(answer.status, 200, answer.text);
  assert.ok(!answer.headers['residency-attestation'].includes('forged'));
});

scene('a stream that is cut by the backend ends without its end, and is on record so',
  async (mesh) => {
    const who = await caller(mesh, 'acme/de', 'DE');
    await mesh.each('eu-central', (one) => one.script({ truncate_after_events: 2 }));
    let text = '';
    let txn = null;
    try {
      await ask(mesh.central, who, { body: chatBody({ stream: true }), onHead: (answer) => {
        txn = answer.headers['x-request-id'];
        answer.on('data', (chunk) => { text += chunk.toString('utf8'); });
      } }).catch(() => {});
    } finally {
      await mesh.each('eu-central', (one) => one.script({}));
    }
    assert.match(text, /^data: /);
    assert.ok(!text.includes('[DONE]'));
    const a2 = await mesh.central.until('the A2', () =>
      mesh.central.readLedger().at(-1).a2.find((one) => one.txn === txn));
    assert.equal(a2.end, 'upstream_truncated');
  });

scene('a backend that says it is busy is left for another, unless most of them are', async (mesh) => {
  const who = await caller(mesh, 'acme/de', 'DE');
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  for (let i = 0; i < 20; i++) {
    assert.equal((await chat(mesh.central, who)).status, 200);
  }
  // Of the three lawful ones two are busy, of which the second is not asked in vain again.
  await mesh.each('eu-central', (one) => one.script({ status: 429, retry_after: 30 }));
  try {
    const first = await chat(mesh.central, who);
    assert.ok([200, 503].includes(first.status), first.text);
    await mesh.each('eu-central', (one) => one.forget());
    await mesh.ie.forget();
    await mesh.ie.script({ status: 429, retry_after: 30 });
    const answer = await mesh.central.until('all are known to be busy', async () => {
      const one = await chat(mesh.central, who);
      return one.status === 503 && one;
    });
    assert.equal(answer.json().error.code, 'no_legal_capacity');
    assert.ok(Number(answer.headers['retry-after']) >= 1);
    const a2 = await mesh.central.until('the A2', () => mesh.central.readLedger().at(-1).a2
      .find((one) => one.txn === answer.headers['x-request-id']));
    assert.ok(a2.attempts.length <= 2, JSON.stringify(a2.attempts));
  } finally {
    await Promise.all([...mesh.standins.values()].map((one) => one.script({})));
  }
});
