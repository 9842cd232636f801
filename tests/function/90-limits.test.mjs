// Counted for the node as a whole: a backend's slots, and a tenant's requests at one time,
// whichever of four workers the connections come to.
import assert from 'node:assert/strict';
import { ask, chat, chatBody, until, useMesh } from './lib.mjs';

const SLOTS = 4;
const LIMIT = 6;
const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: SLOTS },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 64 }],
  config: (config) => { config.workers = 4; },
  charter: (charter) => {
    for (const name of ['acme', 'acme/de', 'acme/fr']) {
      delete charter.tenants[name]?.limits;
    }
    charter.tenants['acme/de'].limits = { concurrent: LIMIT };
    charter.tenants['acme/de'].process_in = ['DE'];
  },
});

scene('40 at once: 4 at the backend, 6 in the node, the others told to come again', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const backend = mesh.de;
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await until('all slots are open', async () => {
    await backend.hold(true);
    const answers = Array.from({ length: SLOTS }, () => chat(mesh.central, who));
    await backend.until(`in_flight=${SLOTS}`).catch(() => {});
    const { in_flight: inFlight } = await backend.stats();
    await backend.hold(false);
    await Promise.all(answers);
    return inFlight === SLOTS;
  }, 60_000);
  await backend.forget();
  await backend.hold(true);
  const statuses = [];
  const answers = Array.from({ length: 40 }, async () => {
    const answer = await chat(mesh.central, who);
    statuses.push(answer.status);
    return answer;
  });
  await backend.until(`in_flight=${SLOTS}`);
  await until('the others are refused', () => statuses.length === 40 - LIMIT);
  assert.deepEqual(new Set(statuses), new Set([429]));
  assert.equal((await backend.stats()).in_flight, SLOTS);
  await backend.hold(false);
  const all = await Promise.all(answers);
  const good = all.filter((one) => one.status === 200);
  assert.equal(good.length, LIMIT);
  for (const one of all.filter((answer) => answer.status === 429)) {
    assert.equal(one.json().error.code, 'rate_limited');
    assert.ok(Number(one.headers['retry-after']) >= 1);
  }
  assert.equal((await backend.stats()).max_in_flight, SLOTS);
});

scene('waves of 6 over many connections: never above 4 and 6, and all are answered', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.de.forget();
  for (let wave = 0; wave < 30; wave += 1) {
    const answers = await Promise.all(Array.from({ length: LIMIT }, (_, i) =>
      chat(mesh.central, who, { stream: i % 2 === 0 })));
    for (const answer of answers) {
      assert.ok([200, 429].includes(answer.status), answer.text);
    }
  }
  const stats = await mesh.de.stats();
  assert.ok(stats.max_in_flight <= SLOTS, `max_in_flight ${stats.max_in_flight}`);
  assert.ok(stats.total > 100);
});

scene('slots and places come back when clients leave in every phase', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.de.hold(true);
  const leaving = new AbortController();
  const answers = Array.from({ length: LIMIT }, () =>
    ask(mesh.central, who, { body: chatBody(), signal: leaving.signal }).catch(() => 'gone'));
  await mesh.de.until(`in_flight=${SLOTS}`);
  leaving.abort();
  await Promise.all(answers);
  await mesh.de.until('in_flight=0');
  await mesh.de.hold(false);
  await until('all places are free again', async () => {
    const all = await Promise.all(Array.from({ length: LIMIT }, () => chat(mesh.central, who)));
    return all.every((one) => one.status === 200);
  });
});
