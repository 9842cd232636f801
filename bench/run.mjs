// The benchmark's index: what is measured, in what order, and what comes out of it.
//
//   node bench/run.mjs --binary build/portolan --programs build-bench --geoip country.mmdb
//     [--quick] [--only unary,sse,large,scale,latency] [--runs N] [--seconds N] [--json FILE]
//     [--svg FILE] [--dir FOLDER] [--perf FILE] [--keep]
//
//   unary.mjs    CPU of small requests beside HAProxy, nginx and the bare relay (bare/)
//   sse.mjs      CPU of an event, memory of a stream (sse-server.mjs, sse-client.mjs)
//   large.mjs    400 KB bodies, beside the floor of bench_micro (micro/)
//   scale.mjs    many tenants, backends, tokens
//   latency.mjs  added latency at a constant rate (load.c)
//
// under them: rig.mjs (folder, certificates, rivals), portolan.mjs (charter, config, node),
// measure.mjs, process.mjs, machine.mjs; and out of them: table.mjs, plot.mjs.
//
// A run in which any answer is not 2xx, or in which any attested origin was assumed, does not
// count: it ends the benchmark. Last come ratio_cpu_mtls=N.NN, ratio_cpu_full=N.NN and
// ratio_cpu_sse=N.NN, as far as they were measured.
import { existsSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { large } from './large.mjs';
import { latency } from './latency.mjs';
import { describeMachine, refuseMemory } from './machine.mjs';
import { plot } from './plot.mjs';
import { Rig } from './rig.mjs';
import { scale } from './scale.mjs';
import { sse } from './sse.mjs';
import { table } from './table.mjs';
import { unary } from './unary.mjs';

const PARTS = { unary, sse, large, scale, latency };
const FULL = { runs: 5, seconds: 4, counts: [1000, 5000], sizes: { tenants: [10, 10000], backends: [10, 1000], tokens: [1, 1000, 100000], probeMs: 10000 } };
const QUICK = { runs: 1, seconds: 1, counts: [100], sizes: { tenants: [10, 1000], backends: [10, 100], tokens: [1, 100, 1000], probeMs: 1000 } };
// The parts that no ratio comes from are measured less often.
const RUNS_MAX = { large: 3, scale: 3, latency: 3 };

const { values: args } = parseArgs({
  options: {
    binary: { type: 'string', default: 'build/portolan' },
    programs: { type: 'string', default: 'build-bench' },
    geoip: { type: 'string', default: 'build/country.mmdb' },
    dir: { type: 'string', default: existsSync('/var/tmp') ? '/var/tmp' : os.tmpdir() },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: Object.keys(PARTS).join(',') },
    runs: { type: 'string' },
    seconds: { type: 'string' },
    connections: { type: 'string', default: '64' },
    durability: { type: 'string', default: 'disk' },
    json: { type: 'string' },
    svg: { type: 'string' },
    keep: { type: 'boolean', default: false },
    perf: { type: 'string' },
  },
});

function whole(name, text, max) {
  if (!/^[1-9]\d*$/.test(text) || Number(text) > max) throw new Error(`--${name} must be a whole number from 1 to ${max}`);
  return Number(text);
}

function plan() {
  const size = args.quick ? QUICK : FULL;
  const names = args.only.split(',');
  const unknown = names.filter((name) => !PARTS[name]);
  if (unknown.length > 0) throw new Error(`--only knows ${Object.keys(PARTS).join(', ')}, not ${unknown.join(', ')}`);
  if (!['disk', 'process'].includes(args.durability)) throw new Error('--durability is disk or process');
  if (os.cpus().length < 2) throw new Error('two cores are needed: one for the proxy, one for load and model server');
  const runs = args.runs ? whole('runs', args.runs, 100) : size.runs;
  const seconds = args.seconds ? whole('seconds', args.seconds, 600) : size.seconds;
  return { names: Object.keys(PARTS).filter((name) => names.includes(name)), size, runs, seconds };
}

async function main() {
  const { names, size, runs, seconds } = plan();
  refuseMemory(args.dir);
  const rig = new Rig({
    parent: args.dir, binary: path.resolve(args.binary), programs: path.resolve(args.programs), geoip: path.resolve(args.geoip),
    keep: args.keep, durability: args.durability, connections: whole('connections', args.connections, 1024),
  });
  process.on('exit', () => rig.end());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
  const report = {
    v: 1, made: new Date().toISOString(), machine: describeMachine(args.dir),
    options: { quick: args.quick, runs, seconds, connections: rig.options.connections, durability: args.durability }, parts: {}, ratios: {},
  };
  await rig.prepare();
  await rig.startBackend();
  for (const name of names) {
    const started = Date.now();
    console.log(`\n== ${name}`);
    const part = await PARTS[name](rig, { ...size, runs: Math.min(runs, RUNS_MAX[name] ?? runs), seconds, perf: args.perf });
    Object.assign(report.ratios, part.ratios);
    report.parts[name] = { ...part, took_s: (Date.now() - started) / 1000 };
  }
  report.took_s = (Date.now() - Date.parse(report.made)) / 1000;
  console.log(`\n${table(report)}`);
  if (args.json) writeFileSync(args.json, `${JSON.stringify({ ...report, ...report.ratios }, null, 2)}\n`);
  if (args.svg) writeFileSync(args.svg, plot(report));
  for (const name of ['ratio_cpu_bare', 'ratio_cpu_mtls', 'ratio_cpu_full', 'ratio_cpu_sse']) {
    if (report.ratios[name] !== undefined) console.log(`${name}=${report.ratios[name].toFixed(2)}`);
  }
}

main().then(() => process.exit(0), (error) => {
  console.error(error.message);
  process.exit(1);
});
