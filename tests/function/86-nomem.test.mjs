// An open stream holds no memory for its end's record: when none is to be had, the record waits
// for one that comes back from the ledger, and is written all the same.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ask, chatBody, ROOT, run, until, useMesh } from './lib.mjs';

const STREAMS = 28; // fewer than the region's slots
const TRIM_MS = 1000; // a worker keeps what a second did not need no longer
const RECORD_BYTES = 4160; // of a record on its way: struct ledger_entry

const scene = useMesh({ start: false });

scene('streams that end while there is no memory are on record all the same', async (mesh) => {
  const node = mesh.central;
  const at = (name) => path.join(mesh.dir, name);
  const { code, stderr } = await run('cc', ['-D_GNU_SOURCE', '-O1', '-shared', '-fPIC', '-o',
    at('nomem.so'), path.join(ROOT, 'tests/function/nomem.c')]);
  assert.equal(code, 0, stderr);
  node.env = { LD_PRELOAD: at('nomem.so'), NOMEM_SIZE: String(RECORD_BYTES),
    NOMEM_FILE: at('no-memory') };
  await Promise.all([mesh.west.start(), node.start()]);
  await mesh.serves(node, 'acme/de', 'DE');
  await mesh.hasBackends(node);
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.each('eu-central', (one) => one.script({ stall_after_events: 2 }));
  await node.until('earlier ends are written', async () =>
    await node.metric('portolan_ledger_open_requests') === 0);
  const before = node.readLedger().at(-1).a2.length;
  const leaving = new AbortController();
  const heads = [];
  const streams = Array.from({ length: STREAMS }, () => ask(node, who, {
    body: chatBody({ stream: true }), signal: leaving.signal,
    onHead: ({ statusCode }) => heads.push(statusCode),
  }).catch(() => 'gone'));
  await until('all have begun', () => heads.length === STREAMS);
  assert.deepEqual(heads.filter((status) => status !== 200), []);
  await until('what was kept is gone', async () => {
    const began = Date.now();
    await until('a while', () => Date.now() - began > 3 * TRIM_MS);
    return true;
  });
  writeFileSync(at('no-memory'), '');
  leaving.abort();
  await Promise.all(streams);
  await node.until('each end is on record', () => {
    const ends = node.readLedger().at(-1).a2.length - before;
    if (ends !== STREAMS) {
      throw new Error(`${ends} of ${STREAMS}`);
    }
    return true;
  });
  await mesh.each('eu-central', (one) => one.script({}));
  // (A sanitizer's own malloc() has memory all the same.)
  const refused = await ask(node, who, { body: chatBody() });
  rmSync(at('no-memory'));
  assert.ok([200, 503].includes(refused.status), refused.text);
  await mesh.serves(node, 'acme/de', 'DE');
  await node.until('nothing is open', async () =>
    await node.metric('portolan_ledger_open_requests') === 0);
});
