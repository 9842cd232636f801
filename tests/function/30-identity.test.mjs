// Who is calling: only those whom the charter lets speak for a tenant, and nobody by default.
import assert from 'node:assert/strict';
import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { attestationsOf, chat, useMesh } from './lib.mjs';

const scene = useMesh();
const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
  .toString('base64url');

// A token as the mesh's own issuer makes it, changed before it is signed again with its key.
async function forge(mesh, change, key) {
  const [head, body] = (await mesh.token('acme/de')).split('.')
    .slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8')));
  const token = { head, body };
  change(token);
  const input = `${encode(token.head)}.${encode(token.body)}`;
  const private_ = key ?? mesh.issuerKey;
  const signature = private_.asymmetricKeyType === 'ec'
    ? sign('sha256', Buffer.from(input), { key: private_, dsaEncoding: 'ieee-p1363' })
    : sign(null, Buffer.from(input), private_);
  return `${input}.${signature.toString('base64url')}`;
}

async function refused(mesh, caller) {
  await mesh.each('eu-central', (one) => one.forget());
  const answer = await chat(mesh.central, { from: 'DE', ...caller });
  assert.equal(answer.status, 401, answer.text);
  assert.equal(answer.json().error.code, 'unauthenticated');
  assert.equal(answer.json().error.type, 'authentication_error');
  assert.equal(answer.headers['residency-attestation'], undefined);
  assert.deepEqual(await mesh.seen('eu-central'), []);
}

scene('the issuer\'s token is taken', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const token = await forge(mesh, () => {});
  const answer = await chat(mesh.central, { token, from: 'DE' });
  assert.equal(answer.status, 200, answer.text);
  const [{ claims }] = attestationsOf(answer);
  assert.deepEqual([claims.tenant, claims.auth], ['acme/de', 'jwt']);
});

scene('no credential', (mesh) => refused(mesh, {}));
scene('a token that is none', (mesh) => refused(mesh, { token: 'abc' }));
scene('a token and an API key at once', async (mesh) =>
  refused(mesh, { token: await mesh.token('acme/de'), headers: { 'x-api-key': 'docsfr.abc' } }));
scene('two tokens at once', async (mesh) => {
  const token = await mesh.token('acme/de');
  await refused(mesh, { headers: { Authorization: [`Bearer ${token}`, `Bearer ${token}`] } });
});

const now = () => Math.floor(Date.now() / 1000);
const changes = [
  ['an unknown issuer', ({ body }) => { body.iss = 'https://other.example'; }],
  ['no issuer', ({ body }) => { delete body.iss; }],
  ['another audience', ({ body }) => { body.aud = 'other'; }],
  ['no expiry', ({ body }) => { delete body.exp; }],
  ['an expiry in the past', ({ body }) => {
    body.iat = now() - 1000;
    body.exp = now() - 120;
  }],
  ['a beginning in the future', ({ body }) => { body.nbf = now() + 600; }],
  ['too long a life', ({ body }) => { body.exp = body.iat + 100 * 86_400; }],
  ['a tenant that nobody has', ({ body }) => { body.tenant = 'acme/xx'; }],
  ['no tenant', ({ body }) => { delete body.tenant; }],
  ['no subject', ({ body }) => { delete body.sub; }],
  ['a key inside', ({ head }) => { head.jwk = { kty: 'EC' }; }],
  ['a key elsewhere', ({ head }) => { head.jku = 'https://evil.example/keys'; }],
  ['a critical extension', ({ head }) => { head.crit = ['b64']; }],
  ['an unknown key id', ({ head }) => { head.kid = 'other'; }],
  ['another algorithm\'s name', ({ head }) => {
    head.alg = head.alg === 'ES256' ? 'EdDSA' : 'ES256';
  }],
];
for (const [name, change] of changes) {
  scene(`a token with ${name}`, async (mesh) =>
    refused(mesh, { token: await forge(mesh, change) }));
}

scene('a token signed with another key', async (mesh) => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await refused(mesh, { token: await forge(mesh, () => {}, privateKey) });
});

scene('a token without a signature, alg none', async (mesh) => {
  const token = await mesh.token('acme/de');
  await refused(mesh, { token: `${encode({ alg: 'none' })}.${token.split('.')[1]}.` });
});

scene('a token with an HMAC by the public key', async (mesh) => {
  const [head, body] = (await mesh.token('acme/de')).split('.');
  const { kid } = JSON.parse(Buffer.from(head, 'base64url').toString('utf8'));
  const input = `${encode({ alg: 'HS256', typ: 'JWT', kid })}.${body}`;
  const secret = createPublicKey(mesh.issuerKey).export({ type: 'spki', format: 'pem' });
  const mac = createHmac('sha256', secret).update(input).digest('base64url');
  await refused(mesh, { token: `${input}.${mac}` });
});

scene('a token with a duplicate claim', async (mesh) => {
  const [head, body] = (await mesh.token('acme/de')).split('.');
  const text = Buffer.from(body, 'base64url').toString('utf8')
    .replace('{', '{"tenant":"acme/fr",');
  const input = `${head}.${encode(text)}`;
  const signature = mesh.issuerKey.asymmetricKeyType === 'ec'
    ? sign('sha256', Buffer.from(input), { key: mesh.issuerKey, dsaEncoding: 'ieee-p1363' })
    : sign(null, Buffer.from(input), mesh.issuerKey);
  await refused(mesh, { token: `${input}.${signature.toString('base64url')}` });
});

scene('an issuer speaks only for the tenants that the charter lists for it', async (mesh) => {
  const token = await mesh.token('acme/fr');
  await mesh.signCharter((charter) => {
    const issuer = Object.values(charter.issuers)[0];
    issuer.tenants = issuer.tenants.filter((tenant) => tenant !== 'acme/fr');
  });
  await mesh.reload();
  await refused(mesh, { token });
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const own = await chat(mesh.central, { token: await mesh.token('acme/de'), from: 'DE' });
  assert.equal(own.status, 200, own.text);
});

scene('a subject is written down as a pseudonym, the same each time', async (mesh) => {
  const subs = [];
  for (const subject of ['alice@acme.example', 'alice@acme.example', 'bob@acme.example']) {
    const token = await mesh.token('acme/de', { subject });
    const [a1] = attestationsOf(await chat(mesh.central, { token, from: 'DE' }));
    assert.ok(!JSON.stringify(a1.claims).includes(subject));
    assert.match(a1.claims.sub, /^[\w-]{22}$/);
    subs.push(a1.claims.sub);
  }
  assert.equal(subs[0], subs[1]);
  assert.notEqual(subs[0], subs[2]);
});
