// A node killed in the middle of its work, again and again: what a backend saw must be on record.
import assert from 'node:assert/strict';
import { chat } from './client.mjs';
import { readLedger } from './evidence.mjs';

const CALLERS = 8;

// Requests without pause until stop() is called; answers and breaks are both fine.
function load(mesh, node, token) {
  let going = true;
  let answered = 0;
  const callers = Array.from({ length: CALLERS }, async (_, i) => {
    while (going) {
      const answer = await chat(node, { token, from: 'DE' }, { stream: i % 2 === 0 })
        .catch(() => null);
      answered += answer?.status === 200 ? 1 : 0;
    }
  });
  return { answered: () => answered, stop: () => { going = false; return Promise.all(callers); } };
}

// The requests that the stand-ins saw, by the attestation that came with each.
async function sightings(mesh) {
  const seen = [];
  for (const standin of mesh.standins.values()) {
    for (const request of await standin.requests()) {
      const field = request.fields.get('residency-attestation');
      assert.equal(field?.length, 1, `${standin.name} saw a request without an attestation`);
      seen.push(field[0]);
    }
  }
  return seen;
}

function checkLedger(node, seen) {
  const runs = readLedger(node.ledger);
  const recorded = new Set(runs.flatMap((run) => run.a1.map((a1) => a1.jws)));
  const missing = seen.filter((jws) => !recorded.has(jws));
  assert.deepEqual(missing, [], 'every request that a backend saw has its A1 in the ledger');
  // All runs but the last are closed, and each permitted request in them has one end.
  let lost = 0;
  for (const run of runs.slice(0, -1)) {
    const ends = new Map();
    for (const a2 of run.a2) {
      assert.ok(!ends.has(a2.txn), 'one A2 for a request');
      ends.set(a2.txn, a2.end);
      lost += a2.end === 'lost' ? 1 : 0;
    }
    for (const a1 of run.a1) {
      if (a1.claims.verdict === 'permit') {
        assert.ok(ends.has(a1.claims.txn), `an end for ${a1.claims.jti}`);
      }
    }
    assert.equal(run.control.at(-1).kind, 'run_end');
  }
  return lost;
}

// Kills the node `rounds` times under load. "kill" may do it in another way than SIGKILL, and
// what it does with the files stands in for the machine's own crash.
export async function killRounds(mesh, node, rounds, { kill = () => node.kill(),
  start = () => node.start() } = {}) {
  const token = await mesh.token('acme/de');
  let lost = 0;
  for (let round = 0; round < rounds; round += 1) {
    await mesh.serves(node, 'acme/de', 'DE');
    for (const standin of mesh.standins.values()) {
      await standin.forget();
      await standin.script({ token_interval_ms: 5 });
    }
    const { answered, stop } = load(mesh, node, token);
    const target = 10 + ((round * 7) % 40);
    await node.until('answers under load', () => answered() >= target);
    await kill();
    await stop();
    const seen = await sightings(mesh);
    assert.ok(seen.length >= target);
    await start();
    lost = checkLedger(node, seen);
    for (const standin of mesh.standins.values()) {
      await standin.script({});
    }
  }
  assert.ok(lost > 0, 'some requests were open when the node died, and they are lost');
  await node.stop();
  const { code, stdout, stderr } = await mesh.verifyLedger(node);
  assert.equal(code, 0, stdout + stderr);
  await node.start();
}
