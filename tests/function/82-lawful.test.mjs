// What a first version let happen that was unlawful, or left unproven: each by its effect.
import assert from 'node:assert/strict';
import { readdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { ask, attestationsOf, chat, chatBody, useMesh } from './lib.mjs';

const scene = useMesh();

// What a caller sends must not use up the room that its own evidence needs.
scene('a padded head costs no request its record', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const token = await mesh.token('acme/de');
  for (const pad of [100, 6000, 9000, 10_600, 11_200, 11_800]) {
    const answer = await ask(mesh.central, { token, from: 'DE',
      headers: { 'x-portolan-class': 'x'.repeat(pad) } }, { body: chatBody() });
    assert.equal(answer.status, 403, `${pad}: ${answer.text}`);
    assert.equal(attestationsOf(answer)[0].claims.reason, 'class_unknown');
  }
  const answer = await ask(mesh.central, { token, from: 'DE',
    headers: { 'x-padding': 'x'.repeat(14_000) } }, { body: chatBody() });
  assert.equal(answer.status, 200, answer.text);
});

// The policy's digest covers no fact about backends: the nodes must agree on the places.
scene('a peer under an older charter does not serve what the newer one forbids', async (mesh) => {
  const who = { token: await mesh.token('acme/fr'), from: 'FR' };
  const other = mesh.standins.get('de-2');
  await mesh.serves(mesh.west, 'acme/fr', 'FR');
  await mesh.ie.stop();
  try {
    await mesh.serves(mesh.west, 'acme/fr', 'FR', 'eu-central');
    await mesh.de.stop();
    await mesh.redis.kill();
    const before = mesh.readCharter().backends['de-2'];
    await mesh.signCharter((charter) => {
      charter.backends['de-2'].operator = { name: 'Bought', country: 'US' };
      charter.backends['de-2'].owner = { name: 'Bought', country: 'US' };
    });
    await mesh.reload([mesh.west]);
    await other.forget();
    for (let i = 0; i < 10; i += 1) {
      const answer = await chat(mesh.west, who);
      assert.equal(answer.status, 503, answer.text);
      assert.ok(Number(answer.headers['retry-after']) >= 1);
    }
    assert.deepEqual(await other.requests(), []);
    await mesh.signCharter((charter) => { charter.backends['de-2'] = before; });
  } finally {
    await mesh.ie.start();
    await mesh.de.start();
    await mesh.redis.start();
  }
  await mesh.reload();
  await mesh.serves(mesh.west, 'acme/fr', 'FR');
});

// Past renew_by nothing crosses regions: neither out of a node's region nor into it.
scene('a node past its renew_by serves no other region', async (mesh) => {
  const who = { token: await mesh.token('acme/fr'), from: 'FR' };
  const { renew_by: far } = mesh.readCharter();
  const soon = Date.now() + 3000;
  await mesh.signCharter((charter) => {
    charter.renew_by = new Date(soon).toISOString().replace(/\.\d+Z/, 'Z');
  });
  await mesh.reload([mesh.central]);
  await mesh.signCharter((charter) => { charter.renew_by = far; });
  await mesh.reload([mesh.west]);
  await mesh.ie.stop();
  try {
    await mesh.central.until('renew_by has passed', async () => {
      const answer = await chat(mesh.west, who);
      return Date.now() > soon + 1000 && answer.status !== 200;
    });
    for (let i = 0; i < 5; i += 1) {
      const answer = await chat(mesh.west, who);
      assert.equal(answer.status, 503, answer.text);
    }
    // Its own region goes on.
    await mesh.serves(mesh.central, 'acme/de', 'DE');
  } finally {
    await mesh.ie.start();
  }
  await mesh.reload([mesh.central]);
  await mesh.serves(mesh.west, 'acme/fr', 'FR');
});

// A digest that no probe has seen is no evidence, whatever was seen of the one before.
scene('evidence for one digest does not count for another', async (mesh) => {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const before = mesh.readCharter();
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.signCharter((charter) => {
    charter.models['small@1'].digest = `sha256:${'ab'.repeat(32)}`;
    charter.tenants.acme.evidence = 'digest';
    delete charter.tenants['acme/de'].evidence;
    delete charter.backends['de-2'];
  });
  await mesh.reload([mesh.central]);
  for (let i = 0; i < 20; i += 1) {
    const answer = await chat(mesh.central, who);
    assert.notEqual(answer.status, 200, JSON.stringify(attestationsOf(answer)[0].claims.model));
  }
  await mesh.signCharter((charter) => {
    Object.assign(charter, { ...before, version: charter.version });
  });
  await mesh.reload();
  await mesh.serves(mesh.central, 'acme/de', 'DE');
});

scene('a ledger without its oldest run, or without any, is not verified', async (mesh) => {
  const runs = path.join(mesh.central.ledger, 'runs');
  await mesh.whileStopped([mesh.central], async () => {
    assert.equal((await mesh.verifyLedger(mesh.central)).code, 0);
  });
  await mesh.whileStopped([mesh.central], async () => {
    const [oldest, ...others] = readdirSync(runs).sort();
    assert.ok(others.length > 0);
    renameSync(path.join(runs, oldest), path.join(mesh.central.dir, oldest));
    const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /run before/);
    for (const name of others) {
      renameSync(path.join(runs, name), path.join(mesh.central.dir, name));
    }
    assert.notEqual((await mesh.verifyLedger(mesh.central)).code, 0);
    for (const name of [oldest, ...others]) {
      renameSync(path.join(mesh.central.dir, name), path.join(runs, name));
    }
    assert.equal((await mesh.verifyLedger(mesh.central)).code, 0);
  });
});
