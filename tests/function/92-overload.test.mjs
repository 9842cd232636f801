// Limits of descriptors, memory and connections, and what the node gives up first: accepting,
// then what waits, then new requests. The admin listener always answers.
import assert from 'node:assert/strict';
import https from 'node:https';
import { ask, chat, chatBody, statusesOf, until, useMesh } from './lib.mjs';
import { chatHead, Held } from './held.mjs';

const MIB = 1024 * 1024;
const BODY = 8 * MIB;
const PROXY = '127.0.0.2'; // the trusted one; other callers are on their own
const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 1 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 }],
  config: (config) => {
    config.workers = 2;
    config.limits = { memory_mib: 64 };
  },
  charter: (charter) => {
    for (const name of ['acme', 'acme/de', 'acme/fr']) {
      delete charter.tenants[name]?.limits;
    }
    charter.tenants['acme/de'].process_in = ['DE'];
    charter.tenants.acme.passthrough = ['/v1/own/thing'];
  },
});

const caller = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });
const used = (node, resource) => node.metric(`portolan_resource_used{resource="${resource}"}`);
const stage = (node, resource) => node.metric(`portolan_pressure_stage{resource="${resource}"}`);
const refused = (node, reason) =>
  node.metric(`portolan_connections_refused_total{reason="${reason}"}`);
const acted = (node, action) =>
  node.metric(`portolan_overload_actions_total{action="${action}"}`);

async function permille(node, resource) {
  const max = await node.metric(`portolan_resource_max{resource="${resource}"}`);
  return (await used(node, resource)) * 1000 / max;
}

const endAll = (held) => Promise.all(held.splice(0).map((one) => one.end()));

// A client that has sent `bytes` of a larger body, all of which the node holds.
async function fill(node, token, bytes, held, options) {
  const before = await node.metric('portolan_body_bytes');
  const one = await Held.open(node, options);
  held.push(one);
  one.write(chatHead(node, token, BODY)).write(Buffer.alloc(bytes, ' '));
  await node.until('the body is held', async () =>
    one.isClosed || (await node.metric('portolan_body_bytes')) >= before + bytes);
  return one;
}

// What a connection holds on its way through is given back with the turn: two looks agree.
async function settled(node) {
  return until('memory is settled', async () => {
    const first = await permille(node, 'memory');
    return first === await permille(node, 'memory') ? first : 0;
  });
}

// Bodies until memory is used to at least `target` per thousand, and less than 30 more.
async function fillTo(node, token, target, held) {
  while (await settled(node) < target - 125) {
    await fill(node, token, 5 * MIB, held);
  }
  while (await settled(node) < target) {
    await fill(node, token, 600 * 1024, held);
  }
  const now = await settled(node);
  assert.ok(now >= target && now < target + 30, `${now} of ${target}`);
}

// A request that would keep its connection.
async function keptChat(node, who) {
  const agent = new https.Agent({ keepAlive: true });
  try {
    return await ask(node, who, { body: chatBody(), agent });
  } finally {
    agent.destroy();
  }
}

async function adminAnswers(node) {
  for (const where of ['/health', '/ready', '/metrics']) {
    const answer = await node.admin(where);
    assert.equal(answer.status, 200, `${where}: ${answer.text}`);
  }
}

function isOverloaded(answer) {
  assert.equal(answer.status, 503, answer.text);
  assert.equal(answer.json().error.code, 'overloaded');
  const after = Number(answer.headers['retry-after']);
  assert.ok(Number.isInteger(after) && after >= 1 && after <= 60, String(after));
  return after;
}

scene('memory at 80, 90 and 95 %: rests, sheds, refuses; and comes back', async (mesh) => {
  const node = mesh.central;
  const who = await caller(mesh);
  const held = [];
  await mesh.serves(node, 'acme/de', 'DE');
  assert.equal((await keptChat(node, who)).headers.connection, undefined);

  await fillTo(node, who.token, 820, held);
  assert.equal(await stage(node, 'memory'), 1);
  const waiting = await Held.open(node);
  assert.equal((await chat(node, who)).status, 200);
  assert.ok(await acted(node, 'accepting_rested') > 0);
  assert.equal(await acted(node, 'connection_closed'), 0);

  await fillTo(node, who.token, 905, held);
  assert.equal(await stage(node, 'memory'), 2);
  await waiting.closed; // it has brought no request for a second
  assert.ok(await acted(node, 'connection_closed') > 0);
  await mesh.de.hold(true);
  const running = keptChat(node, who);
  await mesh.de.until('in_flight=1');
  isOverloaded(await chat(node, who)); // it would have to queue
  assert.equal(await acted(node, 'queueing_refused'), 1);
  assert.equal(await node.metric('portolan_queued'), 0);

  await fillTo(node, who.token, 950, held);
  assert.equal(await stage(node, 'memory'), 3);
  const afters = [];
  for (let i = 0; i < 12; i += 1) {
    // Whoever it is, and before a byte of the body.
    afters.push(isOverloaded(await ask(node, i % 2 === 0 ? who : {}, { body: chatBody() })));
  }
  assert.ok(new Set(afters).size > 1, `no jitter: ${afters}`);
  isOverloaded(await ask(node, {}, { path: '/v1/own/thing', body: chatBody() }));
  const unread = await Held.open(node);
  unread.write(chatHead(node, who.token, BODY));
  await unread.closed;
  assert.deepEqual(statusesOf(unread.text), [503]);
  assert.match(unread.text, /\r\nRetry-After: \d+\r\n/);
  assert.ok(await acted(node, 'request_refused') >= 13);
  await node.until('they are counted in the ledger', () =>
    node.readLedger().at(-1).control.filter((leaf) => leaf.kind === 'refusals')
      .reduce((sum, leaf) => sum + (leaf.counts.overloaded ?? 0), 0) >= 13);
  assert.equal((await ask(node, {}, { path: '/.well-known/jwks.json' })).status, 200);
  await adminAnswers(node);

  // What runs already ends well, and says that the connection is not kept.
  await mesh.de.hold(false);
  const answer = await running;
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers.connection, 'close');

  await endAll(held);
  await node.until('calm', async () => (await stage(node, 'memory')) === 0);
  const again = await keptChat(node, who);
  assert.equal(again.status, 200, again.text);
  assert.equal(again.headers.connection, undefined);
});

scene('memory that is full: bodies under way are refused before they grow', async (mesh) => {
  const node = mesh.central;
  const { token } = await caller(mesh);
  const held = [];
  const growing = [];
  for (let i = 0; i < 4; i += 1) {
    growing.push(await fill(node, token, 3 * MIB, held));
  }
  await fillTo(node, token, 950, held);
  for (const one of growing) {
    one.write(Buffer.alloc(4 * MIB, ' '));
  }
  await until('one is refused', () => growing.some((one) => statusesOf(one.text).includes(503)));
  assert.ok(await acted(node, 'body_refused') >= 1);
  assert.ok(await used(node, 'memory') < 64 * MIB * 1.25, String(await used(node, 'memory')));
  const [first] = growing.filter((one) => statusesOf(one.text).includes(503));
  assert.match(first.text, /"overloaded"/);
  assert.match(first.text, /\r\nRetry-After: \d+\r\n/);
  await adminAnswers(node);
  await endAll(held);
  await node.until('calm', async () => (await stage(node, 'memory')) === 0);
});

scene('the budget of bodies: at its maximum, and one byte beyond', async (mesh) => {
  const node = mesh.central;
  const held = [];
  await node.restart((config) => { config.limits = { body_budget_mib: 16 }; });
  const { token } = await caller(mesh);
  await fill(node, token, BODY - 8, held);
  await fill(node, token, BODY - 8, held);
  const last = await fill(node, token, 16, held);
  assert.equal(await node.metric('portolan_body_bytes'), 16 * MIB);
  assert.equal(last.text, '');
  last.write(' ');
  await last.closed;
  assert.deepEqual(statusesOf(last.text), [503]);
  assert.match(last.text, /"overloaded"/);
  assert.match(last.text, /\r\nRetry-After: \d+\r\n/);
  assert.equal(await acted(node, 'body_refused'), 1);
  await endAll(held);
  await node.until('all is given back', async () =>
    (await node.metric('portolan_body_bytes')) === 0);
});

scene('connections of one address: counted before TLS, but for trusted proxies', async (mesh) => {
  const node = mesh.central;
  const held = [];
  const open = async (localAddress) => {
    const one = await Held.open(node, { localAddress });
    held.push(one);
    return one.isOpen;
  };
  await node.restart((config) => {
    config.listeners.public.trusted_proxies = [`${PROXY}/32`];
    config.limits = { connections_per_address: 5 };
  });
  for (let i = 0; i < 5; i += 1) {
    assert.equal(await open('127.0.0.1'), true);
  }
  assert.equal(await open('127.0.0.1'), false);
  assert.equal(await refused(node, 'connections_per_address'), 1);
  assert.equal(await open('127.0.0.3'), true);
  for (let i = 0; i < 8; i += 1) {
    assert.equal(await open(PROXY), true);
  }
  assert.equal(await node.metric('portolan_client_addresses'), 2);
  await held[0].end();
  await until('its place is free', () => open('127.0.0.1'));
  assert.equal(await open('127.0.0.1'), false);
  // A reload changes the limit; those that are there stay.
  node.changeConfig((config) => { config.limits = { connections_per_address: 6 }; });
  node.child.signal('SIGHUP');
  await node.until('reloaded', async () => (await node.metric('portolan_reloads_total')) === 1);
  assert.equal(await open('127.0.0.1'), true);
  assert.equal(await open('127.0.0.1'), false);
  await endAll(held);
  await node.until('none is counted', async () =>
    (await node.metric('portolan_client_addresses')) === 0);
});

scene('connections in all: at the maximum, and one beyond', async (mesh) => {
  const node = mesh.central;
  const held = [];
  const { token } = await caller(mesh);
  await mesh.west.stop(); // its probes are connections too
  await node.restart((config) => {
    config.listeners.public.trusted_proxies = ['127.0.0.0/8'];
    config.limits = { connections: 16 };
  });
  for (let i = 0; i < 16; i += 1) {
    const one = await fill(node, token, 16, held);
    assert.equal(one.isOpen, true, `connection ${i + 1}`);
  }
  assert.equal(await used(node, 'connections'), 16);
  const beyond = await Held.open(node);
  assert.equal(beyond.isOpen, false);
  assert.ok(await refused(node, 'connections') >= 1);
  // The connections that there are go on: nothing of the node's own is short.
  assert.equal(await stage(node, 'connections'), 2);
  held[0].write(Buffer.alloc(BODY - 16, ' '));
  await until('an answer', () => statusesOf(held[0].text).length === 1);
  assert.deepEqual(statusesOf(held[0].text), [400]);
  await adminAnswers(node);
  await endAll(held);
  await node.until('free again', async () => (await chat(node, await caller(mesh))).status === 200);
  await mesh.west.start();
});

scene('the admin listener is held open by 200 who ask nothing, and answers', async (mesh) => {
  const node = mesh.central;
  const { hostname: host, port } = new URL(node.adminUrl);
  const held = [];
  for (let i = 0; i < 200; i += 1) {
    held.push(await Held.open({ host, port: Number(port) }, { plain: true }));
  }
  await Promise.all(Array.from({ length: 10 }, () => adminAnswers(node)));
  await endAll(held);
});

scene('descriptors: 503 near the end, then no more; the admin listener answers', async (mesh) => {
  const node = mesh.central;
  const held = [];
  const who = await caller(mesh);
  node.prefix = ['prlimit', '--nofile=200:200'];
  await node.restart((config) => { config.limits = {}; });
  node.prefix = [];
  await mesh.serves(node, 'acme/de', 'DE');
  assert.ok(await node.metric('portolan_resource_max{resource="descriptors"}') < 200);
  while (await stage(node, 'descriptors') < 3) {
    await fill(node, who.token, 16, held);
    assert.ok(held.length < 200);
  }
  isOverloaded(await chat(node, who));
  await until('no descriptor is left for clients', async () => {
    held.push(new Held(node));
    return (await refused(node, 'descriptors')) > 0;
  }, 30_000);
  for (let i = 0; i < 5; i += 1) {
    await Promise.all(Array.from({ length: 10 }, () => adminAnswers(node)));
  }
  await endAll(held);
  await node.until('free again', async () => (await chat(node, who)).status === 200);
  await node.restart(() => {});
});
