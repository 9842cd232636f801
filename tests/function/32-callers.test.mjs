// Callers with a client certificate, with a token bound to one (RFC 8705), and with an API key.
import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { APIError } from 'openai';
import { ask, attestationsOf, BINARY, chat, chatBody, openai, rawAsk, run, statusesOf,
  useMesh } from './lib.mjs';

// The words of the refusals, so that a caller who is refused is refused for what the test means.
const WORDS = {
  missing: 'no credential was given',
  malformed: 'the credential is malformed',
  cert: 'the client certificate belongs to no tenant',
  binding: 'the token is bound to another certificate',
  key: 'the API key is not known',
  method: 'the tenant requires another way to authenticate',
  issuer: 'the issuer may not speak for this tenant',
  expired: 'the credential is outside its time of validity',
};

const scene = useMesh({ prepare });
const keys = {}; // API keys by their ids

const pemOf = (mesh, name) => readFileSync(path.join(mesh.dir, `${name}.pem`), 'utf8');

const sha256Of = (mesh, name) => new X509Certificate(pemOf(mesh, name)).fingerprint256
  .replaceAll(':', '').toLowerCase();

const certOf = (mesh, name) => ({
  cert: pemOf(mesh, name), key: readFileSync(path.join(mesh.dir, `${name}.key`), 'utf8'),
});

const callerWith = (mesh, name) => ({ from: 'DE', ...certOf(mesh, name) });

const boundTo = (mesh, tenant, name) =>
  mesh.token(tenant, { bind: path.join(mesh.dir, `${name}.pem`) });

// Two more meshes of the same name give authorities whose names, and whose clients' names, are
// those of our own:
//   second/clients   trusted, speaks for the clinic only
//   second/ca        trusted, its hosts one-1 and two-1 speak for tenants of their own
//   second/backends  trusted by the listener, unknown to the charter
//   stranger         not trusted at all
async function prepare(mesh) {
  const file = path.join(mesh.dir, 'api-keys.json');
  for (const name of ['second', 'stranger']) {
    await mesh.command('init', path.join(mesh.dir, name), '--mesh', mesh.name,
      '--regions', 'one=DE,two=DE,three=DE', '--backend',
      'name=box,region=one,url=https://127.0.0.1:9,model=small@1:small');
  }
  writeFileSync(path.join(mesh.dir, 'clients/bundle.pem'),
    ['clients/ca', 'second/clients/ca', 'second/ca/ca', 'second/backends/ca']
      .map((name) => pemOf(mesh, name)).join(''));
  for (const node of mesh.nodes.values()) {
    node.changeConfig((config) => {
      config.listeners.public.client_ca = '../../clients/bundle.pem';
    });
  }
  keys.docsfr = /(ptk_docsfr_[\w-]{43})\n/.exec(mesh.printed)[1];
  for (const id of ['tool', 'far', 'tokenonly', 'unlisted', 'leaving', 'old']) {
    keys[id] = (await mesh.command('keys', 'new', id, '--file', file)).trim();
  }
  changeRows(mesh, (rows) => {
    rows.find((row) => row.id === 'old').not_after = '2026-01-01T00:00:00Z';
  });
  await mesh.signCharter((charter) => changeCharter(mesh, charter));
}

function changeCharter(mesh, charter) {
  Object.assign(charter.tenants, {
    'acme/cert': { auth: ['mtls'] },
    'acme/bound': { auth: ['mtls+jwt'] },
    'acme/token': { auth: ['jwt'] },
    'acme/far': { auth: ['api_key'], process_in: ['DE'] },
  });
  Object.values(charter.issuers)[0].tenants.push('acme/cert', 'acme/bound', 'acme/token');
  Object.assign(charter.client_cas, {
    second: {
      sha256: sha256Of(mesh, 'second/clients/ca'), tenants: ['clinic'], identities: [
        { spiffe: 'spiffe://acme.example/client/clinic', tenant: 'clinic', roles: [] }],
    },
    hosts: {
      sha256: sha256Of(mesh, 'second/ca/ca'), tenants: ['acme/cert', 'acme/bound'], identities: [
        { dns: 'one-1.acme.example', tenant: 'acme/cert', roles: [] },
        { dns: 'two-1.acme.example', tenant: 'acme/bound', roles: [] }],
    },
  });
  for (const [id, tenant] of [['tool', 'acme/fr'], ['far', 'acme/far'], ['leaving', 'acme/fr'],
    ['tokenonly', 'acme/token'], ['old', 'acme/fr']]) {
    charter.api_keys[id] = { tenant, subject: `${id}-program`, roles: [] };
  }
}

function changeRows(mesh, change) {
  const file = path.join(mesh.dir, 'api-keys.json');
  const value = JSON.parse(readFileSync(file, 'utf8'));
  change(value.keys);
  writeFileSync(file, JSON.stringify(value));
}

// Does something under a changed charter; what it said before is in force again afterwards.
async function under(mesh, change, body) {
  const before = mesh.readCharter();
  await mesh.signCharter(change);
  try {
    await mesh.reload();
    await body();
  } finally {
    await mesh.signCharter((charter) => {
      Object.assign(charter, before, { version: charter.version });
    });
    await mesh.reload();
  }
}

async function withListener(mesh, change, body) {
  const before = readFileSync(mesh.central.config);
  mesh.central.changeConfig((config) => change(config.listeners.public));
  try {
    await mesh.reload([mesh.central]);
    await body();
  } finally {
    writeFileSync(mesh.central.config, before);
    await mesh.reload([mesh.central]);
  }
}

// Each stand-in is made to forget, then asked what it got.
async function untouched(mesh, body) {
  const all = [...mesh.standins.values()];
  await Promise.all(all.map((one) => one.forget()));
  const value = await body();
  assert.deepEqual((await Promise.all(all.map((one) => one.requests()))).flat(), []);
  return value;
}

function isRefused(answer, words) {
  assert.equal(answer.status, 401, answer.text);
  assert.deepEqual(answer.json().error,
    { message: words, type: 'authentication_error', param: null, code: 'unauthenticated' });
  assert.equal(answer.headers['residency-attestation'], undefined);
}

const refused = (mesh, caller, words) => untouched(mesh, async () => {
  isRefused(await chat(mesh.central, { from: 'DE', ...caller }), words);
});

// The claims of an answer that came as this tenant, and how the tenant is known.
async function served(mesh, caller, tenant, auth, more = {}) {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const answer = await ask(mesh.central, { from: 'DE', ...caller }, { body: chatBody(), ...more });
  assert.equal(answer.status, 200, answer.text);
  const [{ claims }] = attestationsOf(answer);
  assert.deepEqual([claims.verdict, claims.tenant, claims.auth], ['permit', tenant, auth]);
  return claims;
}

// A connection that the handshake refuses: no answer of any kind.
const noHandshake = (mesh, caller) => untouched(mesh, () =>
  assert.rejects(chat(mesh.central, { from: 'DE', ...caller }),
    (error) => /^(ERR_SSL_|ECONNRESET|EPIPE)/.test(error.code)));

// One connection for several requests: ask() with {agent, onHead}; ports has one entry a request.
async function onOneConnection(body) {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = [];
  try {
    await body({ agent, onHead: (answer) => ports.push(answer.socket.localPort) });
  } finally {
    agent.destroy();
  }
  assert.ok(ports.length > 1);
  assert.equal(new Set(ports).size, 1, 'one connection');
}

// A certificate of the mesh's client CA with what `init` does not make: {names: a subjectAltName,
// commonName, from, to: seconds from now}. Gives its name for certOf().
async function makeCert(mesh, name, { names, commonName = name, from = -60, to = 3600 }) {
  const dir = path.join(mesh.dir, 'made');
  const config = path.join(dir, `${name}.cnf`);
  const file = (end) => path.join(dir, `${name}.${end}`);
  const ca = (end) => path.join(mesh.dir, `clients/ca.${end}`);
  const time = (s) => new Date(Date.now() + s * 1000).toISOString().replace(/[-:T]|\.\d+/g, '');
  const openssl = async (...args) => {
    const { code, stderr } = await run('openssl', args);
    assert.equal(code, 0, stderr);
  };
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, 'index'), '');
  writeFileSync(config, ['[req]', 'distinguished_name = subject', 'prompt = no', '[subject]',
    `CN = ${commonName}`, '[ca]', 'default_ca = own', '[own]', `database = ${dir}/index`,
    `new_certs_dir = ${dir}`, 'rand_serial = yes', 'default_md = sha256', 'policy = any',
    'email_in_dn = no', 'x509_extensions = leaf', 'unique_subject = no', '[any]',
    'commonName = supplied', '[leaf]', 'basicConstraints = critical,CA:FALSE',
    'keyUsage = critical,digitalSignature', 'extendedKeyUsage = clientAuth',
    'authorityKeyIdentifier = keyid:always', ...(names === undefined ? []
      : [`subjectAltName = ${names}`]), ''].join('\n'));
  await openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-config', config, '-keyout', file('key'), '-out', file('csr'));
  await openssl('ca', '-batch', '-notext', '-config', config, '-cert', ca('pem'), '-keyfile',
    ca('key'), '-startdate', time(from), '-enddate', time(to), '-in', file('csr'), '-out',
    file('pem'));
  return `made/${name}`;
}

// --- Client certificates -------------------------------------------------------------------

scene('a certificate that the charter lists speaks for its tenant, in its role', async (mesh) => {
  const claims = await served(mesh, callerWith(mesh, 'clients/example'), 'acme/de', 'mtls');
  assert.equal(claims.role, 'analyst');
  assert.match(claims.sub, /^[\w-]{22}$/);
  assert.ok(!JSON.stringify(claims).includes('client/example'), 'a pseudonym');
});

scene('the models of a caller with a certificate are those of its tenant', async (mesh) => {
  const answer = await ask(mesh.central, callerWith(mesh, 'clients/example'),
    { path: '/v1/models' });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json().data.map((one) => one.id), mesh.aliases('acme/de'));
});

scene('a tenant of certificates: with its own, and with nothing less', async (mesh) => {
  await served(mesh, callerWith(mesh, 'second/nodes/one-1/public'), 'acme/cert', 'mtls');
  await refused(mesh, {}, WORDS.missing);
  await refused(mesh, { token: await mesh.token('acme/cert') }, WORDS.method);
});

scene('a tenant of certificates does not take a token, even beside its certificate',
  async (mesh) => refused(mesh, { ...callerWith(mesh, 'second/nodes/one-1/public'),
    token: await mesh.token('acme/cert') }, WORDS.method));

scene('a certificate of an authority that nobody trusts, though all its names are ours',
  async (mesh) => {
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    await noHandshake(mesh, certOf(mesh, 'stranger/clients/example'));
    await noHandshake(mesh, { ...certOf(mesh, 'stranger/clients/example'),
      token: await mesh.token('acme/de') });
  });

scene('a node\'s certificate of the mesh is no client\'s', (mesh) =>
  noHandshake(mesh, certOf(mesh, `nodes/${mesh.central.name}/mesh`)));

scene('a certificate of an authority that the charter does not name', (mesh) =>
  refused(mesh, certOf(mesh, 'second/backends/box'), WORDS.cert));

scene('an authority speaks for its own tenant only, whatever its certificates are called',
  async (mesh) => {
    await served(mesh, callerWith(mesh, 'second/clients/clinic'), 'clinic', 'mtls');
    await refused(mesh, certOf(mesh, 'second/clients/example'), WORDS.cert);
  });

scene('a charter in which an authority speaks for a tenant that it does not have', async (mesh) => {
  const source = readFileSync(mesh.source);
  const envelope = readFileSync(mesh.envelope);
  try {
    await assert.rejects(mesh.signCharter((charter) => {
      charter.client_cas.second.identities.push(
        { spiffe: 'spiffe://acme.example/client/example', tenant: 'acme/de', roles: [] });
    }), /does not speak for tenant "acme\/de"/);
    assert.deepEqual(readFileSync(mesh.envelope), envelope, 'nothing was signed');
  } finally {
    writeFileSync(mesh.source, source);
  }
});

scene('a DNS name that is listed, in any case, and one that is not', async (mesh) => {
  await refused(mesh, certOf(mesh, 'second/nodes/three-1/public'), WORDS.cert);
  await under(mesh, (charter) => {
    charter.client_cas.hosts.identities.push(
      { dns: 'Three-1.ACME.example', tenant: 'acme/cert', roles: [] });
  }, () => served(mesh, callerWith(mesh, 'second/nodes/three-1/public'), 'acme/cert', 'mtls'));
});

scene('a certificate listed by its hash comes before its SPIFFE name', (mesh) =>
  under(mesh, (charter) => {
    charter.client_cas.clients.identities.push(
      { sha256: sha256Of(mesh, 'clients/example'), tenant: 'clinic', roles: [] });
  }, () => served(mesh, callerWith(mesh, 'clients/example'), 'clinic', 'mtls')));

scene('a SPIFFE name comes before a DNS name', (mesh) => under(mesh, (charter) => {
  charter.client_cas.clients.identities.unshift(
    { dns: 'both.acme.example', tenant: 'clinic', roles: [] });
}, async () => {
  const name = await makeCert(mesh, 'both',
    { names: 'DNS:both.acme.example,URI:spiffe://acme.example/client/example' });
  await served(mesh, callerWith(mesh, name), 'acme/de', 'mtls');
}));

const strangeNames = [
  ['a longer SPIFFE name', 'URI:spiffe://acme.example/client/example/more'],
  ['the SPIFFE path of another trust domain', 'URI:spiffe://other.example/client/example'],
  ['the SPIFFE name as a DNS name', 'DNS:acme.example'],
];
for (const [i, [name, names]] of strangeNames.entries()) {
  scene(`${name} is nobody's`, async (mesh) =>
    refused(mesh, certOf(mesh, await makeCert(mesh, `strange-${i}`, { names })), WORDS.cert));
}

scene('a common name counts for nothing', async (mesh) => under(mesh, (charter) => {
  charter.client_cas.clients.identities.push(
    { dns: 'common.acme.example', tenant: 'acme/de', roles: ['analyst'] });
}, async () => refused(mesh, certOf(mesh, await makeCert(mesh, 'common',
  { commonName: 'common.acme.example' })), WORDS.cert)));

scene('a certificate with two SPIFFE names is read by nobody', async (mesh) =>
  noHandshake(mesh, certOf(mesh, await makeCert(mesh, 'two-names', {
    names: 'URI:spiffe://acme.example/client/clinic,URI:spiffe://acme.example/client/example',
  }))));

const names = 'URI:spiffe://acme.example/client/example';
for (const [name, times] of [['that has run out', { from: -7200, to: -3600 }],
  ['that is not valid yet', { from: 3600, to: 7200 }]]) {
  scene(`a certificate ${name}`, async (mesh) =>
    noHandshake(mesh, certOf(mesh, await makeCert(mesh, `out-${times.to}`, { names, ...times }))));
}

const LIFE_S = 4;
scene('a certificate that runs out on an open connection', async (mesh) => {
  const name = await makeCert(mesh, 'short', { names, to: LIFE_S });
  await onOneConnection(async (connection) => {
    await served(mesh, callerWith(mesh, name), 'acme/de', 'mtls', connection);
    const refusal = await mesh.central.until('the certificate has run out', async () => {
      const answer = await ask(mesh.central, callerWith(mesh, name),
        { body: chatBody(), ...connection });
      return answer.status === 200 ? null : answer;
    });
    isRefused(refusal, WORDS.expired);
  });
});

scene('a token bound to a certificate that runs out on an open connection', async (mesh) => {
  const name = await makeCert(mesh, 'short-bound', { names, to: LIFE_S });
  const token = await boundTo(mesh, 'acme/bound', name);
  await onOneConnection(async (connection) => {
    await served(mesh, { ...callerWith(mesh, name), token }, 'acme/bound', 'mtls+jwt', connection);
    const refusal = await mesh.central.until('the certificate has run out', async () => {
      const answer = await ask(mesh.central, { ...callerWith(mesh, name), token },
        { body: chatBody(), ...connection });
      return answer.status === 200 ? null : answer;
    });
    isRefused(refusal, WORDS.expired);
  });
});

scene('a certificate that a new charter no longer lists, on an open connection',
  async (mesh) => {
    const who = callerWith(mesh, 'clients/example');
    await onOneConnection(async (connection) => {
      await served(mesh, who, 'acme/de', 'mtls', connection);
      await under(mesh, (charter) => {
        const { clients } = charter.client_cas;
        clients.identities = clients.identities.filter((one) => one.tenant !== 'acme/de');
      }, async () => {
        isRefused(await ask(mesh.central, who, { body: chatBody(), ...connection }), WORDS.cert);
      });
    });
    await served(mesh, who, 'acme/de', 'mtls');
  });

scene('a listener that requires a certificate', async (mesh) => {
  const token = await mesh.token('acme/token');
  await served(mesh, { token }, 'acme/token', 'jwt');
  await withListener(mesh, (listener) => { listener.client_auth = 'required'; }, async () => {
    await noHandshake(mesh, { token });
    const answer = await chat(mesh.central, { ...callerWith(mesh, 'clients/example'), token });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(attestationsOf(answer)[0].claims.tenant, 'acme/token');
  });
});

scene('a listener that asks for no certificate knows none', (mesh) =>
  withListener(mesh, (listener) => { listener.client_auth = 'none'; }, () =>
    refused(mesh, certOf(mesh, 'clients/example'), WORDS.missing)));

// --- Tokens bound to a certificate -----------------------------------------------------------

const BOUND = 'second/nodes/two-1/public'; // the certificate of acme/bound

scene('a token bound to the connection\'s certificate', async (mesh) => {
  const token = await boundTo(mesh, 'acme/bound', BOUND);
  await served(mesh, { ...certOf(mesh, BOUND), token }, 'acme/bound', 'mtls+jwt');
});

scene('a bound token with another valid certificate, or with none', async (mesh) => {
  const token = await boundTo(mesh, 'acme/bound', BOUND);
  // Once it was good, it is remembered; what it is bound to must be remembered with it.
  await served(mesh, { ...certOf(mesh, BOUND), token }, 'acme/bound', 'mtls+jwt');
  for (const name of ['second/nodes/one-1/public', 'second/nodes/two-1/mesh', 'clients/clinic']) {
    await refused(mesh, { ...certOf(mesh, name), token }, WORDS.binding);
  }
  await refused(mesh, { token }, WORDS.binding);
});

scene('a token that is not bound is not enough for a tenant that wants a bound one',
  async (mesh) => {
    const token = await mesh.token('acme/bound');
    await refused(mesh, { ...certOf(mesh, BOUND), token }, WORDS.method);
    await refused(mesh, { token }, WORDS.method);
  });

scene('a certificate is not enough for a tenant that wants a bound token', (mesh) =>
  refused(mesh, certOf(mesh, BOUND), WORDS.method));

scene('a bound token for a tenant that its issuer does not speak for', async (mesh) => {
  const token = await boundTo(mesh, 'acme/bound', BOUND);
  await under(mesh, (charter) => {
    const issuer = Object.values(charter.issuers)[0];
    issuer.tenants = issuer.tenants.filter((tenant) => tenant !== 'acme/bound');
  }, () => refused(mesh, { ...certOf(mesh, BOUND), token }, WORDS.issuer));
});

scene('a token counts as a token, whatever the certificate says', async (mesh) => {
  const token = await mesh.token('acme/token');
  await served(mesh, { ...certOf(mesh, 'clients/example'), token }, 'acme/token', 'jwt');
});

scene('a tenant of plain tokens takes a bound one, but only with its certificate',
  async (mesh) => {
    const token = await boundTo(mesh, 'acme/token', BOUND);
    await served(mesh, { ...certOf(mesh, BOUND), token }, 'acme/token', 'jwt');
    await refused(mesh, { token }, WORDS.binding);
  });

// --- API keys --------------------------------------------------------------------------------

const secretOf = (key) => key.split('_').slice(2).join('_');

scene('a new API key is shown once: what is kept are its salt and its hash', async (mesh) => {
  const file = path.join(mesh.dir, 'api-keys.json');
  const listed = await mesh.command('keys', 'list', '--file', file);
  const envelope = JSON.parse(readFileSync(mesh.envelope, 'utf8'));
  const kept = [readFileSync(file, 'utf8'), readFileSync(mesh.source, 'utf8'), listed,
    Buffer.from(envelope.payload, 'base64').toString('utf8')];
  for (const [id, key] of Object.entries(keys)) {
    assert.match(key, new RegExp(`^ptk_${id}_[\\w-]{43}$`));
    assert.ok(listed.includes(`${id} `), id);
    for (const text of kept) {
      assert.ok(!text.includes(secretOf(key)), id);
    }
  }
  for (const row of JSON.parse(kept[0]).keys) {
    assert.ok(!listed.includes(row.sha256) && !listed.includes(row.salt), row.id);
  }
  const again = await run(BINARY, ['keys', 'new', 'tool', '--file', file]);
  assert.notEqual(again.code, 0);
  assert.equal(again.stdout, '');
  assert.equal(readFileSync(file, 'utf8'), kept[0], 'nothing was changed');
  const fresh = path.join(mesh.dir, 'fresh-keys.json');
  await mesh.command('keys', 'new', 'first', '--file', fresh);
  assert.equal(statSync(fresh).mode & 0o777, 0o600);
});

for (const id of ['docsfr', 'tool']) {
  for (const [how, caller] of [
    ['as a bearer', (key) => ({ token: key })],
    ['in its own field', (key) => ({ headers: { 'x-api-key': key } })],
  ]) {
    scene(`the API key ${id} ${how} speaks for the tenant that the charter gives it`,
      async (mesh) => {
        const claims = await served(mesh, { from: 'FR', ...caller(keys[id]) }, 'acme/fr',
          'api_key');
        assert.equal(claims.role, undefined);
        assert.ok(!JSON.stringify(claims).includes('program'), 'a pseudonym');
      });
  }
}

scene('an API key counts as an API key, whatever the certificate says', (mesh) =>
  served(mesh, { ...certOf(mesh, 'clients/example'), token: keys.tool }, 'acme/fr', 'api_key'));

scene('the OpenAI client with an API key', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const heads = [];
  const client = openai(mesh.central, { token: keys.tool, from: 'FR' },
    (answer) => heads.push(answer));
  const answer = await client.chat.completions.create(
    { model: 'small', messages: [{ role: 'user', content: 'one two three' }] });
  assert.equal(answer.choices[0].message.content, 'echo: one two three');
  const [{ claims }] = attestationsOf(heads[0]);
  assert.deepEqual([claims.tenant, claims.auth], ['acme/fr', 'api_key']);
  const models = [];
  for await (const model of client.models.list()) {
    models.push(model.id);
  }
  assert.deepEqual(models, mesh.aliases('acme/fr'));
  const wrong = openai(mesh.central, { token: `${keys.tool.slice(0, -43)}${newSecret()}` });
  await assert.rejects(wrong.chat.completions.create({ model: 'small', messages: [] }),
    (error) => error instanceof APIError && error.status === 401
      && error.code === 'unauthenticated');
});

const newSecret = () => randomBytes(32).toString('base64url');
const flipped = (key) => `${key.slice(0, -2)}${key.at(-2) === 'A' ? 'B' : 'A'}${key.at(-1)}`;
const wrongKeys = [
  ['another secret', () => `ptk_tool_${newSecret()}`, 'key'],
  ['one bit of the secret changed', () => flipped(keys.tool), 'key'],
  ['the secret of another key', () => `ptk_tool_${secretOf(keys.docsfr)}`, 'key'],
  ['an unknown id', () => `ptk_nobody_${secretOf(keys.tool)}`, 'key'],
  ['an id that the charter does not list', () => keys.unlisted, 'key'],
  ['an end in the past', () => keys.old, 'expired'],
  ['no secret', () => 'ptk_tool_', 'malformed'],
  ['a secret that is cut', () => keys.tool.slice(0, -1), 'malformed'],
  ['an id in capitals', () => keys.tool.replace('tool', 'TOOL'), 'malformed'],
  ['something behind it', () => `${keys.tool}A`, 'malformed'],
];
for (const [name, key, words] of wrongKeys) {
  scene(`an API key with ${name}`, async (mesh) => {
    await refused(mesh, { token: key() }, WORDS[words]);
    await refused(mesh, { headers: { 'x-api-key': key() } }, WORDS[words]);
  });
}

for (const [name, value] of [['empty', ''], ['without its prefix', 'tool.secret']]) {
  scene(`an API key that is ${name}, beside a good certificate`, (mesh) =>
    refused(mesh, { ...certOf(mesh, 'clients/example'), headers: { 'x-api-key': value } },
      WORDS.malformed));
}

scene('an API key for a tenant that requires a token', (mesh) =>
  refused(mesh, { token: keys.tokenonly }, WORDS.method));

scene('an API key that is taken out of the file is refused after a reload', async (mesh) => {
  await served(mesh, { token: keys.leaving }, 'acme/fr', 'api_key');
  changeRows(mesh, (rows) => {
    rows.splice(rows.findIndex((row) => row.id === 'leaving'), 1);
  });
  await mesh.reload();
  await refused(mesh, { token: keys.leaving }, WORDS.key);
  await served(mesh, { token: keys.tool }, 'acme/fr', 'api_key');
});

// --- More than one credential ------------------------------------------------------------------

const doubled = [
  ['an API key and a token', async (mesh) => (
    { token: await mesh.token('acme/fr'), headers: { 'x-api-key': keys.tool } })],
  ['an API key twice, in both fields', () => (
    { token: keys.tool, headers: { 'x-api-key': keys.tool } })],
  ['two Authorizations with the same API key', () => (
    { headers: { Authorization: [`Bearer ${keys.tool}`, `Bearer ${keys.tool}`] } })],
  ['two Authorizations, an API key and a token', async (mesh) => (
    { headers: { Authorization: [`Bearer ${keys.tool}`,
      `Bearer ${await mesh.token('acme/fr')}`] } })],
  ['two Authorizations beside a good certificate', async (mesh) => (
    { ...certOf(mesh, 'clients/example'), headers: { Authorization:
      [`Bearer ${await mesh.token('acme/de')}`, 'Basic YTpi'] } })],
  ['another scheme beside a good certificate', (mesh) => (
    { ...certOf(mesh, 'clients/example'), headers: { Authorization: 'Basic YTpi' } })],
  ['an empty Authorization beside a good certificate', (mesh) => (
    { ...certOf(mesh, 'clients/example'), headers: { Authorization: '' } })],
];
for (const [name, caller] of doubled) {
  scene(`${name}: which one counts is not guessed`, async (mesh) =>
    refused(mesh, await caller(mesh), WORDS.malformed));
}

scene('two fields with API keys: which one counts is not guessed', (mesh) =>
  refused(mesh, { headers: { 'x-api-key': [keys.tool, keys.docsfr] } }, WORDS.malformed));

scene('a credential in a trailer counts for nothing', (mesh) => untouched(mesh, async () => {
  const body = JSON.stringify(chatBody());
  const answer = await rawAsk(mesh.central, 'POST /v1/chat/completions HTTP/1.1\r\n'
    + `Host: ${mesh.central.authority}\r\nX-Forwarded-For: 80.10.246.1\r\n`
    + 'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
    + `${body.length.toString(16)}\r\n${body}\r\n0\r\nX-Api-Key: ${keys.tool}\r\n\r\n`);
  assert.deepEqual(statusesOf(answer), [401], answer);
}));

// --- Where an API key must not go ----------------------------------------------------------------

// The files below a folder that hold one of the texts.
function holding(folder, texts) {
  return readdirSync(folder, { recursive: true }).map((name) => path.join(folder, name))
    .filter((file) => statSync(file).isFile())
    .filter((file) => {
      const bytes = readFileSync(file);
      return texts.some((text) => bytes.includes(text));
    });
}

scene('no backend, no log, no ledger and no other file ever holds an API key', async (mesh) => {
  const wrong = `ptk_tool_${newSecret()}`;
  const forms = [...Object.values(keys), wrong].flatMap((key) => [secretOf(key),
    Buffer.from(secretOf(key), 'base64url'), Buffer.from(key).toString('base64').slice(0, -4)]);
  const all = [...mesh.standins.values()];
  await Promise.all(all.map((one) => one.forget()));
  const ids = [];
  for (const [node, who] of [
    [mesh.central, { token: keys.tool, from: 'FR' }],
    [mesh.central, { from: 'FR', headers: { 'x-api-key': keys.tool, 'api-key': keys.tool } }],
    // Only Germany may do this work, so that it goes through the other region's node.
    [mesh.west, { token: keys.far, from: 'DE' }],
    [mesh.west, { from: 'DE', headers: { 'x-api-key': keys.far } }],
  ]) {
    const answer = await chat(node, who);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(attestationsOf(answer).length, node === mesh.west ? 2 : 1);
    assert.ok(!forms.some((form) => JSON.stringify(answer.headers).includes(form)));
    ids.push(answer.headers['x-request-id']);
  }
  isRefused(await chat(mesh.central, { token: wrong }), WORDS.key);
  const seen = (await Promise.all(all.map((one) => one.requests()))).flat();
  assert.equal(seen.length, ids.length);
  for (const one of seen) {
    assert.ok(!forms.some((form) => JSON.stringify([one.headers, one.body]).includes(form)));
    for (const name of ['authorization', 'x-api-key', 'api-key']) {
      assert.equal(one.fields.get(name), undefined, name);
    }
  }
  await mesh.whileStopped([mesh.west, mesh.central], () => {
    assert.deepEqual(holding(mesh.dir, forms), []);
    for (const node of [mesh.west, mesh.central]) {
      const claims = node.readLedger().flatMap((one) => [...one.a1, ...one.a2, ...one.control]);
      const text = JSON.stringify(claims);
      assert.ok(!forms.some((form) => text.includes(form)), node.name);
      // That the search would have found something:
      assert.ok(holding(node.ledger, [ids[node === mesh.west ? 2 : 0]]).length > 0);
    }
  });
});
