// Scale: CPU a request as tenants, backends and distinct tokens grow. Everything is warm: tokens
// seen, connections open. Probes of many backends are measured idle, shown, and subtracted.
import { alternate, cpuARequest, growthPercent, load, medians } from './measure.mjs';
import { Portolan, tenantNames } from './portolan.mjs';
import { cpuSeconds, openFiles, sleep } from './process.mjs';

const ORIGINS_MIN = 100;
const ZIPF = 1;
const TOP_TENANTS = 10;
const WARM_SECONDS = 2;
const WARM_TURNS_MAX = 15;
const TOKEN_CACHE = 262144;

const show = (r) => `${r.cpu_us.toFixed(1)} us CPU a request, ${Math.round(r.rps)} requests/s`;

// Runs the sides in turn; the growth of each over the first.
async function grow(what, runs, plan, measureOne) {
  const results = await alternate(runs, plan, measureOne, show);
  const middle = Object.fromEntries(plan.map(({ name }) => [name, medians(results[name])]));
  const first = middle[plan[0].name].cpu_us;
  const growth = Object.fromEntries(plan.slice(1).map(({ name }) => [name, growthPercent(first, middle[name].cpu_us)]));
  for (const [name, percent] of Object.entries(growth)) console.log(`${what}: ${name} costs ${percent.toFixed(1)} % more than ${plan[0].name}`);
  return { results, medians: middle, growth_percent: growth };
}

// Every token once, then on for a while.
async function warm(rig, options, count, seconds) {
  await load(rig, { ...options, requests: count });
  await load(rig, { ...options, seconds: Math.min(WARM_SECONDS, seconds) });
}

async function tenants(rig, { runs, seconds, sizes }) {
  const plan = [];
  for (const count of sizes.tenants) {
    const callers = tenantNames(TOP_TENANTS, count / TOP_TENANTS);
    const node = await new Portolan(rig, `tenants-${count}`, { callers }).start();
    const tokens = rig.writeTokens(`tokens-tenants-${count}`, callers);
    const options = { port: node.ports.public, tokens };
    await node.explaining(() => warm(rig, options, callers.length, seconds));
    plan.push({ name: `${count} tenants`, node, pid: node.pid, options, complaints: () => node.complaints() });
  }
  const figures = await grow('tenants', runs, plan, ({ pid, options }) => cpuARequest(pid, () => load(rig, { ...options, zipf: ZIPF, seconds })));
  await end(plan);
  return figures;
}

// CPU seconds a second of each side with no load: probes, mostly. Over whole rounds of probes.
async function idleShares(plan, ms) {
  await sleep(1000);
  const started = Date.now();
  const before = plan.map(({ pid }) => cpuSeconds(pid));
  await sleep(ms);
  plan.forEach((side, i) => {
    side.idle = (cpuSeconds(side.pid) - before[i]) / ((Date.now() - started) / 1000);
    console.log(`${side.name}, idle: ${(side.idle * 1e3).toFixed(1)} ms CPU a second`);
  });
}

// Until no more connections come to those that are kept: the first request to a backend pays for
// a handshake that its later ones don't.
async function warmConnections(rig, node, count, seconds) {
  let turns = 0;
  for (let open = 0; turns < WARM_TURNS_MAX; turns++) {
    await load(rig, { port: node.ports.public, seconds: Math.max(WARM_SECONDS, seconds) });
    const now = openFiles(node.pid);
    if (now <= open * 1.01) break;
    open = now;
  }
  const open = openFiles(node.pid);
  console.log(`${count} backends: ${open} files open after ${turns + 1} warm-ups`);
  return open;
}

export async function backends(rig, { runs, seconds, sizes }) {
  const plan = [];
  for (const count of sizes.backends) {
    const node = await new Portolan(rig, `backends-${count}`, { backends: count, probeMs: sizes.probeMs }).start();
    const files = await node.explaining(() => warmConnections(rig, node, count, seconds));
    plan.push({ name: `${count} backends`, node, files, pid: node.pid, complaints: () => node.complaints() });
  }
  await idleShares(plan, 2 * sizes.probeMs);
  // As long as a round of probes, so that each measurement has its share of them.
  const long = Math.max(seconds, Math.ceil(sizes.probeMs / 1000));
  const measureOne = async ({ pid, node, idle }) => {
    const r = await cpuARequest(pid, () => load(rig, { port: node.ports.public, seconds: long }));
    return { ...r, cpu_us: ((r.cpu_s - idle * r.elapsed_s) * 1e6) / r.requests, cpu_us_with_probes: r.cpu_us };
  };
  const figures = await grow('backends', runs, plan, measureOne);
  await end(plan);
  return { ...figures, probe_interval_ms: sizes.probeMs, open_files: Object.fromEntries(plan.map(({ name, files }) => [name, files])), idle_cpu_ms_a_second: Object.fromEntries(plan.map(({ name, idle }) => [name, idle * 1e3])) };
}

async function tokens(rig, { runs, seconds, sizes }) {
  const node = await new Portolan(rig, 'tokens', { tokenCache: TOKEN_CACHE }).start();
  const plan = [];
  for (const count of sizes.tokens) {
    const file = rig.writeTokens(`tokens-${count}`, Array(count).fill('acme/de'));
    const options = { port: node.ports.public, tokens: file };
    await node.explaining(() => warm(rig, options, count, seconds));
    plan.push({ name: `${count} tokens`, pid: node.pid, options, complaints: () => node.complaints() });
  }
  const figures = await grow('tokens', runs, plan, ({ pid, options }) => cpuARequest(pid, () => load(rig, { ...options, seconds })));
  await end([{ node }]);
  return figures;
}

async function end(plan) {
  for (const { node } of plan) {
    node.checkOrigins(ORIGINS_MIN);
    await node.stop();
  }
}

export async function scale(rig, options) {
  return { tenants: await tenants(rig, options), backends: await backends(rig, options), tokens: await tokens(rig, options) };
}
