// A point at which nothing is under way: every count of the node is back at zero, and what is
// left is what it holds for itself.
import { until } from '../function/lib.mjs';

const ZERO = ['portolan_requests', 'portolan_queued', 'portolan_ledger_open_requests',
  'portolan_body_bytes', 'portolan_record_bytes', 'portolan_buffer_bytes'];

async function metrics(node) {
  const { text } = await node.admin('/metrics');
  return new Map(text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

// Each peer keeps the connection of its probes.
async function isQuiet(node, peers) {
  const all = await metrics(node);
  const busy = [...all].filter(([name, value]) => (value !== 0
    && (ZERO.includes(name) || name.startsWith('portolan_backend_in_flight')))
    || (name === 'portolan_clients' && value > peers));
  if (busy.length > 0) {
    throw new Error(busy.map(([name, value]) => `${name} ${value}`).join(', '));
  }
  return true;
}

// Ends the model servers once, so that no kept connection counts as held, and waits for zero; and
// for the one connection of each of them that is always there, that of its probes.
export async function quiet(mesh) {
  for (const standin of mesh.standins.values()) {
    await standin.stop();
    await standin.start();
  }
  for (const node of mesh.nodes.values()) {
    await node.until('nothing is under way', () => isQuiet(node, mesh.nodes.size - 1), 60_000);
    await mesh.meets(node);
  }
  for (const standin of mesh.standins.values()) {
    await until(`${standin.name} is probed`, async () => (await standin.stats()).connections >= 1);
  }
}

// {heap, resident, descriptors} of a quiet node: the least of a few looks, since probes and
// adverts hold something for a moment too.
export async function footprint(node) {
  const looks = [];
  await until('enough looks', async () => {
    const all = await metrics(node);
    looks.push({ heap: all.get('portolan_heap_bytes'),
      resident: all.get('process_resident_memory_bytes'),
      descriptors: all.get('process_open_fds') });
    return looks.length === 50;
  });
  const least = (name) => Math.min(...looks.map((one) => one[name]));
  return { heap: least('heap'), resident: least('resident'), descriptors: least('descriptors') };
}
