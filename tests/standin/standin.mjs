#!/usr/bin/env node
// A stand-in model server: the wire formats of vLLM, Ollama, llama.cpp and a plain OpenAI
// server, a memory of everything it received, and a script for every way of failing.
//
//   node tests/standin/standin.mjs --kind vllm|ollama|llamacpp|openai --name de-1
//     --model NAME[=sha256:DIGEST] [--model ...] [--slots N] [--host 127.0.0.1] [--port 0]
//     [--dialect old|new] [--tls-cert F --tls-key F [--tls-client-ca F]] [--watch-stdin]
//
// When it listens it prints one line: {"ready":true,"port":N,"control":M,"pid":P}. With
// --watch-stdin it exits when its standard input closes, so that it can't outlive its test.
//
// Control listener (127.0.0.1, plain HTTP):
//   POST   /script    one object, or a list of them used one after the other; {} is normal
//     delay_ms               wait before the head
//     first_byte_delay_ms    send the head, wait, then the first body byte
//     token_interval_ms      wait between the events of a stream
//     tokens                 length of the answer in tokens
//     no_usage               stream_options.include_usage is ignored
//     status, body, retry_after   answer so, with no inference
//     stall_after_events     send this many events (a unary answer: half the body), then nothing
//     truncate_after_events  the same, then cut the connection with no final chunk
//     truncate_head          cut the connection in the middle of the head
//     reset                  TCP reset in place of an answer
//     deaf                   the body is not read, and nothing is answered, until /drop
//     raw, raw_base64        these bytes in place of an HTTP answer, then close
//     chunks                 the body: a list of texts, each written by itself, and numbers, each
//                            a wait in ms; with "type" (text/event-stream), "repeat" (the whole
//                            list so many times) and "then": "end", "cut" or "stall"
//     count                  for this many inference requests, then normal again
//     health: "down"|"up"    probes answer 500 until "up" is said; inference is not touched
//   POST   /hold      {"hold":true|false}: inference requests keep their slot and wait
//   POST   /drop      cuts every connection, idle ones too
//   GET    /requests  what was received, oldest first; DELETE forgets it and the counts
//   GET    /stats     {in_flight, max_in_flight, total, aborted, running, waiting, connections,
//                      chunk_bytes: of scripted chunks, that connections have taken}
//   GET    /wait?in_flight=N&total=N&aborted=N&running=N&waiting=N&timeout_ms=N
//                     the stats as soon as the counts are so (total, aborted: at least), else 504
import http from 'node:http';
import https from 'node:https';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { answerTo, readRequest } from './answers.mjs';
import { DIALECTS, json, kinds } from './kinds.mjs';

const BODY_MAX = 64 * 1024 * 1024;
const REQUESTS_MAX = 10_000;
const WAIT_MAX_MS = 60_000;

function fail(message) {
  process.stderr.write(`standin: ${message}\n`);
  process.exit(2);
}

function readOptions() {
  const string = (more) => ({ type: 'string', ...more });
  const { values } = parseArgs({
    options: {
      kind: string(), name: string({ default: 'standin' }), model: string({ multiple: true }),
      slots: string(), host: string({ default: '127.0.0.1' }), port: string({ default: '0' }),
      dialect: string(), 'tls-cert': string(), 'tls-key': string(), 'tls-client-ca': string(),
      'watch-stdin': { type: 'boolean', default: false },
    },
  });
  if (!Object.hasOwn(kinds, values.kind ?? '')) {
    fail(`--kind must be one of ${Object.keys(kinds).join(', ')}`);
  }
  if (values.model === undefined) {
    fail('at least one --model is needed');
  }
  if ((values['tls-cert'] === undefined) !== (values['tls-key'] === undefined)) {
    fail('--tls-cert and --tls-key go together');
  }
  if (values.dialect !== undefined && !['old', 'new'].includes(values.dialect)) {
    fail('--dialect must be old or new');
  }
  return values;
}

function readModel(text) {
  const match = /^(.+?)(?:=sha256:([0-9a-f]{64}))?$/.exec(text);
  if (match[2] === undefined && text.includes('=sha256:')) {
    fail(`--model ${text}: a digest is 64 lower-case hex digits`);
  }
  const digest = match[2] ?? createHash('sha256').update(match[1]).digest('hex');
  return { name: match[1], digest };
}

const options = readOptions();
const kind = kinds[options.kind];
const state = {
  name: options.name,
  dialect: options.dialect ?? DIALECTS[options.kind],
  models: options.model.map(readModel),
  slots: Number(options.slots ?? kind.slots),
  created: Math.floor(Date.now() / 1000),
  running: 0,
  waiting: 0,
  in_flight: 0,
  max_in_flight: 0,
  total: 0,
  aborted: 0,
  connections: 0,
  chunk_bytes: 0,
  serial: 0,
};
if (!Number.isInteger(state.slots) || state.slots < 1) {
  fail('--slots must be a whole number above 0');
}

let scripts = [];
let healthy = true;
let requests = [];
let releaseHold = null;
let held = Promise.resolve();
const slotQueue = [];
const waiters = new Set();
const rawSockets = new Map();

const stats = () => Object.fromEntries(['in_flight', 'max_in_flight', 'total', 'aborted',
  'running', 'waiting', 'connections', 'chunk_bytes'].map((name) => [name, state[name]]));

function changed() {
  for (const waiter of [...waiters]) {
    if (waiter.met()) {
      waiter.done(200);
    }
  }
}

// The script of the inference request that has just arrived.
function takeScript() {
  const script = scripts[0] ?? {};
  if (script.left !== undefined) {
    script.left -= 1;
    if (script.left <= 0) {
      scripts.shift();
    }
  }
  return script;
}

function setScripts(value) {
  const list = Array.isArray(value) ? value : [value];
  for (const script of list) {
    if (script.health !== undefined) {
      healthy = script.health !== 'down';
    }
  }
  const acting = list.filter((script) =>
    Object.keys(script).some((key) => key !== 'health' && key !== 'count'));
  // Each member of a list but the last stands for one request unless it says otherwise.
  scripts = acting.map((script, i) => ({
    ...script,
    left: script.count ?? (i < acting.length - 1 ? 1 : undefined),
  }));
}

// --- One request ---------------------------------------------------------------------------

// A request and its answer; "gone" resolves when the connection is over.
function openTurn(req, res) {
  const record = {
    method: req.method, path: req.url, headers: req.rawHeaders, body: '', body_sha256: null,
    tls: tlsOf(req.socket), time_ms: Date.now(), inference: false, aborted: false, ended: false,
  };
  const turn = { req, res, record, cut: false, over: false };

  turn.gone = new Promise((resolve) => {
    turn.close = () => {
      if (turn.over) {
        return;
      }
      turn.over = true;
      record.ended = res.writableFinished;
      if (!res.writableFinished && !turn.cut) {
        record.aborted = true;
        state.aborted += record.inference ? 1 : 0;
      }
      resolve();
      changed();
    };
    res.once('close', turn.close);
  });
  requests.push(record);
  if (requests.length > REQUESTS_MAX) {
    requests.shift();
  }
  return turn;
}

function tlsOf(socket) {
  if (typeof socket.getPeerCertificate !== 'function') {
    return null;
  }
  const certificate = socket.getPeerCertificate();
  const subject = Object.entries(certificate.subject ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one) => `${name}=${one}`)).join(',');
  return {
    version: socket.getProtocol(),
    servername: socket.servername || null,
    client_subject: subject === '' ? null : subject,
    client_san: certificate.subjectaltname ?? null,
  };
}

async function readBody(turn) {
  const hash = createHash('sha256');
  const chunks = [];
  let size = 0;

  try {
    for await (const chunk of turn.req) {
      size += chunk.length;
      if (size > BODY_MAX) {
        return null;
      }
      hash.update(chunk);
      chunks.push(chunk);
    }
  } catch {
    return null; // the client left in the middle of its body: "close" keeps that on record
  } finally {
    turn.record.body = Buffer.concat(chunks).toString('utf8');
  }
  turn.record.body_sha256 = hash.digest('hex');
  return Buffer.concat(chunks);
}

function send(turn, answer, headers = {}) {
  const body = Buffer.from(answer.body);
  turn.res.writeHead(answer.status, {
    ...serverHeaders(), 'content-type': answer.type, 'content-length': body.length, ...headers,
  });
  turn.res.end(turn.req.method === 'HEAD' ? undefined : body);
}

// The TCP socket under a TLS one is found by the client's address: only it can be reset.
const peerOf = (socket) => `${socket.remoteAddress} ${socket.remotePort}`;

const serverHeaders = () => (kind.server === null ? {} : { server: kind.server });

// Waits, and returns whether the client is still there.
async function pause(turn, ms) {
  if (ms > 0) {
    let timer;
    await Promise.race([new Promise((resolve) => { timer = setTimeout(resolve, ms); }), turn.gone]);
    clearTimeout(timer);
  }
  return !turn.over;
}

function cut(turn) {
  turn.cut = true;
  turn.res.destroy();
}

// --- Inference -----------------------------------------------------------------------------

async function takeSlot(turn) {
  if (state.running >= state.slots) {
    state.waiting += 1;
    changed();
    let wake;
    const woken = new Promise((resolve) => { wake = () => resolve(true); });
    slotQueue.push(wake);
    const mine = await Promise.race([woken, turn.gone.then(() => false)]);
    state.waiting -= 1;
    if (!mine) {
      const place = slotQueue.indexOf(wake);
      if (place >= 0) {
        slotQueue.splice(place, 1);
      } else {
        freeSlot(); // handed over in the same moment as the client left
      }
      return false;
    }
  } else {
    state.running += 1;
  }
  changed();
  return true;
}

// A freed slot goes straight to the longest waiter, so that "running" never dips between.
function freeSlot() {
  const next = slotQueue.shift();
  if (next === undefined) {
    state.running -= 1;
  } else {
    next();
  }
  changed();
}

async function infer(turn, path) {
  const script = takeScript();

  turn.record.inference = true;
  state.total += 1;
  state.in_flight += 1;
  state.max_in_flight = Math.max(state.max_in_flight, state.in_flight);
  changed();
  try {
    if (script.deaf) {
      await turn.gone;
      return;
    }
    const body = await readBody(turn);
    if (body !== null && await takeSlot(turn)) {
      try {
        await Promise.race([held, turn.gone]);
        if (await pause(turn, script.delay_ms)) {
          await answer(turn, path, body, script);
        }
        await turn.gone;
      } finally {
        freeSlot();
      }
    } else {
      turn.res.destroy();
    }
  } finally {
    state.in_flight -= 1;
    changed();
  }
}

// What the script wants in place of an answer. Returns false where it wants an answer.
function misbehave(turn, script) {
  const { socket } = turn.req;

  if (script.reset) {
    turn.cut = true;
    rawSockets.get(peerOf(socket))?.resetAndDestroy();
    // A TLS socket does not hear of its raw one's end in every Node.js.
    socket.destroy();
    turn.close();
  } else if (script.truncate_head) {
    turn.cut = true;
    socket.write('HTTP/1.1 200 OK\r\ncontent-ty', () => socket.destroy());
  } else if (script.raw !== undefined || script.raw_base64 !== undefined) {
    turn.cut = true;
    socket.end(script.raw ?? Buffer.from(script.raw_base64, 'base64'));
    socket.once('finish', () => socket.destroySoon());
  } else {
    return false;
  }
  return true;
}

async function answer(turn, path, body, script) {
  if (misbehave(turn, script)) {
    return;
  }
  const retry = script.retry_after === undefined ? {}
    : { 'retry-after': String(script.retry_after) };
  if (script.status !== undefined || script.body !== undefined) {
    send(turn, scriptedAnswer(script), retry);
    return;
  }
  if (script.chunks !== undefined) {
    await sendChunks(turn, script);
    return;
  }
  const request = readRequest(path, body);
  if (request === null) {
    send(turn, kind.error(state, 400, 'The request body could not be read.'));
    return;
  }
  const model = kind.find(state.models, request.model);
  if (model === undefined) {
    send(turn, kind.unknownModel(state, request.model));
    return;
  }
  state.serial += 1;
  const made = answerTo({
    kind: options.kind, dialect: state.dialect, model, path, request, script, serial: state.serial,
    created: state.created, bytes: body.length,
  });
  if (made.events === undefined) {
    await sendUnary(turn, made, script);
  } else {
    await sendStream(turn, made, script);
  }
}

function scriptedAnswer(script) {
  const status = script.status ?? 200;
  if (script.body === undefined) {
    return kind.error(state, status, `scripted ${status}`);
  }
  return typeof script.body === 'string'
    ? { status, type: 'text/plain; charset=utf-8', body: script.body }
    : json(status, script.body);
}

async function sendUnary(turn, made, script) {
  const body = made.bytes ?? Buffer.from(JSON.stringify(made.value));
  const stalls = script.stall_after_events !== undefined;
  const truncates = script.truncate_after_events !== undefined;

  turn.res.writeHead(200, {
    ...serverHeaders(), 'content-type': made.type ?? 'application/json',
    'content-length': body.length,
  });
  if (script.first_byte_delay_ms > 0) {
    turn.res.flushHeaders();
    if (!await pause(turn, script.first_byte_delay_ms)) {
      return;
    }
  }
  if (stalls || truncates) {
    await write(turn, body.subarray(0, body.length / 2));
    if (truncates) {
      cut(turn);
    }
    return;
  }
  turn.res.end(body);
}

function write(turn, bytes) {
  return Promise.race([new Promise((resolve) => { turn.res.write(bytes, resolve); }), turn.gone]);
}

async function sendChunks(turn, { chunks, type = 'text/event-stream', repeat = 1, then = 'end' }) {
  turn.res.writeHead(200, { ...serverHeaders(), 'content-type': type });
  turn.res.flushHeaders();
  for (let i = 0; i < repeat; i += 1) {
    for (const chunk of chunks) {
      if (typeof chunk === 'number') {
        await pause(turn, chunk);
      } else {
        await write(turn, chunk);
        state.chunk_bytes += turn.over ? 0 : Buffer.byteLength(chunk);
      }
      if (turn.over) {
        return;
      }
    }
  }
  if (then === 'cut') {
    cut(turn);
  } else if (then === 'end') {
    turn.res.end();
  }
}

async function sendStream(turn, { events, type }, script) {
  turn.res.writeHead(200, {
    ...serverHeaders(), 'content-type': type ?? 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
  });
  turn.res.flushHeaders();
  if (!await pause(turn, script.first_byte_delay_ms)) {
    return;
  }
  for (let sent = 0; sent < events.length; sent += 1) {
    if (script.stall_after_events === sent) {
      return;
    }
    if (script.truncate_after_events === sent) {
      cut(turn);
      return;
    }
    if (sent > 0 && !await pause(turn, script.token_interval_ms)) {
      return;
    }
    await write(turn, events[sent]);
    if (turn.over) {
      return;
    }
  }
  turn.res.end();
}

// --- Listeners -----------------------------------------------------------------------------

async function serve(req, res) {
  const turn = openTurn(req, res);
  const path = req.url.split('?', 1)[0];

  if (req.method === 'POST' && kind.inference.includes(path)) {
    await infer(turn, path);
    return;
  }
  if (await readBody(turn) === null) {
    res.destroy();
    return;
  }
  if (['GET', 'HEAD'].includes(req.method) && Object.hasOwn(kind.probes, path)) {
    send(turn, healthy ? kind.probes[path](state) : kind.error(state, 500, 'scripted: down'));
    return;
  }
  send(turn, kind.notFound(state, req.method, path));
}

function makeServer() {
  if (options['tls-cert'] === undefined) {
    return http.createServer(serve);
  }
  const ca = options['tls-client-ca'];
  return https.createServer({
    cert: readFileSync(options['tls-cert']),
    key: readFileSync(options['tls-key']),
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {}
      : { ca: readFileSync(ca), requestCert: true, rejectUnauthorized: true }),
  }, serve);
}

function waitFor(res, query) {
  const exact = ['in_flight', 'running', 'waiting'];
  const wanted = [...query].filter(([name]) => name !== 'timeout_ms');
  const met = () => wanted.every(([name, value]) =>
    (exact.includes(name) ? state[name] === Number(value) : state[name] >= Number(value)));
  const timeout = Math.min(Number(query.get('timeout_ms') ?? 5000), WAIT_MAX_MS);

  const waiter = { met };
  const timer = setTimeout(() => waiter.done(504), timeout);
  waiter.done = (status) => {
    clearTimeout(timer);
    waiters.delete(waiter);
    reply(res, status, stats());
  };
  waiters.add(waiter);
  res.once('close', () => {
    clearTimeout(timer);
    waiters.delete(waiter);
  });
  changed();
}

function reply(res, status, value) {
  const body = JSON.stringify(value);
  res.writeHead(status, { 'content-type': 'application/json',
    'content-length': Buffer.byteLength(body) });
  res.end(body);
}

function setHold(hold) {
  if (hold && releaseHold === null) {
    held = new Promise((resolve) => { releaseHold = resolve; });
  } else if (!hold && releaseHold !== null) {
    releaseHold();
    releaseHold = null;
    held = Promise.resolve();
  }
}

function forget() {
  requests = [];
  state.total = 0;
  state.aborted = 0;
  state.chunk_bytes = 0;
  state.max_in_flight = state.in_flight;
}

async function control(req, res) {
  const url = new URL(req.url, 'http://control');
  const chunks = [];
  for await (const chunk of req) {
    chunks.push(chunk);
  }
  let value = null;
  try {
    value = req.method === 'POST' ? JSON.parse(Buffer.concat(chunks).toString('utf8')) : null;
  } catch (error) {
    reply(res, 400, { error: error.message });
    return;
  }
  switch (`${req.method} ${url.pathname}`) {
    case 'POST /script':
      setScripts(value);
      reply(res, 200, { ok: true });
      break;
    case 'POST /hold':
      setHold(value.hold === true);
      reply(res, 200, { ok: true });
      break;
    case 'POST /drop':
      for (const socket of rawSockets.values()) {
        socket.destroy();
      }
      reply(res, 200, { ok: true });
      break;
    case 'GET /requests':
      reply(res, 200, requests);
      break;
    case 'DELETE /requests':
      forget();
      reply(res, 200, { ok: true });
      break;
    case 'GET /stats':
      reply(res, 200, stats());
      break;
    case 'GET /wait':
      waitFor(res, url.searchParams);
      break;
    default:
      reply(res, 404, { error: 'no such control' });
  }
}

const listen = (server, port, host) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(port, host, () => resolve(server.address().port));
});

const server = makeServer();
// A pooled connection must not die of idleness in the middle of a test.
server.keepAliveTimeout = 0;
server.on('connection', (socket) => {
  const peer = peerOf(socket);
  state.connections += 1;
  rawSockets.set(peer, socket);
  socket.once('close', () => {
    if (rawSockets.get(peer) === socket) {
      rawSockets.delete(peer);
    }
  });
  changed();
});
server.on('tlsClientError', (error, socket) => socket.destroy());

if (options['watch-stdin']) {
  process.stdin.resume();
  process.stdin.once('end', () => process.exit(0));
  process.stdin.once('close', () => process.exit(0));
}
process.once('SIGTERM', () => process.exit(0));

try {
  const port = await listen(server, Number(options.port), options.host);
  const controller = http.createServer(control);
  controller.keepAliveTimeout = 0; // no test's call meets a connection that ends in that moment
  const controlPort = await listen(controller, 0, '127.0.0.1');
  process.stdout.write(`${JSON.stringify({
    ready: true, port, control: controlPort, pid: process.pid,
  })}\n`);
} catch (error) {
  fail(error.message);
}
