// What the tests of TLS share: authorities that can do wrong on purpose (Debian's openssl), and
// connections whose every step can be seen.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { FROM } from './client.mjs';
import { run } from './process.mjs';

const CONFIG = (dir) => `
[ca]
default_ca = own
[own]
dir = ${dir}
database = ${dir}/index
serial = ${dir}/serial
crlnumber = ${dir}/crlnumber
new_certs_dir = ${dir}
default_md = sha256
default_days = 30
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
`;

async function openssl(...args) {
  const { code, stderr, stdout } = await run('openssl', args);
  if (code !== 0) {
    throw new Error(`openssl ${args.join(' ')}: ${stderr}`);
  }
  return stdout;
}

const stamp = (days) => `${new Date(Date.now() + days * 86_400_000).toISOString()
  .replace(/[-:T]/g, '').slice(0, 14)}Z`;

// A certificate authority in a folder of its own: ca.pem, and <name>.pem with <name>.key.
export class Authority {
  static async create(dir, name) {
    const authority = new Authority(dir);
    await openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
      '-keyout', authority.file('ca.key'), '-out', authority.file('ca.pem'), '-subj', `/CN=${name}`,
      '-days', '30', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
    return authority;
  }

  // Goes on with the authority that another folder holds (ca.pem, ca.key).
  static like(dir, other) {
    const authority = new Authority(dir);
    for (const name of ['ca.pem', 'ca.key']) {
      copyFileSync(path.join(other, name), authority.file(name));
    }
    return authority;
  }

  constructor(dir) {
    this.dir = dir;
    mkdirSync(dir, { recursive: true });
    writeFileSync(this.file('cnf'), CONFIG(dir));
    writeFileSync(this.file('index'), '');
    writeFileSync(this.file('serial'), '1000\n');
    writeFileSync(this.file('crlnumber'), '01\n');
  }

  file(name) { return path.join(this.dir, name); }

  read(name) { return readFileSync(this.file(name), 'utf8'); }

  #ca(...args) {
    return openssl('ca', '-config', this.file('cnf'), '-batch', '-notext',
      '-keyfile', this.file('ca.key'), '-cert', this.file('ca.pem'), ...args);
  }

  // names: SANs; days: from when to when, relative to now.
  async issue(name, { names = [`DNS:${name}`], days = [-1, 20], key = ['ec', '-pkeyopt',
    'ec_paramgen_curve:P-256'] } = {}) {
    writeFileSync(this.file(`${name}.ext`), 'basicConstraints = CA:FALSE\n'
      + `subjectAltName = ${names.join(',')}\n`);
    await openssl('req', '-new', '-newkey', ...key, '-nodes', '-keyout', this.file(`${name}.key`),
      '-out', this.file(`${name}.csr`), '-subj', `/CN=${name}`);
    await this.#ca('-in', this.file(`${name}.csr`), '-out', this.file(`${name}.pem`),
      '-startdate', stamp(days[0]), '-enddate', stamp(days[1]),
      '-extfile', this.file(`${name}.ext`));
    return this.pair(name);
  }

  pair(name) { return { cert: this.read(`${name}.pem`), key: this.read(`${name}.key`) }; }

  // One of its own, or any by its file.
  revoke(name) { return this.#ca('-revoke', path.resolve(this.dir, `${name}.pem`)); }

  // The list of what was revoked until now.
  async crl(name, { days = [-1, 10] } = {}) {
    await this.#ca('-gencrl', '-out', this.file(name), '-crl_lastupdate', stamp(days[0]),
      '-crl_nextupdate', stamp(days[1]));
    return this.file(name);
  }
}

// One request on a connection of its own, with every part of TLS to choose: {status, text,
// resumed, protocol, server (the certificate), session}. Rejects when the handshake does.
export function talk(node, { servername = node.servername, host = node.authority, cert, key, ca,
  session, version, path: where = '/v1/models' } = {}) {
  return new Promise((resolve, reject) => {
    const out = { text: '', sessions: [] };
    const socket = tls.connect({ host: node.host, port: node.port, ca: ca ?? node.ca, cert, key,
      session, servername, minVersion: version, maxVersion: version,
      checkServerIdentity: () => undefined }, () => {
      out.resumed = socket.isSessionReused();
      out.protocol = socket.getProtocol();
      out.server = socket.getPeerCertificate().subject?.CN;
      socket.write(`GET ${where} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n`
        + `X-Forwarded-For: ${FROM.DE}\r\n\r\n`);
    });
    socket.setTimeout(10_000, () => socket.destroy(new Error('the node is silent')));
    socket.on('session', (one) => { out.sessions.push(one); });
    socket.on('data', (chunk) => { out.text += chunk.toString('latin1'); });
    socket.once('error', reject);
    socket.once('close', () => {
      const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(out.text)?.[1] ?? 0);
      if (status === 0) {
        reject(new Error('closed without an answer'));
      } else {
        resolve({ ...out, status, session: out.sessions.at(-1) });
      }
    });
  });
}

// `openssl s_client` with these bytes on its input: all that it said, whatever its exit code.
export async function sClient(node, args, input = '') {
  const { stdout, stderr } = await run('openssl', ['s_client', '-connect', `127.0.0.1:${node.port}`,
    '-CAfile', path.join(node.mesh.dir, 'ca/ca.pem'), ...args], { input });
  return stdout + stderr;
}
