// A server that owns every byte on its side of the wire: it keeps what each connection brought,
// and plays scripts of raw bytes. It answers probes by itself, so that the node takes it for a
// healthy model server (or, with other probes, for a peer).
//
//   backend.play(script, ...)   one script for each inference request that comes, in order;
//                               without one `otherwise` is played, GOOD. A script is a list of
//     text (Latin-1), bytes       written by itself
//     CLOSE                       an orderly end: close_notify, then FIN
//     CUT                         FIN without close_notify
//     RESET                       RST
//     a function                  called with the connection and the request, and waited for
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { kinds } from '../standin/kinds.mjs';

export const CLOSE = Symbol('close');
export const CUT = Symbol('cut');
export const RESET = Symbol('reset');

export const answer = (body, fields = [], line = 'HTTP/1.1 200 OK') =>
  `${[line, 'Content-Type: application/json', ...fields, `Content-Length: ${body.length}`]
    .join('\r\n')}\r\n\r\n${body}`;
export const BODY = '{"id":"good","choices":[]}';
export const GOOD = answer(BODY);

const LINE_END = Buffer.from('\r\n');
const HEAD_END = Buffer.from('\r\n\r\n');
const EMPTY = Buffer.alloc(0);

// What comes on one connection, request by request. It believes the node's framing; that the
// framing is right is for the tests to say.
class Reader {
  constructor(onRequest) {
    this.onRequest = onRequest;
    this.rest = EMPTY;
    this.request = null;
    this.last = false; // the last chunk came
  }

  add(chunk) {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    while (this.request === null ? this.#head() : this.#body());
  }

  #line(end) {
    const at = this.rest.indexOf(end);
    if (at < 0) {
      return null;
    }
    const line = this.rest.toString('latin1', 0, at);
    this.rest = this.rest.subarray(at + end.length);
    return line;
  }

  #head() {
    const head = this.#line(HEAD_END);
    if (head === null) {
      return false;
    }
    const [line, ...lines] = head.split('\r\n');
    const [method, path] = line.split(' ');
    const fields = new Map();
    for (const one of lines) {
      const name = one.slice(0, one.indexOf(':')).toLowerCase();
      fields.set(name, [...(fields.get(name) ?? []), one.slice(one.indexOf(':') + 1).trim()]);
    }
    this.request = { head, method, path, fields, chunks: [], size: 0, whole: false,
      get bytes() { return Buffer.concat(this.chunks); },
      get body() { return this.bytes.toString('utf8'); },
      get sha256() {
        return this.chunks.reduce((hash, one) => hash.update(one), createHash('sha256'))
          .digest('hex');
      } };
    this.chunked = fields.has('transfer-encoding');
    this.left = this.chunked ? 0 : Number(fields.get('content-length')?.[0] ?? 0);
    this.onRequest(this.request);
    return this.chunked || this.left > 0 ? true : this.#end();
  }

  #body() {
    if (this.chunked && this.left === 0) {
      const line = this.#line(LINE_END);
      if (line === null) {
        return false;
      }
      if (line === '') { // behind a chunk, or behind the last one
        return this.last ? this.#end() : true;
      }
      this.left = Number.parseInt(line, 16);
      this.last = this.left === 0;
      return true;
    }
    const piece = this.rest.subarray(0, this.left);
    this.rest = this.rest.subarray(piece.length);
    this.left -= piece.length;
    this.request.size += piece.length;
    this.request.chunks.push(piece);
    if (this.left === 0 && !this.chunked) {
      return this.#end();
    }
    return piece.length > 0;
  }

  #end() {
    const { request } = this;
    this.request = null;
    this.last = false;
    request.whole = true;
    this.onRequest(request);
    return this.rest.length > 0;
  }
}

class Connection {
  constructor(backend, raw) {
    this.backend = backend;
    this.raw = raw;
    this.chunks = [];
    this.requests = [];
    this.closed = false;
    this.socket = backend.options === null ? raw
      : new tls.TLSSocket(raw, { isServer: true, ...backend.options });
    const reader = new Reader((request) => this.#onRequest(request));
    raw.setNoDelay(true);
    raw.on('error', () => {});
    this.socket.on('error', () => {}); // told by closed
    this.socket.on('data', (chunk) => {
      this.chunks.push(chunk);
      reader.add(chunk);
    });
    raw.once('close', () => { this.closed = true; });
  }

  // Every byte that came.
  get text() { return Buffer.concat(this.chunks).toString('latin1'); }

  write(bytes) {
    return new Promise((resolve) => {
      this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, resolve);
    });
  }

  // Twice a request: its head came, and it is whole.
  #onRequest(request) {
    const probe = request.method === 'GET' && this.backend.probes[request.path];
    if (probe) {
      if (request.whole) {
        const { status, type, body } = probe();
        this.write(answer(body, [], `HTTP/1.1 ${status} OK`).replace('application/json', type));
      }
      return;
    }
    if (!request.whole) {
      this.requests.push(request);
      if (!this.backend.connections.includes(this)) {
        this.backend.connections.push(this);
      }
      return;
    }
    this.#play(this.backend.scripts.shift() ?? this.backend.otherwise, request);
  }

  async #play(script, request) {
    for (const step of script) {
      await (typeof step === 'function' ? step(this, request) : this.do(step));
    }
  }

  // One step of a script that is no function.
  do(step) {
    if (step === CLOSE) {
      this.socket.end();
    } else if (step === CUT) {
      this.raw.end();
    } else if (step === RESET) {
      this.raw.resetAndDestroy();
    } else {
      return this.write(step);
    }
    return undefined;
  }
}

export class RawBackend {
  // cert, key: files, or none for plain HTTP; ca: a file, and then clients must show a
  // certificate.
  constructor({ name, kind, model, port, cert, key, ca, probes, otherwise = [GOOD] }) {
    const state = { models: [model].flat().map((one) => ({ name: one })), created: 0, name };
    Object.assign(this, { name, port, files: { cert, key, ca }, otherwise, scripts: [],
      open: new Set() });
    this.connections = []; // those on which requests came
    this.probes = probes ?? Object.fromEntries(Object.entries(kinds[kind].probes)
      .map(([path, probe]) => [path, () => probe(state)]));
  }

  async start() {
    const { cert, key, ca } = this.files;
    this.options = cert === undefined ? null : {
      secureContext: tls.createSecureContext({ cert: readFileSync(cert), key: readFileSync(key),
        ca: ca && readFileSync(ca) }),
      requestCert: ca !== undefined, rejectUnauthorized: ca !== undefined,
    };
    this.server = net.createServer((raw) => {
      const connection = new Connection(this, raw);
      this.open.add(connection);
      raw.once('close', () => this.open.delete(connection));
    });
    await new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.port, '127.0.0.1', resolve);
    });
  }

  async stop() {
    if (this.server?.listening) {
      const closed = new Promise((resolve) => { this.server.close(resolve); });
      [...this.open].forEach((one) => one.raw.destroy());
      await closed;
    }
  }

  play(...scripts) { this.scripts.push(...scripts); }

  // Of what came until now; connections stay.
  forget() {
    this.scripts.length = 0;
    for (const one of this.connections.splice(0)) {
      one.chunks = [];
      one.requests = [];
    }
  }

  // The inference requests that came, oldest connection first.
  requests() { return this.connections.flatMap((one) => one.requests); }
}
