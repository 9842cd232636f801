// More backends than are looked at for each request: those that live are found among those that
// do not, and work is spread.
import assert from 'node:assert/strict';
import { chat, useMesh } from './lib.mjs';

const DEAD = 120; // beside the live ones; DRAW_ABOVE is 64, DRAW_COUNT 4

const scene = useMesh({
  backends: [
    { name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
    { name: 'de-2', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 },
  ],
  charter: (charter) => {
    charter.tenants['acme/de'].process_in = ['DE'];
    for (let i = 0; i < DEAD; i += 1) {
      charter.backends[`de-dead-${i}`] = { ...charter.backends['de-1'], url: 'https://127.0.0.1:1' };
    }
  },
});

scene(`two that live beside ${DEAD} that do not`, async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.hasBackends(mesh.central);
  await mesh.each('eu-central', (one) => one.forget());
  for (let i = 0; i < 60; i += 1) {
    const answer = await chat(mesh.central, who);
    assert.equal(answer.status, 200, answer.text);
  }
  const [a, b] = await Promise.all(mesh.in('eu-central').map((one) => one.stats()));
  assert.equal(a.total + b.total, 60);
  assert.ok(a.total > 5 && b.total > 5, `${a.total} and ${b.total}`);
});
