// SIGHUP: all of it or nothing, and no connection falls.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { badCharters } from './charters.mjs';
import { ask, attestationsOf, chat, chatBody, useMesh } from './lib.mjs';

const scene = useMesh();
const de = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

// The charter that is in force. That a reload itself costs no answer has a test of its own.
async function version(mesh) {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const answer = await chat(mesh.central, await de(mesh));
  assert.equal(answer.status, 200, answer.text);
  return attestationsOf(answer)[0].claims.charter;
}

scene('version 2 of the charter takes effect, and an open connection stays', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const who = await de(mesh);
  const ports = [];
  const onHead = (answer) => ports.push(answer.socket.localPort);
  const first = await ask(mesh.central, who, { body: chatBody(), agent, onHead });
  const before = attestationsOf(first)[0].claims.charter;
  await mesh.signCharter();
  await mesh.reload();
  const second = await ask(mesh.central, who, { body: chatBody(), agent, onHead });
  const after = attestationsOf(second)[0].claims.charter;
  agent.destroy();
  assert.equal(after.version, before.version + 1);
  assert.notEqual(after.digest, before.digest);
  assert.equal(ports[0], ports[1], 'the same connection');
});

scene('what the new charter forbids is refused at once', async (mesh) => {
  await mesh.signCharter((charter) => { charter.tenants['acme/de'].origins = ['FR']; });
  await mesh.reload();
  const answer = await chat(mesh.central, await de(mesh));
  assert.equal(answer.status, 403, answer.text);
  await mesh.signCharter((charter) => { delete charter.tenants['acme/de'].origins; });
  await mesh.reload();
  await mesh.serves(mesh.central, 'acme/de', 'DE');
});

// Each fault leaves what was in force in force, bit for bit.
const faults = [
  ...badCharters,
  ['a config with an unknown key', (mesh) => mesh.central.changeConfig((config) => {
    config.unknown = 1;
  })],
  ['a certificate that is none', (mesh) => mesh.central.changeConfig((config) => {
    config.listeners.public.cert = config.geoip.path;
  })],
  ['a key that is not the certificate\'s', (mesh) => mesh.central.changeConfig((config) => {
    config.listeners.public.key = config.keys.attest;
  })],
  ['a certificate in the list that is none', (mesh) => mesh.central.changeConfig((config) => {
    config.listeners.public.certs = [{ cert: config.geoip.path, key: 'public.key' }];
  })],
  ['a CRL that is none', (mesh) => mesh.central.changeConfig((config) => {
    config.listeners.public.client_crl = config.listeners.public.cert;
  })],
  ['a database that is none', (mesh) => mesh.central.changeConfig((config) => {
    config.geoip.path = config.listeners.public.cert;
  })],
];
for (const [name, damage] of faults) {
  scene(`${name} changes nothing`, async (mesh) => {
    const before = await version(mesh);
    const charter = readFileSync(mesh.envelope);
    const source = readFileSync(mesh.source);
    const config = readFileSync(mesh.central.config);
    const failed = await mesh.central.metric('portolan_reloads_failed_total');
    const good = await mesh.central.metric('portolan_reloads_total');
    try {
      await damage(mesh);
      mesh.central.child.signal('SIGHUP');
      await mesh.central.until('the reload has failed', async () =>
        await mesh.central.metric('portolan_reloads_failed_total') === failed + 1);
      assert.equal(await mesh.central.metric('portolan_reloads_total'), good);
      assert.deepEqual(await version(mesh), before);
    } finally {
      writeFileSync(mesh.envelope, charter);
      writeFileSync(mesh.source, source);
      writeFileSync(mesh.central.config, config);
    }
    await mesh.reload([mesh.central]);
    assert.deepEqual(await version(mesh), before);
  });
}

scene('what a file says can\'t forge a second value in the log', async (mesh) => {
  const config = readFileSync(mesh.central.config);
  try {
    mesh.central.changeConfig((value) => { value['x" event=forged y="'] = 1; });
    const failed = await mesh.central.metric('portolan_reloads_failed_total');
    mesh.central.child.signal('SIGHUP');
    await mesh.central.until('the reload has failed', async () =>
      await mesh.central.metric('portolan_reloads_failed_total') === failed + 1);
    const line = mesh.central.child.tail(20).split('\n').find((one) => one.includes('reload.problem'));
    assert.match(line, / path="[^"]+" problem="[^"]+"$/);
    assert.ok(!line.includes('event=forged'), line);
  } finally {
    writeFileSync(mesh.central.config, config);
  }
});

scene('portolan reload says what came of it', async (mesh) => {
  const good = await mesh.reloadBy(mesh.central);
  assert.equal(good.code, 0, good.stderr);
  assert.equal(good.stdout, `reloaded: charter version ${mesh.readCharter().version} is in force\n`);
  const charter = readFileSync(mesh.envelope);
  const config = readFileSync(mesh.central.config);
  const before = await version(mesh);
  mesh.writeCharter((envelope) => { envelope.signatures = []; });
  const unsigned = await mesh.reloadBy(mesh.central);
  assert.equal(unsigned.code, 1, unsigned.stdout);
  assert.match(unsigned.stderr, /^nothing changed: .*charter\.dsse\.json: .*sign/);
  writeFileSync(mesh.envelope, charter);
  mesh.central.changeConfig((value) => { value.unknown = 1; });
  const unknown = await mesh.reloadBy(mesh.central);
  assert.equal(unknown.code, 1, unknown.stdout);
  assert.match(unknown.stderr, /node\.jsonc:\d+: unknown: .*\nnothing changed\n$/);
  writeFileSync(mesh.central.config, config);
  assert.deepEqual(await version(mesh), before);
  await mesh.west.stop();
  const absent = await mesh.reloadBy(mesh.west);
  assert.equal(absent.code, 2, absent.stdout);
  assert.match(absent.stderr, /^can't be asked: no process listens/);
  await mesh.west.start();
});

scene('a reload under load loses no request', async (mesh) => {
  const who = await de(mesh);
  let going = true;
  const callers = Array.from({ length: 4 }, async () => {
    let count = 0;
    while (going) {
      const answer = await chat(mesh.central, who);
      assert.equal(answer.status, 200, answer.text);
      count += 1;
    }
    return count;
  });
  for (let i = 0; i < 5; i += 1) {
    await mesh.signCharter();
    await mesh.reload();
  }
  going = false;
  const counts = await Promise.all(callers);
  assert.ok(counts.every((count) => count > 0));
});
