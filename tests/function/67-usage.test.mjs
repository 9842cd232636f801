// Token counts of streams whose callers did not ask for them: where the tenant's policy says
// `stream_usage` the backend is asked, the record has the counts, and the caller sees what it
// would have seen otherwise. The records' commitments are computed anew from the node's keys.
import assert from 'node:assert/strict';
import https from 'node:https';
import { commitmentKey, commitmentOf } from './commitment.mjs';
import { ask, attestationsOf, BINARY, openai, run, useMesh } from './lib.mjs';

const BACKENDS = [
  { name: 'ollama', region: 'eu-central', kind: 'ollama', operator: 'DE', slots: 16 },
  { name: 'vllm', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
  { name: 'vllm-old', region: 'eu-west', kind: 'vllm', dialect: 'old', operator: 'IE', slots: 16 },
  { name: 'llamacpp', region: 'eu-west', kind: 'llamacpp', operator: 'IE', slots: 16 },
  { name: 'openai', region: 'eu-west', kind: 'openai', operator: 'IE', slots: 16 },
];

// An alias for each backend, named as it is; acme/fr counts, acme/de does not.
const scene = useMesh({
  backends: BACKENDS,
  charter: (charter) => {
    const { tenants } = charter;
    for (const { name } of BACKENDS) {
      charter.models[`${name}@1`] = {};
      const { models } = charter.backends[name];
      models[`${name}@1`] = models['small@1'];
      tenants.acme.models[name] = [`${name}@1`];
    }
    delete tenants['acme/de'].roles;
    tenants['acme/fr'].stream_usage = true;
  },
});

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const PROMPTS = {
  [CHAT]: { messages: [{ role: 'user', content: 'one two three' }] },
  [COMPLETIONS]: { prompt: 'one two three' },
};
const ASKED = { stream_options: { include_usage: true } };
const COUNTS = { completion: 4, prompt: 3, source: 'answer' };
const event = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const DONE = event('[DONE]');
const said = (content, more = {}) => event({ id: 'c-1', choices: [{ index: 0,
  delta: { content }, finish_reason: null }], ...more });
const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
const counted = event({ id: 'c-1', choices: [], usage });

const bodyOf = (backend, path, more = {}) => ({ model: backend, stream: true, ...PROMPTS[path],
  ...more });
const withoutIds = (text) => text.replace(/"id":"[^"]+"/g, '"id":"x"');
const french = async (mesh) => ({ token: await mesh.token('acme/fr'), from: 'FR' });
const german = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });
const recordOf = (node, txn) => node.until('the A2', () =>
  node.readLedger().at(-1).a2.find((one) => one.txn === txn));

// What the backend itself answers to a body that names the model as it does.
function direct(standin, path, body) {
  return new Promise((resolve, reject) => {
    const request = https.request({ host: '127.0.0.1', port: standin.port, path, method: 'POST',
      rejectUnauthorized: false, agent: false,
      headers: { 'content-type': 'application/json' } }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.once('error', reject);
      answer.once('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    });
    request.once('error', reject);
    request.end(JSON.stringify(body));
  });
}

// A streamed answer as its reader sees it, whether or not it has an end.
async function read(node, who, path, body) {
  const chunks = [];
  let head = null;
  let whole = true;
  await ask(node, who, { path, body, onHead: (answer) => {
    head = answer;
    answer.on('data', (chunk) => chunks.push(chunk));
  } }).catch((error) => {
    if (head === null) {
      throw error;
    }
    whole = false;
  });
  return { status: head.statusCode, headers: head.headers, whole,
    text: Buffer.concat(chunks).toString('utf8') };
}

const nodesOf = (mesh, standin) => {
  const own = standin.region === 'eu-central' ? mesh.central : mesh.west;
  return { own, other: own === mesh.central ? mesh.west : mesh.central };
};

// Through nodes to one backend: the answer, the last request that the backend got, and the A2 of
// each node, ingress first, whose commitments are checked.
async function play(mesh, { backend, path = CHAT, more = {}, script = {}, hops = 1, tenant = french,
  body = bodyOf(backend, path, more) }) {
  const standin = mesh.standins.get(backend);
  const { own, other } = nodesOf(mesh, standin);
  const who = await tenant(mesh);
  const nodes = hops === 1 ? [own] : [other, own];
  await nodes[0].until(`${backend} answers`, async () => {
    const answer = await ask(nodes[0], who, { body: { ...bodyOf(backend, CHAT), stream: false } });
    assert.equal(answer.status, 200, answer.text);
    return true;
  });
  await standin.forget();
  await standin.script(script);
  let answer;
  try {
    answer = await read(nodes[0], who, path, body);
  } finally {
    await standin.script({});
  }
  const seen = (await standin.requests()).at(-1).body;
  const txn = answer.headers['x-request-id'];
  const a2 = await Promise.all(nodes.map((node) => recordOf(node, txn)));
  checkCommitments({ node: nodes[0], txn, a2, answer, seen, body });
  return { ...answer, seen, txn, a2, nodes, attestations: attestationsOf(answer) };
}

// The ingress has the key of every hop. Every member that is there must be of what it says.
function checkCommitments({ node, txn, a2, answer, seen, body }) {
  const attested = attestationsOf(answer).map((hop) => hop.claims.request.commitment);
  const key = commitmentKey(node, txn, JSON.stringify(body), attested[0]);
  const keyed = (label, text) => commitmentOf(key, label, text);
  assert.notEqual(key, undefined, 'the request is committed to as the caller sent it');
  assert.equal(new Set(attested).size, 1, 'on every hop');
  const [ingress] = a2;
  assert.equal(ingress.answer.sent_commitment ?? ingress.answer.commitment,
    keyed(ingress.answer.sent_commitment === undefined ? 'answer' : 'sent', answer.text));
  assert.equal(ingress.answer.sent_bytes ?? ingress.answer.bytes, Buffer.byteLength(answer.text));
  for (const one of a2) {
    assert.equal(one.answer.commitment, ingress.answer.commitment, 'the same on every hop');
  }
  if (a2.length > 1) {
    assert.equal(ingress.request, undefined, 'what a peer got was rewritten by nobody');
    assert.equal(a2[1].answer.sent_commitment, undefined, 'a peer takes nothing out');
  }
  assert.equal(a2.at(-1).request?.upstream_commitment, keyed('upstream', seen));
}

// What a caller that did not ask gets from this backend. llama.cpp's timings go with what it says
// last, which is the usage where that is asked for; its completions count unasked.
function unasked(backend, path, text) {
  if (backend !== 'llamacpp') {
    return text;
  }
  return text.replace(/,"timings":\{[^}]*\}/g, (timings) => (path === CHAT ? '' : timings))
    .replace(/,"usage":\{[^}]*\}/g, '');
}

for (const { name: backend } of BACKENDS) {
  for (const hops of [1, 2]) {
    for (const path of [CHAT, COMPLETIONS]) {
      const where = `${backend}, ${path}, ${hops === 1 ? 'one node' : 'two nodes'}`;

      scene(`${where}: counted, and the caller sees none of it`, async (mesh) => {
        const standin = mesh.standins.get(backend);
        const answer = await play(mesh, { backend, path, hops });
        const model = JSON.parse(answer.seen).model;
        const expected = await direct(standin, path, { ...bodyOf(backend, path), model });
        assert.equal(withoutIds(answer.text), unasked(backend, path, withoutIds(expected)));
        assert.ok(answer.whole && !answer.text.includes('usage'));
        assert.deepEqual(JSON.parse(answer.seen), { ...bodyOf(backend, path), model, ...ASKED });
        assert.equal(answer.attestations.length, hops);
        for (const a2 of answer.a2) {
          assert.deepEqual([a2.end, a2.tokens], ['complete', COUNTS]);
        }
        assert.ok(answer.a2[0].answer.bytes > answer.a2[0].answer.sent_bytes);
      });

      scene(`${where}: who asks gets what it asked for`, async (mesh) => {
        const standin = mesh.standins.get(backend);
        const answer = await play(mesh, { backend, path, hops, more: ASKED });
        const model = JSON.parse(answer.seen).model;
        const expected = await direct(standin, path, { ...bodyOf(backend, path, ASKED), model });
        assert.equal(withoutIds(answer.text), withoutIds(expected));
        assert.ok(answer.text.includes('"usage":{'));
        assert.equal(answer.seen, JSON.stringify({ ...bodyOf(backend, path, ASKED), model }));
        for (const a2 of answer.a2) {
          assert.deepEqual(a2.tokens, COUNTS);
          assert.equal(a2.answer.sent_bytes, undefined);
        }
      });
    }
  }
}

scene('without the policy nothing is asked and nothing is taken out', async (mesh) => {
  for (const hops of [1, 2]) {
    const answer = await play(mesh, { backend: 'vllm', hops, tenant: german });
    assert.equal(JSON.parse(answer.seen).stream_options, undefined);
    for (const a2 of answer.a2) {
      assert.equal(a2.answer.sent_bytes, undefined);
      assert.deepEqual(a2.tokens, { source: 'none' });
    }
    const shown = await play(mesh, { backend: 'vllm', hops, tenant: german,
      script: { chunks: [said('a', { usage: null }), counted, DONE] } });
    assert.equal(shown.text, said('a', { usage: null }) + counted + DONE);
  }
});

// --- What is asked -------------------------------------------------------------------------

for (const [options, sent] of [
  [null, { include_usage: true }],
  [{}, { include_usage: true }],
  [{ include_usage: false }, { include_usage: true }],
  [{ include_usage: null, x: [1] }, { include_usage: true, x: [1] }],
  [{ continuous_usage_stats: true }, { continuous_usage_stats: true, include_usage: true }],
]) {
  scene(`stream_options ${JSON.stringify(options)}: asked and hidden`, async (mesh) => {
    const answer = await play(mesh, { backend: 'vllm', more: { stream_options: options } });
    assert.deepEqual(JSON.parse(answer.seen).stream_options, sent);
    assert.ok(answer.whole && !answer.text.includes('usage'), answer.text);
    assert.equal(answer.text.split('"choices":[{').length, 7);
    assert.deepEqual(answer.a2[0].tokens, COUNTS);
  });
}

for (const options of [true, 'include_usage', [], { include_usage: 1 }, { include_usage: 'no' }]) {
  scene(`stream_options ${JSON.stringify(options)}: the backend's matter`, async (mesh) => {
    const script = { chunks: [said('a', { usage: null }), counted, DONE] };
    const answer = await play(mesh, { backend: 'vllm', more: { stream_options: options }, script });
    assert.deepEqual(JSON.parse(answer.seen).stream_options, options);
    assert.equal(answer.text, script.chunks.join(''));
  });
}

scene('what is no stream, or no endpoint with the option, is not asked', async (mesh) => {
  const unary = await play(mesh, { backend: 'vllm', more: { stream: false } });
  assert.equal(JSON.parse(unary.text).usage.completion_tokens, 4);
  assert.equal(JSON.parse(unary.seen).stream_options, undefined);
  const response = await play(mesh, { backend: 'vllm', path: '/v1/responses',
    body: { model: 'vllm', input: 'one two', stream: true } });
  assert.equal(JSON.parse(response.seen).stream_options, undefined);
  assert.match(response.text, /"usage":\{/);
});

// --- What is taken out ---------------------------------------------------------------------

const LITELLM = event({ id: 'c-1', choices: [{ index: 0, delta: {} }], usage });
for (const [name, chunks, shown] of [
  ['LF', [said('a'), said('b', { usage: null }), counted, DONE], said('a') + said('b') + DONE],
  ['counts beside choices', [said('a', { usage }), LITELLM, DONE],
    said('a') + event({ id: 'c-1', choices: [{ index: 0, delta: {} }] }) + DONE],
  ['comments and ids', [': hi\n\n', `id: 1\n${said('a')}`, `: x\n${counted}`, DONE],
    `: hi\n\nid: 1\n${said('a')}${DONE}`],
  ['a usage in the content', [said('"usage":null'), DONE], said('"usage":null') + DONE],
  ['an event of 1 MiB', [said('x'.repeat(1024 * 1024)), counted, DONE],
    said('x'.repeat(1024 * 1024)) + DONE],
]) {
  scene(`${name}: taken out, whole or byte by byte, also with CRLF`, async (mesh) => {
    const crlf = (text) => text.replaceAll('\n', '\r\n');
    const text = chunks.join('');
    const cuts = text.length > 10_000 ? [[text], [text.slice(0, 999), text.slice(999)]]
      : [[text], [...text]];
    for (const cut of cuts) {
      const answer = await play(mesh, { backend: 'vllm', script: { chunks: cut } });
      assert.ok(answer.text === shown && answer.whole, answer.text.slice(0, 1000));
      const other = await play(mesh, { backend: 'vllm', script: { chunks: cut.map(crlf) } });
      assert.ok(other.text === crlf(shown) && other.whole, other.text.slice(0, 1000));
      assert.equal(other.a2[0].answer.bytes, Buffer.byteLength(crlf(text)));
    }
  });
}

scene('a backend that ignores the option: the same bytes, and no counts', async (mesh) => {
  for (const hops of [1, 2]) {
    const answer = await play(mesh, { backend: 'vllm', hops, script: { no_usage: true } });
    assert.deepEqual(JSON.parse(answer.seen).stream_options, { include_usage: true });
    assert.ok(answer.whole && answer.text.endsWith(DONE));
    for (const a2 of answer.a2) {
      assert.deepEqual([a2.end, a2.tokens, a2.answer.sent_bytes],
        ['complete', { source: 'none' }, undefined]);
    }
  }
});

scene('a backend that answers with no stream, or with an error, is not edited', async (mesh) => {
  const body = { id: 'c-1', choices: [], usage };
  for (const status of [200, 400]) {
    const answer = await play(mesh, { backend: 'vllm', script: { status, body } });
    assert.equal(answer.status, status);
    assert.deepEqual(JSON.parse(answer.text), body);
  }
});

// --- What ends early -----------------------------------------------------------------------

for (const hops of [1, 2]) {
  const where = hops === 1 ? 'one node' : 'two nodes';

  scene(`cut between events, ${where}: an error event, and events are counted`, async (mesh) => {
    const chunks = [said('a', { usage: null }), said('b', { usage: null })];
    const answer = await play(mesh, { backend: 'vllm', hops, script: { chunks, then: 'cut' } });
    const [, error] = new RegExp(`^${[said('a'), said('b')].join('')
      .replace(/[[\]{}]/g, '\\$&')}data: (.*)\n\n$`).exec(answer.text);
    assert.equal(JSON.parse(error).error.code, 'upstream_failed');
    for (const a2 of answer.a2) {
      assert.deepEqual([a2.end, a2.tokens],
        ['upstream_truncated', { completion: 2, source: 'counted' }]);
    }
  });

  scene(`cut in an event, ${where}: what came of it goes on, as it is`, async (mesh) => {
    const chunks = [said('a', { usage: null }), counted.slice(0, -5)];
    const answer = await play(mesh, { backend: 'vllm', hops, script: { chunks, then: 'cut' } });
    assert.equal(answer.text, said('a') + counted.slice(0, -5));
    assert.ok(!answer.whole);
  });

  scene(`cut behind the counts, ${where}: they are on record`, async (mesh) => {
    const answer = await play(mesh, { backend: 'vllm', hops,
      script: { chunks: [said('a'), counted], then: 'cut' } });
    assert.ok(!answer.text.includes('usage') && answer.text.includes('upstream_failed'));
    for (const a2 of answer.a2) {
      assert.deepEqual([a2.end, a2.tokens],
        ['upstream_truncated', { completion: 2, prompt: 3, source: 'answer' }]);
    }
  });
}

scene('the zeros that Ollama has beside its completions are no counts', async (mesh) => {
  const answer = await play(mesh, { backend: 'ollama', path: COMPLETIONS,
    script: { truncate_after_events: 3 } });
  assert.ok(!answer.text.includes('usage'));
  assert.deepEqual(answer.a2[0].tokens, { completion: 3, source: 'counted' });
});

scene('a caller that leaves: what was counted is on record, and the backend is cancelled',
  async (mesh) => {
    for (const hops of [1, 2]) {
      const standin = mesh.standins.get('vllm-old');
      const { own, other } = nodesOf(mesh, standin);
      const node = hops === 1 ? own : other;
      const who = await french(mesh);
      await play(mesh, { backend: 'vllm-old', hops });
      await standin.forget();
      await standin.script({ stall_after_events: 3 });
      const leaving = new AbortController();
      let txn = null;
      const left = new Promise((resolve, reject) => {
        let seen = '';
        ask(node, who, { body: bodyOf('vllm-old', CHAT),
          signal: leaving.signal, onHead: (answer) => {
            txn = answer.headers['x-request-id'];
            answer.on('data', (chunk) => {
              seen += chunk;
              if (seen.split('\n\n').length === 4) {
                assert.ok(!seen.includes('usage'));
                leaving.abort();
              }
            });
          } }).then(reject, resolve);
      });
      await left;
      await standin.until('aborted=1');
      await standin.script({});
      for (const one of hops === 1 ? [own] : [other, own]) {
        const a2 = await recordOf(one, txn);
        assert.deepEqual([a2.end, a2.tokens],
          ['client_abort', { completion: 3, source: 'counted' }]);
        assert.ok((a2.answer.sent_bytes ?? 0) < a2.answer.bytes);
      }
    }
  });

// --- Who looks -----------------------------------------------------------------------------

scene('the OpenAI client sees what it asked for and nothing else', async (mesh) => {
  const client = openai(mesh.central, await french(mesh));
  for (const { name: model } of BACKENDS) {
    for (const asks of [false, true]) {
      const more = asks ? ASKED : {};
      const chatted = await client.chat.completions.create({ ...bodyOf(model, CHAT), ...more });
      let text = '';
      const counts = [];
      for await (const one of chatted) {
        assert.ok(asks || (one.choices.length === 1 && one.usage === undefined));
        text += one.choices[0]?.delta.content ?? '';
        counts.push(one.usage?.completion_tokens);
      }
      assert.equal(text, 'echo: one two three');
      assert.equal(counts.at(-1), asks ? 4 : undefined);
      const completed = await client.completions.create({ ...bodyOf(model, COMPLETIONS), ...more });
      text = '';
      for await (const one of completed) {
        text += one.choices[0]?.text ?? '';
      }
      assert.equal(text, 'echo: one two three');
    }
  }
});

scene('a reload changes it for the requests that come then', async (mesh) => {
  const change = async (value) => {
    await mesh.signCharter((charter) => { charter.tenants['acme/de'].stream_usage = value; });
    await mesh.reload();
  };
  await change(true);
  try {
    for (const hops of [1, 2]) {
      const answer = await play(mesh, { backend: 'vllm', hops, tenant: german });
      assert.ok(answer.whole && !answer.text.includes('usage'));
      assert.deepEqual(answer.a2.map((one) => one.tokens), Array(hops).fill(COUNTS));
    }
  } finally {
    await change(false);
  }
});

scene('charter show, explain and the loader know the key', async (mesh) => {
  const shown = await mesh.command('charter', 'show', mesh.envelope);
  assert.equal(JSON.parse(shown).tenants['acme/fr'].stream_usage, true);
  const args = (tenant) => ['explain', '--config', mesh.central.config, '--tenant', tenant,
    '--model', 'vllm', '--country', 'FR'];
  const explained = async (tenant, ...more) => (await run(BINARY, [...args(tenant), ...more]))
    .stdout;
  assert.equal(JSON.parse(await explained('acme/fr', '--json')).stream_usage, true);
  assert.match(await explained('acme/fr'), /^usage {4}streams are asked for it/m);
  assert.equal(JSON.parse(await explained('acme/de', '--json')).stream_usage, undefined);
  await assert.rejects(mesh.signCharter((charter) => {
    charter.tenants.acme.stream_usage = true;
    charter.tenants['acme/fr'].stream_usage = false;
  }), /may only narrow: stream_usage "false" is wider/);
});

scene('the evidence of all of it verifies', async (mesh) => {
  const answer = await play(mesh, { backend: 'vllm', hops: 2 });
  const one = await mesh.verify(answer.headers['residency-attestation']);
  assert.equal(one.code, 0, one.stdout + one.stderr);
  const nodes = [...mesh.nodes.values()];
  await Promise.all(nodes.map((node) => node.stop()));
  for (const node of nodes) {
    const { code, stdout, stderr } = await mesh.verifyLedger(node);
    assert.equal(code, 0, stdout + stderr);
  }
  const { code, stdout, stderr, records } = await mesh.report();
  assert.equal(code, 0, stdout + stderr);
  const row = records.split('\r\n').find((line) => line.includes(answer.txn));
  assert.match(row, /,3,4,/);
});
