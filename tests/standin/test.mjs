// The stand-in is only worth something if it speaks as the real servers do and does what its
// scripts say: both are checked here, with fetch, raw sockets and the real OpenAI client.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';

const STANDIN = fileURLToPath(new URL('standin.mjs', import.meta.url));
const DIGEST = createHash('sha256').update('weights').digest('hex');
const CHAT = '/v1/chat/completions';

async function start(...args) {
  const child = spawn(process.execPath, [STANDIN, '--watch-stdin', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const exited = new Promise((resolve) => { child.once('exit', resolve); });
  const [line] = await Promise.race([
    new Promise((resolve) => { lines.once('line', (text) => resolve([text])); }),
    exited.then((code) => { throw new Error(`exit ${code} before it was ready`); }),
  ]);
  const ready = JSON.parse(line);
  const scheme = args.includes('--tls-cert') ? 'https' : 'http';
  const call = async (method, where, value) => {
    const answer = await fetch(`http://127.0.0.1:${ready.control}${where}`, {
      method, body: value === undefined ? undefined : JSON.stringify(value),
    });
    return { status: answer.status, value: await answer.json() };
  };
  return {
    ...ready,
    url: `${scheme}://127.0.0.1:${ready.port}`,
    script: (value) => call('POST', '/script', value),
    hold: (hold) => call('POST', '/hold', { hold }),
    drop: () => call('POST', '/drop', {}),
    requests: async () => (await call('GET', '/requests')).value,
    forget: () => call('DELETE', '/requests'),
    stats: async () => (await call('GET', '/stats')).value,
    async until(query) {
      const { status, value } = await call('GET', `/wait?${query}`);
      assert.equal(status, 200, `never ${query}: ${JSON.stringify(value)}`);
      return value;
    },
    exited,
    stop: () => { child.stdin.end(); return exited; },
  };
}

const chatBody = (more = {}) => ({
  model: 'small', messages: [{ role: 'user', content: 'one two three' }], ...more,
});

const post = (server, body, where = CHAT, more = {}) => fetch(server.url + where, {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  ...more,
});

const get = (server, where) => fetch(server.url + where);

const eventsOf = (text) => text.split('\n\n').filter((event) => event !== '')
  .map((event) => event.replace(/^data: /, ''));

// The bytes that a bare socket gets for one chat request, and how the connection ended.
function rawChat(server, body = chatBody()) {
  const content = JSON.stringify(body);
  return new Promise((resolve) => {
    const socket = net.connect(server.port, '127.0.0.1');
    let bytes = '';
    let error = null;
    socket.on('data', (chunk) => { bytes += chunk.toString('latin1'); });
    socket.on('error', (problem) => { error = problem.code; });
    socket.on('close', () => resolve({ bytes, error }));
    socket.write(`POST ${CHAT} HTTP/1.1\r\nHost: standin\r\n`
      + `Content-Length: ${Buffer.byteLength(content)}\r\n\r\n${content}`);
  });
}

function metric(text, name) {
  const line = text.split('\n').find((one) => one.startsWith(name) && !one.startsWith('#'));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

function withServer(args, body) {
  return async () => {
    const server = await start(...args);
    try {
      await body(server);
    } finally {
      await server.stop();
    }
  };
}

describe('every kind', () => {
  const cases = [
    { kind: 'vllm', id: 'small' }, { kind: 'ollama', id: 'small:latest' },
    { kind: 'llamacpp', id: 'small' }, { kind: 'openai', id: 'small' },
  ];
  for (const { kind, id } of cases) {
    test(`${kind}: the OpenAI client lists, chats, streams, completes and embeds`,
      withServer(['--kind', kind, '--model', 'small'], async (server) => {
        const client = new OpenAI({
          apiKey: 'none', baseURL: `${server.url}/v1`, maxRetries: 0,
        });
        const models = await client.models.list();
        assert.deepEqual(models.data.map((model) => model.id), [id]);

        const chat = await client.chat.completions.create(chatBody());
        assert.equal(chat.choices[0].message.content, 'echo: one two three');
        assert.equal(chat.choices[0].finish_reason, 'stop');
        assert.deepEqual([chat.usage.prompt_tokens, chat.usage.completion_tokens], [3, 4]);

        const stream = await client.chat.completions.create(chatBody({
          stream: true, stream_options: { include_usage: true },
        }));
        let text = '';
        let usage = null;
        const finishes = [];
        for await (const chunk of stream) {
          assert.equal(chunk.object, 'chat.completion.chunk');
          text += chunk.choices[0]?.delta.content ?? '';
          usage = chunk.usage ?? usage;
          finishes.push(...chunk.choices.map((choice) => choice.finish_reason).filter(Boolean));
        }
        assert.equal(text, 'echo: one two three');
        assert.equal(usage.total_tokens, 7);
        assert.deepEqual(finishes, ['stop']);

        const completion = await client.completions.create({ model: 'small', prompt: 'four' });
        assert.equal(completion.choices[0].text, 'echo: four');

        const embedding = await client.embeddings.create({ model: 'small', input: ['a', 'b'] });
        assert.equal(embedding.data.length, 2);
        assert.equal(embedding.data[0].embedding.length, 8);
        assert.notDeepEqual(embedding.data[0].embedding, embedding.data[1].embedding);
      }));

    test(`${kind}: a stream ends with [DONE], and has usage only if it was asked for`,
      withServer(['--kind', kind, '--model', 'small'], async (server) => {
        const answer = await post(server, chatBody({ stream: true }));
        assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
        const events = eventsOf(await answer.text());
        assert.equal(events.at(-1), '[DONE]');
        const chunks = events.slice(0, -1).map((event) => JSON.parse(event));
        assert.ok(chunks.every((chunk) => chunk.usage === undefined));
        assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
        assert.equal(chunks[0].choices[0].delta.role, 'assistant');
      }));

    test(`${kind}: what usage does to the events of a stream`,
      withServer(['--kind', kind, '--model', 'small'], async (server) => {
        const chunksOf = async (where, body) => eventsOf(await (await post(server,
          { model: 'small', stream: true, ...body }, where)).text()).slice(0, -1)
          .map((event) => JSON.parse(event));
        const asks = { stream_options: { include_usage: true } };
        const chat = { messages: [{ role: 'user', content: 'one' }] };
        const beside = (chunks) => [...new Set(chunks.filter((one) => one.choices.length > 0)
          .map((one) => JSON.stringify(one.usage)))];
        const total = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };

        const chatted = await chunksOf(CHAT, { ...chat, ...asks });
        assert.deepEqual([chatted.at(-1).choices, chatted.at(-1).usage], [[], total]);
        assert.deepEqual(beside(chatted), [kind === 'openai' ? 'null' : undefined]);
        const completed = await chunksOf('/v1/completions', { prompt: 'one', ...asks });
        assert.deepEqual(completed.at(-1).usage, total);
        assert.equal(completed.at(-1).choices.length, kind === 'llamacpp' ? 1 : 0);
        assert.deepEqual(beside(completed.slice(0, -1)), [{ openai: 'null',
          ollama: '{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}' }[kind]]);
        await server.script({ no_usage: true });
        assert.deepEqual(beside(await chunksOf(CHAT, { ...chat, ...asks })), [undefined]);
      }));

    test(`${kind}: max_tokens cuts the answer and says "length"`,
      withServer(['--kind', kind, '--model', 'small'], async (server) => {
        const answer = await (await post(server, chatBody({ max_tokens: 2 }))).json();
        assert.equal(answer.choices[0].message.content, 'echo: one');
        assert.equal(answer.choices[0].finish_reason, 'length');
      }));
  }

  const unknown = [
    { kind: 'vllm', args: [], status: 404, body: { error: {
      message: 'The model `huge` does not exist.', type: 'NotFoundError', param: null,
      code: 404 } } },
    { kind: 'vllm', args: ['--dialect', 'old'], status: 404, body: { object: 'error',
      message: 'The model `huge` does not exist.', type: 'NotFoundError', param: null,
      code: 404 } },
    { kind: 'ollama', args: [], status: 404, body: { error: {
      message: "model 'huge' not found", type: 'not_found_error', param: null, code: null } } },
    { kind: 'llamacpp', args: ['--model', 'other'], status: 400, body: { error: {
      code: 400, message: "model 'huge' not found", type: 'invalid_request_error' } } },
    { kind: 'openai', args: [], status: 404, body: { error: {
      message: 'The model `huge` does not exist or you do not have access to it.',
      type: 'invalid_request_error', param: null, code: 'model_not_found' } } },
  ];
  for (const { kind, args, status, body } of unknown) {
    test(`${kind} ${args.join(' ')}: a model that is not served is refused in its own words`,
      withServer(['--kind', kind, '--model', 'small', ...args], async (server) => {
        const answer = await post(server, chatBody({ model: 'huge' }));
        assert.equal(answer.status, status);
        assert.deepEqual(await answer.json(), body);
      }));
  }

  test('llamacpp: with one model the name asked for is ignored, and its own is answered',
    withServer(['--kind', 'llamacpp', '--model', 'small'], async (server) => {
      const answer = await (await post(server, chatBody({ model: 'huge' }))).json();
      assert.equal(answer.model, 'small');
      assert.ok(answer.timings.predicted_n > 0);
    }));

  test('openai: a transcription form is read for its model',
    withServer(['--kind', 'openai', '--model', 'small'], async (server) => {
      const form = new FormData();
      form.set('model', 'small');
      form.set('file', new Blob(['sound']), 'a.wav');
      const answer = await fetch(`${server.url}/v1/audio/transcriptions`, {
        method: 'POST', body: form,
      });
      assert.match((await answer.json()).text, /^heard \d+ bytes$/);
    }));
});

describe('probes', () => {
  test('vllm: health, version, models and metrics', withServer(
    ['--kind', 'vllm', '--model', 'org/small'], async (server) => {
      const health = await get(server, '/health');
      assert.equal(health.status, 200);
      assert.equal(await health.text(), '');
      assert.match((await (await get(server, '/version')).json()).version, /^\d+\.\d+\.\d+$/);
      const [model] = (await (await get(server, '/v1/models')).json()).data;
      assert.deepEqual(Object.keys(model), ['id', 'object', 'created', 'owned_by', 'root',
        'parent', 'max_model_len', 'permission']);
      assert.equal(model.owned_by, 'vllm');
      const metrics = await (await get(server, '/metrics')).text();
      assert.match(metrics,
        /^vllm:num_requests_running\{engine="0",model_name="org\/small"\} 0\.0$/m);
      assert.equal(metric(metrics, 'vllm:kv_cache_usage_perc'), 0);
    }));

  test('vllm: the old dialect has the older cache metric', withServer(
    ['--kind', 'vllm', '--dialect', 'old', '--model', 'small'], async (server) => {
      const metrics = await (await get(server, '/metrics')).text();
      assert.equal(metric(metrics, 'vllm:gpu_cache_usage_perc'), 0);
      assert.equal(metric(metrics, 'vllm:kv_cache_usage_perc'), undefined);
    }));

  test('ollama: version, tags with a bare hex digest, ps', withServer(
    ['--kind', 'ollama', '--model', `small=sha256:${DIGEST}`], async (server) => {
      assert.ok((await (await get(server, '/api/version')).json()).version);
      const [model] = (await (await get(server, '/api/tags')).json()).models;
      assert.deepEqual([model.name, model.model, model.digest],
        ['small:latest', 'small:latest', DIGEST]);
      assert.equal(model.details.format, 'gguf');
      const [loaded] = (await (await get(server, '/api/ps')).json()).models;
      assert.equal(loaded.digest, DIGEST);
      assert.ok(loaded.expires_at);
    }));

  test('llamacpp: health, slots, props, metrics', withServer(
    ['--kind', 'llamacpp', '--model', 'small', '--slots', '3'], async (server) => {
      assert.deepEqual(await (await get(server, '/health')).json(), { status: 'ok' });
      const slots = await (await get(server, '/slots')).json();
      assert.deepEqual(slots.map((slot) => slot.is_processing), [false, false, false]);
      assert.equal((await (await get(server, '/props')).json()).total_slots, 3);
      const metrics = await (await get(server, '/metrics')).text();
      assert.equal(metric(metrics, 'llamacpp:requests_processing'), 0);
      assert.equal(metric(metrics, 'llamacpp:kv_cache_usage_ratio'), 0);
    }));

  test('openai: it has models and nothing to probe', withServer(
    ['--kind', 'openai', '--model', 'small'], async (server) => {
      assert.equal((await get(server, '/v1/models')).status, 200);
      assert.equal((await get(server, '/health')).status, 404);
      assert.equal((await get(server, '/metrics')).status, 404);
    }));

  test('health "down" fails the probes and leaves inference alone', withServer(
    ['--kind', 'vllm', '--model', 'small'], async (server) => {
      await server.script({ health: 'down' });
      assert.equal((await get(server, '/health')).status, 500);
      assert.equal((await post(server, chatBody())).status, 200);
      await server.script({ health: 'up' });
      assert.equal((await get(server, '/health')).status, 200);
    }));
});

describe('load', () => {
  test('metrics count what runs and what waits, and return to 0', withServer(
    ['--kind', 'vllm', '--model', 'small', '--slots', '2'], async (server) => {
      await server.hold(true);
      const answers = Array.from({ length: 5 }, () => post(server, chatBody()));
      await server.until('in_flight=5&running=2&waiting=3');
      const metrics = await (await get(server, '/metrics')).text();
      assert.equal(metric(metrics, 'vllm:num_requests_running'), 2);
      assert.equal(metric(metrics, 'vllm:num_requests_waiting'), 3);
      assert.equal(metric(metrics, 'vllm:kv_cache_usage_perc'), 1);
      await server.hold(false);
      for (const answer of await Promise.all(answers)) {
        assert.equal((await answer.json()).choices.length, 1);
      }
      const stats = await server.until('in_flight=0');
      assert.deepEqual([stats.running, stats.waiting, stats.max_in_flight, stats.total],
        [0, 0, 5, 5]);
    }));

  test('a client that leaves while it waits gives its place back', withServer(
    ['--kind', 'llamacpp', '--model', 'small', '--slots', '1'], async (server) => {
      await server.hold(true);
      const first = post(server, chatBody());
      await server.until('running=1');
      const leaving = new AbortController();
      const second = post(server, chatBody(), CHAT, { signal: leaving.signal });
      await server.until('waiting=1');
      leaving.abort();
      await assert.rejects(second, { name: 'AbortError' });
      await server.until('waiting=0&aborted=1&in_flight=1');
      await server.hold(false);
      assert.equal((await first).status, 200);
      await server.until('in_flight=0&running=0');
    }));

  test('a client that leaves while it is held frees its slot', withServer(
    ['--kind', 'vllm', '--model', 'small', '--slots', '1'], async (server) => {
      await server.hold(true);
      const leaving = new AbortController();
      const request = post(server, chatBody(), CHAT, { signal: leaving.signal });
      await server.until('running=1');
      leaving.abort();
      await assert.rejects(request, { name: 'AbortError' });
      await server.until('in_flight=0&running=0&aborted=1');
      const [record] = await server.requests();
      assert.deepEqual([record.aborted, record.ended], [true, false]);
    }));

  test('a deaf server takes no more than its sockets hold, until its connections are cut', withServer(
    ['--kind', 'vllm', '--model', 'small', '--slots', '1'], async (server) => {
      await server.script({ deaf: true, count: 1 });
      const socket = net.connect(server.port, '127.0.0.1');
      socket.on('error', () => {});
      const closed = new Promise((resolve) => { socket.once('close', resolve); });
      socket.write(`POST ${CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n`);
      socket.write(Buffer.alloc(64 * 1024 * 1024));
      await server.until('in_flight=1');
      assert.deepEqual((await server.requests())[0].body, '');
      await server.drop();
      await closed;
      await server.until('in_flight=0&running=0');
      assert.equal((await post(server, chatBody())).status, 200);
    }));
});

describe('memory', () => {
  test('a request is kept with its raw headers, body and digest', withServer(
    ['--kind', 'openai', '--model', 'small'], async (server) => {
      const body = JSON.stringify(chatBody());
      await fetch(server.url + CHAT, { method: 'POST', body, headers: { 'X-Mixed-Case': 'a' } });
      const [record] = await server.requests();
      assert.deepEqual([record.method, record.path, record.body], ['POST', CHAT, body]);
      assert.equal(record.body_sha256, createHash('sha256').update(body).digest('hex'));
      assert.ok(record.headers.includes('content-length'));
      assert.deepEqual([record.inference, record.aborted, record.ended, record.tls],
        [true, false, true, null]);
      await server.forget();
      assert.deepEqual(await server.requests(), []);
      assert.equal((await server.stats()).total, 0);
    }));

  test('the raw headers keep their case, order and repeats', withServer(
    ['--kind', 'openai', '--model', 'small'], async (server) => {
      await new Promise((resolve, reject) => {
        const request = http.request(`${server.url}/v1/models`, (answer) => {
          answer.resume();
          answer.once('end', resolve);
        });
        request.setHeader('X-Twice', ['1', '2']);
        request.once('error', reject);
        request.end();
      });
      const [record] = await server.requests();
      const first = record.headers.indexOf('X-Twice');
      assert.deepEqual(record.headers.slice(first, first + 4), ['X-Twice', '1', 'X-Twice', '2']);
    }));

  test('a bare connection is counted even if nothing is sent on it', withServer(
    ['--kind', 'openai', '--model', 'small'], async (server) => {
      assert.equal((await server.stats()).connections, 0);
      const socket = net.connect(server.port, '127.0.0.1');
      await server.until('connections=1');
      socket.destroy();
      assert.deepEqual(await server.requests(), []);
    }));
});

describe('scripts', () => {
  const standard = ['--kind', 'vllm', '--model', 'small'];

  test('a status comes with its body and Retry-After, "count" times', withServer(standard,
    async (server) => {
      await server.script({ status: 503, retry_after: 7, body: { why: 'busy' }, count: 2 });
      for (let i = 0; i < 2; i += 1) {
        const answer = await post(server, chatBody());
        assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '7']);
        assert.deepEqual(await answer.json(), { why: 'busy' });
      }
      assert.equal((await post(server, chatBody())).status, 200);
    }));

  test('a list of scripts is used one after the other', withServer(standard, async (server) => {
    await server.script([{ status: 500 }, { status: 429 }, { status: 418, count: 1 }]);
    const seen = [];
    for (let i = 0; i < 4; i += 1) {
      const answer = await post(server, chatBody());
      seen.push(answer.status);
      await answer.text();
    }
    assert.deepEqual(seen, [500, 429, 418, 200]);
  }));

  test('the length of the answer is scripted in tokens', withServer(standard, async (server) => {
    await server.script({ tokens: 100 });
    const answer = await (await post(server, chatBody())).json();
    assert.equal(answer.usage.completion_tokens, 100);
    assert.equal(answer.choices[0].message.content.split(' ').length, 100);
  }));

  for (const [name, script] of [['delay_ms', { delay_ms: 120 }],
    ['first_byte_delay_ms', { first_byte_delay_ms: 120 }],
    ['token_interval_ms', { token_interval_ms: 30 }]]) {
    test(`${name} takes its time`, withServer(standard, async (server) => {
      await server.script(script);
      const from = process.hrtime.bigint();
      await (await post(server, chatBody({ stream: true }))).text();
      assert.ok(process.hrtime.bigint() - from >= 115_000_000n);
    }));
  }

  test('first_byte_delay_ms sends the head at once', withServer(standard, async (server) => {
    await server.script({ first_byte_delay_ms: 60_000 });
    const leaving = new AbortController();
    const answer = await post(server, chatBody({ stream: true }), CHAT,
      { signal: leaving.signal });
    assert.equal(answer.status, 200);
    leaving.abort();
    await server.until('in_flight=0&aborted=1');
  }));

  test('a truncated stream has no final chunk and no end', withServer(standard,
    async (server) => {
      await server.script({ truncate_after_events: 2 });
      const { bytes } = await rawChat(server, chatBody({ stream: true }));
      assert.equal(bytes.match(/data: /g).length, 2);
      assert.ok(!bytes.includes('[DONE]') && !bytes.includes('\r\n0\r\n\r\n'));
      const [record] = await server.requests();
      assert.deepEqual([record.aborted, record.ended], [false, false]);
    }));

  test('a truncated unary answer is shorter than its Content-Length', withServer(standard,
    async (server) => {
      await server.script({ truncate_after_events: 1 });
      const { bytes } = await rawChat(server);
      const [head, body] = bytes.split('\r\n\r\n');
      assert.ok(body.length > 0);
      assert.ok(body.length < Number(/content-length: (\d+)/i.exec(head)[1]));
    }));

  test('a stalled stream stays open until the client leaves', withServer(standard,
    async (server) => {
      await server.script({ stall_after_events: 1 });
      const leaving = new AbortController();
      const answer = await post(server, chatBody({ stream: true }), CHAT,
        { signal: leaving.signal });
      const reader = answer.body.getReader();
      const { value } = await reader.read();
      assert.equal(eventsOf(Buffer.from(value).toString()).length, 1);
      assert.equal((await server.stats()).in_flight, 1);
      leaving.abort();
      await server.until('in_flight=0&aborted=1');
    }));

  test('a head can be cut in the middle', withServer(standard, async (server) => {
    await server.script({ truncate_head: true, count: 1 });
    const { bytes } = await rawChat(server);
    assert.equal(bytes, 'HTTP/1.1 200 OK\r\ncontent-ty');
    await server.until('in_flight=0');
    assert.equal((await server.stats()).aborted, 0);
  }));

  test('a reset is a reset', withServer(standard, async (server) => {
    await server.script({ reset: true });
    const { bytes, error } = await rawChat(server);
    assert.deepEqual([bytes, error], ['', 'ECONNRESET']);
  }));

  test('raw bytes are sent as they are', withServer(standard, async (server) => {
    const wire = 'HTTP/1.1 200 OK\nTransfer-Encoding: xchunked\r\n\r\n\x00\xff';
    await server.script({ raw_base64: Buffer.from(wire, 'latin1').toString('base64') });
    assert.equal((await rawChat(server)).bytes, wire);
    await server.script({ raw: 'hello' });
    assert.equal((await rawChat(server)).bytes, 'hello');
  }));
});

describe('TLS', () => {
  let folder;
  const file = (name) => path.join(folder, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });

  function issue(name, subject, extension) {
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-x509',
      '-days', '2', '-subj', subject, '-addext', extension, '-keyout', file(`${name}.key`),
      '-out', file(`${name}.pem`));
  }

  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'standin-'));
    issue('server', '/CN=standin', 'subjectAltName=IP:127.0.0.1');
    issue('client', '/O=Acme/CN=node-1', 'subjectAltName=URI:spiffe://mesh.example/node-1');
  });
  after(() => rmSync(folder, { recursive: true }));

  const ask = (server, more = {}) => new Promise((resolve, reject) => {
    const request = https.get(`${server.url}/v1/models`, {
      ca: readFileSync(file('server.pem')), agent: false, ...more,
    }, (answer) => {
      answer.resume();
      answer.once('end', () => resolve(answer.statusCode));
    });
    request.once('error', reject);
  });
  const identity = () => ({
    cert: readFileSync(file('client.pem')), key: readFileSync(file('client.key')),
  });
  const args = (...more) => ['--kind', 'vllm', '--model', 'small',
    '--tls-cert', file('server.pem'), '--tls-key', file('server.key'), ...more];

  test('a client certificate is demanded and its subject kept', async () => {
    const server = await start(...args('--tls-client-ca', file('client.pem')));
    try {
      await assert.rejects(ask(server));
      assert.equal(await ask(server, identity()), 200);
      const [record] = await server.requests();
      assert.equal(record.tls.client_subject, 'O=Acme,CN=node-1');
      assert.equal(record.tls.client_san, 'URI:spiffe://mesh.example/node-1');
      assert.equal(record.tls.version, 'TLSv1.3');
    } finally {
      await server.stop();
    }
  });

  test('a reset works under TLS too', async () => {
    const server = await start(...args());
    try {
      await server.script({ reset: true });
      const error = await new Promise((resolve) => {
        const request = https.request(server.url + CHAT, {
          method: 'POST', ca: readFileSync(file('server.pem')), agent: false,
        }, () => resolve(null));
        request.once('error', resolve);
        request.end(JSON.stringify(chatBody()));
      });
      assert.equal(error?.code, 'ECONNRESET');
      await server.until('in_flight=0');
    } finally {
      await server.stop();
    }
  });
});

describe('scripted chunks', () => {
  test('each is written as it stands, so often as is said, with its type',
    withServer(['--kind', 'vllm', '--model', 'm'], async (server) => {
      await server.script({ chunks: ['{"a":1}\n', 1, '{"b":2}\n'], repeat: 2,
        type: 'application/x-ndjson' });
      const answer = await post(server, chatBody());
      assert.equal(answer.headers.get('content-type'), 'application/x-ndjson');
      assert.equal(await answer.text(), '{"a":1}\n{"b":2}\n'.repeat(2));
      assert.equal((await server.stats()).chunk_bytes, 32);
    }));

  test('"cut" ends them without a final chunk, "stall" not at all',
    withServer(['--kind', 'vllm', '--model', 'm'], async (server) => {
      await server.script({ chunks: ['data: a\n\n'], then: 'cut' });
      const { bytes } = await rawChat(server);
      assert.ok(bytes.endsWith('data: a\n\n\r\n'), bytes);
      await server.script({ chunks: ['data: a\n\n'], then: 'stall' });
      const leaving = new AbortController();
      const stalled = await post(server, chatBody(), CHAT, { signal: leaving.signal });
      assert.equal(stalled.headers.get('content-type'), 'text/event-stream');
      await server.until('in_flight=1');
      leaving.abort();
      await server.until('in_flight=0&aborted=1');
    }));
});

describe('the command', () => {
  for (const [name, args] of [['no kind', ['--model', 'm']], ['no model', ['--kind', 'vllm']],
    ['a digest that is none', ['--kind', 'ollama', '--model', 'm=sha256:12']],
    ['a certificate without its key', ['--kind', 'vllm', '--model', 'm', '--tls-cert', 'x']]]) {
    test(`${name} is refused`, () => {
      assert.throws(() => execFileSync(process.execPath, [STANDIN, ...args], { stdio: 'pipe' }),
        { status: 2 });
    });
  }

  test('it ends when its standard input is closed', async () => {
    const server = await start('--kind', 'vllm', '--model', 'm');
    assert.equal(await server.stop(), 0);
  });
});
