// The law changes while a request waits: it goes only where the charter it came under and the
// one in force both let it.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { attestationsOf, chat, chatBody, ask, useMesh } from './lib.mjs';

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 1 },
    { name: 'de-2', region: 'eu-central', kind: 'vllm', operator: 'FR', slots: 16 }],
  charter: (charter) => {
    for (const name of ['acme', 'acme/de', 'acme/fr']) {
      delete charter.tenants[name]?.limits;
    }
    charter.tenants['acme/de'].process_in = ['DE'];
    charter.tenants['acme/de'].operators_from = ['DE'];
    charter.tenants.acme.remote_hosts = ['files.example'];
    charter.tenants['acme/de'].remote_hosts = ['files.example'];
  },
});

// Runs change() while one request of acme/de holds the only slot and another waits for it;
// gives the answer of the one that waited.
async function whileQueued(mesh, body, change) {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const backend = mesh.de;
  const other = mesh.standins.get('de-2');

  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await backend.forget();
  await other.forget();
  await backend.hold(true);
  try {
    const holds = chat(mesh.central, who);
    await backend.until('in_flight=1');
    const waits = ask(mesh.central, who, { body });
    await mesh.central.until('one waits', async () =>
      await mesh.central.metric('portolan_queued') === 1);
    await mesh.signCharter(change);
    await mesh.reload([mesh.central]);
    await backend.hold(false);
    assert.equal((await holds).status, 200);
    return { answer: await waits, here: (await backend.requests()).length,
      there: (await other.requests()).length };
  } finally {
    await backend.hold(false);
  }
}

async function restore(mesh) {
  await mesh.signCharter((charter) => {
    const tenant = charter.tenants['acme/de'];
    delete tenant.origins;
    tenant.operators_from = ['DE'];
    tenant.remote_hosts = ['files.example'];
  });
  await mesh.reload([mesh.central]);
}

scene('a caller who is forbidden meanwhile is refused, and no byte is sent', async (mesh) => {
  const { answer, here, there } = await whileQueued(mesh, chatBody(), (charter) => {
    charter.tenants['acme/de'].origins = ['FR'];
  });
  assert.equal(answer.status, 403, answer.text);
  assert.equal(answer.json().error.code, 'residency_denied');
  const [denial] = attestationsOf(answer);
  assert.equal(denial.claims.verdict, 'deny');
  assert.equal(denial.claims.reason, 'origin_forbidden');
  assert.equal(denial.claims.charter.version, mesh.readCharter().version, 'names the one in force');
  assert.deepEqual([here, there], [1, 0]);
  await restore(mesh);
});

scene('a place that opens meanwhile is not for a request of before', async (mesh) => {
  const { answer, here, there } = await whileQueued(mesh, chatBody(), (charter) => {
    charter.tenants['acme/de'].operators_from = ['DE', 'FR'];
  });
  assert.equal(answer.status, 200, answer.text);
  const [permit] = attestationsOf(answer);
  assert.equal(permit.claims.target.backend, 'de-1');
  assert.equal(permit.claims.legal.count, 1);
  assert.equal(permit.claims.charter.version, mesh.readCharter().version);
  assert.deepEqual([here, there], [2, 0]);
  await restore(mesh);
});

scene('a host that may be pointed to no more is refused', async (mesh) => {
  const body = chatBody({ messages: [{ role: 'user', content: [
    { type: 'image_url', image_url: { url: 'https://files.example/a.png' } }] }] });
  const { answer, here } = await whileQueued(mesh, body, (charter) => {
    charter.tenants['acme/de'].remote_hosts = [];
  });
  assert.equal(answer.status, 403, answer.text);
  assert.equal(answer.json().error.code, 'remote_reference');
  assert.equal(here, 1);
  await restore(mesh);
});

scene('a tenant that is gone meanwhile is refused', async (mesh) => {
  let tenant;
  const { answer, here } = await whileQueued(mesh, chatBody(), (charter) => {
    tenant = structuredClone(charter);
    delete charter.tenants['acme/de'];
    const others = (names) => names.filter((name) => name !== 'acme/de');
    for (const issuer of Object.values(charter.issuers)) {
      issuer.tenants = others(issuer.tenants);
    }
    for (const ca of Object.values(charter.client_cas)) {
      ca.tenants = others(ca.tenants);
      ca.identities = ca.identities.filter((one) => one.tenant !== 'acme/de');
    }
  });
  assert.equal(answer.status, 403, answer.text);
  assert.equal(attestationsOf(answer)[0].claims.tenant, 'acme/de');
  assert.equal(here, 1);
  await mesh.signCharter((charter) => {
    Object.assign(charter, tenant, { version: charter.version });
  });
  await mesh.reload([mesh.central]);
});

scene('a reload that fails at its last step leaves everything as it was', async (mesh) => {
  const state = path.join(mesh.central.dir, mesh.central.readConfig().state_dir ?? 'state');
  const seen = path.join(state, 'charter-seen');
  const before = readFileSync(seen, 'utf8');
  const slots = mesh.readCharter().backends['de-1'].slots;
  const failed = await mesh.central.metric('portolan_reloads_failed_total');

  await mesh.serves(mesh.central, 'acme/de', 'DE');
  // The folder of what was seen is on a disk that is gone: reading finds nothing there, and
  // writing fails.
  renameSync(state, `${state}.away`);
  symlinkSync(`${state}.nowhere`, state);
  await mesh.signCharter((charter) => { charter.backends['de-1'].slots = 7; });
  mesh.central.child.signal('SIGHUP');
  await mesh.central.until('the reload has failed', async () =>
    await mesh.central.metric('portolan_reloads_failed_total') === failed + 1);
  unlinkSync(state);
  renameSync(`${state}.away`, state);

  assert.equal(readFileSync(seen, 'utf8'), before);
  assert.ok(!existsSync(`${state}.nowhere`));
  const answer = await chat(mesh.central, { token: await mesh.token('acme/de'), from: 'DE' });
  assert.equal(answer.status, 200, answer.text);
  const { version } = attestationsOf(answer)[0].claims.charter;
  assert.equal(version, mesh.readCharter().version - 1);
  // The ledger's last word on the charter is the one in force.
  const charters = mesh.central.readLedger().at(-1).control.filter((one) => one.kind === 'charter');
  assert.equal(charters.at(-1).version, version);
  assert.equal(charters.at(-2).version, version + 1);
  // The limit of the new charter is not in force: one at a time still.
  await mesh.de.forget();
  await mesh.de.hold(true);
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  const pair = [chat(mesh.central, who), chat(mesh.central, who)];
  await mesh.central.until('one waits', async () =>
    await mesh.central.metric('portolan_queued') === 1);
  await mesh.de.hold(false);
  await Promise.all(pair);
  assert.equal((await mesh.de.stats()).max_in_flight, 1);
  await mesh.signCharter((charter) => { charter.backends['de-1'].slots = slots; });
  await mesh.reload([mesh.central]);
});
