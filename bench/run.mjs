// Portolan with everything on beside HAProxy's `tlsmtls` and `full`, in alternating runs on one
// machine: the proxy alone on core 0, load and model server together on core 1.
//
//   node bench/run.mjs --binary build/portolan --geoip country.mmdb [--runs 5] [--seconds 8] [--json FILE]
//
// Prints a table and, last, ratio_cpu_mtls=N.NN and ratio_cpu_full=N.NN. A run in which any answer
// is not 2xx, or in which any attested origin was assumed, does not count: it ends the benchmark.
import { spawn, spawnSync, execFileSync } from 'node:child_process';
import { createPublicKey, createHash, X509Certificate } from 'node:crypto';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: args } = parseArgs({
  options: {
    binary: { type: 'string', default: 'build/portolan' },
    geoip: { type: 'string' },
    runs: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '8' },
    connections: { type: 'string', default: '64' },
    durability: { type: 'string', default: 'disk' },
    json: { type: 'string' },
    keep: { type: 'boolean', default: false },
    perf: { type: 'string' },
  },
});
const binary = path.resolve(args.binary);
// On a disk file system, never tmpfs: the log's fdatasync is part of the work.
const dir = mkdtempSync(path.join(existsSync('/var/tmp') ? '/var/tmp' : os.tmpdir(), 'portolan-bench-'));
const hz = Number(execFileSync('getconf', ['CLK_TCK']).toString());
const children = [];

function start(name, command, argv, options = {}) {
  const child = spawn(command, argv, { cwd: dir, stdio: ['ignore', options.stdout ?? 'ignore', 'pipe'], ...options.spawn });
  child.stderr.on('data', (d) => { child.log = ((child.log ?? '') + d).slice(-8000); });
  child.label = name;
  children.push(child);
  return child;
}

function stopAll() {
  // nginx ends its workers itself, if it is let.
  for (const child of children) if (child.exitCode === null) child.kill(child.label === 'nginx' ? 'SIGTERM' : 'SIGKILL');
  if (!args.keep) rmSync(dir, { recursive: true, force: true });
}
process.on('exit', stopAll);
for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => process.exit(1));

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function until(what, probe, ms = 15000) {
  const end = Date.now() + ms;
  for (;;) {
    if (await probe()) return;
    for (const c of children) if (c.exitCode !== null && !c.done) throw new Error(`${c.label} ended: ${c.log}`);
    if (Date.now() > end) throw new Error(`${what}: not in ${ms} ms`);
    await new Promise((r) => setTimeout(r, 50));
  }
}

const connects = (port) => new Promise((resolve) => {
  const s = net.connect(port, '127.0.0.1', () => { s.destroy(); resolve(true); });
  s.on('error', () => resolve(false));
});

const read = (name) => readFileSync(path.join(dir, name), 'utf8');
const write = (name, text) => writeFileSync(path.join(dir, name), text);
const run = (command, argv) => {
  const r = spawnSync(command, argv, { cwd: dir, encoding: 'utf8' });
  if (r.status !== 0) throw new Error(`${command} ${argv.join(' ')}: ${r.stderr || r.stdout}`);
  return r.stdout;
};

/* ---- the rival and the model server: rig/ byte for byte but for ports ------------------- */

async function prepareRig() {
  const ports = {};
  for (const p of ['8001', '8002', '8101', '8102', '8103', '8104', '8105']) ports[p] = await freePort();
  const relocate = (text) => text.replace(/127\.0\.0\.1:(8\d\d\d)/g, (all, p) => `127.0.0.1:${ports[p]}`);
  for (const f of ['mkcerts.sh', 'mkmap.py', 'token.py', 'post.lua.in', 'req.json']) copyFileSync(path.join(here, 'rig', f), path.join(dir, f));
  run('bash', ['mkcerts.sh']);
  run('python3', ['mkmap.py']);
  const token = run('python3', ['token.py']).trim();
  write('token', token);
  write('post.lua', read('post.lua.in').replaceAll('TOKEN', token));
  write('haproxy.cfg', relocate(readFileSync(path.join(here, 'rig', 'haproxy.cfg'), 'utf8')));
  write('backend.conf', relocate(readFileSync(path.join(here, 'rig', 'backend.conf'), 'utf8')));
  return ports;
}

/* ---- Portolan: a charter and a config of its own ---------------------------------------- */

const jwk = (pem, kid) => {
  const k = createPublicKey(pem).export({ format: 'jwk' });
  return { kty: k.kty, crv: k.crv, x: k.x, y: k.y, alg: 'ES256', use: 'sig', kid };
};

function ecKey(name) {
  run('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.pem`]);
  return jwk(read(`${name}.pem`), name);
}

function charterSource(ports, keys) {
  const eu = 'AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK'.split(' ');
  const day = 86400e3;
  const at = (ms) => new Date(Date.now() + ms).toISOString();
  const spki = createHash('sha256').update(new X509Certificate(read('backend.crt')).publicKey.export({ type: 'spki', format: 'der' })).digest('hex');
  const backend = () => ({
    region: 'eu-central', country: 'DE', storage_country: 'DE', operator: { name: 'Bench', country: 'DE' },
    owner: { name: 'Bench', country: 'DE' }, access_from: ['DE'], assurance: 'spki', spki_sha256: spki, transfer: 'none',
    kind: 'openai', url: `https://127.0.0.1:${ports['8002']}`, slots: 4096, models: { 'mistral@1': 'mistral' },
  });
  const use = (name, k) => ({ use: name, jwk: k, not_before: at(-day), not_after: at(30 * day) });
  return {
    v: 1, mesh: 'bench', version: 1, issued: at(-1000), renew_by: at(20 * day), valid_until: at(30 * day),
    seed: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    groups: { '@EU': { countries: eu, as_of: '2026-01-01', source: 'Treaty on European Union, Art. 52' },
      '@EEA': { countries: [...eu, 'IS', 'LI', 'NO'].sort(), as_of: '2026-01-01', source: 'EEA Agreement' } },
    regions: { 'eu-central': { country: 'DE' } },
    nodes: { 'eu-central-1': { region: 'eu-central', spiffe: 'spiffe://bench/node/eu-central-1', address: '127.0.0.1:9', keys: [use('attest', keys.attest), use('advert', keys.advert)] } },
    models: { 'mistral@1': {} },
    backends: { s1: backend(), s2: backend() },
    issuers: { 'https://idp.example': { audience: 'mesh', tenants: ['acme/de'], max_lifetime_s: 3600, tenant_claim: 'tenant', roles_claim: 'roles' } },
    client_cas: {}, api_keys: {},
    tenants: {
      acme: { process_in: ['@EU'], operators_from: ['@EU'], origins: ['@EU'], models: { mistral: ['mistral@1'] }, auth: ['jwt'] },
      'acme/de': {},
    },
  };
}

function portolanConfig(ports) {
  return {
    v: 1, mesh: 'bench', node: 'eu-central-1', charter: 'charter.dsse.json', trust: { threshold: 1, keys: [JSON.parse(read('charter.jwk.json'))] },
    listeners: {
      public: { address: `127.0.0.1:${ports.portolan}`, cert: 'proxy.crt', key: 'proxy.key', names: ['localhost', '127.0.0.1'], trusted_proxies: ['127.0.0.1'] },
      admin: { address: `127.0.0.1:${ports.admin}` },
    },
    keys: { attest: 'attest.pem', advert: 'advert.pem' },
    backend_client: { cert: 'client.crt', key: 'client.key' },
    issuers: { 'https://idp.example': 'jwks.json' },
    geoip: { path: path.resolve(args.geoip) },
    ledger: { dir: 'ledger', durability: args.durability, segment_mib: 64 },
    workers: 1,
    limits: { requests_per_connection: 0 },
    timeouts: { drain_wait_ms: 0, drain_ms: 1000 },
  };
}

async function preparePortolan(ports) {
  ports.portolan = await freePort();
  ports.admin = await freePort();
  const keys = { attest: ecKey('attest'), advert: ecKey('advert'), charter: ecKey('charter') };
  write('charter.jwk.json', JSON.stringify(keys.charter));
  write('jwks.json', JSON.stringify({ keys: [jwk(read('jwt.pub'), 'k1')] }));
  write('charter.jsonc', JSON.stringify(charterSource(ports, keys), null, 2));
  run(binary, ['charter', 'sign', 'charter.jsonc', '--key', 'charter.pem', '-o', 'charter.dsse.json']);
  write('node.jsonc', JSON.stringify(portolanConfig(ports), null, 2));
}

/* ---- measuring -------------------------------------------------------------------------- */

/* CPU time of the process and of all its threads, in seconds. */
function cpuSeconds(pid) {
  const f = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(f[11]) + Number(f[12])) / hz;
}

const rssKiB = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

function wrk(url, seconds) {
  return new Promise((resolve, reject) => {
    const child = spawn('taskset', ['-c', '1', 'wrk', '-t1', `-c${args.connections}`, `-d${seconds}s`, '-s', 'post.lua', '--latency', url], { cwd: dir });
    let out = '';
    child.stdout.on('data', (d) => { out += d; });
    child.on('error', reject);
    child.on('close', () => {
      if (/Non-2xx|Socket errors/.test(out) || !/requests in/.test(out)) reject(new Error(`errors in the run at ${url}, no figure:\n${out}`));
      else resolve({ requests: Number(/(\d+) requests in/.exec(out)[1]), rps: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)[1]), p50: latency(out, '50%'), p99: latency(out, '99%') });
    });
  });
}

function latency(out, which) {
  const [, value, unit] = new RegExp(`${which}\\s+([\\d.]+)(us|ms|s)`).exec(out);
  return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit];
}

async function measure(name, url, pid) {
  await wrk(url, 2);
  const before = cpuSeconds(pid);
  const r = await wrk(url, Number(args.seconds));
  const cpu = cpuSeconds(pid) - before;
  return { name, cpu_us: (cpu * 1e6) / r.requests, rps: r.rps, p50_ms: r.p50, p99_ms: r.p99, rss_kib: rssKiB(pid) };
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/* Every origin of the run must have been found in the database. */
function checkOrigins() {
  let records = 0;
  for (const runDir of readdirSync(path.join(dir, 'ledger', 'runs'))) {
    for (const f of readdirSync(path.join(dir, 'ledger', 'runs', runDir)).slice(0, 1)) {
      const text = readFileSync(path.join(dir, 'ledger', 'runs', runDir, f)).toString('latin1');
      for (const [, payload] of text.matchAll(/eyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]{86}/g)) {
        const a1 = JSON.parse(Buffer.from(payload, 'base64url').toString());
        records++;
        if (a1.origin.source !== 'forwarded' || a1.origin.quality !== 'found') throw new Error(`an origin was not looked up: ${JSON.stringify(a1.origin)}`);
      }
    }
  }
  if (records < 100) throw new Error(`only ${records} attestations found`);
  return records;
}

/* What the node itself says of refusals, when a run does not count. */
async function refusals(port) {
  const text = await fetch(`http://127.0.0.1:${port}/metrics`).then((r) => r.text(), () => '');
  return text.split('\n').filter((l) => /^portolan_(refusals|attempts_failed|ledger).* [1-9]/.test(l)).join('\n');
}

async function main() {
  const ports = await prepareRig();
  await preparePortolan(ports);
  start('nginx', 'taskset', ['-c', '1', 'nginx', '-p', dir, '-c', path.join(dir, 'backend.conf')]);
  await until('nginx', () => connects(ports['8002']));
  const haproxy = start('haproxy', 'taskset', ['-c', '0', 'haproxy', '-db', '-f', 'haproxy.cfg']);
  await until('haproxy', () => connects(ports['8103']));
  const portolan = start('portolan', 'taskset', ['-c', '0', binary, 'node', '--config', 'node.jsonc']);
  await until('portolan', async () => {
    const r = await fetch(`http://127.0.0.1:${ports.admin}/ready`).catch(() => null);
    return r?.status === 200;
  });
  const idle = rssKiB(portolan.pid);
  const plan = [
    ['haproxy tlsmtls', `https://127.0.0.1:${ports['8104']}/v1/chat/completions`, haproxy.pid],
    ['haproxy full', `https://127.0.0.1:${ports['8103']}/v1/chat/completions`, haproxy.pid],
    ['portolan', `https://127.0.0.1:${ports.portolan}/v1/chat/completions`, portolan.pid],
  ];
  const results = Object.fromEntries(plan.map(([n]) => [n, []]));
  for (let i = 0; i < Number(args.runs); i++) {
    for (const [name, url, pid] of plan) {
      const r = await measure(name, url, pid).catch(async (e) => {
        throw new Error(`${e.message}\n${await refusals(ports.admin)}\n${portolan.log ?? ''}`);
      });
      results[name].push(r);
      console.log(`run ${i + 1} ${name.padEnd(16)} ${r.cpu_us.toFixed(1)} us CPU a request, ${Math.round(r.rps)} requests/s, p50 ${r.p50_ms.toFixed(2)} ms, p99 ${r.p99_ms.toFixed(2)} ms, ${Math.round(r.rss_kib / 1024)} MiB`);
    }
  }
  if (args.perf) {
    const load = wrk(plan[2][1], 10);
    const perf = spawnSync('perf', ['record', '-g', '-o', args.perf, '-p', String(portolan.pid), '--', 'sleep', '6'], { encoding: 'utf8' });
    if (perf.status !== 0) console.log(perf.stderr);
    await load;
  }
  const checked = checkOrigins();
  console.log(`\norigins checked in ${checked} attestations: all looked up`);
  const medians = {};
  console.log('\n| medians | CPU a request | requests/s | p50 | p99 | RSS |\n|---|---|---|---|---|---|');
  for (const [name, list] of Object.entries(results)) {
    const m = (key) => median(list.map((r) => r[key]));
    medians[name] = { cpu_us: m('cpu_us'), rps: m('rps'), p50_ms: m('p50_ms'), p99_ms: m('p99_ms'), rss_kib: m('rss_kib') };
    console.log(`| ${name} | ${m('cpu_us').toFixed(1)} us | ${Math.round(m('rps'))} | ${m('p50_ms').toFixed(2)} ms | ${m('p99_ms').toFixed(2)} ms | ${(m('rss_kib') / 1024).toFixed(1)} MiB |`);
  }
  console.log(`| portolan, idle | | | | | ${(idle / 1024).toFixed(1)} MiB |\n`);
  const ratio = (rival) => (medians.portolan.cpu_us / medians[rival].cpu_us).toFixed(2);
  if (args.json) writeFileSync(args.json, `${JSON.stringify({ machine: { cpu: os.cpus()[0].model, cores: os.cpus().length, kernel: os.release() }, durability: args.durability, results, medians, idle_rss_kib: idle, ratio_cpu_mtls: Number(ratio('haproxy tlsmtls')), ratio_cpu_full: Number(ratio('haproxy full')) }, null, 2)}\n`);
  for (const c of children) c.done = true;
  console.log(`ratio_cpu_mtls=${ratio('haproxy tlsmtls')}`);
  console.log(`ratio_cpu_full=${ratio('haproxy full')}`);
}

main().then(() => process.exit(0), (e) => { console.error(e.message); process.exit(1); });
