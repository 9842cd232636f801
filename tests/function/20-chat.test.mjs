// What a client came for, with the real OpenAI client over real TLS.
import assert from 'node:assert/strict';
import https from 'node:https';
import { ask, attestationsOf, chat, chatBody, openai, useMesh } from './lib.mjs';

const scene = useMesh();
const messages = [{ role: 'user', content: 'one two three' }];

async function caller(mesh, tenant = 'acme/de', from = 'DE') {
  return { token: await mesh.token(tenant), from };
}

scene('a chat is answered by a backend of the caller\'s region', async (mesh) => {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  const client = openai(mesh.central, await caller(mesh));
  const answer = await client.chat.completions.create({ model: 'small', messages });
  assert.equal(answer.choices[0].message.content, 'echo: one two three');
  assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], [3, 4]);
});

scene('a stream comes event by event and ends', async (mesh) => {
  const client = openai(mesh.central, await caller(mesh));
  const stream = await client.chat.completions.create({ model: 'small', messages, stream: true });
  let text = '';
  let events = 0;
  for await (const event of stream) {
    text += event.choices[0]?.delta?.content ?? '';
    events += 1;
  }
  assert.equal(text, 'echo: one two three');
  assert.ok(events >= 4);
});

scene('a stream is relayed as it arrives, not at its end', async (mesh) => {
  const who = await caller(mesh);
  await mesh.each('eu-central', (one) => one.script({ stall_after_events: 2 }));
  try {
    const leaving = new AbortController();
    const first = new Promise((resolve, reject) => {
      ask(mesh.central, who, {
        body: chatBody({ stream: true }), signal: leaving.signal,
        onHead: (answer) => answer.once('data', (chunk) => resolve(chunk.toString('utf8'))),
      }).catch(reject);
    });
    assert.match(await first, /^data: /);
    leaving.abort();
  } finally {
    await mesh.each('eu-central', (one) => one.script({}));
  }
});

scene('the usage asked for at the end of a stream comes', async (mesh) => {
  const client = openai(mesh.central, await caller(mesh));
  const stream = await client.chat.completions.create({
    model: 'small', messages, stream: true, stream_options: { include_usage: true },
  });
  let usage = null;
  for await (const event of stream) {
    usage = event.usage ?? usage;
  }
  assert.equal(usage.completion_tokens, 4);
});

scene('completions and embeddings', async (mesh) => {
  const client = openai(mesh.central, await caller(mesh));
  const completion = await client.completions.create({ model: 'small', prompt: 'one two' });
  assert.equal(completion.choices[0].text, 'echo: one two');
  const vectors = await client.embeddings.create({ model: 'small', input: ['one', 'two'] });
  assert.equal(vectors.data.length, 2);
  assert.equal(vectors.data[0].embedding.length, 8);
});

scene('the list of models is that of the tenant', async (mesh) => {
  const client = openai(mesh.central, await caller(mesh));
  const names = [];
  for await (const model of client.models.list()) {
    names.push(model.id);
  }
  assert.deepEqual(names, mesh.aliases('acme/de'));
});

scene('a large body and a large answer pass whole', async (mesh) => {
  const who = await caller(mesh);
  const words = Array.from({ length: 100_000 }, (_, i) => `w${i}`).join(' ');
  const answer = await chat(mesh.central, who, { messages: [{ role: 'user', content: words }] });
  assert.equal(answer.status, 200);
  assert.equal(answer.json().choices[0].message.content, `echo: ${words}`);
});

scene('many requests share one connection', async (mesh) => {
  const who = await caller(mesh);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const before = await mesh.central.metric('portolan_connections_total');
  for (let i = 0; i < 20; i += 1) {
    const answer = await ask(mesh.central, who, { body: chatBody(), agent });
    assert.equal(answer.status, 200);
  }
  agent.destroy();
  assert.equal(await mesh.central.metric('portolan_connections_total') - before, 1);
});

scene('requests side by side get each their own answer', async (mesh) => {
  const who = await caller(mesh);
  const answers = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
    const answer = await chat(mesh.central, who, {
      messages: [{ role: 'user', content: `number ${i}` }], stream: i % 2 === 0,
    });
    return [i, answer];
  }));
  for (const [i, answer] of answers) {
    assert.equal(answer.status, 200, answer.text);
    const text = i % 2 === 1 ? answer.json().choices[0].message.content
      : answer.text.split('\n\n').filter((one) => one.startsWith('data: {'))
        .map((one) => JSON.parse(one.slice(6)).choices[0]?.delta?.content ?? '').join('');
    assert.equal(text, `echo: number ${i}`);
  }
});

scene('the backend sees a rebuilt request: no credentials, no origin, our attestation',
  async (mesh) => {
    const who = { ...await caller(mesh), headers: {
      cookie: 'secret=1', 'x-forwarded-host': 'evil.example', 'want-residency-receipt': 'sse',
      'openai-organization': 'acme', forwarded: 'for=10.0.0.1',
    } };
    await mesh.each('eu-central', (one) => one.forget());
    const answer = await chat(mesh.central, who);
    assert.equal(answer.status, 200, answer.text);
    const [a1] = attestationsOf(answer);
    const [seen] = await mesh.seen('eu-central');
    assert.deepEqual(seen.fields.get('residency-attestation'), [a1.jws]);
    for (const name of ['authorization', 'cookie', 'x-forwarded-for', 'x-forwarded-host',
      'forwarded', 'want-residency-receipt', 'openai-organization']) {
      assert.equal(seen.fields.get(name), undefined, name);
    }
    assert.equal(seen.fields.get('host').length, 1);
  });

scene('the model\'s alias is replaced by the name that the backend serves', async (mesh) => {
  await mesh.each('eu-central', (one) => one.forget());
  const who = await caller(mesh);
  const body = '{"stream":false ,  "model":"small","messages":[{"role":"user","content":"ü"}]}';
  assert.equal((await ask(mesh.central, who, { body })).status, 200);
  const [seen] = await mesh.seen('eu-central');
  const served = JSON.parse(seen.body).model;
  assert.notEqual(served, 'small');
  assert.equal(seen.body, body.replace('"small"', JSON.stringify(served)), 'all else byte for byte');
});

scene('an answer carries its ids: request, attestation, receipt', async (mesh) => {
  const answer = await chat(mesh.central, await caller(mesh));
  const [a1] = attestationsOf(answer);
  assert.match(answer.headers['x-request-id'],
    /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(a1.claims.txn, answer.headers['x-request-id']);
  assert.equal(answer.headers.link,
    `</.well-known/residency/receipts/${mesh.central.name}/${a1.claims.shard}/${a1.index}>;`
    + ' rel="residency-receipt"');
});
