// The benchmark itself: its load generator tells the truth, its bare relay carries bytes whole, its
// tables and plot say what a report says. No figure of it is judged here.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { goals } from '../../bench/goals.mjs';
import { chatBody } from '../../bench/large.mjs';
import { fileSystemOf, refuseMemory } from '../../bench/machine.mjs';
import { plot } from '../../bench/plot.mjs';
import { connects, freePort } from '../../bench/process.mjs';
import { replaceTables, table } from '../../bench/table.mjs';
import { sampleReport } from './report.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const PROGRAMS = path.resolve(process.env.PORTOLAN_BENCH_PROGRAMS ?? path.join(ROOT, 'build-test'));
const LOAD = path.join(PROGRAMS, 'bench_load');
const BARE = path.join(PROGRAMS, 'bench_bare');
const MICRO = path.join(PROGRAMS, 'bench_micro');
const TIMEOUT = { timeout: 60000 };
let dir;

before(() => {
  dir = mkdtempSync(path.join(os.tmpdir(), 'portolan-bench-test-'));
  const made = spawnSync('bash', [path.join(ROOT, 'bench/rig/mkcerts.sh')], { cwd: dir, encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  writeFileSync(path.join(dir, 'body'), '{"model":"mistral"}');
  writeFileSync(path.join(dir, 'tokens'), 'first\nsecond\n');
  writeFileSync(path.join(dir, 'addresses'), '192.0.2.1\n192.0.2.2\n192.0.2.3\n');
});
after(() => rmSync(dir, { recursive: true, force: true }));

const file = (name) => path.join(dir, name);

// A TLS server for one test; answer(request, response, body, index).
async function serve(t, answer, { mutual = false } = {}) {
  const tls = { key: readFileSync(file('backend.key')), cert: readFileSync(file('backend.crt')), ca: readFileSync(file('ca.crt')), requestCert: mutual, rejectUnauthorized: mutual };
  const seen = { connections: 0, requests: [] };
  const server = https.createServer(tls, (request, response) => {
    const pieces = [];
    request.on('data', (data) => pieces.push(data));
    request.on('end', () => {
      seen.requests.push({ headers: request.headers, sha256: createHash('sha256').update(Buffer.concat(pieces)).digest('hex') });
      answer(request, response, Buffer.concat(pieces), seen.requests.length - 1);
    });
  });
  server.on('secureConnection', () => { seen.connections++; });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: server.address().port, seen };
}

function load(options) {
  const argv = Object.entries({ body: file('body'), ...options }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return new Promise((resolve, reject) => {
    const child = spawn(LOAD, argv);
    let out = '';
    let errors = '';
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { errors += text; });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, errors, figures: code === 0 ? JSON.parse(out) : null }));
  });
}

const ok = (request, response) => response.end('{}');

test('load: a constant rate, every request of it sent and answered', TIMEOUT, async (t) => {
  const { port, seen } = await serve(t, ok);
  const { code, errors, figures } = await load({ port, rate: 100, seconds: 1, connections: 4, tokens: file('tokens'), addresses: file('addresses') });
  assert.equal(code, 0, errors);
  assert.equal(figures.requests, 100);
  assert.equal(seen.requests.length, 100);
  assert.equal(seen.connections, 4);
  assert.ok(figures.seconds > 0.9, 'not faster than the rate');
  const values = (name) => new Set(seen.requests.map(({ headers }) => headers[name]));
  assert.deepEqual(values('authorization'), new Set(['Bearer first', 'Bearer second']));
  assert.deepEqual(values('x-forwarded-for'), new Set(['192.0.2.1', '192.0.2.2', '192.0.2.3']));
});

test('load: what was due while the server stalled counts as slow', TIMEOUT, async (t) => {
  const { port } = await serve(t, (request, response, body, index) => {
    setTimeout(() => response.end('{}'), index === 0 ? 600 : 0);
  });
  const { figures } = await load({ port, rate: 100, seconds: 1, connections: 1 });
  assert.equal(figures.requests, 100);
  assert.ok(figures.max_us > 500_000, `longest ${figures.max_us}`);
  // One request stalled; a generator that waited with it would have one slow answer in a hundred.
  assert.ok(figures.p90_us > 300_000, `p90 ${figures.p90_us}`);
  assert.ok(figures.late > 30, `${figures.late} late`);
});

test('load: an answer that is not 2xx, a closed connection and bad options end it', TIMEOUT, async (t) => {
  const refusing = await serve(t, (request, response, body, index) => {
    response.statusCode = index === 5 ? 503 : 200;
    response.end('{}');
  });
  assert.match((await load({ port: refusing.port, requests: 20, connections: 1 })).errors, /status 503/);
  const closing = await serve(t, (request, response) => request.socket.destroy());
  const closed = await load({ port: closing.port, requests: 20, connections: 1 });
  assert.equal(closed.code, 1);
  assert.match(closed.errors, /the connection ended/);
  assert.equal((await load({ port: refusing.port })).code, 2);
  assert.equal((await load({ port: refusing.port, rate: 0, seconds: 1 })).code, 2);
});

test('load: the choice of tokens by Zipf prefers the first', TIMEOUT, async (t) => {
  const { port, seen } = await serve(t, ok);
  writeFileSync(file('many'), Array.from({ length: 50 }, (_, i) => `t${i}\n`).join(''));
  assert.equal((await load({ port, requests: 500, connections: 2, tokens: file('many'), zipf: 1 })).code, 0);
  const count = (token) => seen.requests.filter(({ headers }) => headers.authorization === `Bearer ${token}`).length;
  assert.ok(count('t0') > 60, `${count('t0')} of 500; a ninth would be 111`);
  assert.ok(count('t0') > 2 * count('t9'));
});

test('bare: requests and answers go through whole, backend connections are kept', TIMEOUT, async (t) => {
  const answer = 'x'.repeat(300_000);
  const backend = await serve(t, (request, response, body, index) => {
    if (index % 2 === 0) response.setHeader('content-length', answer.length);
    response.end(answer); // chunked where no length is given
  }, { mutual: true });
  writeFileSync(file('large'), chatBody(400_000));
  const port = await freePort();
  const names = ['proxy.crt', 'proxy.key', 'client.crt', 'client.key', 'ca.crt'].map(file);
  const bare = spawn(BARE, [port, backend.port, ...names].map(String), { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  bare.stderr.on('data', (text) => { errors += text; });
  const over = new Promise((resolve) => bare.on('close', resolve));
  t.after(() => bare.kill('SIGKILL'));
  for (let i = 0; !await connects(port); i++) {
    assert.ok(bare.exitCode === null && i < 2000, errors);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const { code, errors: why } = await load({ port, requests: 40, connections: 3, body: file('large'), addresses: file('addresses') });
  assert.equal(code, 0, `${why}${errors}`);
  const sent = createHash('sha256').update(readFileSync(file('large'))).digest('hex');
  assert.deepEqual(new Set(backend.seen.requests.map((r) => r.sha256)), new Set([sent]));
  assert.equal(backend.seen.requests.length, 40);
  assert.ok(backend.seen.connections <= 3, `${backend.seen.connections} connections`);
  assert.equal(backend.seen.requests[0].headers.host, `127.0.0.1:${backend.port}`);
  bare.kill('SIGTERM');
  assert.equal(await over, 0, errors);
});

test('micro: each part takes some time', TIMEOUT, () => {
  writeFileSync(file('large'), chatBody(400_000));
  const r = spawnSync(MICRO, [file('large'), '0.05'], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  const figures = JSON.parse(r.stdout);
  for (const name of ['scan', 'sha256', 'hmac', 'aes128gcm', 'aes256gcm', 'copy']) assert.ok(figures[name].us > 0, name);
  writeFileSync(file('broken'), '{"model":');
  assert.equal(spawnSync(MICRO, [file('broken'), '0.05']).status, 2);
});

test('goals: met and missed, and none for what was not measured', () => {
  const report = sampleReport();
  const met = Object.fromEntries(goals(report).map((g) => [g.text, g.met]));
  assert.equal(met['CPU of a small request / HAProxy `tlsmtls`'], true);
  assert.equal(met['CPU of a small request / HAProxy `full`'], false);
  assert.equal(met['growth of CPU a request to 1000 backends'], false);
  assert.equal(met['added p99, `disk`'], true);
  assert.equal(met['added p99, `process`'], false);
  report.parts = { large: report.parts.large };
  assert.deepEqual(goals(report).map((g) => g.text), ['CPU of a 400 KB request']);
});

test('table: every part, and between the markers alone', () => {
  const tables = table(sampleReport());
  for (const text of ['ledger on ext4', '| haproxy tlsmtls | 40.0 µs', 'fewer than planned', '| no figure: haproxy full: a stream failed |', 'can\'t: status 404', '| 1000 backends | 61.0 µs | +12.0 % | 90.0 ms a second, subtracted |', '| portolan disk |']) {
    assert.ok(tables.includes(text), text);
  }
  assert.ok(!tables.includes('quick run'));
  assert.match(table(sampleReport({ quick: true })), /a quick run/);
  const page = 'before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n';
  assert.equal(replaceTables(page, 'new'), 'before\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\nafter\n');
  assert.throws(() => replaceTables('no markers', 'new'), /exactly one/);
  assert.doesNotThrow(() => replaceTables(readFileSync(path.join(ROOT, 'docs/performance.md'), 'utf8'), tables));
});

test('plot: one file that loads nothing, for light and dark, with its text escaped', () => {
  const svg = plot(sampleReport());
  assert.match(svg, /^<svg xmlns=/);
  assert.match(svg, /prefers-color-scheme: dark/);
  assert.doesNotMatch(svg.replace('http://www.w3.org/2000/svg', ''), /href|https?:|<script|@import|url\(/);
  assert.ok(!svg.includes('<processor>'));
  assert.equal(svg.match(/<text/g).length, svg.match(/<\/text>/g).length);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
});

test('a ledger in memory is refused', (t) => {
  if (!existsSync('/dev/shm') || fileSystemOf('/dev/shm') !== 'tmpfs') {
    t.skip('no tmpfs at /dev/shm');
    return;
  }
  assert.throws(() => refuseMemory('/dev/shm'), /needs a disk/);
});

test('run: words that it does not know are refused before anything starts', () => {
  for (const [argv, text] of [[['--only', 'unary,other'], /not other/], [['--seconds', '0'], /--seconds/], [['--dir', '/dev/shm'], /needs a disk|no such/]]) {
    if (argv[0] === '--dir' && (!existsSync('/dev/shm') || fileSystemOf('/dev/shm') !== 'tmpfs')) continue;
    const r = spawnSync(process.execPath, [path.join(ROOT, 'bench/run.mjs'), ...argv], { encoding: 'utf8' });
    assert.equal(r.status, 1);
    assert.match(r.stderr, text);
  }
});

// The whole chain once, small: where the rivals are installed.
const missing = ['haproxy', 'nginx', 'wrk', 'taskset', 'python3'].filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
const absent = [...missing, ...['/usr/share/tor/geoip', path.join(ROOT, 'build/country.mmdb')].filter((name) => !existsSync(name))];
const skip = process.env.PORTOLAN_LONG !== '1' ? 'a run of the whole chain: scripts/test --long'
  : absent.length > 0 && `scripts/bench installs: ${absent.join(', ')}`;
test('run: streams beside HAProxy, small', { timeout: 240000, skip }, () => {
  const binary = process.env.PORTOLAN_BINARY ?? path.join(PROGRAMS, 'portolan');
  const argv = ['--quick', '--only', 'sse', '--binary', binary, '--programs', PROGRAMS, '--geoip', path.join(ROOT, 'build/country.mmdb'), '--json', file('report.json'), '--svg', file('report.svg')];
  const r = spawnSync(process.execPath, [path.join(ROOT, 'bench/run.mjs'), ...argv], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stdout + r.stderr);
  assert.match(r.stdout, /\nratio_cpu_sse=\d+\.\d\d\n$/);
  assert.equal(JSON.parse(readFileSync(file('report.json'), 'utf8')).parts.sse.scenes.length, 1);
  assert.match(readFileSync(file('report.svg'), 'utf8'), /memory of a stream/);
});
