// What the ledgers say of the whole run, read by the product's own verifier and, for what the
// model servers saw, by the tests' second reader.
import assert from 'node:assert/strict';
import { framesOf } from '../function/lib.mjs';

const VERIFY_MS = 900_000; // half an hour of requests, each with its signature

// Adds the attestations that the model servers saw since they last began; quiet() ends them.
export async function addSightings(mesh, seen) {
  for (const standin of mesh.standins.values()) {
    for (const request of await standin.requests()) {
      const field = request.fields.get('residency-attestation');
      assert.equal(field?.length, 1, `${standin.name} saw a request without an attestation`);
      seen.add(field[0]);
    }
  }
}

export async function checkEvidence(mesh, seen, t) {
  assert.ok(seen.size > 0, 'the model servers remember requests');
  for (const node of mesh.nodes.values()) {
    await node.stop(60_000);
    const open = new Set();
    let pairs = 0;
    for (const { type, text } of framesOf(node.ledger)) {
      if (type === 'a1') {
        seen.delete(text);
        const { txn, verdict } = JSON.parse(Buffer.from(text.split('.')[1], 'base64url'));
        if (verdict === 'permit') {
          open.add(txn);
        }
      } else if (type === 'a2') {
        const { txn } = JSON.parse(text);
        assert.ok(open.delete(txn), `${node.name}: an end for an open request: ${txn}`);
        pairs += 1;
      }
    }
    assert.deepEqual([...open], [], `${node.name}: every request has its end`);
    const { code, stdout, stderr } = await mesh.verifyLedger(node, { timeoutMs: VERIFY_MS });
    assert.equal(code, 0, `${node.name}: ${stdout}${stderr}`);
    t.diagnostic(`${node.name}: ${pairs} requests, ${stdout.trim().split('\n').at(-1)}`);
  }
  assert.deepEqual([...seen], [], 'what a model server saw has its A1 in a ledger');
}
