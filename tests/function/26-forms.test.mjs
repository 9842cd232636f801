// Forms: held whole where the model is not the first part, streamed through where it is.
import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import { createHash } from 'node:crypto';
import { ask, attestationsOf, openai, useMesh } from './lib.mjs';
import { askForm, END, formOf, partOf } from './form.mjs';
import { assertGrewLess, residentKiB } from './memory.mjs';

// The west's only server is operated from outside the EU: what acme/de asks for there is forwarded.
const scene = useMesh({ backends: [
  { name: 'de-2', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16 },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

const who = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
// Every byte value, CR and LF and what begins like a delimiter.
const sound = (size) => {
  const bytes = Buffer.alloc(size, Buffer.concat([
    Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from('\r\n------portolan-tes\r\n\r')]));
  return bytes;
};
const MIB = 1024 * 1024;

const paths = [['/v1/audio/transcriptions', 'audio_transcriptions', 'file'],
  ['/v1/audio/translations', 'audio_translations', 'file'],
  ['/v1/images/edits', 'images_edits', 'image'],
  ['/v1/images/variations', 'images_variations', 'image']];

async function verified(mesh, answer) {
  const { code, stdout, stderr } = await mesh.verify(answer.headers['residency-attestation']);
  assert.equal(code, 0, stdout + stderr);
}

async function recordOf(mesh, node, txn) {
  let a2;
  await node.until('the A2 is written', () => {
    a2 = node.readLedger().flatMap((run) => run.a2).find((one) => one.txn === txn);
    return a2 !== undefined;
  });
  return a2;
}

for (const [path, name, field] of paths) {
  for (const order of ['model first', 'model last']) {
    for (const hops of [1, 2]) {
      scene(`${path}, ${order}, through ${hops} node${hops === 1 ? '' : 's'}`, async (mesh) => {
        const node = hops === 1 ? mesh.central : mesh.west;
        await mesh.serves(node, 'acme/de', 'DE', 'eu-central');
        await mesh.each('eu-central', (one) => one.forget());
        const parts = [['model', 'small'], [field, sound(100_000), 'a.wav'], ['language', 'de']];
        const streamed = order === 'model first';
        const body = formOf(...(streamed ? parts : parts.reverse()));
        const answer = await askForm(node, await who(mesh), { path, body });
        assert.equal(answer.status, 200, answer.text);
        const chain = attestationsOf(answer);
        assert.equal(chain.length, hops);
        for (const { claims: { request } } of chain) {
          assert.equal(request.endpoint, name);
          assert.equal(request.bytes, body.length);
          assert.equal(request.streamed, streamed ? true : undefined);
          assert.equal(request.commitment === undefined, streamed);
        }
        await verified(mesh, answer);
        // All but the alias as it came.
        const [seen] = (await mesh.seen('eu-central')).filter((one) => one.path === path);
        const sent = formOf(...parts.map(([key, value, ...more]) =>
          [key, key === 'model' ? 'small-instruct' : value, ...more]));
        assert.equal(seen.body_sha256, sha256(sent));
        const a2 = await recordOf(mesh, node, chain[0].claims.txn);
        assert.equal(a2.request?.bytes, streamed ? body.length : undefined);
        assert.equal(typeof a2.request?.commitment, streamed ? 'string' : 'undefined');
        const last = await recordOf(mesh, mesh.central, chain[0].claims.txn);
        assert.equal(typeof last.request.upstream_commitment, 'string');
        if (streamed) {
          assert.equal(last.request.commitment, a2.request.commitment, 'the same on every hop');
          assert.notEqual(last.request.commitment, last.request.upstream_commitment);
        }
      });
    }
  }
}

scene('a form of unknown length streams through, chunk by chunk', async (mesh) => {
  await mesh.serves(mesh.west, 'acme/de', 'DE', 'eu-central');
  await mesh.each('eu-central', (one) => one.forget());
  const parts = [['model', 'small'], ['file', sound(300_000), 'a.wav']];
  const body = formOf(...parts);
  for (const node of [mesh.central, mesh.west]) {
    const answer = await askForm(node, await who(mesh), { write: (request) => {
      for (let at = 0; at < body.length; at += 7919) {
        request.write(body.subarray(at, at + 7919));
      }
      request.end();
    } });
    assert.equal(answer.status, 200, answer.text);
    const [{ claims }] = attestationsOf(answer);
    assert.deepEqual(claims.request, { endpoint: 'audio_transcriptions', streamed: true });
    const a2 = await recordOf(mesh, node, claims.txn);
    assert.equal(a2.request.bytes, body.length);
  }
  for (const seen of (await mesh.seen('eu-central')).filter((one) => one.inference)) {
    assert.equal(seen.body_sha256, sha256(formOf(['model', 'small-instruct'], parts[1])));
  }
});

scene('the OpenAI client transcribes, edits and translates', async (mesh) => {
  const client = openai(mesh.central, await who(mesh));
  const file = new File([sound(5000)], 'a.wav', { type: 'audio/wav' });
  const heard = await client.audio.transcriptions.create({ model: 'small', file });
  assert.match(heard.text, /^heard \d+ bytes$/);
  const turned = await client.audio.translations.create({ file, model: 'small' });
  assert.match(turned.text, /^heard \d+ bytes$/);
  const picture = await client.images.edit({ image: new File([sound(5000)], 'a.png'),
    prompt: 'a ship', model: 'small' });
  assert.equal(picture.data.length, 1);
});

const ENOUGH_KIB = 12 * 1024;

scene('20 MiB stream through bounded memory, on both nodes', async (mesh) => {
  await mesh.serves(mesh.west, 'acme/de', 'DE', 'eu-central');
  const body = formOf(['model', 'small'], ['file', sound(20 * MIB), 'a.wav']);
  const nodes = [mesh.west, mesh.central];
  const before = nodes.map(residentKiB);
  let most = [0, 0];
  const watch = setInterval(() => {
    most = nodes.map((node, i) => Math.max(most[i], residentKiB(node)));
  }, 5);
  const answer = await askForm(mesh.west, await who(mesh), { body });
  clearInterval(watch);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(attestationsOf(answer).length, 2);
  for (const [i, peak] of most.entries()) {
    assert.ok(peak > 0);
    assertGrewLess(nodes[i], peak - before[i], ENOUGH_KIB);
  }
});

scene('a backend that does not read stops the client, and the rest comes later', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.each('eu-central', (one) => one.forget());
  const [backend] = mesh.in('eu-central');
  const file = ['file', sound(48 * MIB), 'a.wav'];
  const body = formOf(['model', 'small'], file);
  const before = residentKiB(mesh.central);
  let grown;
  const answer = await askForm(mesh.central, await who(mesh), {
    headers: { 'content-length': body.length },
    write: async (request) => {
      let taken = 5000; // what the kernel took of it
      let stopped = false;
      request.write(body.subarray(0, taken));
      for (; taken < body.length; taken += 65_536) {
        if (!request.write(body.subarray(taken, taken + 65_536))) {
          await new Promise((resolve) => { request.once('drain', resolve); });
        }
        if (!stopped && taken > MIB) {
          stopped = true;
          await backend.until('in_flight=1');
          backend.child.signal('SIGSTOP');
          setTimeout(() => {
            grown = residentKiB(mesh.central) - before;
            backend.child.signal('SIGCONT');
          }, 300);
        }
      }
      request.end();
    },
  });
  assert.notEqual(grown, undefined);
  assertGrewLess(mesh.central, grown, ENOUGH_KIB);
  assert.equal(answer.status, 200, answer.text);
  const [seen] = (await mesh.seen('eu-central')).filter((one) => one.inference);
  assert.equal(seen.body_sha256, sha256(formOf(['model', 'small-instruct'], file)));
});

// What breaks a rule behind megabytes that are at the backend already.
const cuts = [
  ['a second model', ['model', 'small'], 400, 'bad_request', 'second_model'],
  ['a second model spelled otherwise', ['Model', 'small'], 400, 'bad_request', 'second_model'],
  ['a remote reference', ['image_url', 'https://evil.example/'], 403, 'remote_reference',
    'remote_reference'],
  ['a file by its address', ['file', 'https://evil.example/'], 403, 'remote_reference',
    'remote_reference'],
  ['a stored file', ['file_id', 'file-1'], 400, 'bad_request', 'bad_request'],
];
for (const [what, part, status, code, reason] of cuts) {
  for (const hops of [1, 2]) {
    scene(`${what} met while streaming through ${hops} cuts the backend off`, async (mesh) => {
      const node = hops === 1 ? mesh.central : mesh.west;
      await mesh.serves(node, 'acme/de', 'DE', 'eu-central');
      await mesh.each('eu-central', (one) => one.forget());
      const [backend] = mesh.in('eu-central');
      const first = Buffer.concat([partOf(['model', 'small']),
        partOf(['file', sound(MIB), 'a.wav'])]);
      const rest = Buffer.concat([partOf(part), END]);
      const answer = await askForm(node, await who(mesh), {
        headers: { 'content-length': first.length + rest.length },
        write: (request) => {
          request.write(first);
          backend.until('in_flight=1').then(() => request.end(rest));
        },
      });
      assert.equal(answer.status, status, answer.text);
      assert.equal(answer.json().error.code, code);
      const [{ claims }] = attestationsOf(answer);
      assert.equal(claims.verdict, 'permit');
      const a2 = await recordOf(mesh, node, claims.txn);
      assert.equal(a2.end, 'denied');
      assert.equal(a2.reason, reason);
      assert.deepEqual(a2.attempts.map((one) => one.outcome), ['cut']);
      await backend.until('aborted=1');
      const [seen] = (await mesh.seen('eu-central')).filter((one) => one.inference);
      assert.equal(seen.body_sha256, null, 'it never had a whole body');
      assert.ok(!seen.body.includes(part[1]) || part[0].toLowerCase() === 'model');
      assert.ok(!seen.body.includes(`name="${part[0]}"\r\n\r\n${part[1]}\r\n`));
      assert.equal((seen.body.match(/name="[mM]odel"/g) ?? []).length, 1);
    });
  }
}

scene('a large form with another order is 413, before it was read', async (mesh) => {
  await mesh.each('eu-central', (one) => one.forget());
  const body = formOf(['file', sound(9 * MIB), 'a.wav'], ['model', 'small']);
  const answer = await askForm(mesh.central, await who(mesh), {
    headers: { 'content-length': body.length }, write: (request) => request.write(body.subarray(0, 5000)),
  });
  assert.equal(answer.status, 413, answer.text);
  assert.equal(answer.json().error.code, 'request_too_large');
  assert.equal(attestationsOf(answer)[0].claims.verdict, 'deny');
});

scene('a form above 64 MiB is 413', async (mesh) => {
  const answer = await askForm(mesh.central, await who(mesh), {
    headers: { 'content-length': 64 * MIB + 1 }, write: (request) => request.write(partOf(['model', 'small'])),
  });
  assert.equal(answer.status, 413, answer.text);
});

scene('malformed forms are refused and reach no backend', async (mesh) => {
  await mesh.each('eu-central', (one) => one.forget());
  const model = partOf(['model', 'small']);
  const file = ['file', 'sound', 'a.wav'];
  const bad = [
    [formOf(file), 400, 'bad_request'],
    [Buffer.from('{"model":"small"}'), 400, 'bad_request'],
    [Buffer.alloc(0), 400, 'bad_request'],
    [formOf(file, ['model', 'small'], ['model', 'small']), 400, 'bad_request'],
    [formOf(file, ['Model', 'small']), 400, 'bad_request'],
    [formOf(file, ['model', 'small'], ['image_url', 'https://evil.example/']), 403,
      'remote_reference'],
    [formOf(['model', 'nothing'], file), 404, 'model_not_found'],
    [formOf(['model', ''], file), 400, 'bad_request'],
    [Buffer.concat([Buffer.from('preamble\r\n'), model, END]), 400, 'bad_request'],
  ];
  for (const [body, status, code] of bad) {
    const answer = await askForm(mesh.central, await who(mesh), { body });
    assert.equal(answer.status, status, `${body.toString('latin1', 0, 200)}: ${answer.text}`);
    assert.equal(answer.json().error.code, code);
    assert.equal(attestationsOf(answer)[0].claims.verdict, 'deny');
  }
  const json = await ask(mesh.central, await who(mesh),
    { path: '/v1/audio/transcriptions', body: { model: 'small' } });
  assert.equal(json.status, 400, json.text);
  assert.deepEqual((await mesh.seen('eu-central')).filter((one) => one.inference), []);
});

scene('a form whose end is malformed is cut, on record', async (mesh) => {
  await mesh.each('eu-central', (one) => one.forget());
  const body = Buffer.concat([partOf(['model', 'small']), partOf(['file', sound(MIB), 'a.wav'])]);
  const answer = await askForm(mesh.central, await who(mesh), { body });
  assert.equal(answer.status, 400, answer.text);
  const a2 = await recordOf(mesh, mesh.central, attestationsOf(answer)[0].claims.txn);
  assert.deepEqual([a2.end, a2.reason, a2.attempts[0].outcome], ['denied', 'bad_request', 'cut']);
});

scene('a client that leaves in the middle of its form frees the backend', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.each('eu-central', (one) => one.forget());
  const [backend] = mesh.in('eu-central');
  const leaving = new AbortController();
  await assert.rejects(askForm(mesh.central, await who(mesh), {
    signal: leaving.signal, headers: { 'content-length': 5 * MIB },
    write: (request) => {
      request.write(Buffer.concat([partOf(['model', 'small']), partOf(['file', sound(MIB), 'a'])]));
      backend.until('in_flight=1').then(() => leaving.abort());
    },
  }));
  await backend.until('aborted=1&in_flight=0');
});

scene('a backend that refuses early is heard', async (mesh) => {
  const [backend] = mesh.in('eu-central');
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await backend.script({ status: 400, count: 1 });
  const body = formOf(['model', 'small'], ['file', sound(MIB), 'a.wav']);
  assert.equal((await askForm(mesh.central, await who(mesh), { body })).status, 400);
});

scene('the ledgers verify, and a report counts the bytes that came', async (mesh) => {
  for (const node of [mesh.central, mesh.west]) {
    const { code, stdout, stderr } = await mesh.verifyLedger(node);
    assert.equal(code, 0, stdout + stderr);
  }
  const { stderr, records } = await mesh.report();
  assert.ok(records.includes(',audio_transcriptions,'), stderr);
  assert.ok(records.includes(',cut,'), stderr);
});
