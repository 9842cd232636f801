// Child processes of tests and of the quickstart: started with their output in a file, waited for
// by conditions, ended by their id, and never left behind.
import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const STANDIN = path.join(ROOT, 'tests/standin/standin.mjs');
const POLL_MS = 20;
const BLOCK = 32; // ports that a mesh has to itself, the last of them as the mark of its use
const FIRST_PORT = 12_000;
const LAST_PORT = 30_000; // below the ports that the kernel gives to clients

// Polls until the condition gives something true. The only waiting there is.
export async function until(what, condition, timeoutMs = 15_000) {
  const deadline = Date.now() + timeoutMs;
  let last = null;
  for (;;) {
    try {
      const value = await condition();
      if (value) {
        return value;
      }
      last = null;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      const why = last === null ? '' : `: ${last.message}`;
      throw new Error(`not within ${timeoutMs} ms: ${what}${why}`, { cause: last ?? undefined });
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
  }
}

// One child. It dies with the process that started it, whatever happens to that one.
export class Child {
  constructor(command, args, { log, env = {}, stdio = ['ignore', null, null] }) {
    this.log = log;
    this.command = [command, ...args].join(' ');
    const fd = openSync(log, 'a');
    this.process = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      env: { ...process.env, ...env }, stdio: stdio.map((one) => one ?? fd),
    });
    closeSync(fd);
    this.running = true;
    this.exited = new Promise((resolve) => {
      this.process.once('exit', (code, signal) => {
        this.running = false;
        resolve({ code, signal });
      });
      this.process.once('error', (error) => {
        this.running = false;
        resolve({ code: null, signal: null, error });
      });
    });
  }

  signal(name) {
    if (this.running) {
      process.kill(this.process.pid, name);
    }
  }

  // Ends it and gives {code, signal}; with KILL where it does not go by itself.
  async end(name = 'SIGTERM', timeoutMs = 20_000) {
    this.signal('SIGCONT');
    this.signal(name);
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    const result = await this.exited;
    clearTimeout(timer);
    return result;
  }

  tail(lines = 20) {
    return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  // Until the condition holds; a child that ended meanwhile is the better message.
  async until(what, condition, timeoutMs) {
    return until(what, () => {
      if (!this.running) {
        throw new Error(`${this.command} ended:\n${this.tail()}`);
      }
      return condition();
    }, timeoutMs).catch((error) => {
      throw new Error(`${error.message}\n${this.tail()}`);
    });
  }
}

// Runs a command to its end: {code, stdout, stderr}.
export function run(command, args, { env = {}, input, cwd, timeoutMs = 120_000 } = {}) {
  return new Promise((resolve) => {
    const child = execFile(command, args, {
      env: { ...process.env, ...env }, cwd, maxBuffer: 64 * 1024 * 1024, timeout: timeoutMs,
    }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal), stdout, stderr });
    });
    child.stdin.on('error', () => {}); // it may end without having read
    child.stdin.end(input);
  });
}

const listen = (port) => new Promise((resolve, reject) => {
  const server = net.createServer();
  server.once('error', reject);
  server.listen(port, '127.0.0.1', () => resolve(server));
});

const close = (server) => new Promise((resolve) => { server.close(resolve); });

async function tryBlock(base) {
  const held = [];
  try {
    const mark = await listen(base + BLOCK - 1);
    held.push(mark);
    for (let port = base; port < base + BLOCK - 1; port += 1) {
      held.push(await listen(port));
    }
    await Promise.all(held.slice(1).map(close));
    mark.unref();
    return { base, release: () => close(mark) };
  } catch {
    await Promise.all(held.map(close));
    return null;
  }
}

// A block of ports that were all free a moment ago. Its last one stays taken until release(), so
// that two meshes on one machine never get the same block.
export async function takePorts() {
  const blocks = Math.floor((LAST_PORT - FIRST_PORT) / BLOCK);
  const start = Math.floor(Math.random() * blocks);
  for (let i = 0; i < blocks; i += 1) {
    const block = await tryBlock(FIRST_PORT + ((start + i) % blocks) * BLOCK);
    if (block !== null) {
      return block;
    }
  }
  throw new Error('no block of free ports');
}

// --- Redis ---------------------------------------------------------------------------------

function redisCommand(port, text) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(`${text}\r\n`));
    let answer = '';
    socket.setTimeout(1000, () => socket.destroy(new Error('redis is silent')));
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      answer += chunk.toString('utf8');
      if (answer.endsWith('\r\n')) {
        socket.destroy();
        resolve(answer.trimEnd());
      }
    });
    socket.once('close', () => reject(new Error('redis closed')));
  });
}

// A Redis of its own that keeps nothing on disk.
export class Redis {
  constructor(port, dir) {
    this.port = port;
    this.dir = dir;
    this.child = null;
  }

  async start() {
    this.child = new Child('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1',
      '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--dir', this.dir],
    { log: path.join(this.dir, 'redis.log') });
    await this.child.until('redis answers', async () =>
      (await this.command('PING')) === '+PONG');
  }

  command(text) {
    return redisCommand(this.port, text);
  }

  freeze() { this.child.signal('SIGSTOP'); }

  thaw() { this.child.signal('SIGCONT'); }

  kill() { return this.child.end('SIGKILL'); }

  stop() { return this.child?.end(); }
}

// --- Stand-in model servers ----------------------------------------------------------------

export class Standin {
  constructor({ name, kind, model, slots, dir, more = [] }) {
    Object.assign(this, { name, kind, model, slots, dir, more, port: 0, child: null });
  }

  async start() {
    this.child = new Child(process.execPath, [STANDIN, '--watch-stdin', '--kind', this.kind,
      '--name', this.name, '--port', String(this.port), '--slots', String(this.slots),
      ...[this.model].flat().flatMap((model) => ['--model', model]), ...this.more],
    { log: path.join(this.dir, `standin-${this.name}.log`), stdio: ['pipe', 'pipe', null] });
    const lines = createInterface({ input: this.child.process.stdout });
    const line = await Promise.race([
      new Promise((resolve) => { lines.once('line', resolve); }),
      this.child.exited.then(() => null),
    ]);
    if (line === null) {
      throw new Error(`stand-in ${this.name} did not start: ${this.child.tail()}`);
    }
    ({ port: this.port, control: this.control } = JSON.parse(line));
    return this;
  }

  // Gone at once, as a machine that loses its power. start() brings it back on the same port.
  stop() {
    return this.child?.running ? this.child.end('SIGKILL') : undefined;
  }

  async call(method, where, value) {
    const answer = await fetch(`http://127.0.0.1:${this.control}${where}`, {
      method, body: value === undefined ? undefined : JSON.stringify(value),
    });
    return { status: answer.status, value: await answer.json() };
  }

  script(value) { return this.call('POST', '/script', value); }

  hold(hold) { return this.call('POST', '/hold', { hold }); }

  drop() { return this.call('POST', '/drop', {}); }

  forget() { return this.call('DELETE', '/requests'); }

  async stats() { return (await this.call('GET', '/stats')).value; }

  // The inference requests that it received, each with its headers as a map.
  async requests() {
    const all = (await this.call('GET', '/requests')).value;
    return all.filter((one) => one.inference).map((one) => {
      const fields = new Map();
      for (let i = 0; i < one.headers.length; i += 2) {
        const name = one.headers[i].toLowerCase();
        fields.set(name, [...(fields.get(name) ?? []), one.headers[i + 1]]);
      }
      return { ...one, fields };
    });
  }

  async until(query) {
    const { status, value } = await this.call('GET', `/wait?timeout_ms=15000&${query}`);
    if (status !== 200) {
      throw new Error(`${this.name} never had ${query}: ${JSON.stringify(value)}`);
    }
    return value;
  }
}

export const exists = (file) => statSync(file, { throwIfNoEntry: false }) !== undefined;
