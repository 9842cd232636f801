// SIGTERM: the node says that it goes, takes what still comes, and ends when everything that it
// answered has arrived.
import assert from 'node:assert/strict';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { ask, attestationsOf, beginStream, BINARY, chat, chatBody, endedWith, useMesh } from './lib.mjs';
import { chatHead, Held } from './held.mjs';
import { Child } from './process.mjs';

const WAIT_MS = 1500;
const ANSWER_BYTES = 8 * 1024 * 1024;

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 }],
  config: (config) => { config.timeouts = { drain_wait_ms: WAIT_MS, drain_ms: 30_000 }; },
});

const german = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });

// Ends the node by SIGTERM, and starts it again when `action` is done.
async function whileDraining(mesh, action) {
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  mesh.central.child.signal('SIGTERM');
  await action();
  const { code } = await mesh.central.child.exited;
  assert.equal(code, 0, mesh.central.child.tail());
  await mesh.central.start();
}

scene('not ready at once, accepting for a while, and every answer ends its connection', async (mesh) => {
  const who = await german(mesh);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  let answer = await ask(mesh.central, who, { body: chatBody(), agent });
  assert.notEqual(answer.headers.connection, 'close');
  await whileDraining(mesh, async () => {
    const ready = await mesh.central.until('it is not ready', async () => {
      const one = await mesh.central.admin('/ready');
      return one.status === 503 && one;
    });
    assert.equal(JSON.parse(ready.text).reason, 'draining');
    answer = await ask(mesh.central, who, { body: chatBody(), agent }); // the kept one
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.connection, 'close');
    answer = await chat(mesh.central, who); // a new one
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.connection, 'close');
  });
  agent.destroy();
});

scene('a slow reader gets all of an answer that is over for the node', async (mesh) => {
  const who = await german(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.script({ body: { text: 'x'.repeat(ANSWER_BYTES) } });
  const reading = new Promise((resolve, reject) => {
    let bytes = 0;
    const request = https.request({ host: mesh.central.host, port: mesh.central.port,
      path: '/v1/chat/completions', method: 'POST', agent: false, ca: mesh.central.ca,
      servername: mesh.central.servername, headers: { host: mesh.central.authority,
        authorization: `Bearer ${who.token}`, 'x-forwarded-for': '194.25.0.125',
        'content-type': 'application/json' } }, (answer) => {
      mesh.central.child.signal('SIGTERM');
      answer.on('data', (chunk) => {
        bytes += chunk.length;
        answer.pause();
        setTimeout(() => answer.resume(), 5); // the rate of the reader, not a wait for luck
      });
      answer.once('end', () => resolve({ bytes, complete: answer.complete }));
      answer.once('error', reject);
    });
    request.once('error', reject);
    request.end(JSON.stringify(chatBody()));
  });
  const { bytes, complete } = await reading;
  assert.ok(complete);
  assert.ok(bytes > ANSWER_BYTES, `${bytes} bytes`);
  const { code } = await mesh.central.child.exited;
  assert.equal(code, 0, mesh.central.child.tail());
  await mesh.de.script({});
  await mesh.central.start();
});

scene('while streams are finished nobody new is kept waiting', async (mesh) => {
  const who = await german(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.hold(true);
  const waits = chat(mesh.central, who);
  await mesh.de.until('in_flight=1');
  mesh.central.child.signal('SIGTERM');
  await mesh.central.until('the sockets are closed', () => new Promise((resolve) => {
    const socket = net.connect(mesh.central.port, '127.0.0.1', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error) => resolve(error.code === 'ECONNREFUSED'));
  }));
  assert.ok(mesh.central.child.running);
  await mesh.de.hold(false);
  assert.equal((await waits).status, 200);
  const { code } = await mesh.central.child.exited;
  assert.equal(code, 0);
  await mesh.central.start();
});

// --- What is not done when the time is over ------------------------------------------------

// A request on its way, in its agent's one connection; its body, once it is answered.
const begin = (mesh, who, agent, body = {}) =>
  ask(mesh.central, who, { body: chatBody(body), agent });

// On one worker with one slot: a request that the backend has, one on an older connection that
// waits for its slot, and one whose body is still coming, when the node is told to stop.
async function whileBusy(mesh, check) {
  const who = await german(mesh);
  await mesh.central.restart((config) => {
    config.workers = 1;
    config.timeouts = { drain_wait_ms: 0, drain_ms: 500 };
  });
  const agents = Array.from({ length: 2 }, () => new https.Agent({ keepAlive: true, maxSockets: 1 }));
  const [older, newer] = agents;
  const places = mesh.readCharter().tenants['acme/de'].process_in;
  try {
    await mesh.signCharter((charter) => {
      charter.backends['de-1'].slots = 1;
      charter.tenants['acme/de'].process_in = ['DE']; // it waits for its slot, and goes nowhere else
    });
    await mesh.reload([mesh.central]);
    await mesh.serves(mesh.central, 'acme/de', 'DE');
    assert.equal((await begin(mesh, who, older)).status, 200);
    const uploading = await Held.open(mesh.central);
    uploading.write(chatHead(mesh.central, who.token, 1000)).write('{"model":"small"');
    await mesh.de.hold(true);
    const has = begin(mesh, who, newer);
    await mesh.de.until('in_flight=1');
    const waits = begin(mesh, who, older);
    await mesh.central.until('one waits', async () =>
      await mesh.central.metric('portolan_queued') === 1);
    mesh.central.child.signal('SIGTERM');
    const answers = await Promise.all([has, waits]);
    await uploading.closed;
    const { code, signal } = await mesh.central.child.exited;
    assert.equal(code, 0, `${signal} ${mesh.central.child.tail()}`);
    await check({ answers, uploaded: uploading.text, run: mesh.central.readLedger().at(-1) });
  } finally {
    agents.forEach((agent) => agent.destroy());
    await mesh.de.hold(false);
    await mesh.central.restart((config) => {
      delete config.workers;
      config.timeouts = { drain_wait_ms: WAIT_MS, drain_ms: 30_000 };
    });
    await mesh.signCharter((charter) => {
      charter.backends['de-1'].slots = 16;
      charter.tenants['acme/de'].process_in = places;
    });
    await mesh.reload([mesh.central]);
  }
}

async function checkCut(mesh, { answers, uploaded, run }) {
  for (const answer of answers) {
    assert.equal(answer.status, 503, answer.text);
    assert.equal(answer.json().error.code, 'overloaded');
    assert.equal(answer.headers.connection, 'close');
  }
  assert.match(uploaded, /^HTTP\/1\.1 503 [^]*\r\nConnection: close\r\n[^]*"code":"overloaded"/);
  const [sent, denied] = answers.map((one) => attestationsOf(one)[0].claims);
  assert.equal(sent.verdict, 'permit');
  const a2 = run.a2.find((one) => one.txn === sent.txn);
  assert.equal(a2.end, 'drained');
  assert.equal(a2.status, 503);
  assert.deepEqual(a2.attempts.map((one) => [one.target, one.outcome]), [['de-1', 'drained']]);
  assert.equal(denied.verdict, 'deny');
  assert.equal(denied.reason, 'overloaded');
  // The last two records are denials: of the one that waited, and of the one that was not whole.
  assert.equal(run.a1.filter((one) => one.claims.reason === 'overloaded').length, 2);
  assert.equal(run.a1.filter((one) => one.claims.reason === 'client_abort').length, 0);
  assert.equal(run.control.at(-1).kind, 'run_end');
  assert.equal(run.control.at(-1).reason, 'stop');
  const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, / 0 lost, 0 open/);
}

scene('what is not done within drain_ms is refused, and on record as that', (mesh) =>
  whileBusy(mesh, (seen) => checkCut(mesh, seen)));

// --- The law -------------------------------------------------------------------------------

scene('a charter that comes while the node drains is its law', async (mesh) => {
  const who = await german(mesh);
  const before = mesh.readCharter();
  await mesh.signCharter((charter) => {
    charter.backends['de-1'].slots = 1;
    charter.tenants['acme/de'].on_revoke = 'cut';
  });
  await mesh.reload([mesh.central]);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.script({ stall_after_events: 2 });
  const stream = await beginStream(mesh.central, who);
  const waits = chat(mesh.central, who);
  await mesh.central.until('one waits', async () =>
    await mesh.central.metric('portolan_queued') === 1);
  mesh.central.child.signal('SIGTERM');
  await mesh.central.until('it drains', async () =>
    (await mesh.central.admin('/ready')).status === 503);
  await mesh.signCharter((charter) => { charter.tenants['acme/de'].operators_from = ['FR']; });
  const reload = await mesh.reloadBy(mesh.central);
  assert.equal(reload.code, 0, reload.stderr);
  assert.equal((await stream.end).broken, 'ECONNRESET', 'no final chunk');
  assert.equal(endedWith(stream), 'residency_denied');
  const refused = await waits;
  assert.equal(refused.status, 403, refused.text);
  assert.equal(attestationsOf(refused)[0].claims.charter.version, mesh.readCharter().version);
  const { code } = await mesh.central.child.exited;
  assert.equal(code, 0, mesh.central.child.tail());
  const run = mesh.central.readLedger().at(-1);
  assert.equal(run.a2.at(-1).end, 'denied');
  assert.equal(run.control.filter((one) => one.kind === 'charter').at(-1).version,
    mesh.readCharter().version);
  await mesh.de.script({});
  await mesh.signCharter((charter) => {
    Object.assign(charter, before, { version: charter.version });
  });
  await mesh.central.start();
});

// --- Sockets that a service manager opened -------------------------------------------------

// Opens the ports as fds 3 and up, and becomes the node.
const ACTIVATE = String.raw`
use POSIX ();
use Socket;
my @sockets;
for my $port (split /,/, shift) {
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or die;
    bind($s, sockaddr_in($port, INADDR_LOOPBACK)) or die;
    listen($s, 64) or die;
    push @sockets, $s;
}
POSIX::dup2(fileno($sockets[$_]), 20 + $_) for 0 .. $#sockets;
for (0 .. $#sockets) {
    POSIX::dup2(20 + $_, 3 + $_);
    POSIX::close(20 + $_);
}
$ENV{LISTEN_PID} = $$;
$ENV{LISTEN_FDS} = @sockets;
exec @ARGV or die;
`;

function activated(mesh, ports, names) {
  return new Child('perl', ['-e', ACTIVATE, ports.join(','), BINARY, 'node', '--config',
    mesh.central.config], { log: path.join(mesh.logs, `activated-${names}.log`),
    env: { LISTEN_FDNAMES: names } });
}

scene('sockets of the service manager are used, and wrong ones are named', async (mesh) => {
  const ports = [mesh.ports.base + 28, mesh.ports.base + 29];
  await mesh.central.stop();
  for (const [names, words] of [['public:metrics', /names are public, mesh and admin/],
    ['public:public', /two of that name/], ['public:admin:mesh', /a name without a socket/]]) {
    const child = activated(mesh, ports, names);
    assert.equal((await child.exited).code, 1, child.tail());
    assert.match(child.tail(), words);
  }
  // Other ports than the config's: who answers there was given them.
  const child = activated(mesh, ports, 'public:admin');
  await child.until('it is ready', async () =>
    (await fetch(`http://127.0.0.1:${ports[1]}/ready`)).status === 200);
  const there = { host: '127.0.0.1', port: ports[0], ca: mesh.central.ca,
    servername: 'localhost', authority: `localhost:${ports[0]}` };
  const who = await german(mesh);
  await child.until('it serves', async () => (await chat(there, who)).status === 200);
  const { code } = await child.end();
  assert.equal(code, 0, child.tail());
  await mesh.central.start();
});
