// Streams: many open at one time, a slow beat of events on each. CPU an event while all are open,
// and memory a stream: (PSS at N streams - PSS before) / N, all processes of a side, KB of 1,000 bytes. Each run has
// a fresh process, so that what an earlier one left allocated doesn't count as "before".
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { alternate, medians } from './measure.mjs';
import { Portolan } from './portolan.mjs';
import { connects, cpuSeconds, freePort, LOAD_CORE, openFilesMax, pssKib, sleep } from './process.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const WARM_STREAMS = 20;
const RIVAL_CONNECTIONS_MAX = 4000; // maxconn in rig/haproxy.cfg
const OPENING_EVERY_MS = 5000; // the beat while streams open: handshakes need the core
const OPENING_MS = 30000;
const OPENING_MS_STREAM = 30; // each
const FILES_SPARE = 1000;
const EVENTS_A_SECOND_MAX = 10000; // what one core gives that runs client and server of the rig
const RATE_MIN = 0.9; // of the planned events, below which the rig was the bottleneck

// A process that answers each line with a line of JSON.
class Talker {
  #waiting = [];

  constructor(child) {
    this.child = child;
    readline.createInterface({ input: child.stdout }).on('line', (line) => {
      this.last = JSON.parse(line);
      this.#waiting.shift()?.(this.last);
    });
    child.stdin.on('error', () => {}); // its end is told by `over`
    child.over.then(() => this.#waiting.splice(0).forEach((resolve) => resolve(this.last ?? {})));
  }

  ask(line) {
    return new Promise((resolve) => {
      if (this.child.ended()) {
        resolve(this.last ?? {});
        return;
      }
      this.#waiting.push(resolve);
      this.child.stdin.write(`${line}\n`);
    });
  }
}

function talk(rig, label, argv) {
  return new Talker(rig.processes.start(label, process.execPath, argv, { core: LOAD_CORE, cwd: rig.dir, stdin: 'pipe', stdout: 'pipe' }));
}

async function allOpen(client, streams, fail) {
  const deadline = Date.now() + OPENING_MS + streams * OPENING_MS_STREAM;
  for (let now = {}; now.open !== streams;) {
    await sleep(100);
    now = await client.ask('count');
    if (now.bad > 0 || client.child.ended()) throw fail('a stream failed');
    if (Date.now() > deadline) throw fail('the streams did not open in time');
  }
}

// Opens the streams, lets `during` look at them, ends them; every event must have arrived.
async function withStreams(rig, server, { port, streams, every }, during) {
  const before = await server.ask(`every ${OPENING_EVERY_MS}`);
  const client = talk(rig, 'sse client', [path.join(HERE, 'sse-client.mjs'), String(port), String(streams)]);
  const fail = (why) => new Error(`${why}: ${JSON.stringify(client.last)}`);
  try {
    await allOpen(client, streams, fail);
    await server.ask(`every ${every}`);
    const figures = await during(client);
    await server.ask('finish');
    const code = await Promise.race([client.child.over, sleep(OPENING_MS).then(() => 'late')]);
    if (code !== 0) throw fail('the streams did not end well');
    const after = await server.ask('count');
    if (client.last.events !== after.sent - before.sent) throw fail(`${after.sent - before.sent} events sent`);
    return figures;
  } finally {
    await rig.processes.stop(client.child);
  }
}

async function measureStreams(rig, server, { pid, port, streams, every, seconds }) {
  await withStreams(rig, server, { port, streams: WARM_STREAMS, every: 50 }, () => sleep(500));
  await sleep(500);
  const before = pssKib(pid);
  return withStreams(rig, server, { port, streams, every }, async (client) => {
    await sleep(Math.max(500, every));
    const first = await client.ask('count');
    const cpuFirst = cpuSeconds(pid);
    const started = Date.now();
    await sleep(seconds * 1000);
    const last = await client.ask('count');
    const cpu = cpuSeconds(pid) - cpuFirst;
    const rate = (last.events - first.events) / ((Date.now() - started) / 1000);
    const pss = pssKib(pid);
    return {
      cpu_us_event: (cpu * 1e6) / (last.events - first.events), events_a_second: rate,
      planned_events_a_second: (streams * 1000) / every, kb_a_stream: ((pss - before) * 1.024) / streams,
      pss_before_kib: before, pss_kib: pss,
    };
  });
}

// Fresh processes for one measurement of one side.
async function rivalRun(rig, server, options) {
  // The rival's own bound forbids more; the switch raises it and nothing else.
  const argv = options.streams + FILES_SPARE / 2 > RIVAL_CONNECTIONS_MAX ? ['-n', String(options.streams + FILES_SPARE / 2)] : [];
  const child = await rig.startHaproxy({ config: rig.haproxyFor(rig.ports.sse), port: rig.ports['8103'], argv });
  const figures = await measureStreams(rig, server, { ...options, pid: child.pid, port: rig.ports['8103'] })
    .finally(() => rig.processes.stop(child));
  return figures;
}

async function portolanRun(rig, server, options, name) {
  const node = await new Portolan(rig, name, { backendPort: rig.ports.sse, durability: rig.options.durability }).start();
  const figures = await measureStreams(rig, server, { ...options, pid: node.pid, port: node.ports.public })
    .catch(async (error) => { throw new Error(`${error.message}\n${await node.complaints()}`); });
  await node.stop();
  node.checkOrigins(Math.min(100, options.streams));
  return figures;
}

async function scene(rig, server, { streams, runs, seconds, isMain }) {
  // The rate is bounded by the rig's own core: more streams, a slower beat.
  const every = Math.max(100, Math.ceil((streams * 1000) / EVENTS_A_SECOND_MAX));
  const options = { streams, every, seconds };
  let serial = 0;
  const plan = [
    { name: 'haproxy full', measure: () => rivalRun(rig, server, options) },
    { name: 'portolan', measure: () => portolanRun(rig, server, options, `sse-${streams}-${serial++}`) },
  ];
  console.log(`${streams} streams, an event every ${every} ms on each`);
  const show = (r) => `${r.cpu_us_event.toFixed(1)} us CPU an event, ${r.kb_a_stream.toFixed(1)} KB a stream, ${Math.round(r.events_a_second)} events/s`;
  const cannot = {};
  const results = {};
  if (isMain) {
    Object.assign(results, await alternate(runs, plan, ({ measure }) => measure(), show));
  } else {
    // Beyond what the rival's configuration is made for; where it fails, it has no figure.
    for (const side of plan) {
      try {
        Object.assign(results, await alternate(runs, [side], ({ measure }) => measure(), show));
      } catch (error) {
        if (side.name === 'portolan') throw error;
        cannot[side.name] = error.message.trim();
        console.log(`no figure of ${cannot[side.name]}`);
      }
    }
  }
  const middle = Object.fromEntries(Object.entries(results).map(([name, list]) => [name, medians(list)]));
  const slow = Object.entries(middle).filter(([, m]) => m.events_a_second < RATE_MIN * m.planned_events_a_second).map(([name]) => name);
  if (slow.length > 0) console.log(`fewer events than planned with ${slow.join(' and ')}: a core was full`);
  return { streams, every_ms: every, cannot, results, medians: middle, below_planned_rate: slow };
}

// The largest number of streams that this process's limit of open files allows a proxy: two each.
function fitting(streams) {
  const room = Math.floor((openFilesMax() - FILES_SPARE) / 2);
  if (room >= streams) return streams;
  console.log(`${streams} streams need ${2 * streams + FILES_SPARE} open files, the limit is ${openFilesMax()}: ${room} streams instead`);
  return room;
}

// counts: of streams; the first is the one that goals are about, the others are measured once.
export async function sse(rig, { runs, seconds, counts }) {
  rig.ports.sse = await freePort();
  const server = talk(rig, 'sse server', [path.join(HERE, 'sse-server.mjs'), String(rig.ports.sse), '100']);
  await rig.processes.until('sse server', () => connects(rig.ports.sse));
  const scenes = [];
  for (const [i, streams] of counts.map(fitting).entries()) scenes.push(await scene(rig, server, { streams, runs: i === 0 ? runs : 1, seconds, isMain: i === 0 }));
  await rig.processes.stop(server.child);
  const [{ medians: m }] = scenes;
  return { scenes, ratios: { ratio_cpu_sse: m.portolan.cpu_us_event / m['haproxy full'].cpu_us_event } };
}
