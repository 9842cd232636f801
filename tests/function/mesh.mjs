// A whole mesh on this machine, as `portolan init` writes it: Redis, stand-in model servers, and
// one node in each of two regions, in a folder and on ports of its own.
import { createPrivateKey } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ask, chat } from './client.mjs';
import { attestationsOf, readLedger } from './evidence.mjs';
import { Child, exists, Redis, ROOT, run, Standin, takePorts, until } from './process.mjs';
import { RawBackend } from './raw-backend.mjs';

export const BINARY = process.env.PORTOLAN_BINARY
  ?? [path.join(ROOT, 'build-test/portolan'), path.join(ROOT, 'build/portolan')].find(exists)
  ?? path.join(ROOT, 'build/portolan');

// The model that every backend serves, each under its own name for it.
const VERSION = 'small@1';
const DIGEST = '44cb182f32bef0cbf2189623f3a4671330f52a174c72cf9f104824c68db46487';
const SERVED = {
  ollama: { spec: `small:latest:${DIGEST}`, model: `small:latest=sha256:${DIGEST}` },
  vllm: { spec: 'acme/Small-Instruct', model: 'acme/Small-Instruct' },
  llamacpp: { spec: 'small-q4', model: 'small-q4' },
  openai: { spec: 'small-instruct', model: 'small-instruct' },
};

// de-1 is the only one that the clinic's policy admits; ie-us-1 stands in the EU but is operated
// from outside. With `raw: true` the server is one of raw bytes (raw-backend.mjs).
export const BACKENDS = [
  { name: 'de-1', region: 'eu-central', kind: 'ollama', operator: 'DE', slots: 16 },
  { name: 'de-2', region: 'eu-central', kind: 'vllm', operator: 'FR', slots: 16 },
  { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 },
  { name: 'ie-us-1', region: 'eu-west', kind: 'llamacpp', operator: 'US', slots: 16 },
];

// Places in a block of ports. `init` gives the first region 0-2 and the second 10-12.
const REDIS_PORT = 20;
const STANDIN_PORT = 21;

// JSON with comments, as people write it.
export function parseCommented(text) {
  let out = '';
  for (let i = 0; i < text.length;) {
    const rest = text.slice(i);
    const string = /^"(?:[^"\\]|\\.)*"/.exec(rest);
    const comment = /^(?:\/\/[^\n]*|\/\*[^]*?\*\/)/.exec(rest);
    const plain = /^[^"/]+|^./.exec(rest);
    if (comment === null) {
      out += (string ?? plain)[0];
    }
    i += (string ?? comment ?? plain)[0].length;
  }
  return JSON.parse(out);
}

// The country database of Debian's tor-geoipdb, built once.
export async function geoipDatabase() {
  const file = path.join(ROOT, 'build/geoip.mmdb');
  if (!exists(file)) {
    mkdirSync(path.dirname(file), { recursive: true });
    const { code, stderr } = await run(path.join(ROOT, 'scripts/geoip-build'), [file]);
    if (code !== 0) {
      throw new Error(`scripts/geoip-build: ${stderr}`);
    }
  }
  return file;
}

class Node {
  constructor(mesh, name) {
    this.mesh = mesh;
    this.name = name;
    this.region = name.replace(/-\d+$/, '');
    this.dir = path.join(mesh.dir, 'nodes', name);
    this.config = path.join(this.dir, 'node.jsonc');
    const config = this.readConfig();
    this.host = '127.0.0.1';
    this.servername = 'localhost';
    this.port = Number(config.listeners.public.address.split(':').at(-1));
    this.authority = `localhost:${this.port}`;
    this.adminUrl = `http://${config.listeners.admin.address}`;
    this.ca = readFileSync(path.join(mesh.dir, 'ca/ca.pem'));
    this.charter = path.resolve(this.dir, config.charter);
    this.ledger = path.resolve(this.dir, config.ledger?.dir ?? 'ledger');
    this.env = {};
    this.prefix = []; // a command that becomes the node, as prlimit does
  }

  readConfig() {
    return parseCommented(readFileSync(this.config, 'utf8'));
  }

  changeConfig(change) {
    const config = this.readConfig();
    change(config);
    writeFileSync(this.config, `${JSON.stringify(config, null, 2)}\n`);
  }

  async start() {
    const [command, ...args] = [...this.prefix, BINARY, 'node', '--config', this.config];
    this.child = new Child(command, args,
      { log: path.join(this.mesh.logs, `${this.name}.log`), env: this.env });
    await this.until('ready', async () => (await this.admin('/ready')).status === 200);
  }

  // Ends it as an operator does; anything but exit 0 is a fault (a leak too, with sanitizers).
  async stop(timeoutMs) {
    if (this.child?.running) {
      const { code, signal } = await this.child.end('SIGTERM', timeoutMs);
      if (code !== 0) {
        throw new Error(`${this.name} ended with ${code ?? signal}:\n${this.child.tail()}`);
      }
    }
  }

  // Once more, with another config.
  async restart(change) {
    await this.stop();
    this.changeConfig(change);
    await this.start();
  }

  kill() { return this.child?.running ? this.child.end('SIGKILL') : undefined; }

  until(what, condition, timeoutMs) {
    return this.child.until(`${this.name}: ${what}`, condition, timeoutMs);
  }

  async admin(where) {
    const answer = await fetch(this.adminUrl + where);
    return { status: answer.status, text: await answer.text() };
  }

  async metric(name) {
    const { text } = await this.admin('/metrics');
    const line = text.split('\n').find((one) => one.startsWith(`${name} `));
    if (line === undefined) {
      throw new Error(`${this.name} has no metric ${name}`);
    }
    return Number(line.split(' ')[1]);
  }

  async jwks() {
    return (await ask(this, {}, { path: '/.well-known/jwks.json' })).json();
  }

  readLedger() { return readLedger(this.ledger); }
}

export class Mesh {
  // Starts everything; ends what was started where a part fails.
  //   backends   like BACKENDS             dir         made if absent, and not removed at the end
  //   config     (config, node name) => {}, changes a node's config before it starts
  //   charter    (charter) => {}, changes the charter before it is signed again
  //   prepare    async (mesh) => {}, the last thing before the nodes start
  //   start      false: the nodes are not started
  static async create(options = {}) {
    const mesh = new Mesh(options);
    try {
      await mesh.#build(options);
    } catch (error) {
      await mesh.end({ keep: true });
      throw error;
    }
    return mesh;
  }

  constructor({ dir }) {
    this.ownsDir = dir === undefined;
    this.dir = dir ?? mkdtempSync(path.join(tmpdir(), 'portolan-'));
    this.logs = path.join(this.dir, 'logs');
    this.name = 'acme';
    this.standins = new Map();
    this.nodes = new Map();
    this.tokens = new Map();
  }

  async #build({ backends = BACKENDS, config = () => {}, charter, prepare, start = true }) {
    mkdirSync(this.logs, { recursive: true });
    this.ports = await takePorts();
    this.redis = new Redis(this.ports.base + REDIS_PORT, this.logs);
    await this.redis.start();
    await this.#init(backends);
    await Promise.all([...this.standins.values()].map((one) => one.start()));
    for (const name of ['eu-west-1', 'eu-central-1']) {
      this.nodes.set(name, new Node(this, name));
    }
    this.west = this.nodes.get('eu-west-1');
    this.central = this.nodes.get('eu-central-1');
    this.issuerKey = createPrivateKey(readFileSync(path.join(this.dir, 'issuer/issuer.key')));
    for (const node of this.nodes.values()) {
      node.changeConfig((value) => {
        // Callers come through a load balancer on this machine, which tells where they are.
        value.listeners.public.trusted_proxies = ['127.0.0.0/8'];
        value.probes = { interval_ms: 200 };
        value.timeouts = { drain_wait_ms: 100, drain_ms: 10_000 };
        value.ledger = { segment_mib: 1 };
        config(value, node.name);
      });
    }
    if (charter !== undefined) {
      await this.signCharter(charter);
    }
    await prepare?.(this);
    if (start) {
      await Promise.all([...this.nodes.values()].map((node) => node.start()));
    }
  }

  async #init(backends) {
    const specs = backends.map((one, i) => {
      const port = this.ports.base + STANDIN_PORT + i;
      const served = SERVED[one.kind];
      const file = (end) => path.join(this.dir, 'backends', `${one.name}.${end}`);
      const standin = one.raw
        ? new RawBackend({ ...one, model: served.model, cert: file('pem'), key: file('key') })
        : new Standin({ ...one, model: served.model, dir: this.logs,
          more: ['--tls-cert', file('pem'), '--tls-key', file('key'),
            ...(one.dialect === undefined ? [] : ['--dialect', one.dialect])] });
      standin.port = port;
      standin.region = one.region;
      this.standins.set(one.name, standin);
      return `name=${one.name},region=${one.region},kind=${one.kind},`
        + `url=https://127.0.0.1:${port},operator=${one.operator},slots=${one.slots},`
        + `model=${VERSION}:${served.spec}`;
    });
    this.de = this.standins.get('de-1');
    this.ie = this.standins.get('ie-1');
    this.us = this.standins.get('ie-us-1');
    this.printed = await this.command('init', this.dir, '--regions', 'eu-west=IE,eu-central=DE',
      '--mesh', this.name, '--geoip', await geoipDatabase(), '--base-port', String(this.ports.base),
      '--redis', `127.0.0.1:${this.redis.port}`,
      ...specs.flatMap((spec) => ['--backend', spec]));
  }

  // Runs the binary; anything but exit 0 is an error with its words.
  async command(...args) {
    const { code, stdout, stderr } = await run(BINARY, args);
    if (code !== 0) {
      throw new Error(`${BINARY} ${args[0]}: exit ${code}\n${stdout}${stderr}`);
    }
    return stdout;
  }

  // A token of the mesh's issuer, kept for the life of the mesh; bound to a certificate where
  // `bind` names its file.
  async token(tenant, { subject = 'alice', roles = tenant === 'acme/de' ? 'user' : undefined,
    bind } = {}) {
    const key = JSON.stringify([tenant, subject, roles, bind]);
    if (!this.tokens.has(key)) {
      this.tokens.set(key, (await this.command('token', '--dir', this.dir, '--tenant', tenant,
        '--subject', subject, ...(roles === undefined ? [] : ['--roles', roles]),
        ...(bind === undefined ? [] : ['--bind', bind]))).trim());
    }
    return this.tokens.get(key);
  }

  in(region) { return [...this.standins.values()].filter((one) => one.region === region); }

  each(region, action) { return Promise.all(this.in(region).map(action)); }

  // What the backends of a region received.
  async seen(region) { return (await this.each(region, (one) => one.requests())).flat(); }

  // Until a node answers a tenant's caller from a region: its own, unless another is named.
  // (A node that has just started may know the other region before its own backends answer.)
  serves(node, tenant, from, region = node.region, timeoutMs = undefined) {
    return node.until(`serves ${tenant} from ${region}`,
      async () => {
        const answer = await chat(node, { token: await this.token(tenant), from });
        if (answer.status !== 200) {
          throw new Error(`${answer.status} ${answer.text}`);
        }
        return attestationsOf(answer).at(-1).claims.target.region === region;
      }, timeoutMs);
  }

  get source() { return path.join(this.dir, 'charter/charter.jsonc'); }

  readCharter() { return parseCommented(readFileSync(this.source, 'utf8')); }

  aliases(tenant) {
    const { tenants } = this.readCharter();
    return Object.keys((tenants[tenant].models ?? tenants[tenant.split('/')[0]].models)).sort();
  }

  // The next version of the charter, changed and signed. Nodes see it when they reload.
  async signCharter(change = () => {}) {
    const charter = this.readCharter();
    charter.version += 1;
    change(charter);
    writeFileSync(this.source, `${JSON.stringify(charter, null, 2)}\n`);
    await this.command('charter', 'sign', this.source, '--key',
      path.join(this.dir, 'charter/charter-key.pem'), '-o', this.envelope);
  }

  get envelope() { return path.join(this.dir, 'charter/charter.dsse.json'); }

  // Changes the signed form behind the signer's back.
  writeCharter(change) {
    const envelope = JSON.parse(readFileSync(this.envelope, 'utf8'));
    change(envelope);
    writeFileSync(this.envelope, JSON.stringify(envelope));
  }

  async reload(nodes = [...this.nodes.values()]) {
    for (const node of nodes) {
      const good = await node.metric('portolan_reloads_total');
      const bad = await node.metric('portolan_reloads_failed_total');
      node.child.signal('SIGHUP');
      await node.until('the reload is done', async () => {
        if (await node.metric('portolan_reloads_failed_total') > bad) {
          throw new Error(`the reload failed:\n${node.child.tail(5)}`);
        }
        return await node.metric('portolan_reloads_total') > good;
      });
    }
  }

  // `portolan reload` of a node: {code, stdout, stderr}.
  reloadBy(node) {
    return run(BINARY, ['reload', '--config', node.config]);
  }

  // Until a node counts every other one as alive: only then does it forward.
  meets(node) {
    return node.until('meets its peers', async () => {
      const { nodes } = JSON.parse((await node.admin('/ready')).text);
      return Object.entries(nodes).every(([name, alive]) => alive || name === node.name);
    });
  }

  // A request that is served needs one backend; who counts on the slots of all waits for all.
  hasBackends(node) {
    return node.until('has its backends', async () => {
      const { text } = await node.admin('/ready');
      const { backends } = JSON.parse(text);
      if (!this.in(node.region).every(({ name }) => backends[name] === 'up')) {
        throw new Error(text);
      }
      return true;
    });
  }

  // Does something while nodes are stopped; they are back afterwards.
  async whileStopped(nodes, action) {
    await Promise.all(nodes.map((node) => node.stop()));
    try {
      return await action();
    } finally {
      await Promise.all(nodes.map((node) => node.start()));
      await this.serves(this.central, 'acme/de', 'DE');
      await Promise.all([...this.nodes.values()].map((node) => this.meets(node)));
    }
  }

  // --- Evidence ----------------------------------------------------------------------------

  #trust() {
    return ['--charter', this.envelope, '--trust',
      path.join(this.dir, 'charter/charter-key.jwk.json')];
  }

  // `portolan verify` of a Residency-Attestation field's value.
  verify(value) {
    return run(BINARY, ['verify', ...this.#trust(), value]);
  }

  verifyLedger(node, options = {}, more = []) {
    return run(BINARY, ['verify', ...this.#trust(), ...more, node.ledger], options);
  }

  // `portolan report` of today and its neighbours: {code, stdout, stderr, report, records}.
  async report(nodes = [...this.nodes.values()]) {
    const day = (offset) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
    const out = mkdtempSync(path.join(this.dir, 'report-'));
    const result = await run(BINARY, ['report', ...this.#trust(), '--from', day(-1), '--to', day(1),
      ...nodes.flatMap((node) => ['--ledger', node.ledger]), '--out', out]);
    const read = (name) => (exists(path.join(out, name))
      ? readFileSync(path.join(out, name), 'utf8') : undefined);
    const json = read('report.json');
    return { ...result, out, report: json && JSON.parse(json), records: read('records.csv') };
  }

  // --- The end -----------------------------------------------------------------------------

  // Everything that runs is ended, whatever state it is in.
  async end({ keep = !this.ownsDir } = {}) {
    const ends = await Promise.allSettled([...this.nodes.values()].map((node) => node.stop()));
    const bad = ends.filter((one) => one.status === 'rejected').map((one) => one.reason.message);
    await Promise.allSettled([...this.standins.values()].map((one) => one.stop()));
    await Promise.allSettled([this.redis?.child?.end('SIGKILL')]);
    await this.ports?.release();
    if (keep || (bad.length > 0 && this.ownsDir)) {
      process.stderr.write(`# the mesh's folder is kept: ${this.dir}\n`);
    } else if (this.ownsDir) {
      rmSync(this.dir, { recursive: true, force: true });
    }
    if (bad.length > 0) {
      throw new Error(bad.join('\n'));
    }
  }
}

export { until };
