// Data classes: a caller may name one of its tenant's, and can only narrow by it.
import assert from 'node:assert/strict';
import { ask, attestationsOf, chatBody, useMesh } from './lib.mjs';

const scene = useMesh({
  charter: (charter) => {
    charter.tenants['acme/de'].classes = {
      phi: { process_in: ['DE'], operators_from: ['DE'] },
      nowhere: { process_in: [] },
    };
  },
});

const send = async (mesh, classes, node = mesh.central) => {
  await mesh.serves(node, 'acme/de', 'DE');
  return ask(node, { token: await mesh.token('acme/de'), from: 'DE',
    headers: classes === undefined ? {} : { 'x-portolan-class': classes } },
  { body: chatBody() });
};

scene('without a class the tenant\'s own rules hold', async (mesh) => {
  const answer = await send(mesh);
  assert.equal(answer.status, 200, answer.text);
  const [{ claims }] = attestationsOf(answer);
  assert.equal(claims.class, undefined);
  assert.ok(claims.legal.count > 1);
});

scene('a class narrows, is on record, and goes to no backend', async (mesh) => {
  for (let i = 0; i < 5; i += 1) {
    await mesh.de.forget();
    const answer = await send(mesh, 'phi');
    assert.equal(answer.status, 200, answer.text);
    const [{ claims }] = attestationsOf(answer);
    assert.equal(claims.class, 'phi');
    assert.equal(claims.legal.count, 1);
    assert.equal(claims.target.backend, 'de-1');
    const [seen] = await mesh.de.requests();
    assert.equal(seen.headers['x-portolan-class'], undefined);
  }
});

scene('a class holds across the forwarding to another region', async (mesh) => {
  const answer = await send(mesh, 'phi', mesh.west);
  assert.equal(answer.status, 200, answer.text);
  const hops = attestationsOf(answer);
  assert.deepEqual(hops.map((one) => one.claims.class), ['phi', 'phi']);
  assert.equal(hops[1].claims.target.backend, 'de-1');
});

for (const [name, value, status, code] of [
  ['a class that admits no place', 'nowhere', 403, 'residency_denied'],
  ['an unknown class', 'secret', 403, 'residency_denied'],
  ['a class in other letters', 'PHI', 403, 'residency_denied'],
  ['two classes in one field', 'phi, nowhere', 403, 'residency_denied'],
  ['two fields with classes', ['phi', 'nowhere'], 400, 'bad_request'],
  ['the same class twice', ['phi', 'phi'], 400, 'bad_request'],
]) {
  scene(`${name}: ${status}, and no backend hears of it`, async (mesh) => {
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    await mesh.each('eu-central', (one) => one.forget());
    const answer = await ask(mesh.central, { token: await mesh.token('acme/de'), from: 'DE',
      headers: { 'x-portolan-class': value } }, { body: chatBody() });
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.json().error.code, code);
    assert.equal(attestationsOf(answer)[0].claims.verdict, 'deny');
    assert.deepEqual(await mesh.seen('eu-central'), []);
  });
}
