// How a stream ends, in each format that has an end of its own: its framing alone makes no answer
// whole, whether that is a final chunk that came too early or a connection that was closed.
import assert from 'node:assert/strict';
import { ask, chat, useMesh } from './lib.mjs';

const scene = useMesh({ backends: [
  { name: 'de-1', region: 'eu-central', kind: 'ollama', operator: 'DE', slots: 16 },
  { name: 'de-2', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16 },
  { name: 'ie-1', region: 'eu-west', kind: 'openai', operator: 'IE', slots: 16 },
] });

const SSE = 'text/event-stream';
const LINES = 'application/x-ndjson';
const event = (value) => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`;
const line = (value) => `${JSON.stringify(value)}\n`;
const data = (value) => `data: ${value}\n\n`;
const usage = { input_tokens: 7, output_tokens: 5 };
const response = { id: 'resp_1', object: 'response', model: 'm-1', output: [] };
const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'm-1', content: [] };
const chatting = { messages: [{ role: 'user', content: 'one' }] };

// Path, type, what comes before the end, what may be the end, and the tokens when it is there and
// when it is not.
const streams = [
  ['/v1/chat/completions', SSE, [data('{"id":"c-1"}'), data('{"id":"c-1"}')], [data('[DONE]')],
    { source: 'none' }, { completion: 2, source: 'counted' }],
  ['/v1/responses', SSE,
    [event({ type: 'response.created', response: { ...response, usage: null } }),
      event({ type: 'response.output_text.delta', delta: 'a "response.completed"' })],
    ['completed', 'failed', 'incomplete'].map((status) => event(
      { type: `response.${status}`, response: { ...response, status, usage } })),
    { completion: 5, prompt: 7, source: 'answer' }, { completion: 2, source: 'counted' }],
  ['/v1/messages', SSE,
    [event({ type: 'message_start', message: { ...message, usage: { ...usage, output_tokens: 1 } } }),
      event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'a' } })],
    [event({ type: 'message_delta', delta: {}, usage: { output_tokens: 5 } })
      + event({ type: 'message_stop' })],
    { completion: 5, prompt: 7, source: 'answer' },
    { completion: 2, prompt: 7, source: 'counted' }],
  ['/api/chat', LINES, [line({ model: 'm-1', message: { content: 'a' }, done: false }),
    line({ model: 'm-1', message: { content: 'b' }, done: false })],
  [line({ model: 'm-1', done: true, prompt_eval_count: 7, eval_count: 5 })],
  { completion: 5, prompt: 7, source: 'answer' }, { completion: 2, source: 'counted' }],
];

const framings = {
  'a final chunk': (type, text) => ({ chunks: [text], type }),
  'the end of the connection': (type, text) => ({ raw:
    `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nConnection: close\r\n\r\n${text}` }),
};

// An answer to a scripted backend's stream: {text, whole, a2}.
async function play(mesh, path, script) {
  const who = { token: await mesh.token('acme/de'), from: 'DE' };
  await mesh.central.until('both backends answer', async () => {
    assert.equal((await chat(mesh.central, who)).status, 200);
    return (await mesh.each('eu-central', (one) => one.stats())).every((one) => one.total > 0);
  });
  await mesh.each('eu-central', (one) => one.script(script));
  const chunks = [];
  let head = null;
  let whole = true;
  try {
    await ask(mesh.central, who, { path, body: { model: 'small', stream: true, ...chatting },
      onHead: (answer) => {
        head = answer;
        answer.on('data', (chunk) => chunks.push(chunk));
      } }).catch((error) => {
      assert.notEqual(head, null, error);
      whole = false;
    });
  } finally {
    await mesh.each('eu-central', (one) => one.script({}));
  }
  const a2 = await mesh.central.until('the A2', () => mesh.central.readLedger().at(-1).a2
    .find((one) => one.txn === head.headers['x-request-id']));
  return { text: Buffer.concat(chunks).toString('utf8'), whole, a2 };
}

for (const [path, type, before, ends, counts, early] of streams) {
  for (const [framing, script] of Object.entries(framings)) {
    for (const end of ends) {
      const name = /response\.\w+|message_stop|\[DONE\]|"done":true/.exec(end)[0];
      scene(`${path}: whole with ${name} and ${framing}`, async (mesh) => {
        const text = before.join('') + end;
        const answer = await play(mesh, path, script(type, text));
        assert.equal(answer.text, text);
        assert.ok(answer.whole);
        assert.equal(answer.a2.end, 'complete');
        assert.equal(answer.a2.answer.sent_bytes, undefined);
        assert.deepEqual(answer.a2.tokens, counts);
      });
    }

    scene(`${path}: cut short by ${framing}`, async (mesh) => {
      const cut = await mesh.central.metric('portolan_answers_truncated_total');
      const text = before.join('');
      const answer = await play(mesh, path, script(type, text));
      assert.ok(!answer.whole);
      assert.equal(answer.a2.end, 'upstream_truncated');
      assert.equal(answer.a2.answer.bytes, text.length);
      assert.equal(answer.a2.answer.sent_bytes, answer.text.length);
      assert.deepEqual(answer.a2.tokens, early);
      assert.equal(await mesh.central.metric('portolan_answers_truncated_total') - cut, 1);
      assert.ok(answer.text.startsWith(text));
      const told = answer.text.slice(text.length);
      const [, name, object] = /^(?:event: (\w+)\n)?(?:data: )?(.*)\n+$/.exec(told);
      assert.equal(name, path.startsWith('/v1/chat') || type === LINES ? undefined : 'error');
      assert.equal(JSON.parse(object).type, name);
      assert.equal(JSON.parse(object).error.code, 'upstream_failed');
    });
  }
}
