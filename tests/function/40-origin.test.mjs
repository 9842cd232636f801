// Where a caller is: the socket's address, or what a configured proxy vouches for.
import assert from 'node:assert/strict';
import { attestationsOf, chat, FROM, useMesh } from './lib.mjs';

// acme assumes nothing about callers whose country is unknown; the clinic does.
const scene = useMesh({
  charter: (charter) => { delete charter.tenants.acme.unknown_origin; },
});

const call = async (mesh, tenant, from, headers = {}) =>
  chat(mesh.central, { token: await mesh.token(tenant), from, headers });

const allowed = [
  ['a German address', 'acme/de', 'DE', 'DE'],
  ['a German address behind a trusted one', 'acme/de', `${FROM.DE}, 127.0.0.1`, 'DE'],
  ['a claim of the client behind which the proxy saw Germany', 'acme/de',
    `${FROM.US}, ${FROM.DE}`, 'DE'],
  ['a German IPv6 address', 'acme/de', '2003:180:2:e000::53', 'DE'],
  ['an IPv4 address mapped into IPv6', 'acme/de', `::ffff:${FROM.DE}`, 'DE'],
  ['a French address', 'acme/fr', 'FR', 'FR'],
];
for (const [name, tenant, from, country] of allowed) {
  scene(`${name} counts`, async (mesh) => {
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    const answer = await call(mesh, tenant, from);
    assert.equal(answer.status, 200, answer.text);
    const [{ claims }] = attestationsOf(answer);
    assert.equal(claims.origin.country, country);
    assert.equal(claims.origin.source, 'forwarded');
    assert.equal(claims.origin.db.length, 22);
  });
}

// [name, field, code]: what is refused, and how it is on record.
const refused = [
  ['a US address', 'US', 'residency_denied'],
  ['a proxy\'s claim of the US behind a German one', `${FROM.DE}, ${FROM.US}`, 'residency_denied'],
  ['an address in no database', 'none', 'origin_unknown'],
  ['a private address', 'private', 'origin_unknown'],
  ['a carrier\'s NAT', '100.64.1.1', 'origin_unknown'],
  ['6to4', '2002:c219:7d::1', 'origin_unknown'],
  ['NAT64', '64:ff9b::c219:7d', 'origin_unknown'],
  ['no address', 'unknown', 'origin_unknown'],
  ['an empty field', '', 'origin_unknown'],
  ['a name', 'example.org', 'origin_unknown'],
  ['half an address', '194.25.0', 'origin_unknown'],
  ['octal numbers', '0302.031.0.0175', 'origin_unknown'],
  ['a malformed hop before a good one', `${FROM.DE}, x`, 'origin_unknown'],
];
for (const [name, from, code] of refused) {
  scene(`${name} is refused, on record`, async (mesh) => {
    await mesh.each('eu-central', (one) => one.forget());
    const answer = await call(mesh, 'acme/fr', from);
    assert.equal(answer.status, 403, answer.text);
    assert.equal(answer.json().error.code, code);
    const [{ claims }] = attestationsOf(answer);
    assert.equal(claims.verdict, 'deny');
    assert.equal(claims.target, undefined);
    assert.deepEqual(await mesh.seen('eu-central'), []);
  });
}

const assumed = [['a private address', 'private'], ['a carrier\'s NAT', '100.64.1.1'],
  ['loopback', '127.0.0.1']];
for (const [name, from] of assumed) {
  scene(`${name} is at home where the charter says so, and the record says assumed`,
    async (mesh) => {
      const answer = await call(mesh, 'clinic', from);
      assert.equal(answer.status, 200, answer.text);
      const [{ claims }] = attestationsOf(answer);
      assert.deepEqual([claims.origin.country, claims.origin.source], ['DE', 'assumed']);
    });
}
for (const [name, from] of [['6to4', '2002:c219:7d::1'], ['NAT64', '64:ff9b::c219:7d'],
  ['Teredo', '2001:0:53aa:64c::1'], ['a malformed field', 'x']]) {
  scene(`${name} is at home nowhere`, async (mesh) => {
    const answer = await call(mesh, 'clinic', from);
    assert.equal(answer.status, 403, answer.text);
    assert.equal(answer.json().error.code, 'origin_unknown');
  });
}

scene('two fields are read as one list', async (mesh) => {
  const answer = await call(mesh, 'acme/fr', undefined, { 'X-Forwarded-For': [FROM.FR, FROM.US] });
  assert.equal(answer.status, 403, answer.text);
});

scene('without a proxy\'s word the socket\'s address counts: loopback is unknown', async (mesh) => {
  const answer = await call(mesh, 'acme/fr', undefined);
  assert.equal(answer.status, 403);
  assert.equal(answer.json().error.code, 'origin_unknown');
  assert.equal(attestationsOf(answer)[0].claims.origin.source, 'socket');
});

scene('a field from elsewhere than a trusted proxy is not believed', async (mesh) => {
  mesh.central.changeConfig((config) => { config.listeners.public.trusted_proxies = []; });
  await mesh.reload();
  const answer = await call(mesh, 'acme/fr', 'FR');
  assert.equal(answer.status, 403);
  assert.equal(answer.json().error.code, 'origin_unknown');
});
