// kill -9 leaves the page cache whole and so proves nothing about fdatasync. Here a shim under
// the node keeps the old content of all that was written and not yet synced, and after each kill
// it is put back: what then stands on the disk is what a lost machine would have kept.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ask, chat, chatBody, exists, LONG, ROOT, run, useMesh } from './lib.mjs';
import { killRounds } from './kill.mjs';

const scene = useMesh({ start: false });
const source = (name) => path.join(ROOT, 'tests/function', name);

async function compile(...args) {
  const { code, stderr } = await run('cc', ['-D_GNU_SOURCE', '-O1', ...args]);
  assert.equal(code, 0, stderr);
}

const at = (mesh, name) => path.join(mesh.dir, name);

// Starts the node on the shim; kills it and takes back what it had not synced.
function lossy(mesh, node, more = {}) {
  return {
    async start() {
      mkdirSync(at(mesh, 'nosync'), { recursive: true });
      node.env = { LD_PRELOAD: at(mesh, 'nosync.so'), NOSYNC_DIR: node.dir,
        NOSYNC_STATE: at(mesh, 'nosync'), ...more };
      await node.start();
    },
    async kill() {
      const journal = at(mesh, `nosync/${node.child.process.pid}.journal`);
      await node.kill();
      assert.ok(exists(journal), 'the shim was in the node');
      const { code, stdout, stderr } = await run(at(mesh, 'nosync-rollback'), [journal, node.dir]);
      assert.equal(code, 0, stdout + stderr);
    },
  };
}

const rounds = LONG ? 50 : 5;
scene(`kill -9 and the loss of all that was not synced, ${rounds} times`, async (mesh) => {
  await compile('-shared', '-fPIC', '-o', at(mesh, 'nosync.so'), source('nosync.c'), '-lpthread');
  await compile('-o', at(mesh, 'nosync-rollback'), source('nosync-rollback.c'));
  const machine = lossy(mesh, mesh.central);
  await mesh.west.start();
  await machine.start();
  await killRounds(mesh, mesh.central, rounds, machine);
}, { timeout: rounds * 30_000 });

scene('without the sync the same loss is noticed: the test above can fail', async (mesh) => {
  const machine = lossy(mesh, mesh.central);
  await mesh.central.stop();
  mesh.central.changeConfig((config) => { config.ledger.durability = 'process'; });
  await machine.start();
  await assert.rejects(killRounds(mesh, mesh.central, 1, machine),
    /every request that a backend saw has its A1 in the ledger/);
});

scene('while a sync hangs nobody new is taken, and afterwards it goes on', async (mesh) => {
  const held = at(mesh, 'held');
  const machine = lossy(mesh, mesh.central, { NOSYNC_HOLD: held });
  await mesh.central.stop();
  mesh.central.changeConfig((config) => { config.ledger.durability = 'disk'; });
  await machine.start();
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  writeFileSync(held, '');
  const waits = chat(mesh.central, who);
  const ready = await mesh.central.until('it is not ready', async () => {
    const one = await mesh.central.admin('/ready');
    return one.status === 503 && one;
  });
  assert.equal(JSON.parse(ready.text).reason, 'the ledger can\'t be written');
  const refused = await chat(mesh.central, who);
  assert.equal(refused.status, 503);
  assert.equal(refused.json().error.code, 'ledger_unavailable');
  rmSync(held);
  assert.equal((await waits).status, 200);
  await mesh.central.until('it is ready again', async () =>
    (await mesh.central.admin('/ready')).status === 200);
  assert.equal((await chat(mesh.central, who)).status, 200);
  await mesh.central.stop();
  const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
  assert.equal(code, 0, stdout + stderr);
});

// Law 4: those during a ledger failure are one count on recovery, whoever waits for their answer.
scene('a request whose record fails is counted, its client there or gone', async (mesh) => {
  const node = mesh.central;
  const broken = at(mesh, 'broken');
  await node.stop();
  node.changeConfig((config) => { delete config.ledger.durability; });
  node.env = { LD_PRELOAD: at(mesh, 'nosync.so'), NOSYNC_DIR: node.dir,
    NOSYNC_STATE: at(mesh, 'nosync'), NOSYNC_BREAK: broken };
  await node.start();
  await mesh.serves(node, 'acme/de', 'DE');
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const unrecorded = (count) => node.until(`${count} unrecorded`, async () =>
    await node.metric('portolan_refusals_unrecorded') === count);
  await mesh.each('eu-central', (one) => one.forget());
  await unrecorded(0);
  // An A2 wakes no commit: what is open from here on is the request below.
  await node.until('the records before are whole', async () =>
    await node.metric('portolan_ledger_open_requests') === 0);
  writeFileSync(broken, '');
  const leaving = new AbortController();
  const left = ask(node, who, { body: chatBody(), signal: leaving.signal }).catch(() => 'gone');
  await node.until('its record is on its way', async () =>
    await node.metric('portolan_ledger_open_requests') === 1);
  leaving.abort();
  assert.equal(await left, 'gone');
  await node.until('it is over', async () => await node.metric('portolan_requests') === 0);
  await unrecorded(1);
  assert.equal((await chat(node, who)).status, 503);
  await unrecorded(2);
  assert.deepEqual((await mesh.seen('eu-central')).filter((one) => one.inference), []);
  await node.kill();
});
