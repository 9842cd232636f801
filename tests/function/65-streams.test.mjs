// Streams: what is held and when it is let go, what a reader is told when one ends early, what
// happens while it is silent, and what the record says of it.
import assert from 'node:assert/strict';
import tls from 'node:tls';
import { ask, attestationsOf, chat, chatBody, FROM, openai, until, useMesh } from './lib.mjs';
import { assertGrewLess, peakKiB } from './memory.mjs';

const KEEPALIVE_MS = 150;
const IDLE_MS = 4000;
const KEEPALIVE = ': keep-alive\n\n';

const scene = useMesh({
  backends: [
    { name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
    { name: 'de-2', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 },
  ],
  config: (config) => Object.assign(config.timeouts, {
    commit_ms: 800, sse_keepalive_ms: KEEPALIVE_MS, stream_stall_ms: 2500, stream_idle_ms: IDLE_MS,
    drain_ms: 500,
  }),
});

const event = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const delta = (content, more = {}) => ({ id: 'c-1', model: 'm-1', object: 'chat.completion.chunk',
  choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more });
const DONE = event('[DONE]');
const usage = (prompt, completion) => ({ id: 'c-1', choices: [],
  usage: { prompt_tokens: prompt, completion_tokens: completion } });

const german = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

// A streamed answer as its reader sees it: all text, and whether it ended in an orderly way.
async function readStream(node, who, body = chatBody({ stream: true })) {
  const chunks = [];
  let head = null;
  let whole = true;
  await ask(node, who, { body, onHead: (answer) => {
    head = answer;
    answer.on('data', (chunk) => chunks.push(chunk));
  } }).catch((error) => {
    if (head === null) {
      throw error;
    }
    whole = false;
  });
  const text = Buffer.concat(chunks).toString('utf8');
  return { status: head.statusCode, headers: head.headers, text, whole };
}

const recordOf = (node, txn) => node.until('the A2', () =>
  node.readLedger().at(-1).a2.find((one) => one.txn === txn));

// Until each German backend has answered: what failed in an earlier scene ejects nobody here.
async function settle(mesh) {
  const who = await german(mesh);
  await mesh.each('eu-central', (one) => one.forget());
  await mesh.central.until('every backend answers', async () => {
    assert.equal((await chat(mesh.central, who)).status, 200);
    return (await mesh.each('eu-central', (one) => one.stats())).every((one) => one.total > 0);
  });
}

// Every German backend plays the script; the answer and its record.
async function play(mesh, script, body) {
  const who = await german(mesh);
  await settle(mesh);
  await mesh.each('eu-central', (one) => one.script(script));
  try {
    const answer = await readStream(mesh.central, who, body);
    return { ...answer, a2: await recordOf(mesh.central, answer.headers['x-request-id']) };
  } finally {
    await mesh.each('eu-central', (one) => one.script({}));
  }
}

const errorOf = (text) => JSON.parse(text).error;
const lastEvent = (text) => text.split('\n\n').at(-2).replace(/^data: /, '');

// --- What passes ---------------------------------------------------------------------------

const wholeStreams = [
  ['events with LF', event(delta('a')) + event(delta('b')) + event(usage(3, 2)) + DONE],
  ['events with CRLF, comments and ids', ': hello\r\n\r\nid: 1\r\n'
    + (event(delta('a')) + event(usage(3, 2)) + DONE).replaceAll('\n', '\r\n')],
  ['events with CR', (event(delta('a')) + event(usage(3, 2)) + DONE).replaceAll('\n', '\r')],
  ['a byte order mark and data in two lines',
    `\ufeff: x\n\ndata: {"id":"c-1",\ndata: "usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n${
      DONE}`],
];
for (const [name, text] of wholeStreams) {
  scene(`${name}: the same bytes, whole or one by one, and the same record`, async (mesh) => {
    for (const chunks of [[text], [...text]]) {
      const answer = await play(mesh, { chunks });
      assert.equal(answer.text, text);
      assert.ok(answer.whole);
      assert.equal(answer.a2.end, 'complete');
      assert.equal(answer.a2.answer.bytes, Buffer.byteLength(text));
      assert.equal(answer.a2.answer.sent_bytes, undefined);
      assert.equal(answer.a2.model.response_id, 'c-1');
      assert.deepEqual(answer.a2.tokens, { completion: 2, prompt: 3, source: 'answer' });
    }
  });
}

scene('an event of 1 MiB passes', async (mesh) => {
  const text = event(delta('x'.repeat(1024 * 1024))) + event(usage(3, 0)) + DONE;
  const answer = await play(mesh, { chunks: [text] });
  assert.ok(answer.text === text && answer.whole);
  assert.deepEqual(answer.a2.tokens, { completion: 0, prompt: 3, source: 'answer' });
});

scene('usage is that of the answer, not of its content', async (mesh) => {
  const trap = '"usage":{"prompt_tokens":666,"completion_tokens":666}';
  const stream = event({ ...delta(trap), nested: JSON.parse(`{${trap}}`) }) + DONE;
  assert.deepEqual((await play(mesh, { chunks: [stream] })).a2.tokens, { source: 'none' });
  const body = { id: 'c-1', model: 'm-1', choices: [{ message: { content: trap.repeat(500) } }],
    usage: { prompt_tokens: 0, completion_tokens: 7, details: JSON.parse(`{${trap}}`) } };
  const answer = await play(mesh, { status: 200, body }, chatBody());
  assert.deepEqual(JSON.parse(answer.text), body);
  assert.deepEqual(answer.a2.tokens, { completion: 7, prompt: 0, source: 'answer' });
  assert.deepEqual(answer.a2.model, { reported: 'm-1', response_id: 'c-1' });
});

scene('first token and time between events are measured', async (mesh) => {
  const count = (name) => mesh.central.metric(`gen_ai_server_${name}_seconds_count`
    + '{gen_ai_operation_name="chat"}');
  const names = ['time_to_first_token', 'time_per_output_token'];
  const before = await Promise.all(names.map(count));
  await play(mesh, { chunks: [event(delta('a')), event(delta('b')), event(delta('c')), DONE] });
  const after = await Promise.all(names.map(count));
  assert.deepEqual(after.map((one, i) => one - before[i]), [1, 2]);
});

// --- What is held --------------------------------------------------------------------------

for (const [name, chunks, then] of [
  ['fails in its first event', ['data: {"id":"lost"'], 'cut'],
  ['sends comments only', [': lost\n\nid: lost\n\n'], 'end'],
]) {
  scene(`a backend that ${name} is replaced, and nothing of it is handed on`, async (mesh) => {
    const who = await german(mesh);
    const [first] = mesh.in('eu-central');
    await settle(mesh);
    const answer = await mesh.central.until('an answer of the other backend', async () => {
      await first.forget();
      await first.script({ chunks, then, count: 1 });
      const one = await readStream(mesh.central, who);
      await first.script({});
      return (await first.stats()).total > 0 && one;
    });
    assert.equal(answer.status, 200);
    assert.ok(answer.whole && !answer.text.includes('lost') && answer.text.endsWith(DONE));
    const a2 = await recordOf(mesh.central, answer.headers['x-request-id']);
    assert.deepEqual(a2.attempts.map((one) => [one.outcome, one.target]),
      [['eof', first.name], ['ok', 'de-2']]);
    assert.equal(a2.answer.bytes, Buffer.byteLength(answer.text));
  });
}

scene('where both fail before an event the client gets a refusal, not a stream', async (mesh) => {
  const who = await german(mesh);
  for (let i = 0; i < 20; i += 1) { // retries are a tenth of the requests
    assert.equal((await chat(mesh.central, who)).status, 200);
  }
  const { status, text, a2 } = await play(mesh, { chunks: ['data: {'], then: 'cut' });
  assert.equal(status, 502);
  assert.equal(errorOf(text).code, 'upstream_failed');
  assert.equal(a2.answer.bytes, 0);
});

scene('a head is held for so long, and then goes out with what there is', async (mesh) => {
  const first = 'data: {"id":"c-1",';
  const answer = await play(mesh,
    { chunks: [first, 1500, '"choices":[]}\n\n', DONE], first_byte_delay_ms: 0 });
  assert.equal(answer.text, `${first}"choices":[]}\n\n${DONE}`);
  assert.ok(answer.a2.times.first_byte - answer.a2.times.dispatched >= 800);
  const unary = await play(mesh, { first_byte_delay_ms: 1500 }, chatBody());
  assert.ok(unary.a2.times.first_byte - unary.a2.times.dispatched >= 800);
  assert.ok(unary.a2.times.end - unary.a2.times.first_byte >= 300);
});

// --- What ends early -----------------------------------------------------------------------

const endings = [
  ['cut at an event boundary', { chunks: [event(delta('a')), event(delta('b'))], then: 'cut' }],
  ['ended in an orderly way without [DONE]', { chunks: [event(delta('a')), event(delta('b'))] }],
];
for (const [name, script] of endings) {
  scene(`a stream that is ${name} ends with an error event`, async (mesh) => {
    const before = await mesh.central.metric('portolan_answers_truncated_total');
    const answer = await play(mesh, script);
    const received = script.chunks.join('');
    assert.ok(!answer.whole);
    assert.ok(answer.text.startsWith(received) && !answer.text.includes('[DONE]'));
    assert.equal(errorOf(lastEvent(answer.text)).code, 'upstream_failed');
    assert.equal(answer.a2.end, 'upstream_truncated');
    assert.equal(answer.a2.answer.bytes, received.length);
    assert.equal(answer.a2.answer.sent_bytes, answer.text.length);
    assert.notEqual(answer.a2.answer.sent_commitment, answer.a2.answer.commitment);
    assert.deepEqual(answer.a2.tokens, { completion: 2, source: 'counted' });
    assert.equal(await mesh.central.metric('portolan_answers_truncated_total') - before, 1);
  });
}

scene('a stream of a length that its backend told has room for an error event too', async (mesh) => {
  const text = event(delta('a')) + event(delta('b'));
  const answer = await play(mesh, { raw: 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
    + `Content-Length: ${text.length}\r\n\r\n${text}` });
  assert.ok(!answer.whole && answer.text.startsWith(text));
  assert.equal(answer.headers['content-length'], undefined);
  assert.equal(errorOf(lastEvent(answer.text)).code, 'upstream_failed');
  assert.equal(answer.a2.answer.bytes, text.length);
});

scene('a stream that is cut inside an event gets nothing added', async (mesh) => {
  const chunks = [event(delta('a')), 'data: {"id"'];
  const answer = await play(mesh, { chunks, then: 'cut' });
  assert.equal(answer.text, chunks.join(''));
  assert.ok(!answer.whole);
  assert.equal(answer.a2.end, 'upstream_truncated');
  assert.equal(answer.a2.answer.sent_bytes, undefined);
});

scene('the OpenAI client sees the error of a stream that ends early', async (mesh) => {
  const client = openai(mesh.central, await german(mesh));
  await settle(mesh);
  await mesh.each('eu-central', (one) => one.script(endings[0][1]));
  try {
    const stream = await client.chat.completions.create(chatBody({ stream: true }));
    let text = '';
    await assert.rejects(async () => {
      for await (const one of stream) {
        text += one.choices[0].delta.content;
      }
    }, (error) => error.code === 'upstream_failed');
    assert.equal(text, 'ab');
  } finally {
    await mesh.each('eu-central', (one) => one.script({}));
  }
});

scene('through two nodes there is one error event, and both commit to the same bytes',
  async (mesh) => {
    const who = { token: await mesh.token('acme/fr'), from: 'FR' };
    await settle(mesh);
    await mesh.ie.stop();
    try {
      await mesh.west.until('a forwarded answer', async () =>
        (await chat(mesh.west, who)).status === 200);
      await mesh.each('eu-central', (one) => one.script(
        { chunks: [event(delta('a')), 500, event(delta('b'))], then: 'cut' }));
      const { text, whole, headers } = await readStream(mesh.west, who);
      assert.ok(!whole);
      assert.ok(text.includes(KEEPALIVE));
      assert.equal(text.split('"error"').length, 2);
      const [ingress] = attestationsOf({ headers });
      const a2 = await Promise.all([mesh.west, mesh.central].map((node) =>
        recordOf(node, ingress.claims.txn)));
      assert.deepEqual(a2.map((one) => one.end), ['upstream_truncated', 'upstream_truncated']);
      assert.equal(a2[0].answer.commitment, a2[1].answer.commitment);
      assert.notEqual(a2[0].answer.sent_commitment, undefined);
      assert.equal(a2[1].answer.sent_commitment, undefined);
    } finally {
      await mesh.each('eu-central', (one) => one.script({}));
      await mesh.ie.start();
    }
  });

// --- What is silent ------------------------------------------------------------------------

scene('a silent stream is kept alive by comments, and the OpenAI client notices nothing',
  async (mesh) => {
    const chunks = [event(delta('a')), KEEPALIVE_MS * 4, event(delta('b')), event(usage(1, 2)), DONE];
    const answer = await play(mesh, { chunks });
    const received = chunks.filter((one) => typeof one === 'string').join('');
    assert.ok(answer.whole);
    assert.ok(answer.text.startsWith(event(delta('a')) + KEEPALIVE + KEEPALIVE), answer.text);
    assert.equal(answer.text.replaceAll(KEEPALIVE, ''), received);
    assert.equal(answer.a2.answer.bytes, received.length);
    assert.equal(answer.a2.answer.sent_bytes, undefined);
    await mesh.each('eu-central', (one) => one.script({ chunks }));
    try {
      const client = openai(mesh.central, await german(mesh));
      const stream = await client.chat.completions.create(chatBody({ stream: true }));
      let text = '';
      for await (const one of stream) {
        text += one.choices[0]?.delta.content ?? '';
      }
      assert.equal(text, 'ab');
    } finally {
      await mesh.each('eu-central', (one) => one.script({}));
    }
  });

scene('a stream that is silent from its beginning gets a head, comments, and then its events',
  async (mesh) => {
    const answer = await play(mesh, { chunks: [1500, event(delta('a')), DONE] });
    assert.ok(answer.whole && answer.text.startsWith(KEEPALIVE + KEEPALIVE), answer.text);
    assert.equal(answer.text.replaceAll(KEEPALIVE, ''), event(delta('a')) + DONE);
    assert.equal(answer.a2.end, 'complete');
  });

scene('no comment stands inside an event, nor between JSON lines', async (mesh) => {
  const inside = [event(delta('a')), 'data: {"id":', KEEPALIVE_MS * 4, '"x"}\n\n', DONE];
  assert.equal((await play(mesh, { chunks: inside })).text,
    inside.filter((one) => typeof one === 'string').join(''));
  const lines = ['{"a":1}\n', KEEPALIVE_MS * 4, '{"done":true}\n'];
  const answer = await play(mesh, { chunks: lines, type: 'application/x-ndjson' });
  assert.equal(answer.text, '{"a":1}\n{"done":true}\n');
  assert.equal(answer.a2.end, 'complete');
});

scene('JSON lines that end early end with an error object, if a line may stand there',
  async (mesh) => {
    const type = 'application/x-ndjson';
    const line = `${JSON.stringify(usage(4, 5))}\n`;
    const answer = await play(mesh, { chunks: [line, '{"b":2}\n'], type, then: 'cut' });
    assert.ok(!answer.whole);
    const lines = answer.text.split('\n');
    assert.equal(lines.length, 4);
    assert.equal(errorOf(lines[2]).code, 'upstream_failed');
    assert.deepEqual(answer.a2.tokens, { completion: 5, prompt: 4, source: 'answer' });
    const inside = await play(mesh, { chunks: [line, '{"b":'], type, then: 'cut' });
    assert.equal(inside.text, `${line}{"b":`);
  });

// --- Who reads slowly ----------------------------------------------------------------------

// A reader that has stopped after the first bytes: {socket, txn}.
function openStopped(node, { token, from }) {
  const body = JSON.stringify(chatBody({ stream: true }));
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: node.host, port: node.port, ca: node.ca,
      servername: node.servername }, () => socket.write(`POST /v1/chat/completions HTTP/1.1\r\n`
      + `Host: ${node.authority}\r\nAuthorization: Bearer ${token}\r\n`
      + `X-Forwarded-For: ${FROM[from]}\r\nContent-Type: application/json\r\n`
      + `Content-Length: ${body.length}\r\n\r\n${body}`));
    socket.once('error', reject);
    socket.once('data', (chunk) => {
      socket.pause();
      const [, txn] = /x-request-id: (\S+)/i.exec(chunk.toString('latin1'));
      resolve({ socket, txn, first: chunk });
    });
  });
}

const BIG = event(delta('x'.repeat(256 * 1024)));

scene('a reader that stops holds little, hinders nobody, and is left at the deadline',
  async (mesh) => {
    const who = await german(mesh);
    await settle(mesh);
    await mesh.each('eu-central', (one) => one.forget());
    const before = peakKiB(mesh.central);
    const wanted = 1000; // times 256 KiB
    await mesh.each('eu-central', (one) => one.script({ chunks: [BIG], repeat: wanted, count: 1 }));
    const { socket, txn } = await openStopped(mesh.central, who);
    await mesh.each('eu-central', (one) => one.script({}));
    try {
      const a2 = await mesh.central.until('the A2 of the reader that stopped', async () => {
        const other = await readStream(mesh.central, who);
        assert.ok(other.whole && other.text.endsWith(DONE));
        return mesh.central.readLedger().at(-1).a2.find((one) => one.txn === txn);
      });
      assert.equal(a2.end, 'client_abort');
      const sent = await mesh.each('eu-central', async (one) => (await one.stats()).chunk_bytes);
      // What the sockets of the kernel hold, and no more.
      assert.ok(Math.max(...sent) < wanted * BIG.length / 4, `${sent} bytes were taken`);
      assertGrewLess(mesh.central, peakKiB(mesh.central) - before, 16 * 1024);
    } finally {
      socket.destroy();
    }
  });

scene('a reader that goes on after a stop gets every byte', async (mesh) => {
  const who = await german(mesh);
  const wanted = 100;
  await settle(mesh);
  await mesh.each('eu-central', (one) => one.script(
    { chunks: [BIG], repeat: wanted, then: 'cut', count: 1 }));
  const { socket, txn, first } = await openStopped(mesh.central, who);
  await mesh.each('eu-central', (one) => one.script({}));
  assert.equal((await chat(mesh.central, who)).status, 200);
  let bytes = first.length;
  socket.on('data', (chunk) => { bytes += chunk.length; });
  socket.resume();
  await until('the end', () => socket.closed);
  const a2 = await recordOf(mesh.central, txn);
  assert.equal(a2.end, 'upstream_truncated');
  assert.equal(a2.answer.bytes, wanted * BIG.length);
  assert.ok(bytes > wanted * BIG.length);
});

// Behind all others: the backend that stalled counts as loaded for a while.
scene('a stream that stalls is a soft failure once, and ends at the deadline', async (mesh) => {
  const stalled = () => mesh.central.metric('portolan_streams_stalled_total');
  const before = await stalled();
  const answer = await play(mesh, { chunks: [event(delta('a'))], then: 'stall' });
  assert.equal(await stalled() - before, 1);
  assert.ok(!answer.whole);
  assert.equal(errorOf(lastEvent(answer.text)).code, 'upstream_timeout');
  assert.equal(answer.a2.end, 'timeout');
  assert.ok(answer.a2.times.end - answer.a2.times.first_byte >= IDLE_MS);
});

// --- The end of the node -------------------------------------------------------------------

scene('a stream that outlives the drain ends with an error event', async (mesh) => {
  const who = await german(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.each('eu-central', (one) => one.script(
    { chunks: [event(delta('a'))], then: 'stall' }));
  const reading = readStream(mesh.central, who);
  await Promise.any(mesh.in('eu-central').map((one) => one.until('running=1')));
  await mesh.central.until('the stream has begun', async () =>
    await mesh.central.metric('portolan_requests') > 0);
  await mesh.central.stop();
  const { text, whole, headers } = await reading;
  assert.ok(!whole);
  assert.equal(errorOf(lastEvent(text)).code, 'overloaded');
  const a2 = mesh.central.readLedger().at(-1).a2.find((one) =>
    one.txn === headers['x-request-id']);
  assert.equal(a2.end, 'drained');
  assert.deepEqual(a2.attempts.map((one) => one.outcome), ['drained']);
  assert.equal(a2.answer.sent_bytes, text.replaceAll(KEEPALIVE, '').length);
});
