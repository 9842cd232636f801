// A mesh under mixed load for a long time: 500 callers whose streams are answered, aborted, cut
// and failed over while the charter is reloaded, model servers die and Redis comes and goes. At
// quiet points it must hold what it held before, and the evidence of all of it must be whole.
//
// PORTOLAN_SOAK_SECONDS: how long the load lasts (60; 1,800 with --long). PORTOLAN_SOAK_SEED:
// the seed of an earlier run, which prints it.
import assert from 'node:assert/strict';
import { LONG, useMesh } from '../function/lib.mjs';
import { Chaos } from './chaos.mjs';
import { Callers } from './callers.mjs';
import { checkEvidence } from './evidence.mjs';
import { footprint, quiet } from './quiet.mjs';
import { Random } from './random.mjs';

const SECONDS = Number(process.env.PORTOLAN_SOAK_SECONDS ?? (LONG ? 1800 : 60));
const CALLERS = 500;
const WARM_UP_S = Math.max(15, Math.min(120, SECONDS / 4));
const HEAP_GROWTH_MAX = 0.01;
const RSS_GROWTH_MAX = 0.05;

const BACKENDS = [
  { name: 'de-1', region: 'eu-central', kind: 'ollama', operator: 'DE', slots: 400 },
  { name: 'de-2', region: 'eu-central', kind: 'vllm', operator: 'FR', slots: 400 },
  { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 400 },
  { name: 'ie-us-1', region: 'eu-west', kind: 'llamacpp', operator: 'US', slots: 400 },
];

const scene = useMesh({
  backends: BACKENDS,
  config: (config) => {
    config.ledger = { segment_mib: 16 };
    // A stalled model server is given up while somebody still waits for it.
    config.timeouts = { ...config.timeouts, stream_idle_ms: 4000, first_byte_ms: 4000 };
  },
});

async function load(mesh, random, seconds) {
  const callers = new Callers(mesh, random, CALLERS);
  const chaos = new Chaos(mesh, random);
  await chaos.begin();
  await callers.start();
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    await chaos.step();
  }
  await chaos.end();
  await callers.stop();
  return callers.counts;
}

const percent = (was, is) => `${(100 * (is / was - 1)).toFixed(2)} %`;

scene(`${CALLERS} callers for ${SECONDS} s`, async (mesh, t) => {
  const random = new Random(process.env.PORTOLAN_SOAK_SEED);
  const nodes = [...mesh.nodes.values()];
  t.diagnostic(`seed ${random.seed}`);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.serves(mesh.west, 'acme/fr', 'FR');

  await load(mesh, random, WARM_UP_S);
  await quiet(mesh);
  const before = await Promise.all(nodes.map(footprint));
  const counts = await load(mesh, random, SECONDS - WARM_UP_S);
  await quiet(mesh);
  const after = await Promise.all(nodes.map(footprint));

  t.diagnostic(JSON.stringify(counts));
  nodes.forEach((node, i) => {
    t.diagnostic(`${node.name}: heap ${before[i].heap} -> ${after[i].heap} `
      + `(${percent(before[i].heap, after[i].heap)}), resident ${before[i].resident} -> `
      + `${after[i].resident} (${percent(before[i].resident, after[i].resident)}), `
      + `descriptors ${before[i].descriptors} -> ${after[i].descriptors}`);
  });
  // The load was what it says: all that may happen to a stream happened to many.
  for (const what of ['whole', 'aborted', 'cut']) {
    assert.ok(counts[what] > 10, `${what}: ${counts[what]}`);
  }
  nodes.forEach((node, i) => {
    assert.equal(after[i].descriptors, before[i].descriptors, `${node.name}: descriptors`);
    assert.ok(after[i].heap <= before[i].heap * (1 + HEAP_GROWTH_MAX), `${node.name}: heap`);
    assert.ok(after[i].resident <= before[i].resident * (1 + RSS_GROWTH_MAX),
      `${node.name}: resident memory`);
  });
  await checkEvidence(mesh, t);
}, { timeout: (SECONDS + 300) * 1000 });
