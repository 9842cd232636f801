// Added latency at half of the saturation rate, over the model server asked directly at the same
// rate. Constant rate, open loop (bench_load): a request's time counts from when it was due.
import { alternate, load, medians } from './measure.mjs';
import { Portolan } from './portolan.mjs';

const ORIGINS_MIN = 100;
const SHARE = 0.5;

export async function latency(rig, { runs, seconds }) {
  const disk = await new Portolan(rig, 'latency-disk', { durability: 'disk' }).start();
  const memory = await new Portolan(rig, 'latency-process', { durability: 'process' }).start();
  const haproxy = await rig.startHaproxy();
  const saturation = async (port) => {
    await load(rig, { port, seconds: 1 });
    return (await load(rig, { port, seconds: Math.max(2, seconds / 2) })).rps;
  };
  // This also opens the connections to the model server that the measurements then use.
  const saturated = {
    'portolan disk': await saturation(disk.ports.public), 'portolan process': await saturation(memory.ports.public),
    'haproxy full': await saturation(rig.ports['8103']),
  };
  const rate = Math.floor(saturated['portolan disk'] * SHARE);
  const rivalRate = Math.floor(saturated['haproxy full'] * SHARE);
  const direct = { port: rig.ports['8002'], cert: 'client.pem' };
  const complaints = (node) => () => node.complaints();
  const plan = [
    { name: 'direct', port: direct, rate }, { name: 'portolan disk', port: { port: disk.ports.public }, rate, complaints: complaints(disk) },
    { name: 'portolan process', port: { port: memory.ports.public }, rate, complaints: complaints(memory) },
    { name: 'direct, rival\'s rate', port: direct, rate: rivalRate }, { name: 'haproxy full', port: { port: rig.ports['8103'] }, rate: rivalRate },
  ];
  const results = await alternate(runs, plan, (side) => load(rig, { ...side.port, rate: side.rate, seconds }), (r) =>
    `${Math.round(r.rps)} requests/s, p50 ${r.p50_ms.toFixed(3)} ms, p99 ${r.p99_ms.toFixed(3)} ms, longest ${r.max_ms.toFixed(1)} ms`);
  const middle = Object.fromEntries(plan.map(({ name }) => [name, medians(results[name])]));
  const over = (name, base) => ({ p50_ms: middle[name].p50_ms - middle[base].p50_ms, p99_ms: middle[name].p99_ms - middle[base].p99_ms });
  const added = {
    'portolan disk': over('portolan disk', 'direct'), 'portolan process': over('portolan process', 'direct'),
    'haproxy full': over('haproxy full', 'direct, rival\'s rate'),
  };
  for (const [name, { p50_ms, p99_ms }] of Object.entries(added)) console.log(`${name} adds p50 ${p50_ms.toFixed(3)} ms, p99 ${p99_ms.toFixed(3)} ms`);
  for (const node of [disk, memory]) {
    node.checkOrigins(ORIGINS_MIN);
    await node.stop();
  }
  await rig.processes.stop(haproxy);
  return { saturation_rps: saturated, rates: { portolan: rate, 'haproxy full': rivalRate }, results, medians: middle, added };
}
