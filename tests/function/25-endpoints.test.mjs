// Every endpoint, end to end: through one node, and through two.
import assert from 'node:assert/strict';
import { ask, attestationsOf, openai, useMesh } from './lib.mjs';

// The west's only server is operated from outside the EU: what acme/de asks for there is forwarded.
const scene = useMesh({ backends: [
  { name: 'de-1', region: 'eu-central', kind: 'ollama', operator: 'DE', slots: 16 },
  { name: 'de-2', region: 'eu-central', kind: 'openai', operator: 'FR', slots: 16 },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

const who = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });
const say = { messages: [{ role: 'user', content: 'one two' }] };
const jsonOf = (answer) => answer.json();
const linesOf = (answer) => answer.text.trim().split('\n').map((line) => JSON.parse(line));
const eventsOf = (answer) => answer.text.split('\n\n').filter((one) => one !== '')
  .map((one) => one.split('\n').find((line) => line.startsWith('data: ')).slice(6))
  .filter((data) => data !== '[DONE]').map((data) => JSON.parse(data));

// What a backend says of its answer, wherever the format has it: the first model and id.
function saidIn(answer) {
  const type = answer.headers['content-type'].split(';', 1)[0];
  const read = { 'application/json': (a) => [jsonOf(a)], 'application/x-ndjson': linesOf,
    'text/event-stream': eventsOf }[type];
  const objects = (read?.(answer) ?? []).flatMap((one) => [one, one.response, one.message])
    .filter((one) => typeof one === 'object' && one !== null);
  const first = (name) => objects.map((one) => one[name]).find((one) => one !== undefined);
  return { ...(first('model') === undefined ? {} : { reported: first('model') }),
    ...(first('id') === undefined ? {} : { response_id: first('id') }) };
}

const counted = (prompt, completion) => ({ ...(completion === undefined ? {} : { completion }),
  prompt, source: 'answer' });
const NONE = { source: 'none' };
const usageAsked = { stream: true, stream_options: { include_usage: true } };

// Path, name in A1, body beside the model, the tokens in A2, and what the answer must say.
const rows = [
  ['/v1/chat/completions', 'chat_completions', say, counted(2, 3),
    (a) => assert.equal(jsonOf(a).choices[0].message.content, 'echo: one two')],
  ['/v1/chat/completions', 'chat_completions', { ...say, ...usageAsked }, counted(2, 3),
    (a) => assert.equal(eventsOf(a).at(-1).usage.total_tokens, 5)],
  ['/v1/completions', 'completions', { prompt: 'one two' }, counted(2, 3),
    (a) => assert.equal(jsonOf(a).choices[0].text, 'echo: one two')],
  ['/v1/completions', 'completions', { prompt: 'one two', ...usageAsked }, counted(2, 3),
    (a) => assert.equal(eventsOf(a).at(-1).usage.total_tokens, 5)],
  ['/v1/embeddings', 'embeddings', { input: 'one' }, counted(1),
    (a) => assert.equal(jsonOf(a).data[0].embedding.length, 8)],
  ['/v1/responses', 'responses', { input: 'one two' }, counted(2, 3),
    (a) => assert.equal(jsonOf(a).output[0].content[0].text, 'echo: one two')],
  ['/v1/responses', 'responses', { input: 'one two', stream: true }, counted(2, 3), (a) => {
    assert.match(a.headers['content-type'], /^text\/event-stream/);
    assert.equal(eventsOf(a).at(-1).type, 'response.completed');
  }],
  ['/v1/messages', 'messages', { ...say, max_tokens: 9 }, counted(2, 3),
    (a) => assert.equal(jsonOf(a).content[0].text, 'echo: one two')],
  ['/v1/messages', 'messages', { ...say, max_tokens: 9, stream: true }, counted(2, 3),
    (a) => assert.equal(eventsOf(a).at(-1).type, 'message_stop')],
  ['/v1/moderations', 'moderations', { input: 'one' }, NONE,
    (a) => assert.equal(jsonOf(a).results[0].flagged, false)],
  ...['/v1/rerank', '/rerank'].map((path) => [path, 'rerank',
    { query: 'q', documents: ['a', 'b'] }, counted(2),
    (a) => assert.equal(jsonOf(a).results.length, 2)]),
  ...['/v1/score', '/score'].map((path) => [path, 'score', { text_1: 'q', text_2: ['a', 'b'] },
    counted(3, 0), (a) => assert.equal(jsonOf(a).data.length, 2)]),
  ['/v1/audio/speech', 'audio_speech', { input: 'one', voice: 'alloy' }, NONE, (a) => {
    assert.equal(a.headers['content-type'], 'audio/mpeg');
    assert.equal(a.bytes.length, 4096 + 32);
    assert.deepEqual(a.bytes.subarray(0, 256), Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
  }],
  ['/v1/images/generations', 'images_generations', { prompt: 'a ship' }, counted(5, 7),
    (a) => assert.equal(Buffer.from(jsonOf(a).data[0].b64_json, 'base64').length, 32)],
  ['/api/chat', 'ollama_chat', say, counted(2, 3), (a) => {
    assert.equal(a.headers['content-type'], 'application/x-ndjson');
    const lines = linesOf(a);
    assert.equal(lines.map((one) => one.message.content).join(''), 'echo: one two');
    assert.deepEqual(lines.map((one) => one.done), [false, false, false, true]);
  }],
  ['/api/chat', 'ollama_chat', { ...say, stream: false }, counted(2, 3),
    (a) => assert.equal(jsonOf(a).message.content, 'echo: one two')],
  ['/api/generate', 'ollama_generate', { prompt: 'one two' }, counted(2, 3),
    (a) => assert.equal(linesOf(a).map((one) => one.response).join(''), 'echo: one two')],
  ['/api/generate', 'ollama_generate', { prompt: 'one two', stream: false }, counted(2, 3),
    (a) => assert.equal(jsonOf(a).response, 'echo: one two')],
  ['/api/embed', 'ollama_embed', { input: ['one', 'two'] }, counted(2),
    (a) => assert.equal(jsonOf(a).embeddings.length, 2)],
  ['/api/embeddings', 'ollama_embeddings', { prompt: 'one' }, NONE,
    (a) => assert.equal(jsonOf(a).embedding.length, 8)],
];

async function attested(mesh, answer, hops, name, tokens) {
  const chain = attestationsOf(answer);
  assert.equal(chain.length, hops, 'hops');
  for (const [hop, { claims }] of chain.entries()) {
    assert.equal(claims.hop, hop);
    assert.equal(claims.request.endpoint, name);
  }
  const { code, stdout, stderr } = await mesh.verify(answer.headers['residency-attestation']);
  assert.equal(code, 0, stdout + stderr);
  for (const node of hops === 1 ? [mesh.central] : [mesh.west, mesh.central]) {
    const a2 = await node.until('the A2', () =>
      node.readLedger().at(-1).a2.find((one) => one.txn === chain[0].claims.txn));
    assert.equal(a2.end, 'complete');
    assert.deepEqual(a2.tokens, tokens);
    assert.deepEqual(a2.model ?? {}, saidIn(answer));
  }
}

for (const [path, name, more, tokens, check] of rows) {
  const kind = more.stream === undefined ? '' : ` stream=${more.stream}`;
  scene(`${path}${kind} is served through one node`, async (mesh) => {
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    const answer = await ask(mesh.central, await who(mesh), { path, body: { model: 'small', ...more } });
    assert.equal(answer.status, 200, answer.text);
    check(answer);
    await attested(mesh, answer, 1, name, tokens);
  });

  scene(`${path}${kind} is served through two nodes`, async (mesh) => {
    await mesh.serves(mesh.west, 'acme/de', 'DE', 'eu-central');
    const answer = await ask(mesh.west, await who(mesh), { path, body: { model: 'small', ...more } });
    assert.equal(answer.status, 200, answer.text);
    check(answer);
    await attested(mesh, answer, 2, name, tokens);
  });
}

scene('Ollama\'s list is that of the tenant', async (mesh) => {
  const answer = await ask(mesh.central, await who(mesh), { path: '/api/tags' });
  assert.equal(answer.status, 200, answer.text);
  const { models } = answer.json();
  assert.deepEqual(models.map((one) => one.name), mesh.aliases('acme/de'));
  assert.deepEqual(Object.keys(models[0]).sort(),
    ['details', 'digest', 'model', 'modified_at', 'name', 'size']);
  assert.equal((await ask(mesh.central, {}, { path: '/api/tags' })).status, 401);
});

scene('Anthropic\'s way: x-api-key is a credential, and the version goes to the backend',
  async (mesh) => {
    await mesh.each('eu-central', (one) => one.forget());
    const { from } = await who(mesh);
    const headers = { 'anthropic-version': '2023-06-01' };
    const wrong = await ask(mesh.central, { from, headers: { ...headers, 'x-api-key': 'nonsense' } },
      { path: '/v1/messages', body: { model: 'small', ...say, max_tokens: 9 } });
    assert.equal(wrong.status, 401, wrong.text);
    const answer = await ask(mesh.central, { ...await who(mesh), headers },
      { path: '/v1/messages', body: { model: 'small', ...say, max_tokens: 9 } });
    assert.equal(answer.status, 200, answer.text);
    const [seen] = await mesh.seen('eu-central');
    assert.deepEqual(seen.fields.get('anthropic-version'), ['2023-06-01']);
    assert.equal(seen.fields.get('x-api-key'), undefined);
  });

scene('the OpenAI client: responses, speech, images, moderations', async (mesh) => {
  const client = openai(mesh.central, await who(mesh));
  const response = await client.responses.create({ model: 'small', input: 'one two' });
  assert.equal(response.output_text, 'echo: one two');
  let text = '';
  for await (const event of await client.responses.create(
    { model: 'small', input: 'one two', stream: true })) {
    text += event.type === 'response.output_text.delta' ? event.delta : '';
  }
  assert.equal(text, 'echo: one two');
  const sound = await client.audio.speech.create({ model: 'small', voice: 'alloy', input: 'one' });
  assert.equal((await sound.arrayBuffer()).byteLength, 4096 + 32);
  const picture = await client.images.generate({ model: 'small', prompt: 'a ship' });
  assert.equal(picture.data.length, 1);
  const judged = await client.moderations.create({ model: 'small', input: ['one', 'two'] });
  assert.equal(judged.results.length, 2);
});

async function untouched(mesh, body) {
  for (const region of ['eu-central', 'eu-west']) {
    await mesh.each(region, (one) => one.forget());
  }
  await body();
  const seen = [...await mesh.seen('eu-central'), ...await mesh.seen('eu-west')];
  assert.deepEqual(seen.filter((one) => one.method !== 'GET'), []);
}

scene('an unknown path is 404 and reaches no backend', async (mesh) => {
  await untouched(mesh, async () => {
    for (const path of ['/v1/own/thing', '/v1/files', '/api/pull', '/v1/messages/count_tokens',
      '/v1/chat/completions/', '/V1/responses', '/v1//responses', '/']) {
      const answer = await ask(mesh.central, await who(mesh), { path, body: { model: 'small' } });
      assert.equal(answer.status, 404, `${path}: ${answer.text}`);
      assert.equal(answer.json().error.code, 'not_found');
    }
  });
});

const refused = [
  ['/v1/responses', { input: 'a', store: true }, 400, 'bad_request', 'store'],
  ['/v1/responses', { input: 'a', previous_response_id: 'r' }, 400, 'bad_request',
    'previous_response_id'],
  ['/v1/responses', { input: 'a', background: true }, 400, 'bad_request', 'background'],
  ['/v1/responses', { input: 'a', tools: [{ type: 'code_interpreter', container: 'auto' }] }, 403,
    'remote_reference'],
  ['/v1/messages', { messages: [{ role: 'user', content: [{ type: 'image',
    source: { type: 'url', url: 'https://evil.example/a.png' } }] }] }, 403, 'remote_reference'],
  ['/v1/messages', { messages: [{ role: 'user', content: [{ type: 'document',
    source: { type: 'file', file_id: 'file_1' } }] }] }, 400, 'bad_request', 'file_id'],
  ['/v1/messages', { ...say, container: 'container_1' }, 400, 'bad_request', 'container'],
  ['/api/generate', { prompt: 'a', images: ['https://evil.example/a.png'] }, 403,
    'remote_reference'],
  ['/v1/images/generations', { prompt: 'a', image: 'https://evil.example/a.png' }, 403,
    'remote_reference'],
];
scene('what lives elsewhere is refused on every endpoint', async (mesh) => {
  await untouched(mesh, async () => {
    for (const [path, more, status, code, param = null] of refused) {
      const answer = await ask(mesh.central, await who(mesh),
        { path, body: { model: 'small', ...more } });
      assert.equal(answer.status, status, `${path}: ${answer.text}`);
      const { error } = answer.json();
      assert.deepEqual([error.code, error.param], [code, param]);
      assert.equal(attestationsOf(answer)[0].claims.verdict, 'deny');
    }
  });
});

scene('a lawful place that does not speak the protocol: 404, on record', async (mesh) => {
  const clinic = { token: await mesh.token('clinic'), from: 'DE' };
  await untouched(mesh, async () => {
    const answer = await ask(mesh.central, clinic,
      { path: '/v1/moderations', body: { model: 'small', input: 'a' } });
    assert.equal(answer.status, 404, answer.text);
    assert.equal(attestationsOf(answer)[0].claims.reason, 'endpoint_unsupported');
  });
});
