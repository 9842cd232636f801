// A node starts, says when it is ready, and goes when it is told to.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { badCharters } from './charters.mjs';
import { ask, BINARY, chat, readLedger, run, until, useMesh } from './lib.mjs';

const scene = useMesh();

scene('both nodes are ready, healthy and count', async (mesh) => {
  for (const node of mesh.nodes.values()) {
    assert.equal((await node.admin('/health')).status, 200);
    assert.equal((await node.admin('/ready')).status, 200);
    assert.equal(typeof await node.metric('portolan_requests_total'), 'number');
    assert.equal((await node.admin('/nothing')).status, 404);
  }
});

scene('metrics are in the text format, with a help and a type for each name', async (mesh) => {
  const { text } = await mesh.central.admin('/metrics');
  const names = new Set([...text.matchAll(/^(portolan_\w+)/gm)].map((match) => match[1]));
  assert.ok(names.size >= 5, text);
  for (const name of names) {
    assert.match(text, new RegExp(`^# HELP ${name} `, 'm'));
    assert.match(text, new RegExp(`^# TYPE ${name} `, 'm'));
  }
});

scene('the keys are public', async (mesh) => {
  const answer = await ask(mesh.central, {}, { path: '/.well-known/jwks.json' });
  assert.equal(answer.status, 200);
  const { keys } = answer.json();
  assert.ok(keys.length >= 1);
  for (const key of keys) {
    assert.ok(key.kid.length === 43 && key.d === undefined, 'a public key with its thumbprint');
  }
});

scene('SIGTERM: not ready, then gone with 0, the run closed in the ledger', async (mesh) => {
  const node = mesh.west;
  node.child.signal('SIGTERM');
  const { code, signal } = await node.child.exited;
  assert.deepEqual([code, signal], [0, null], node.child.tail());
  const last = readLedger(node.ledger).at(-1);
  assert.equal(last.control[0].kind, 'run_start');
  assert.equal(last.control.at(-1).kind, 'run_end');
  assert.equal(last.control.at(-1).reason, 'stop');
  await node.start();
  const runs = readLedger(node.ledger);
  assert.equal(runs.length, 2);
  assert.deepEqual(runs[1].control[0].previous.run, runs[0].control[0].run);
});

scene('SIGTERM while a request is under way: it is finished first', async (mesh) => {
  const node = mesh.west;
  const token = await mesh.token('acme/fr');
  await mesh.serves(node, 'acme/fr', 'FR', 'eu-west');
  await mesh.ie.hold(true);
  const answer = chat(node, { token, from: 'FR' });
  await mesh.ie.until('running=1');
  node.child.signal('SIGTERM');
  await until('the node says that it is going', async () =>
    (await node.admin('/ready')).status === 503);
  await mesh.ie.hold(false);
  assert.equal((await answer).status, 200);
  assert.deepEqual(await node.child.exited, { code: 0, signal: null });
  await node.start();
});

scene('a second node on the same ledger is refused', async (mesh) => {
  const file = path.join(path.dirname(mesh.central.config), 'second.jsonc');
  const config = mesh.central.readConfig();
  for (const listener of Object.values(config.listeners)) {
    listener.address = '127.0.0.1:0';
  }
  writeFileSync(file, JSON.stringify(config));
  const { code, stderr } = await run(BINARY, ['node', '--config', file]);
  assert.notEqual(code, 0);
  assert.match(stderr, /ledger/);
  assert.equal((await mesh.central.admin('/ready')).status, 200);
});

const faults = [
  ['an unknown key', (config) => ({ ...config, tiemouts: {} }), /tiemouts/],
  ['a wrong type', (config) => ({ ...config, workers: 'four' }), /workers/],
  ['a missing charter', (config) => ({ ...config, charter: 'none.json' }), /none\.json/],
  ['a certificate that is none', (config) => ({ ...config, listeners: { ...config.listeners,
    public: { ...config.listeners.public, cert: config.charter } } }), /charter\.dsse\.json/],
  ['a database that is none', (config) => ({ ...config,
    geoip: { ...config.geoip, path: config.listeners.public.cert } }), /MaxMind/],
  ['another mesh', (config) => ({ ...config, mesh: 'other' }), /mesh/],
  ['a node that the charter does not know', (config) => ({ ...config, node: 'moon-1' }), /moon-1/],
];

for (const [name, change, words] of faults) {
  scene(`a config with ${name} stops the start with a clear error`, async (mesh) => {
    const file = path.join(path.dirname(mesh.central.config), 'bad.jsonc');
    writeFileSync(file, JSON.stringify(change(mesh.central.readConfig())));
    const { code, stderr } = await run(BINARY, ['node', '--config', file]);
    assert.ok(code === 1 || code === 2, `exit ${code}`);
    assert.match(stderr, words);
  });
}

for (const [name, damage, words] of badCharters) {
  scene(`${name} stops the start with a clear error`, async (mesh) => {
    while (mesh.readCharter().version < 3) { // an older one is one, too
      await mesh.signCharter();
      await mesh.reload();
    }
    const envelope = readFileSync(mesh.envelope);
    const source = readFileSync(mesh.source);
    await mesh.central.stop();
    const runs = mesh.central.readLedger().length;
    try {
      await damage(mesh);
      const { code, stderr } = await run(BINARY, ['node', '--config', mesh.central.config]);
      assert.ok(code === 1 || code === 2, `exit ${code}`);
      assert.match(stderr, words);
      assert.equal(mesh.central.readLedger().length, runs, 'no run began');
    } finally {
      writeFileSync(mesh.envelope, envelope);
      writeFileSync(mesh.source, source);
      await mesh.central.start();
    }
  });
}

scene('text that is no JSON is refused with file and line', async (mesh) => {
  const file = path.join(path.dirname(mesh.central.config), 'bad.jsonc');
  writeFileSync(file, '{\n  "v": 1,\n  "mesh" "x"\n}\n');
  const { code, stderr } = await run(BINARY, ['node', '--config', file]);
  assert.notEqual(code, 0);
  assert.match(stderr, /bad\.jsonc:3/);
});

scene('the pinned highest charter version is kept on disk', async (mesh) => {
  const seen = path.join(path.dirname(mesh.central.config),
    mesh.central.readConfig().state_dir ?? 'state', 'charter-seen');
  assert.ok(existsSync(seen), seen);
  assert.match(readFileSync(seen, 'utf8'), /^\d+ [0-9a-f]{64}\n$/);
});
