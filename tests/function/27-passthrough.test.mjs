// Paths that the charter opens beyond the node's own.
import assert from 'node:assert/strict';
import { ask, attestationsOf, useMesh } from './lib.mjs';

// The west's only server is operated from outside the EU: what acme/de asks for there is forwarded.
const scene = useMesh({
  backends: [
    { name: 'de-2', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16 },
    { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
  ],
  charter: (charter) => {
    charter.tenants.acme.passthrough = ['/v1/own/thing', '/v1/own/other'];
    charter.tenants['acme/de'].passthrough = ['/v1/own/thing'];
    charter.tenants['acme/fr'].passthrough = [];
  },
});

const who = async (mesh, tenant = 'acme/de') => ({ token: await mesh.token(tenant),
  from: tenant === 'acme/fr' ? 'FR' : 'DE' });
const own = { path: '/v1/own/thing', body: { model: 'small', prompt: 'one two' } };

for (const hops of [1, 2]) {
  scene(`an opened path is served through ${hops}, attested by its name`, async (mesh) => {
    const node = hops === 1 ? mesh.central : mesh.west;
    await mesh.serves(node, 'acme/de', 'DE', 'eu-central');
    await mesh.each('eu-central', (one) => one.forget());
    const answer = await ask(node, await who(mesh), own);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json().choices[0].text, 'echo: one two');
    const chain = attestationsOf(answer);
    assert.deepEqual(chain.map(({ claims }) => claims.request.endpoint),
      Array(hops).fill('/v1/own/thing'));
    const { code, stdout, stderr } = await mesh.verify(answer.headers['residency-attestation']);
    assert.equal(code, 0, stdout + stderr);
    const [seen] = (await mesh.seen('eu-central')).filter((one) => one.inference);
    assert.equal(seen.path, '/v1/own/thing');
    assert.equal(JSON.parse(seen.body).model, 'small-instruct');
  });
}

scene('what is not opened is 404, on record, and reaches no backend', async (mesh) => {
  await mesh.each('eu-central', (one) => one.forget());
  const closed = [['acme/de', '/v1/own/other'], ['acme/de', '/v1/own/thing/'],
    ['acme/de', '/v1/own'], ['acme/de', '/v1/own/Thing'], ['acme/fr', '/v1/own/thing']];
  for (const [tenant, path] of closed) {
    const answer = await ask(mesh.central, await who(mesh, tenant), { ...own, path });
    assert.equal(answer.status, 404, `${path}: ${answer.text}`);
    const [{ claims }] = attestationsOf(answer);
    assert.deepEqual([claims.verdict, claims.reason, claims.request.endpoint],
      ['deny', 'not_found', 'passthrough']);
  }
  for (const method of ['GET', 'DELETE']) {
    assert.equal((await ask(mesh.central, await who(mesh), { path: own.path, method })).status, 404);
  }
  assert.equal((await ask(mesh.central, {}, own)).status, 401);
  assert.deepEqual((await mesh.seen('eu-central')).filter((one) => one.method !== 'GET'), []);
});

scene('an opened path takes JSON with a model and keeps every rule', async (mesh) => {
  await mesh.each('eu-central', (one) => one.forget());
  const bad = [[{ prompt: 'a' }, 400, 'bad_request'], ['model=small', 400, 'bad_request'],
    [{ model: 'small', image_url: 'https://evil.example/' }, 403, 'remote_reference'],
    [{ model: 'small', store: true }, 400, 'bad_request'],
    [{ model: 'nothing' }, 404, 'model_not_found']];
  for (const [body, status, code] of bad) {
    const answer = await ask(mesh.central, await who(mesh), { path: own.path, body });
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.json().error.code, code);
  }
  assert.deepEqual((await mesh.seen('eu-central')).filter((one) => one.inference), []);
});

scene('explain tells what a policy opens', async (mesh) => {
  const args = (tenant) => ['explain', '--config', mesh.central.config, '--tenant', tenant,
    '--model', 'small', '--country', 'DE', '--role', 'user'];
  assert.match(await mesh.command(...args('acme/de')), /^opens {4}\/v1\/own\/thing$/m);
});

scene('a path that a reload closes is closed', async (mesh) => {
  await mesh.signCharter((charter) => { charter.tenants['acme/de'].passthrough = []; });
  await mesh.reload();
  const answer = await ask(mesh.central, await who(mesh), own);
  assert.equal(answer.status, 404, answer.text);
  await assert.rejects(mesh.signCharter((charter) => {
    charter.tenants.acme.passthrough = [];
    charter.tenants['acme/de'].passthrough = ['/v1/own/thing'];
  }), /may only narrow: passthrough has/);
});
