// What was said and written can be verified by anybody, offline, and survives a kill.
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { attestationsOf, chat, hashOf, isSignedBy, LONG, readLedger, thumbprint, useMesh }
  from './lib.mjs';
import { killRounds } from './kill.mjs';

const scene = useMesh();
const de = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

scene('an attestation is verified offline, by the command and by a second reader', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const answer = await chat(mesh.central, await de(mesh));
  const [a1] = attestationsOf(answer);
  assert.ok(isSignedBy(await mesh.central.jwks(), a1));
  const { code, stdout, stderr } = await mesh.verify(answer.headers['residency-attestation']);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /DE/);
});

scene('a changed attestation is not verified', async (mesh) => {
  const [a1] = attestationsOf(await chat(mesh.central, await de(mesh)));
  const parts = a1.jws.split('.');
  const claims = { ...a1.claims, tenant: 'acme/fr' };
  parts[1] = Buffer.from(JSON.stringify(claims)).toString('base64url');
  const { code, stdout, stderr } = await mesh.verify(parts.join('.'));
  assert.equal(code, 1, stdout + stderr);
});

scene('an A1 says what was decided, and its A2 how it ended', async (mesh) => {
  const answer = await chat(mesh.central, await de(mesh));
  const [{ claims, jws, index }] = attestationsOf(answer);
  assert.deepEqual(Object.keys(claims), ['v', 'iss', 'aud', 'verdict', 'reason', 'tenant', 'auth',
    'role', 'class', 'ingress', 'charter', 'policy', 'legal', 'target', 'model', 'txn', 'jti', 'iat',
    'exp', 'hop', 'prev', 'sub', 'origin', 'request', 'shard']
    .filter((name) => name in claims), 'the members in the order of docs/formats.md');
  assert.equal(claims.verdict, 'permit');
  assert.equal(claims.aud, `backend:${claims.target.backend}`);
  assert.equal(claims.jti, `${claims.txn}.${mesh.central.name}.0`);
  assert.ok(claims.exp - claims.iat <= 120);
  assert.deepEqual(claims.ingress, { region: 'eu-central', node: mesh.central.name });
  assert.equal(claims.model.requested, 'small');
  assert.equal(claims.request.endpoint, 'chat_completions');
  const a2 = await mesh.central.until('the A2', () =>
    mesh.central.readLedger().at(-1).a2.find((one) => one.txn === claims.txn));
  assert.deepEqual(a2.a1, { hash: hashOf(jws), index });
  assert.deepEqual([a2.end, a2.status, a2.kind, a2.v], ['complete', 200, 'a2', 1]);
  assert.equal(a2.answer.bytes, answer.bytes.length);
  assert.deepEqual(a2.tokens, { completion: 4, prompt: 3, source: 'answer' });
  assert.equal(a2.model.response_id, answer.json().id);
  assert.ok(a2.times.received <= a2.times.dispatched && a2.times.dispatched <= a2.times.end);
  const { frames } = mesh.central.readLedger().at(-1);
  const text = frames.find((frame) => frame.type === 'a2' && frame.text.includes(claims.txn)).text;
  assert.equal(text, canonical(JSON.parse(text)), 'an A2 is in RFC 8785\'s form');
});

function canonical(value) {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(',')}]`;
  }
  if (value !== null && typeof value === 'object') {
    return `{${Object.keys(value).sort()
      .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

scene('the keys in force are on record, however many issuers there are', async (mesh) => {
  const node = mesh.central;
  const before = node.readConfig();
  const [file] = Object.values(before.issuers);
  const [name] = Object.keys(before.issuers);
  const many = Object.fromEntries(Array.from({ length: 250 },
    (_, i) => [`https://${String(i).padStart(52, 'i')}`, file]));
  try {
    await mesh.signCharter((charter) => {
      for (const issuer of Object.keys(many)) {
        charter.issuers[issuer] = charter.issuers[name];
      }
    });
    await node.restart((config) => { Object.assign(config.issuers, many); });
    const { issuers, ...config } = node.readConfig();
    const bytes = (from) => readFileSync(path.resolve(node.dir, from));
    const { nodes } = mesh.readCharter();
    const print = (use) => thumbprint(nodes[node.name].keys.find((key) => key.use === use).jwk);
    const { t, ...leaf } = node.readLedger().at(-1).control.find((one) => one.kind === 'keys');
    assert.ok(t > 0);
    assert.deepEqual(leaf, { advert: print('advert'), api_keys: hashOf(bytes(config.api_keys)),
      attest: print('attest'), kind: 'keys', v: 1,
      jwks: hashOf(canonical(Object.fromEntries(Object.entries(issuers)
        .map(([issuer, from]) => [issuer, hashOf(bytes(from))])))) });
  } finally {
    await mesh.signCharter((charter) => {
      for (const issuer of Object.keys(many)) {
        delete charter.issuers[issuer];
      }
    });
    await node.restart((config) => { config.issuers = before.issuers; });
    await mesh.reload();
    await mesh.serves(node, 'acme/de', 'DE');
  }
});

scene('the ledger holds no prompt, no answer, no address and no subject', async (mesh) => {
  const token = await mesh.token('acme/de', { subject: 'petra.secret' });
  const answer = await chat(mesh.central, { token, from: 'DE' }, {
    messages: [{ role: 'user', content: 'Geheimnis Geheimnis' }] });
  assert.equal(answer.status, 200);
  await mesh.central.until('the A2', () => mesh.central.readLedger().at(-1).a2.some((one) =>
    one.txn === answer.headers['x-request-id']));
  for (const file of readdirSync(mesh.central.ledger, { recursive: true })) {
    if (file.endsWith('.wal')) {
      const bytes = readFileSync(path.join(mesh.central.ledger, file));
      const texts = mesh.central.readLedger().flatMap((run) => run.a1)
        .map((a1) => JSON.stringify(a1.claims)).join('\n');
      for (const word of ['Geheimnis', 'petra.secret', '194.25.0.125', '127.0.0.1']) {
        assert.equal(bytes.includes(word), false, `${word} in ${file}`);
        assert.equal(texts.includes(word), false, `${word} in a claim`);
      }
    }
  }
});

scene('the log goes on in the next segment', async (mesh) => {
  const who = await de(mesh);
  const segments = () => {
    const folder = path.join(mesh.central.ledger, 'runs', mesh.central.readLedger().at(-1).name);
    return readdirSync(folder).filter((name) =>
      readFileSync(path.join(folder, name)).toString('latin1', 0, 8) === 'PTLNWAL1').length;
  };
  while (segments() < 2) {
    const answers = await Promise.all(Array.from({ length: 8 }, () => chat(mesh.central, who)));
    for (const answer of answers) {
      assert.equal(answer.status, 200, answer.text);
    }
  }
});

scene('a stopped node\'s ledger is verified as a whole', (mesh) =>
  mesh.whileStopped([mesh.central], async () => {
    const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
    assert.equal(code, 0, stdout + stderr);
    const seqs = readLedger(mesh.central.ledger).at(-1).frames.map((frame) => frame.seq);
    assert.deepEqual(seqs, seqs.map((_, i) => i), 'numbered without gaps');
  }));

// Changes one byte inside the first text that is found in the run's first segment.
function damage(ledger, text) {
  const file = path.join(ledger, 'runs', readdirSync(path.join(ledger, 'runs')).sort().at(-1),
    '00000000.wal');
  const bytes = readFileSync(file);
  const at = bytes.indexOf(text);
  assert.ok(at > 0);
  bytes[at + 10] ^= 1;
  writeFileSync(file, bytes);
}

scene('a ledger with a changed byte is not verified, and the place is named', (mesh) =>
  mesh.whileStopped([mesh.central], async () => {
    const copy = path.join(mesh.dir, 'ledger-damaged');
    cpSync(mesh.central.ledger, copy, { recursive: true });
    damage(copy, readLedger(copy).at(-1).frames[1].text);
    const { code, stdout, stderr } = await mesh.verifyLedger({ ledger: copy });
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /seq|offset|frame/);
  }));

scene('the report of the run: every request of hop 0 once, and where it was processed',
  async (mesh) => {
    const nodes = [...mesh.nodes.values()];
    const answers = [];
    for (const [node, tenant, from] of [[mesh.central, 'acme/de', 'DE'],
      [mesh.west, 'acme/fr', 'FR'], [mesh.central, 'acme/fr', 'US']]) {
      answers.push(await chat(node, { token: await mesh.token(tenant), from }));
    }
    await mesh.whileStopped(nodes, async () => {
      const { code, stdout, stderr, report, records } = await mesh.report();
      assert.equal(code, 0, stdout + stderr);
      assert.equal(typeof report, 'object');
      const hop0 = nodes.flatMap((node) => readLedger(node.ledger)).flatMap((run) => run.a1)
        .filter((a1) => a1.claims.hop === 0);
      const [, ...rows] = records.trimEnd().split('\r\n');
      assert.equal(rows.length, hop0.length);
      for (const answer of answers) {
        assert.equal(rows.filter((row) => row.includes(answer.headers['x-request-id'])).length, 1);
      }
      const again = await mesh.report();
      assert.deepEqual([again.report, again.records], [report, records], 'the same each time');
    });
  });

scene('a report without one node\'s ledger is incomplete, and says so', (mesh) =>
  mesh.whileStopped([...mesh.nodes.values()], async () => {
    const { code, stdout, stderr } = await mesh.report([mesh.central]);
    assert.equal(code, 1, stdout + stderr);
    assert.match(stdout, /INCOMPLETE.*1 nodes missing/);
  }));

scene('each record is held against the charter that it names; one that is not there is told',
  async (mesh) => {
    const { central } = mesh;
    const served = async () => attestationsOf(await chat(central, await de(mesh)))[0].claims.charter;
    const older = await served();
    const before = readFileSync(mesh.envelope);
    await mesh.signCharter();
    await mesh.reload();
    const newer = await central.until('the newer charter decides', async () => {
      const charter = await served();
      return charter.version > older.version && charter;
    });
    await mesh.whileStopped([...mesh.nodes.values()], async () => {
      const kept = path.join(central.ledger, 'charters');
      const nameOf = ({ version, digest }) => `${version}-${digest}.dsse.json`;
      assert.deepEqual(readFileSync(path.join(kept, nameOf(older))), before);
      assert.deepEqual(readFileSync(path.join(kept, nameOf(newer))), readFileSync(mesh.envelope));
      const verified = async (...more) => {
        const { code, stdout, stderr } = await mesh.verifyLedger({ ledger: copy }, {}, more);
        return { code, told: stdout + stderr };
      };
      const copy = path.join(mesh.dir, 'ledger-charters');
      cpSync(central.ledger, copy, { recursive: true });
      assert.equal((await verified()).code, 0);
      rmSync(path.join(copy, 'charters', nameOf(older)));
      const gap = await verified();
      assert.equal(gap.code, 1, gap.told);
      assert.match(gap.told, new RegExp(
        `GAP   run [0-9a-f]{32}: charter version ${older.version} \\(${older.digest}\\) is not given`));
      assert.match(gap.told, /^INCOMPLETE.* [1-9]\d* under a charter that is not given/m);
      const report = await mesh.report([{ ledger: copy }]); // the west has its own copies
      assert.equal(report.code, 1, report.stdout + report.stderr);
      assert.equal(report.report.complete, false);
      assert.match(readFileSync(path.join(report.out, 'exceptions.csv'), 'utf8'),
        /^charter_not_given,run [0-9a-f]{32},/m);
      assert.equal((await verified('--charter', kept)).code, 0, 'a folder of them is given');
      // Another one of that version, signed as well.
      const other = path.join(mesh.dir, 'other.dsse.json');
      const source = path.join(mesh.dir, 'other.jsonc');
      writeFileSync(source, JSON.stringify({ ...mesh.readCharter(), version: older.version,
        renew_by: '2030-01-02T00:00:00Z', valid_until: '2030-01-03T00:00:00Z' }));
      await mesh.command('charter', 'sign', source, '--key',
        path.join(mesh.dir, 'charter/charter-key.pem'), '-o', other);
      const changed = await verified('--charter', other);
      assert.equal(changed.code, 1, changed.told);
      assert.match(changed.told, /names another charter than the one of that version/);
      // What is kept is trusted no more than what is given.
      writeFileSync(path.join(copy, 'charters', nameOf(older)),
        before.toString().replace(/"sig":"..../, '"sig":"AAAA'));
      const unsigned = await verified();
      assert.equal(unsigned.code, 1, unsigned.told);
      assert.match(unsigned.told, /dsse\.json: signed by 0 of the trusted keys/);
    });
  });

const rounds = LONG ? 50 : 5;
scene(`kill -9 under load, ${rounds} times: no request without its record`, async (mesh) => {
  await killRounds(mesh, mesh.central, rounds);
}, { timeout: rounds * 30_000 });

scene('damage that is no torn tail stops the start; undone, the node goes on', async (mesh) => {
  await chat(mesh.central, await de(mesh));
  await mesh.central.kill();
  const copy = path.join(mesh.dir, 'ledger-good');
  cpSync(mesh.central.ledger, copy, { recursive: true });
  damage(mesh.central.ledger, readLedger(mesh.central.ledger).at(-1).frames[0].text);
  await assert.rejects(mesh.central.start(), /seq|offset|segment/);
  cpSync(copy, mesh.central.ledger, { recursive: true });
  await mesh.central.start();
  const last = readLedger(mesh.central.ledger).at(-2).control.at(-1);
  assert.deepEqual([last.kind, last.reason], ['run_end', 'recovered']);
});
