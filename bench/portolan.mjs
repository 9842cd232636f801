// Portolan as the benchmark runs it: charter and configuration made here, everything on.
import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { connects, freePort, PROXY_CORE, run } from './process.mjs';

const EU = 'AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK'.split(' ');
const DAY_MS = 86400e3;
const ISSUER = 'https://idp.example';
const SLOTS = 4096;
const START_MS = 120000; // a thousand backends need some rounds of probes

function jwk(pem, kid) {
  const { kty, crv, x, y } = createPublicKey(pem).export({ format: 'jwk' });
  return { kty, crv, x, y, alg: 'ES256', use: 'sig', kid };
}

// One set of keys for all nodes of a run.
function keysOf(rig) {
  rig.keys ??= Object.fromEntries(['attest', 'advert', 'charter'].map((name) => {
    rig.run('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.pem`]);
    return [name, jwk(rig.read(`${name}.pem`), name)];
  }));
  return rig.keys;
}

const TENANT_RULES = { process_in: ['@EU'], operators_from: ['@EU'], origins: ['@EU'], models: { mistral: ['mistral@1'] }, auth: ['jwt'] };

// Names of `tops` top-level tenants with `children` each.
export function tenantNames(tops, children) {
  const names = [];
  for (let t = 0; t < tops; t++) {
    for (let c = 0; c < children; c++) names.push(`t${t}/c${c}`);
  }
  return names;
}

function tenantTree(callers) {
  const tenants = {};
  for (const name of callers) {
    tenants[name.split('/')[0]] = TENANT_RULES;
    tenants[name] = {};
  }
  return tenants;
}

function charterSource(rig, { callers, backends, backendPort }) {
  const keys = keysOf(rig);
  const at = (ms) => new Date(Date.now() + ms).toISOString();
  const spki = createHash('sha256').update(new X509Certificate(rig.read('backend.crt')).publicKey.export({ type: 'spki', format: 'der' })).digest('hex');
  const backend = {
    region: 'eu-central', country: 'DE', storage_country: 'DE', operator: { name: 'Bench', country: 'DE' },
    owner: { name: 'Bench', country: 'DE' }, access_from: ['DE'], assurance: 'spki', spki_sha256: spki, transfer: 'none',
    kind: 'openai', url: `https://127.0.0.1:${backendPort}`, slots: SLOTS, models: { 'mistral@1': 'mistral' },
  };
  const use = (name) => ({ use: name, jwk: keys[name], not_before: at(-DAY_MS), not_after: at(30 * DAY_MS) });
  return {
    v: 1, mesh: 'bench', version: 1, issued: at(-1000), renew_by: at(20 * DAY_MS), valid_until: at(30 * DAY_MS),
    seed: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    groups: {
      '@EU': { countries: EU, as_of: '2026-01-01', source: 'Treaty on European Union, Art. 52' },
      '@EEA': { countries: [...EU, 'IS', 'LI', 'NO'].sort(), as_of: '2026-01-01', source: 'EEA Agreement' },
    },
    regions: { 'eu-central': { country: 'DE' } },
    nodes: { 'eu-central-1': { region: 'eu-central', spiffe: 'spiffe://bench/node/eu-central-1', address: '127.0.0.1:9', keys: [use('attest'), use('advert')] } },
    models: { 'mistral@1': {} },
    backends: Object.fromEntries(Array.from({ length: backends }, (_, i) => [`s${i + 1}`, backend])),
    issuers: { [ISSUER]: { audience: 'mesh', tenants: callers, max_lifetime_s: 3600, tenant_claim: 'tenant', roles_claim: 'roles' } },
    client_cas: {}, api_keys: {}, tenants: tenantTree(callers),
  };
}

function nodeConfig(rig, ports, { durability, tokenCache, probeMs }) {
  const file = (name) => rig.at(name);
  return {
    v: 1, mesh: 'bench', node: 'eu-central-1', charter: 'charter.dsse.json', trust: { threshold: 1, keys: [keysOf(rig).charter] },
    listeners: {
      public: { address: `127.0.0.1:${ports.public}`, cert: file('proxy.crt'), key: file('proxy.key'), names: ['localhost', '127.0.0.1'], trusted_proxies: ['127.0.0.1'] },
      admin: { address: `127.0.0.1:${ports.admin}` },
    },
    keys: { attest: file('attest.pem'), advert: file('advert.pem') },
    backend_client: { cert: file('client.crt'), key: file('client.key') },
    issuers: { [ISSUER]: file('jwks.json') },
    geoip: { path: rig.options.geoip },
    ledger: { dir: 'ledger', durability, segment_mib: 64 },
    workers: 1,
    limits: { requests_per_connection: 0, token_cache: tokenCache },
    timeouts: { drain_wait_ms: 0, drain_ms: 1000 },
    probes: { interval_ms: probeMs },
  };
}

const DEFAULTS = { durability: 'disk', callers: ['acme/de'], backends: 2, tokenCache: 16384, probeMs: 1000 };

export class Portolan {
  // name: of its folder; options as in DEFAULTS, and backendPort.
  constructor(rig, name, options = {}) {
    this.rig = rig;
    this.name = name;
    this.options = { ...DEFAULTS, backendPort: rig.ports['8002'], ...options };
    this.ports = {};
  }

  #prepare() {
    const { rig, options } = this;
    this.dir = rig.folder(this.name);
    keysOf(rig);
    rig.write('jwks.json', JSON.stringify({ keys: [jwk(rig.read('jwt.pub'), 'k1')] }));
    const put = (name, value) => writeFileSync(path.join(this.dir, name), JSON.stringify(value));
    put('charter.jsonc', charterSource(rig, options));
    run(rig.options.binary, ['charter', 'sign', 'charter.jsonc', '--key', rig.at('charter.pem'), '-o', 'charter.dsse.json'], { cwd: this.dir });
    put('node.jsonc', nodeConfig(rig, this.ports, options));
  }

  async start() {
    this.ports = { public: await freePort(), admin: await freePort() };
    this.#prepare();
    this.child = this.rig.processes.start(`portolan ${this.name}`, this.rig.options.binary, ['node', '--config', 'node.jsonc'], { core: PROXY_CORE, cwd: this.dir });
    // All backends up, not one: the rest would come while something is measured.
    const isUp = async () => {
      const answer = await fetch(`http://127.0.0.1:${this.ports.admin}/ready`).catch(() => null);
      return answer?.status === 200 && (await answer.json()).up >= this.options.backends && connects(this.ports.public);
    };
    await this.rig.processes.until(`portolan ${this.name}: all ${this.options.backends} backends up`, isUp, START_MS);
    return this;
  }

  get pid() {
    return this.child.pid;
  }

  get url() {
    return this.rig.url(this.ports.public);
  }

  async stop() {
    await this.rig.processes.stop(this.child);
  }

  // What the node itself says of refusals, for a run that does not count.
  async complaints() {
    const text = await fetch(`http://127.0.0.1:${this.ports.admin}/metrics`).then((r) => r.text(), () => '');
    const lines = text.split('\n').filter((line) => /^portolan_(refusals|attempts_failed|ledger|overloaded).* [1-9]/.test(line));
    return `${lines.join('\n')}\n${this.child.log}`;
  }

  // work, and where it fails also what the node says.
  async explaining(work) {
    try {
      return await work();
    } catch (error) {
      throw new Error(`${error.message}\n${await this.complaints()}`);
    }
  }

  // Every origin on record must have been found in the database: gives how many were read.
  checkOrigins(atLeast) {
    const runs = path.join(this.dir, 'ledger', 'runs');
    let count = 0;
    for (const each of existsSync(runs) ? readdirSync(runs) : []) {
      for (const file of readdirSync(path.join(runs, each)).slice(0, 1)) {
        count += originsLookedUp(readFileSync(path.join(runs, each, file)).toString('latin1'));
      }
    }
    if (count < atLeast) throw new Error(`portolan ${this.name}: only ${count} attestations found, ${atLeast} expected`);
    return count;
  }
}

function originsLookedUp(text) {
  let count = 0;
  for (const [, payload] of text.matchAll(/eyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]{86}/g)) {
    const a1 = JSON.parse(Buffer.from(payload, 'base64url').toString());
    if (a1.origin.source !== 'forwarded' || a1.origin.quality !== 'found') {
      throw new Error(`an origin was not looked up: ${JSON.stringify(a1.origin)}`);
    }
    count++;
  }
  return count;
}
