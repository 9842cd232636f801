// The public listener's TLS: sessions, certificates by name, clients' certificates, limits.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { ask as askOn, BINARY, chat, rawAsk, run, statusesOf, until, useMesh } from './lib.mjs';
import { Authority, sClient, talk } from './tls.mjs';

const VERSIONS = ['TLSv1.2', 'TLSv1.3'];
const scene = useMesh({ prepare });
const our = {}; // authorities: hosts, people (trusted), strangers (not)

const one = (mesh) => mesh.central;
const publicOf = (config) => config.listeners.public;

async function prepare(mesh) {
  const authority = (name) => Authority.create(path.join(mesh.dir, 'tls', name), `${name} CA`);
  our.hosts = await authority('hosts');
  our.people = await authority('people');
  our.strangers = await authority('strangers');
  await our.hosts.issue('exact', { names: ['DNS:chat.acme.example'] });
  await our.hosts.issue('star', { names: ['DNS:*.acme.example'] });
  await our.hosts.issue('renewed', { names: ['DNS:localhost', 'IP:127.0.0.1'] });
  await our.hosts.issue('elsewhere', { names: ['DNS:other.example'] });
  await our.people.issue('alice', { names: ['DNS:alice.acme.example'] });
  await our.people.issue('mallory', { names: ['DNS:alice.acme.example'] });
  await our.people.issue('late', { names: ['DNS:alice.acme.example'], days: [-9, -2] });
  await our.strangers.issue('alice', { names: ['DNS:alice.acme.example'] });
  await our.people.crl('now.crl');
  mesh.central.changeConfig((config) => {
    Object.assign(publicOf(config), {
      names: ['localhost', 'chat.acme.example', 'a.acme.example', 'b.a.acme.example'],
      client_ca: our.people.file('ca.pem'), client_crl: our.people.file('now.crl'),
      client_auth: 'optional',
      certs: ['star', 'exact'].map((name) => ({
        cert: our.hosts.file(`${name}.pem`), key: our.hosts.file(`${name}.key`),
      })),
    });
    config.workers = 4;
  });
  await mesh.signCharter((charter) => {
    charter.tenants['acme/cert'] = { auth: ['mtls'] };
    charter.client_cas.people = {
      sha256: digestOf(our.people), tenants: ['acme/cert'],
      identities: [{ dns: 'alice.acme.example', tenant: 'acme/cert', roles: [] }],
    };
  });
}

// The SHA-256 of an authority's own certificate.
function digestOf(authority) {
  return new X509Certificate(authority.read('ca.pem')).fingerprint256.replaceAll(':', '')
    .toLowerCase();
}

const alice = () => our.people.pair('alice');
const trusting = (mesh, more = {}) =>
  ({ ca: [mesh.central.ca, our.hosts.read('ca.pem')], ...more });
const ask = (mesh, more) => talk(one(mesh), trusting(mesh, more));

// Under another config, and the one before is in force again afterwards.
async function under(mesh, change, body) {
  const before = readFileSync(one(mesh).config);
  one(mesh).changeConfig(change);
  try {
    await mesh.reload([one(mesh)]);
    await body();
  } finally {
    writeFileSync(one(mesh).config, before);
    await mesh.reload([one(mesh)]);
  }
}

// A SIGHUP that must change nothing.
async function failsToReload(mesh) {
  const failed = await one(mesh).metric('portolan_reloads_failed_total');
  one(mesh).child.signal('SIGHUP');
  await one(mesh).until('the reload has failed', async () =>
    await one(mesh).metric('portolan_reloads_failed_total') === failed + 1);
}

const check = (mesh) => run(BINARY, ['check', '--config', one(mesh).config]);

// What `portolan check` says against a changed config.
async function faultOf(mesh, change) {
  const before = readFileSync(one(mesh).config);
  one(mesh).changeConfig((config) => change(publicOf(config), config));
  try {
    const { code, stdout, stderr } = await check(mesh);
    assert.notEqual(code, 0);
    return stdout + stderr;
  } finally {
    writeFileSync(one(mesh).config, before);
  }
}

async function failedBy(mesh, reason) {
  const { text } = await one(mesh).admin('/metrics');
  const match = new RegExp(`handshakes_failed_total{reason="${reason}"} (\\d+)`).exec(text);
  return Number(match[1]);
}

// The handshake fails, for this reason and no other.
async function refused(mesh, more, reason) {
  const before = await failedBy(mesh, reason);
  await assert.rejects(ask(mesh, more), /alert|ECONNRESET|closed|EPIPE/i);
  await until(`counted as ${reason}`, async () => await failedBy(mesh, reason) === before + 1);
}

const isAlice = (answer) => {
  assert.equal(answer.status, 200, answer.text);
  assert.match(answer.text, /"owned_by":"acme\/cert"/);
};

// ---- sessions -------------------------------------------------------------------------

for (const version of VERSIONS) {
  scene(`${version}: a session goes on at every worker`, async (mesh) => {
    const resumed = await one(mesh).metric('portolan_tls_handshakes_resumed_total');
    const first = await ask(mesh, { version });
    assert.deepEqual([first.protocol, first.resumed], [version, false]);
    const all = await Promise.all(Array.from({ length: 24 }, () =>
      ask(mesh, { version, session: first.session })));
    assert.ok(all.every((answer) => answer.resumed));
    assert.equal(await one(mesh).metric('portolan_tls_handshakes_resumed_total'), resumed + 24);
  });

  scene(`${version}: a resumed session is the same caller, by certificate and chain`,
    async (mesh) => {
      const first = await ask(mesh, { version, ...alice() });
      isAlice(first);
      // The ticket alone speaks for her: no certificate is shown again.
      const second = await ask(mesh, { version, session: first.session });
      assert.ok(second.resumed);
      isAlice(second);
      const third = await ask(mesh, { version, session: second.session ?? first.session });
      assert.ok(third.resumed);
      isAlice(third);
      const nobody = await ask(mesh, { version });
      assert.equal(nobody.status, 401);
    });

  scene(`${version}: a session is resumed under its own name only`, async (mesh) => {
    const name = { servername: 'chat.acme.example', host: 'chat.acme.example' };
    const first = await ask(mesh, { version, ...name });
    assert.ok((await ask(mesh, { version, ...name, session: first.session })).resumed);
    const other = await ask(mesh, { version, session: first.session });
    assert.equal(other.resumed, false);
    assert.equal(other.status, 401, other.text);
    const mixed = await ask(mesh, { version, host: 'localhost', servername: 'chat.acme.example',
      session: first.session });
    assert.deepEqual([mixed.resumed, mixed.status], [true, 421]);
  });

  scene(`${version}: a renewed server certificate keeps sessions`, async (mesh) => {
    const first = await ask(mesh, { version, ...alice() });
    await under(mesh, (config) => Object.assign(publicOf(config), {
      cert: our.hosts.file('renewed.pem'), key: our.hosts.file('renewed.key'),
    }), async () => {
      const second = await ask(mesh, { version, session: first.session });
      assert.ok(second.resumed);
      isAlice(second);
      assert.equal((await ask(mesh, { version })).server, 'renewed');
    });
  });

  scene(`${version}: what clients are verified by has changed: the session is over`,
    async (mesh) => {
      const start = async () => (await ask(mesh, { version, ...alice() })).session;
      const session = await start();
      const changes = {
        crl: async (listener) => { listener.client_crl = await our.people.crl('next.crl'); },
        ca: (listener) => {
          listener.client_ca = our.people.file('both.pem');
          delete listener.client_crl;
        },
        mode: (listener) => { listener.client_auth = 'none'; delete listener.client_crl; },
      };
      writeFileSync(our.people.file('both.pem'),
        our.people.read('ca.pem') + our.strangers.read('ca.pem'));
      for (const change of Object.values(changes)) {
        const config = one(mesh).readConfig();
        await change(publicOf(config));
        await under(mesh, (value) => Object.assign(value, config, {
          listeners: { ...config.listeners } }), async () => {
          const again = await ask(mesh, { version, session });
          assert.equal(again.resumed, false);
          assert.equal(again.status, 401, 'the certificate was not shown again');
        });
      }
      // And with the first trust in force again, the ticket counts again.
      assert.ok((await ask(mesh, { version, session })).resumed);
    });
}

scene('a client revoked after her session began is refused, ticket or not', async (mesh) => {
  const mallory = our.people.pair('mallory');
  const first = await ask(mesh, mallory);
  isAlice(first);
  await our.people.revoke('mallory');
  await our.people.crl('revoked.crl');
  await under(mesh, (config) => {
    publicOf(config).client_crl = our.people.file('revoked.crl');
  }, async () => {
    await refused(mesh, { ...mallory, session: first.session }, 'certificate_revoked');
    isAlice(await ask(mesh, alice()));
  });
});

scene('a session ends with the certificate that it began with, and with the CRL', async (mesh) => {
  const soon = 4 / 86_400; // seconds, in days
  const ends = (session) => until('the ticket is void', async () =>
    !(await ask(mesh, { session })).resumed);
  await our.people.issue('brief', { names: ['DNS:alice.acme.example'], days: [-1, soon] });
  const first = await ask(mesh, our.people.pair('brief'));
  isAlice(first);
  const again = await ask(mesh, { session: first.session });
  assert.ok(again.resumed);
  await ends(first.session);
  // Resuming has not made it longer.
  assert.equal((await ask(mesh, { session: again.session })).resumed, false);
  const crl = await our.people.crl('brief.crl', { days: [-1, soon] });
  await under(mesh, (config) => { publicOf(config).client_crl = crl; }, async () => {
    const { session } = await ask(mesh, alice());
    assert.ok((await ask(mesh, { session })).resumed);
    await ends(session);
    await refused(mesh, { ...alice(), session }, 'crl_expired');
  });
});

scene('no ticket of another process counts', async (mesh) => {
  const first = await ask(mesh, {});
  await mesh.whileStopped([one(mesh)], () => {});
  const again = await ask(mesh, { session: first.session });
  assert.equal(again.resumed, false);
});

scene('no early data, in no ticket', async (mesh) => {
  const file = path.join(mesh.dir, 'session.pem');
  await sClient(one(mesh), ['-tls1_3', '-servername', 'localhost', '-sess_out', file, '-ign_eof'],
    'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  const { stdout } = await run('openssl', ['sess_id', '-in', file, '-noout', '-text']);
  assert.match(stdout, /TLS session ticket lifetime hint: 3600 /);
  assert.match(stdout, /Max Early Data: 0\n/);
});

scene('between nodes: TLS 1.3, a certificate, no session', async (mesh) => {
  const port = Number(one(mesh).readConfig().listeners.mesh.address.split(':').at(-1));
  const own = path.join(mesh.dir, 'nodes/eu-west-1');
  const args = ['-cert', `${own}/mesh.pem`, '-key', `${own}/mesh.key`, '-ign_eof'];
  const request = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  const node = { ...one(mesh), mesh, port };
  const good = await sClient(node, ['-tls1_3', ...args], request);
  assert.match(good, /HTTP\/1\.1 \d{3} /);
  assert.doesNotMatch(good, /New Session Ticket/);
  assert.match(await sClient(node, ['-tls1_2', ...args], request), /alert protocol version/);
  assert.doesNotMatch(await sClient(node, ['-tls1_3', '-ign_eof'], request), /HTTP\/1\.1/);
});

scene('between nodes: a revoked peer is refused, whoever calls', async (mesh) => {
  const { west, central } = mesh;
  const ca = Authority.like(path.join(mesh.dir, 'tls/mesh'), path.join(mesh.dir, 'ca'));
  const before = readFileSync(west.config);
  const caller = { token: await mesh.token('acme/fr'), from: 'FR' };
  await mesh.serves(west, 'acme/fr', 'FR');
  await mesh.each('eu-west', (standin) => standin.stop());
  try {
    west.changeConfig((config) => { config.listeners.mesh.crl = ca.file('mesh.crl'); });
    await ca.crl('mesh.crl');
    await mesh.reload([west]);
    await mesh.serves(west, 'acme/fr', 'FR', 'eu-central');
    await ca.revoke(path.join(central.dir, 'mesh'));
    await ca.crl('mesh.crl');
    await mesh.reload([west]);
    await west.until('nothing goes to the other region', async () =>
      (await chat(west, caller)).status === 503);
    const port = Number(west.readConfig().listeners.mesh.address.split(':').at(-1));
    const counted = async () => {
      const { text } = await west.admin('/metrics');
      return Number(/handshakes_failed_total{reason="certificate_revoked"} (\d+)/.exec(text)[1]);
    };
    const count = await counted();
    await sClient({ ...west, mesh, port }, ['-cert', path.join(central.dir, 'mesh.pem'), '-key',
      path.join(central.dir, 'mesh.key'), '-ign_eof'], 'GET / HTTP/1.1\r\n\r\n');
    await west.until('the caller was refused', async () => await counted() > count);
  } finally {
    writeFileSync(west.config, before);
    await mesh.each('eu-west', (standin) => standin.start());
    await mesh.reload([west]);
    await mesh.serves(west, 'acme/fr', 'FR');
  }
});

// ---- certificates by name -------------------------------------------------------------

scene('the certificate is that of the name: exact, one label for a star, else the first',
  async (mesh) => {
    for (const [servername, server] of [
      ['chat.acme.example', 'exact'], ['CHAT.acme.EXAMPLE', 'exact'], ['a.acme.example', 'star'],
      ['b.a.acme.example', 'eu-central-1'], ['acme.example', 'eu-central-1'],
      ['localhost', 'eu-central-1'], ['', 'eu-central-1'],
    ]) {
      const answer = await ask(mesh, { servername });
      assert.equal(answer.server, server, servername);
    }
  });

scene('the name of the handshake is that of the request', async (mesh) => {
  const at = async (servername, host) => (await ask(mesh, { servername, host })).status;
  assert.equal(await at('a.acme.example', 'a.acme.example'), 401);
  assert.equal(await at('A.acme.example', 'a.ACME.example'), 401);
  assert.equal(await at('a.acme.example', 'chat.acme.example'), 421);
  assert.equal(await at('x.acme.example', 'x.acme.example'), 421);
});

scene('a certificate for none of the hosts, or not for its names, is a fault', async (mesh) => {
  const pair = (name) =>
    ({ cert: our.hosts.file(`${name}.pem`), key: our.hosts.file(`${name}.key`) });
  assert.match(await faultOf(mesh, (listener) => { listener.certs = [pair('elsewhere')]; }),
    /elsewhere\.pem.*names none of the listener's hosts/);
  assert.match(await faultOf(mesh, (listener) => Object.assign(listener, pair('elsewhere'))),
    /elsewhere\.pem.*names none of the listener's hosts/);
  assert.match(await faultOf(mesh, (listener) => {
    listener.certs = [{ ...pair('exact'), names: ['a.acme.example'] }];
  }), /exact\.pem.*does not name what its/);
  assert.match(await faultOf(mesh, (listener) => {
    listener.certs = [{ ...pair('exact'), key: pair('star').key }];
  }), /exact\.pem.*does not belong to the certificate/);
  assert.match(await faultOf(mesh, (listener) => {
    listener.certs = Array.from({ length: 32 }, () => pair('exact'));
  }), /list of 1 to 31 certificates/);
  assert.match(await faultOf(mesh, (listener) => { delete listener.key; }), /public\.key.*missing/);
  assert.match(await faultOf(mesh, (listener) => {
    delete listener.cert;
    delete listener.key;
    delete listener.certs;
  }), /public\.cert.*missing/);
});

scene('a list alone will do: its first is the default; "names" narrows', async (mesh) => {
  const pair = (name) =>
    ({ cert: our.hosts.file(`${name}.pem`), key: our.hosts.file(`${name}.key`) });
  await under(mesh, (config) => {
    delete publicOf(config).cert;
    delete publicOf(config).key;
    publicOf(config).certs = [pair('renewed'), { ...pair('star'), names: ['a.acme.example'] }];
  }, async () => {
    const server = async (servername) => (await ask(mesh, { servername })).server;
    assert.equal(await server('localhost'), 'renewed');
    assert.equal(await server('a.acme.example'), 'star');
    assert.equal(await server('chat.acme.example'), 'renewed');
  });
});

scene('a weak key is refused when it is loaded', async (mesh) => {
  await our.hosts.issue('weak', { names: ['DNS:localhost'], key: ['rsa:1024'] });
  assert.match(await faultOf(mesh, (listener) => Object.assign(listener,
    { cert: our.hosts.file('weak.pem'), key: our.hosts.file('weak.key') })),
  /RSA key is shorter than 2048 bits/);
});

// ---- clients' certificates ------------------------------------------------------------

const modes = {
  none: async (mesh) => {
    const stranger = await ask(mesh, our.strangers.pair('alice'));
    assert.equal(stranger.status, 401, 'nobody asked for it');
    assert.equal((await ask(mesh, alice())).status, 401);
    assert.equal((await ask(mesh, {})).status, 401);
  },
  optional: async (mesh) => {
    assert.equal((await ask(mesh, {})).status, 401);
  },
  required: async (mesh) => {
    for (const version of VERSIONS) {
      await refused(mesh, { version }, 'certificate_missing');
    }
  },
};
for (const [mode, also] of Object.entries(modes)) {
  scene(`client_auth ${mode}: good, none, foreign, expired, revoked`, async (mesh) => {
    await our.people.issue(`gone-${mode}`, { names: ['DNS:alice.acme.example'] });
    await our.people.revoke(`gone-${mode}`);
    const crl = await our.people.crl(`${mode}.crl`);
    await under(mesh, (config) => {
      publicOf(config).client_auth = mode;
      publicOf(config).client_crl = crl;
      if (mode === 'none') {
        delete publicOf(config).client_crl;
      }
    }, async () => {
      await also(mesh);
      for (const version of mode === 'none' ? [] : VERSIONS) {
        isAlice(await ask(mesh, { version, ...alice() }));
        await refused(mesh, { version, ...our.strangers.pair('alice') }, 'certificate_untrusted');
        await refused(mesh, { version, ...our.people.pair('late') }, 'certificate_expired');
        await refused(mesh, { version, ...our.people.pair(`gone-${mode}`) },
          'certificate_revoked');
      }
    });
  });
}

scene('an expired CRL refuses the clients of its CA, and says so', async (mesh) => {
  const crl = await our.people.crl('old.crl', { days: [-9, -1] });
  await under(mesh, (config) => { publicOf(config).client_crl = crl; }, async () => {
    // There are few such lines in a second, and the scenes before this one may have used them up.
    await one(mesh).until('a line of the log says so', async () => {
      await refused(mesh, alice(), 'crl_expired');
      return /event=tls\.refused listener=public reason=crl_expired/.test(one(mesh).child.tail());
    });
    assert.equal((await ask(mesh, {})).status, 401, 'others come in');
  });
});

scene('a CRL that no CA signed, or a CA without one, is a fault', async (mesh) => {
  const foreign = await our.strangers.crl('now.crl');
  assert.match(await faultOf(mesh, (listener) => { listener.client_crl = foreign; }),
    /signed by no CA of the CA file/);
  assert.match(await faultOf(mesh, (listener) => {
    listener.client_ca = our.people.file('both.pem');
  }), /no CRL of one of the CAs/);
  assert.match(await faultOf(mesh, (listener) => {
    listener.client_crl = our.people.file('ca.pem');
  }), /holds no PEM CRL/);
  assert.match(await faultOf(mesh, (listener) => { listener.client_auth = 'none'; }),
    /client_crl.*has no effect/);
  assert.match(await faultOf(mesh, (listener, config) => {
    config.listeners.mesh.crl = our.people.file('now.crl');
  }), /signed by no CA of the CA file/);
});

// ---- reload ---------------------------------------------------------------------------

scene('a bad certificate in the list, or a bad CRL, leaves all as it was', async (mesh) => {
  for (const damage of [
    (listener) => { listener.certs[1].cert = our.people.file('now.crl'); },
    (listener) => { listener.certs[1].key = our.hosts.file('star.key'); },
    (listener) => { listener.client_crl = our.hosts.file('exact.pem'); },
    (listener) => { listener.client_crl = '/nowhere.crl'; },
  ]) {
    const before = readFileSync(one(mesh).config);
    one(mesh).changeConfig((config) => damage(publicOf(config)));
    try {
      await failsToReload(mesh);
      assert.equal((await ask(mesh, { servername: 'chat.acme.example' })).server, 'exact');
      isAlice(await ask(mesh, alice()));
    } finally {
      writeFileSync(one(mesh).config, before);
    }
  }
  await mesh.reload([one(mesh)]);
});

scene('a certificate file that is replaced is shown from the reload on', async (mesh) => {
  const files = ['pem', 'key'].map((end) => our.hosts.file(`exact.${end}`));
  const before = files.map((file) => readFileSync(file));
  await our.hosts.issue('second', { names: ['DNS:chat.acme.example'] });
  const name = { servername: 'chat.acme.example', host: 'chat.acme.example' };
  ['pem', 'key'].forEach((end, i) => writeFileSync(files[i], our.hosts.read(`second.${end}`)));
  assert.equal((await ask(mesh, name)).server, 'exact');
  await mesh.reload([one(mesh)]);
  assert.equal((await ask(mesh, name)).server, 'second');
  files.forEach((file, i) => writeFileSync(file, before[i]));
  await mesh.reload([one(mesh)]);
  assert.equal((await ask(mesh, name)).server, 'exact');
});

scene('an open connection goes on when its certificate is replaced', async (mesh) => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = [];
  const models = () => askOn(one(mesh), {}, { path: '/v1/models', agent,
    onHead: (answer) => ports.push(answer.socket.localPort) });
  assert.equal((await models()).status, 401);
  await under(mesh, (config) => Object.assign(publicOf(config), {
    cert: our.hosts.file('renewed.pem'), key: our.hosts.file('renewed.key'),
  }), async () => {
    assert.equal((await models()).status, 401);
    assert.equal((await ask(mesh, {})).server, 'renewed');
  });
  agent.destroy();
  assert.equal(ports[0], ports[1], 'the same connection');
});

// ---- protocol -------------------------------------------------------------------------

scene('ALPN: http/1.1 or nothing; h2 alone is refused', async (mesh) => {
  const alpn = (protocols) => sClient(one(mesh), ['-servername', 'localhost', '-alpn', protocols]);
  assert.match(await alpn('h2,http/1.1'), /ALPN protocol: http\/1\.1/);
  assert.match(await alpn('h2'), /no application protocol/);
  const answer = await rawAsk(one(mesh), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  assert.deepEqual(statusesOf(answer), [400]);
});

// A ClientHello of TLS 1.2 with this server_name extension; resolves to the first record's type.
function helloWith(node, name) {
  const number = (value) => Buffer.from([value >> 8, value & 255]);
  const sized = (bytes) => Buffer.concat([number(bytes.length), bytes]);
  const extension = (type, bytes) => Buffer.concat([number(type), sized(bytes)]);
  const body = Buffer.concat([
    Buffer.from('0303', 'hex'), Buffer.alloc(32, 7), Buffer.from('000002c02b0100', 'hex'),
    sized(Buffer.concat([extension(0, name), extension(10, Buffer.from('00020017', 'hex')),
      extension(13, Buffer.from('00020403', 'hex'))])),
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), sized(body)]);
  return new Promise((resolve, reject) => {
    const socket = net.connect(node.port, node.host, () =>
      socket.write(Buffer.concat([Buffer.from('160301', 'hex'), sized(message)])));
    socket.once('data', (bytes) => {
      socket.destroy();
      resolve(bytes[0]);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without an answer')));
  });
}

scene('a malformed server name ends the handshake', async (mesh) => {
  const ALERT = 0x15;
  const HANDSHAKE = 0x16;
  const name = (text, { extra = '', count = 0, list = 0 } = {}) => {
    const bytes = Buffer.from(text, 'latin1');
    const out = Buffer.alloc(5 + bytes.length + extra.length);
    out.writeUInt16BE(3 + bytes.length + list, 0);
    out.writeUInt16BE(bytes.length + count, 3);
    bytes.copy(out, 5);
    return out;
  };
  assert.equal(await helloWith(one(mesh), name('localhost')), HANDSHAKE);
  assert.equal(await helloWith(one(mesh), name('a'.repeat(255))), HANDSHAKE);
  for (const bad of [name(''), name('a\0b'), name('a'.repeat(256)), name('ab', { count: 1 }),
    name('ab', { count: -1 }), name('ab', { list: 1 }), name('ab', { extra: 'x' }),
    Buffer.alloc(0), Buffer.from([0, 0]), Buffer.from([0, 4, 1, 0, 1, 97])]) {
    assert.equal(await helloWith(one(mesh), bad), ALERT, bad.toString('hex'));
  }
});

scene('old protocols, weak suites, renegotiation and compression are refused', async (mesh) => {
  const at = (args, input) => sClient(one(mesh), ['-servername', 'localhost', ...args], input);
  for (const args of [['-tls1'], ['-tls1_1']]) {
    assert.match(await at([...args, '-cipher', 'ALL:@SECLEVEL=0']), /Cipher is \(NONE\)/);
  }
  for (const cipher of ['AES128-GCM-SHA256', 'DHE-RSA-AES128-GCM-SHA256', 'AES128-SHA',
    'ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES128-SHA']) {
    assert.match(await at(['-tls1_2', '-cipher', `${cipher}:@SECLEVEL=0`]), /Cipher is \(NONE\)/);
  }
  const ours = await at(['-tls1_2', '-cipher',
    'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256']);
  assert.match(ours, /Cipher is ECDHE-ECDSA-AES128-GCM-SHA256/, 'our order');
  assert.match(ours, /Compression: NONE/);
  assert.match(await at(['-tls1_2', '-groups', 'P-521']), /Cipher is \(NONE\)/);
  assert.match(await at(['-tls1_3', '-groups', 'P-521:P-256']),
    /Server Temp Key: ECDH, prime256v1/, 'by a HelloRetryRequest');
  assert.match(await at(['-tls1_2'], 'R\n'), /no renegotiation|handshake failure/i);
});

// ---- limits ---------------------------------------------------------------------------

const silent = (node) => new Promise((resolve, reject) => {
  const socket = net.connect(node.port, node.host, () => resolve(socket));
  socket.on('error', reject);
});

const closed = (socket) => new Promise((resolve) => {
  socket.once('close', resolve);
  socket.resume();
});

scene('a handshake that does not come is ended at its deadline', async (mesh) => {
  await under(mesh, (config) => { config.timeouts.head_ms = 300; }, async () => {
    const before = await failedBy(mesh, 'timeout');
    const nothing = await silent(one(mesh));
    const half = await silent(one(mesh));
    half.write(Buffer.from('1603010200010001fc0303', 'hex'));
    await Promise.all([closed(nothing), closed(half)]);
    await until('counted', async () => await failedBy(mesh, 'timeout') === before + 2);
  });
});

scene('handshakes under way are bounded; those past the bound are closed before TLS',
  async (mesh) => {
    await under(mesh, (config) => { config.limits = { handshakes: 16 }; }, async () => {
      const refusals = await one(mesh).metric('portolan_tls_handshakes_refused_total');
      const open = await Promise.all(Array.from({ length: 16 }, () => silent(one(mesh))));
      await one(mesh).until('all are counted', async () =>
        await one(mesh).metric('portolan_tls_handshakes') === 16);
      await assert.rejects(ask(mesh, {}));
      assert.equal(await one(mesh).metric('portolan_tls_handshakes_refused_total'), refusals + 1);
      assert.equal((await one(mesh).admin('/ready')).status, 200);
      open.forEach((socket) => socket.destroy());
      await one(mesh).until('none is left', async () =>
        await one(mesh).metric('portolan_tls_handshakes') === 0);
      assert.equal((await ask(mesh, {})).status, 401);
    });
  });
