// Large prompts: 400 KB of chat, unary. Beside the rivals stands the floor: what scanning,
// hashing, encrypting and copying those bytes must cost on this machine, by bench_micro.
import { alternate, cpuARequest, load, medians } from './measure.mjs';
import { Portolan } from './portolan.mjs';
import { LOAD_CORE, run } from './process.mjs';

const BODY_BYTES = 400_000;
const FLOOR_FACTOR = 2;
const ORIGINS_MIN = 10;
const CONNECTIONS = 16;

// A conversation of many turns, as long prompts are: prose, code, escapes, some UTF-8.
export function chatBody(bytes, { modelLast = false } = {}) {
  const texts = [
    'The quick brown fox jumps over the lazy dog; the committee met on Tuesday and agreed to publish its minutes.\n',
    'for (int i = 0; i < n; i++) {\n\tprintf("%d\\n", values[i]);\n}\n',
    'Gr\u00fc\u00dfe aus K\u00f6ln, d\u00e9j\u00e0 vu, \u017dlu\u0165ou\u010dk\u00fd k\u016f\u0148, \u0391\u03b8\u03ae\u03bd\u03b1: the \u20ac zone.\n',
  ];
  const messages = [];
  let size = 200;
  for (let i = 0; size < bytes; i++) {
    const content = texts[i % texts.length].repeat(20);
    messages.push({ role: i % 2 === 0 ? 'user' : 'assistant', content });
    size += Buffer.byteLength(JSON.stringify(messages.at(-1))) + 1;
  }
  const rest = { messages, temperature: 0.2, max_tokens: 256 };
  return JSON.stringify(modelLast ? { ...rest, model: 'mistral' } : { model: 'mistral', ...rest });
}

// Whether a side does the work at all: what it says to one request, or null.
async function obstacle(rig, port, body) {
  try {
    await load(rig, { port, body, requests: 3, connections: 1 });
    return null;
  } catch (error) {
    return /status \d+/.exec(error.message)?.[0] ?? error.message.trim().split('\n').at(-1);
  }
}

export async function large(rig, { runs, seconds }) {
  rig.write('large.json', chatBody(BODY_BYTES));
  const micro = JSON.parse(run('taskset', ['-c', String(LOAD_CORE), rig.program('bench_micro'), rig.at('large.json'), String(Math.min(1, seconds))]));
  const backendPort = rig.ports['8022'];
  const backend = await rig.startLargeBackend();
  const portolan = await new Portolan(rig, 'large', { durability: rig.options.durability, backendPort }).start();
  const haproxy = await rig.startHaproxy({ config: rig.haproxyFor(backendPort) });
  const bare = await rig.startBare(backendPort);
  const sides = [
    { name: 'haproxy tlsmtls', pid: haproxy.pid, port: rig.ports['8104'] },
    { name: 'haproxy full', pid: haproxy.pid, port: rig.ports['8103'] },
    { name: 'bare', pid: bare.pid, port: rig.ports.bare },
    { name: 'portolan', pid: portolan.pid, port: portolan.ports.public, complaints: () => portolan.complaints() },
  ];
  rig.write('large-last.json', chatBody(BODY_BYTES, { modelLast: true }));
  const cannot = {};
  for (const [body, what] of [['large.json', 'a body of 400 KB'], ['large-last.json', '"model" behind the messages']]) {
    for (const side of [...sides]) {
      const why = await obstacle(rig, side.port, body);
      if (why === null) continue;
      if (side.name !== 'haproxy full') throw new Error(`${side.name} did not carry ${what}: ${why}\n${await side.complaints?.() ?? ''}`);
      cannot[side.name] ??= `${what} (${why}: it reads one buffer of 16 KiB, tune.bufsize, of a body)`;
      console.log(`${side.name} can't: ${cannot[side.name]}`);
      if (body === 'large.json') sides.splice(sides.indexOf(side), 1);
    }
  }
  const once = (port) => load(rig, { port, body: 'large.json', seconds, connections: CONNECTIONS });
  const results = await alternate(runs, sides, ({ port, pid }) => cpuARequest(pid, () => once(port)), (r) =>
    `${r.cpu_us.toFixed(0)} us CPU a request, ${Math.round(r.rps)} requests/s, p50 ${r.p50_ms.toFixed(2)} ms`);
  portolan.checkOrigins(ORIGINS_MIN);
  for (const child of [haproxy, bare, backend]) await rig.processes.stop(child);
  await portolan.stop();
  const floor = micro.copy.us + micro.sha256.us + 2 * micro.aes256gcm.us + micro.scan.us;
  const figures = { micro, floor_us: floor, bar_us: FLOOR_FACTOR * floor };
  console.log(`scan ${micro.scan.gb_s.toFixed(2)}, SHA-256 ${micro.sha256.gb_s.toFixed(2)}, HMAC ${micro.hmac.gb_s.toFixed(2)}, AES-256-GCM ${micro.aes256gcm.gb_s.toFixed(2)}, copy ${micro.copy.gb_s.toFixed(1)} GB/s`);
  console.log(`bar: ${FLOOR_FACTOR} x (copy + SHA-256 + 2 x AES-256-GCM + scan) = ${figures.bar_us.toFixed(0)} us a body of ${micro.bytes} bytes`);
  return { body_bytes: micro.bytes, cannot, results, medians: Object.fromEntries(Object.entries(results).map(([name, list]) => [name, medians(list)])), ...figures };
}
