// A mesh under mixed load for a long time: 500 callers whose streams are answered, aborted, cut
// and failed over while the charter is reloaded, model servers die and Redis comes and goes. At
// quiet points it must hold what it held before, and the evidence of all of it must be whole.
//
// PORTOLAN_SOAK_SECONDS: how long the load lasts (60; 1,800 with --long). PORTOLAN_SOAK_SEED:
// the seed of an earlier run, which prints it. PORTOLAN_SOAK_MEMORY=0: no look at the heap and
// at resident memory, for a binary whose sanitizer has a heap of its own; no warm-up then.
//
// A worker keeps what it once needed (transactions, entries, blocks) for the next request. So the
// warm-up asks for more at once than the load does, twice the callers and each fault on
// all model servers: what grows from there on was not given back.
import assert from 'node:assert/strict';
import { LONG, useMesh } from '../function/lib.mjs';
import { Chaos } from './chaos.mjs';
import { Callers } from './callers.mjs';
import { addSightings, checkEvidence } from './evidence.mjs';
import { footprint, quiet } from './quiet.mjs';
import { Random } from './random.mjs';

const SECONDS = Number(process.env.PORTOLAN_SOAK_SECONDS ?? (LONG ? 1800 : 60));
const CALLERS = 500;
const WARM_UP_CALLERS = 2 * CALLERS;
const MEMORY = process.env.PORTOLAN_SOAK_MEMORY !== '0';
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
    // A stalled model server is given up while somebody still waits for it; and what the other
    // node keeps open, a client here, is gone when it is looked for.
    config.timeouts = { ...config.timeouts, stream_idle_ms: 4000, first_byte_ms: 4000,
      idle_ms: 2000 };
  },
});

async function load(mesh, random, count, work) {
  const callers = new Callers(mesh, random, count);
  const chaos = new Chaos(mesh, random);
  await chaos.begin();
  await callers.start();
  try {
    await work(chaos, callers);
    await chaos.end();
  } finally {
    await callers.stop();
  }
  return callers.counts;
}

async function steps(chaos, callers) {
  const deadline = Date.now() + SECONDS * 1000;
  while (Date.now() < deadline && callers.going) {
    await chaos.step();
  }
}

const percent = (was, is) => `${(100 * (is / was - 1)).toFixed(2)} %`;

scene(`${CALLERS} callers for ${SECONDS} s`, async (mesh, t) => {
  const random = new Random(process.env.PORTOLAN_SOAK_SEED);
  const nodes = [...mesh.nodes.values()];
  t.diagnostic(`seed ${random.seed}`);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.serves(mesh.west, 'acme/fr', 'FR');

  if (MEMORY) {
    await load(mesh, random, WARM_UP_CALLERS, (chaos) => chaos.worst());
  }
  const seen = new Set();
  await addSightings(mesh, seen);
  await quiet(mesh);
  const before = await Promise.all(nodes.map(footprint));
  const counts = await load(mesh, random, CALLERS, steps);
  await addSightings(mesh, seen);
  await quiet(mesh);
  const after = await Promise.all(nodes.map(footprint));

  t.diagnostic(JSON.stringify(counts));
  nodes.forEach((node, i) => { // the heap is 0 with a sanitizer
    t.diagnostic(`${node.name}: heap ${before[i].heap} -> ${after[i].heap} `
      + `(${percent(before[i].heap, after[i].heap)}), resident ${before[i].resident} -> `
      + `${after[i].resident} (${percent(before[i].resident, after[i].resident)}), `
      + `descriptors ${before[i].descriptors} -> ${after[i].descriptors}`);
  });
  // The load was what it says: all that may happen to a stream happened to many.
  for (const what of ['whole', 'unary', 'aborted', 'told']) {
    assert.ok(counts[what] > 10, `${what}: ${counts[what]}`);
  }
  nodes.forEach((node, i) => {
    assert.equal(after[i].descriptors, before[i].descriptors, `${node.name}: descriptors`);
    if (!MEMORY) {
      return;
    }
    assert.ok(after[i].heap <= before[i].heap * (1 + HEAP_GROWTH_MAX), `${node.name}: heap`);
    assert.ok(after[i].resident <= before[i].resident * (1 + RSS_GROWTH_MAX),
      `${node.name}: resident memory`);
  });
  await checkEvidence(mesh, seen, t);
}, { timeout: (2 * SECONDS + 300) * 1000 });
