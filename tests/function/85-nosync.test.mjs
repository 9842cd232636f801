// kill -9 leaves the page cache whole and so proves nothing about fdatasync. Here a shim under
// the node keeps the old content of all that was written and not yet synced, and after each kill
// it is put back: what then stands on the disk is what a lost machine would have kept.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { LONG, ROOT, run, useMesh } from './lib.mjs';
import { killRounds } from './kill.mjs';

const scene = useMesh({ start: false });
const source = (name) => path.join(ROOT, 'tests/function', name);

async function compile(...args) {
  const { code, stderr } = await run('cc', ['-D_GNU_SOURCE', '-O1', ...args]);
  assert.equal(code, 0, stderr);
}

const rounds = LONG ? 50 : 5;
scene(`kill -9 and the loss of all that was not synced, ${rounds} times`, async (mesh) => {
  const shim = path.join(mesh.dir, 'nosync.so');
  const rollback = path.join(mesh.dir, 'nosync-rollback');
  const state = path.join(mesh.dir, 'nosync');
  const node = mesh.central;
  await compile('-shared', '-fPIC', '-o', shim, source('nosync.c'), '-lpthread');
  await compile('-o', rollback, source('nosync-rollback.c'));
  let takenBack = 0;

  const start = async () => {
    mkdirSync(state, { recursive: true });
    node.env = { LD_PRELOAD: shim, NOSYNC_DIR: node.dir, NOSYNC_STATE: state };
    await node.start();
  };
  const kill = async () => {
    const journal = path.join(state, `${node.child.process.pid}.journal`);
    await node.kill();
    assert.ok(readdirSync(state).includes(path.basename(journal)), 'the shim was in the node');
    const { code, stdout, stderr } = await run(rollback, [journal, node.dir]);
    assert.equal(code, 0, stdout + stderr);
    takenBack += Number(/\d+/.exec(stdout)?.[0] ?? 0);
  };
  await mesh.west.start();
  await start();
  await killRounds(mesh, node, rounds, { kill, start });
  assert.ok(takenBack > 0, 'something unsynced was lost, or the shim proves nothing');
}, { timeout: rounds * 30_000 });
