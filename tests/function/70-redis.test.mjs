// Redis carries weather, not law: killed, frozen, empty or full of lies, answers go on.
import assert from 'node:assert/strict';
import { attestationsOf, chat, useMesh } from './lib.mjs';

const scene = useMesh();
const de = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

async function answersGoOn(mesh, count = 10) {
  const who = await de(mesh);
  for (let i = 0; i < count; i += 1) {
    const answer = await chat(mesh.central, who);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(attestationsOf(answer)[0].claims.target.country, 'DE');
  }
}

// The other region knows of a change only through Redis: an acme/fr request at eu-west goes to
// eu-central while eu-west has no backend.
const reaches = (mesh, timeout) => mesh.serves(mesh.west, 'acme/fr', 'FR', 'eu-central', timeout);

scene('both nodes have their records in Redis, with a time to live', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  for (const node of mesh.nodes.values()) {
    const ttl = await node.until('a record', async () => {
      const answer = await mesh.redis.command(`PTTL portolan:{${mesh.name}}:node:${node.name}`);
      return Number(answer.slice(1)) > 0 && Number(answer.slice(1));
    });
    assert.ok(ttl <= 15_000);
  }
});

scene('frozen: answers go on, and forwarding too', async (mesh) => {
  await mesh.ie.stop();
  await reaches(mesh);
  mesh.redis.freeze();
  try {
    await answersGoOn(mesh);
    const answer = await chat(mesh.west, { token: await mesh.token('acme/fr'), from: 'FR' });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(attestationsOf(answer).length, 2);
  } finally {
    mesh.redis.thaw();
  }
  await answersGoOn(mesh, 2);
});

scene('killed: answers go on, forwarding too; back: the records are there again', async (mesh) => {
  await reaches(mesh);
  await mesh.redis.kill();
  await answersGoOn(mesh);
  const answer = await chat(mesh.west, { token: await mesh.token('acme/fr'), from: 'FR' });
  assert.equal(answer.status, 200, answer.text);
  for (const node of mesh.nodes.values()) {
    assert.equal((await node.admin('/ready')).status, 200);
  }
  await mesh.redis.start();
  for (const node of mesh.nodes.values()) {
    await node.until('a record after the return', async () =>
      (await mesh.redis.command(`EXISTS portolan:{${mesh.name}}:node:${node.name}`)) === ':1');
  }
});

scene('emptied, and written to by somebody else: the legal set does not grow', async (mesh) => {
  await mesh.redis.command('FLUSHALL');
  const key = `portolan:{${mesh.name}}:node:${mesh.central.name}`;
  await mesh.redis.command(`SET ${key} {"v":1,"backends":[[0,1,999,0,0,0,1,0,255]]}`);
  await answersGoOn(mesh);
  const answer = await chat(mesh.central, { token: await mesh.token('clinic'), from: 'US' });
  assert.equal(answer.status, 403, answer.text);
});

scene('a node starts and serves without Redis', async (mesh) => {
  await mesh.redis.kill();
  await mesh.central.stop();
  await mesh.central.start();
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await answersGoOn(mesh);
});
