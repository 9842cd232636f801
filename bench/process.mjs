// The processes of a benchmark: started on a core, watched, measured by /proc, ended one by one.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import net from 'node:net';

// The proxy under test has a core for itself; load and model server share the other one.
export const PROXY_CORE = 0;
export const LOAD_CORE = 1;
const TICKS = Number(execFileSync('getconf', ['CLK_TCK']).toString());
const LOG_MAX = 8000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export const connects = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => {
    socket.destroy();
    resolve(true);
  });
  socket.on('error', () => resolve(false));
});

export class Processes {
  #children = new Set();

  // options: core, cwd, stdin and stdout ('pipe' or ignored).
  start(label, command, argv, { core, cwd, stdin = 'ignore', stdout = 'ignore' }) {
    const child = spawn('taskset', ['-c', String(core), command, ...argv], { cwd, stdio: [stdin, stdout, 'pipe'] });
    child.label = label;
    child.log = '';
    child.stderr.on('data', (text) => {
      child.log = (child.log + text).slice(-LOG_MAX);
    });
    child.over = new Promise((resolve) => {
      child.on('error', (error) => {
        child.log += error.message;
        resolve(-1);
      });
      child.on('close', (code) => resolve(code));
    });
    child.ended = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
    this.#children.add(child);
    return child;
  }

  // nginx ends its workers itself, if it is let.
  async stop(child, signal = child.label.startsWith('nginx') ? 'SIGTERM' : 'SIGKILL') {
    this.#children.delete(child);
    if (!child.ended()) child.kill(signal);
    return child.over;
  }

  killAll() {
    for (const child of this.#children) {
      if (!child.ended()) child.kill(child.label.startsWith('nginx') ? 'SIGTERM' : 'SIGKILL');
    }
    this.#children.clear();
  }

  check() {
    for (const child of this.#children) {
      if (child.ended()) throw new Error(`${child.label} ended: ${child.log}`);
    }
  }

  async until(what, probe, ms = 20000) {
    const end = Date.now() + ms;
    while (!await probe()) {
      this.check();
      if (Date.now() > end) throw new Error(`${what}: not in ${ms} ms`);
      await sleep(50);
    }
  }
}

export function run(command, argv, options = {}) {
  const r = spawnSync(command, argv, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  if (r.status !== 0) throw new Error(`${command} ${argv.join(' ')}: ${r.error?.message ?? (r.stderr || r.stdout)}`);
  return r.stdout;
}

/* ---- /proc --------------------------------------------------------------------------- */

function statOf(pid) {
  try {
    // Behind the name, which may hold anything: state, parent, ...
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ').map(Number);
  } catch {
    return null; // gone meanwhile
  }
}

// The process and all that descend from it: helpers count.
function tree(root) {
  const parents = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = statOf(name);
    if (stat) parents.set(Number(name), stat[1]);
  }
  const found = new Set([root]);
  for (let grown = true; grown;) {
    grown = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grown = true;
      }
    }
  }
  return [...found];
}

// Seconds of CPU of all threads of all processes of a side, those that ended included.
export function cpuSeconds(pid) {
  let ticks = 0;
  for (const each of tree(pid)) {
    const stat = statOf(each);
    if (stat) ticks += stat[11] + stat[12] + stat[13] + stat[14];
  }
  return ticks / TICKS;
}

// Proportional set size of all processes of a side, in KiB.
export function pssKib(pid) {
  let kib = 0;
  for (const each of tree(pid)) kib += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${each}/smaps_rollup`, 'utf8'))[1]);
  return kib;
}

// Files and sockets that one process holds open.
export const openFiles = (pid) => readdirSync(`/proc/${pid}/fd`).length;

export function openFilesMax() {
  const [, soft] = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return soft === 'unlimited' ? Infinity : Number(soft);
}
