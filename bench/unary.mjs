// Small requests, unary, as fast as they go: Portolan with everything on beside what HAProxy,
// nginx and a bare relay of our own do with less. wrk, the proxy alone on its core.
import { spawnSync } from 'node:child_process';
import { alternate, cpuARequest, medians, wrk } from './measure.mjs';
import { Portolan } from './portolan.mjs';
import { pssKib } from './process.mjs';

const ORIGINS_MIN = 100;
const PLAIN_RUNS_MAX = 3; // of the comparisons that no ratio needs

export async function unary(rig, { runs, seconds, perf }) {
  const portolan = await new Portolan(rig, 'unary', { durability: rig.options.durability }).start();
  const haproxy = await rig.startHaproxy();
  const nginx = await rig.startNginxProxy();
  const bare = await rig.startBare();
  const idle = pssKib(portolan.pid);
  const side = (name, child, port, scheme) => ({ name, pid: child.pid, url: rig.url(rig.ports[port], scheme) });
  const portolanSide = { name: 'portolan', pid: portolan.pid, url: portolan.url, complaints: () => portolan.complaints() };
  const sides = [
    side('haproxy tlsmtls', haproxy, '8104'), side('haproxy full', haproxy, '8103'),
    side('nginx tlsmtls', nginx, '8114'), side('bare', bare, 'bare'), portolanSide,
  ];
  const plain = [
    side('haproxy plain', haproxy, '8101', 'http'), side('nginx plain', nginx, '8111', 'http'),
    side('haproxy tls', haproxy, '8102'), side('nginx tls', nginx, '8112'),
  ];
  const measureOne = async (side) => {
    await wrk(rig, side.url, side.isWarm ? 1 : Math.min(2, seconds));
    side.isWarm = true;
    return cpuARequest(side.pid, () => wrk(rig, side.url, seconds));
  };
  const show = (r) => `${r.cpu_us.toFixed(1)} us CPU a request, ${Math.round(r.rps)} requests/s, p50 ${r.p50_ms.toFixed(2)} ms, p99 ${r.p99_ms.toFixed(2)} ms, ${Math.round(r.pss_kib / 1024)} MiB`;
  const results = {
    ...await alternate(runs, sides, measureOne, show),
    ...await alternate(Math.min(runs, PLAIN_RUNS_MAX), plain, measureOne, show),
  };
  if (perf) await record(rig, portolan, perf);
  const origins = portolan.checkOrigins(ORIGINS_MIN);
  console.log(`origins checked in ${origins} attestations: all looked up`);
  for (const child of [haproxy, nginx, bare]) await rig.processes.stop(child);
  await portolan.stop();
  const middle = Object.fromEntries(Object.entries(results).map(([name, list]) => [name, medians(list)]));
  const ratio = (name, rival) => middle[name].cpu_us / middle[rival].cpu_us;
  return {
    results, medians: middle, idle_pss_kib: idle, origins_checked: origins,
    ratios: {
      ratio_cpu_mtls: ratio('portolan', 'haproxy tlsmtls'),
      ratio_cpu_full: ratio('portolan', 'haproxy full'),
      ratio_cpu_bare: ratio('bare', 'haproxy tlsmtls'),
    },
  };
}

// Where the time goes: perf over all threads under load, for --perf.
async function record(rig, portolan, file) {
  const work = wrk(rig, portolan.url, 10);
  const perf = spawnSync('perf', ['record', '-g', '-o', file, '-p', String(portolan.pid), '--', 'sleep', '6'], { encoding: 'utf8' });
  if (perf.status !== 0) console.log(perf.error?.message ?? perf.stderr);
  await work;
}
