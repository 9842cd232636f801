// The surroundings of every measurement: a folder on a disk, certificates, client addresses, the
// rival's configuration (rig/, byte for byte but for ports), model servers, nginx and the bare relay.
import { createPrivateKey, sign } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { connects, freePort, LOAD_CORE, Processes, PROXY_CORE, run } from './process.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const RIG_PORTS = ['8001', '8002', '8101', '8102', '8103', '8104', '8105', '8111', '8112', '8114', '8022'];
const RIG_FILES = ['mkcerts.sh', 'mkmap.py', 'token.py', 'post.lua.in', 'req.json'];
const PATH = '/v1/chat/completions';

const base64url = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export class Rig {
  processes = new Processes();
  ports = {};

  // options: parent (where the folder is made), programs (folder of bench_*), keep.
  constructor(options) {
    this.options = options;
    this.dir = mkdtempSync(path.join(options.parent, 'portolan-bench-'));
  }

  read(name) {
    return readFileSync(path.join(this.dir, name), 'utf8');
  }

  write(name, text) {
    writeFileSync(path.join(this.dir, name), text);
    return path.join(this.dir, name);
  }

  at(name) {
    return path.join(this.dir, name);
  }

  folder(name) {
    mkdirSync(this.at(name), { recursive: true });
    return this.at(name);
  }

  run(command, argv) {
    return run(command, argv, { cwd: this.dir });
  }

  program(name) {
    return path.join(this.options.programs, name);
  }

  url(port, scheme = 'https') {
    return `${scheme}://127.0.0.1:${port}${PATH}`;
  }

  async prepare() {
    for (const port of RIG_PORTS) this.ports[port] = await freePort();
    for (const name of RIG_FILES) copyFileSync(path.join(HERE, 'rig', name), this.at(name));
    this.run('bash', ['mkcerts.sh']);
    this.run('python3', ['mkmap.py']);
    const token = this.run('python3', ['token.py']).trim();
    this.write('token', `${token}\n`);
    this.write('post.lua', this.read('post.lua.in').replaceAll('TOKEN', token));
    for (const name of ['rig/haproxy.cfg', 'rig/backend.conf', 'nginx-proxy.conf', 'large-backend.conf']) {
      const text = readFileSync(path.join(HERE, name), 'utf8');
      this.write(path.basename(name), text.replace(/127\.0\.0\.1:(8\d\d\d)/g, (_, port) => `127.0.0.1:${this.ports[port]}`));
    }
  }

  // Tokens of distinct subjects, one for each tenant name given, in a file of lines.
  writeTokens(name, tenants) {
    const key = createPrivateKey(this.read('jwt.key'));
    const header = base64url({ alg: 'ES256', typ: 'JWT', kid: 'k1' });
    const now = Math.floor(Date.now() / 1000);
    const lines = tenants.map((tenant, i) => {
      const payload = base64url({ iss: 'https://idp.example', aud: 'mesh', sub: `user-${i}`, tenant, iat: now, exp: now + 3600 });
      const signature = sign('sha256', Buffer.from(`${header}.${payload}`), { key, dsaEncoding: 'ieee-p1363' });
      return `${header}.${payload}.${signature.toString('base64url')}`;
    });
    return this.write(name, `${lines.join('\n')}\n`);
  }

  async #startNginx(label, config, port, core) {
    const child = this.processes.start(`nginx ${label}`, 'nginx', ['-p', this.dir, '-c', this.at(config)], { core, cwd: this.dir });
    await this.processes.until(child.label, () => connects(this.ports[port]));
    return child;
  }

  startBackend() {
    return this.#startNginx('backend', 'backend.conf', '8002', LOAD_CORE);
  }

  startLargeBackend() {
    return this.#startNginx('large backend', 'large-backend.conf', '8022', LOAD_CORE);
  }

  startNginxProxy() {
    return this.#startNginx('proxy', 'nginx-proxy.conf', '8114', PROXY_CORE);
  }

  // A copy of the rival's configuration with another model server behind mTLS.
  haproxyFor(backendPort) {
    const name = `haproxy-${backendPort}.cfg`;
    this.write(name, this.read('haproxy.cfg').replaceAll(`127.0.0.1:${this.ports['8002']}`, `127.0.0.1:${backendPort}`));
    return name;
  }

  // stdout, where its log goes, is /dev/null. argv: switches beside the configuration.
  async startHaproxy({ config = 'haproxy.cfg', port = this.ports['8103'], argv = [] } = {}) {
    const child = this.processes.start('haproxy', 'haproxy', ['-db', '-f', config, ...argv], { core: PROXY_CORE, cwd: this.dir });
    await this.processes.until('haproxy', () => connects(port));
    return child;
  }

  async startBare(backendPort = this.ports['8002']) {
    this.ports.bare = await freePort();
    const argv = [this.ports.bare, backendPort, 'proxy.crt', 'proxy.key', 'client.crt', 'client.key', 'ca.crt'].map(String);
    const child = this.processes.start('bare relay', this.program('bench_bare'), argv, { core: PROXY_CORE, cwd: this.dir });
    await this.processes.until('bare relay', () => connects(this.ports.bare));
    return child;
  }

  end() {
    this.processes.killAll();
    if (!this.options.keep) rmSync(this.dir, { recursive: true, force: true, maxRetries: 3 });
  }
}
