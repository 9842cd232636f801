// One measurement: load against one proxy, its CPU time beside it; and what to make of several.
import { spawn } from 'node:child_process';
import { cpuSeconds, LOAD_CORE, pssKib } from './process.mjs';

export const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

// {key: median} over the keys of the first of a list of results.
export function medians(list) {
  return Object.fromEntries(Object.keys(list[0]).filter((key) => typeof list[0][key] === 'number').map((key) => [key, median(list.map((r) => r[key]))]));
}

export const growthPercent = (from, to) => (to / from - 1) * 100;

function output(command, argv, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn('taskset', ['-c', String(LOAD_CORE), command, ...argv], { cwd });
    const stop = () => child.kill('SIGKILL');
    let out = '';
    process.once('exit', stop);
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { out += text; });
    child.on('error', reject);
    child.on('close', (code) => {
      process.removeListener('exit', stop);
      resolve({ code, out });
    });
  });
}

function wrkLatencyMs(out, which) {
  const [, value, unit] = new RegExp(`${which}\\s+([\\d.]+)(us|ms|s)`).exec(out);
  return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit];
}

// wrk with the rig's own script: as the rival's figures were made.
export async function wrk(rig, url, seconds) {
  const argv = ['-t1', `-c${rig.options.connections}`, `-d${seconds}s`, '-s', 'post.lua', '--latency', url];
  const { code, out } = await output('wrk', argv, rig.dir);
  if (code !== 0 || /Non-2xx|Socket errors/.test(out) || !/requests in/.test(out)) throw new Error(`errors in the run at ${url}, no figure:\n${out}`);
  return {
    requests: Number(/(\d+) requests in/.exec(out)[1]), rps: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)[1]),
    p50_ms: wrkLatencyMs(out, '50%'), p99_ms: wrkLatencyMs(out, '99%'),
  };
}

// bench_load; options: port, body, tokens, addresses, cert (files), connections, rate, seconds, requests, zipf.
export async function load(rig, options) {
  const all = { addresses: 'addresses.txt', tokens: 'token', body: 'req.json', connections: rig.options.connections, ...options };
  const argv = Object.entries(all).filter(([, value]) => value !== undefined).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const { code, out } = await output(rig.program('bench_load'), argv, rig.dir);
  if (code !== 0) throw new Error(`errors in the run at port ${options.port}, no figure:\n${out}`);
  const r = JSON.parse(out);
  return { requests: r.requests, rps: r.rps, late: r.late, p50_ms: r.p50_us / 1000, p99_ms: r.p99_us / 1000, max_ms: r.max_us / 1000 };
}

// CPU of all threads and processes of a side while `work` runs, by its requests.
export async function cpuARequest(pid, work) {
  const before = cpuSeconds(pid);
  const started = Date.now();
  const r = await work();
  const cpu = cpuSeconds(pid) - before;
  return { cpu_us: (cpu * 1e6) / r.requests, ...r, pss_kib: pssKib(pid), cpu_s: cpu, elapsed_s: (Date.now() - started) / 1000 };
}

// In turn, so that the machine's moods hit every side: {name: [results]}.
export async function alternate(runs, plan, measureOne, show) {
  const results = Object.fromEntries(plan.map(({ name }) => [name, []]));
  for (let i = 0; i < runs; i++) {
    for (const side of plan) {
      const r = await measureOne(side).catch(async (error) => {
        throw new Error(`${side.name}: ${error.message}\n${await side.complaints?.() ?? ''}`);
      });
      results[side.name].push(r);
      console.log(`run ${i + 1} ${side.name.padEnd(24)} ${show(r)}`);
    }
  }
  return results;
}
