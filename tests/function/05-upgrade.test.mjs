// A new process takes over while the old one works: no request is refused, none is cut, every one
// is on record once; and where the new one fails, the old one goes on as if nothing had been.
import assert from 'node:assert/strict';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { ask, attestationsOf, beginStream, BINARY, chat, chatBody, endedWith, run, until, useMesh } from './lib.mjs';
import { Child } from './process.mjs';

const STREAMS = 1000;
const OPENED_AT_ONCE = 50;
const CALLERS = 4;
const TOKENS = 40;
const IDLE_MS = 1500; // what a connection that looks idle gets when its process drains

const scene = useMesh({
  backends: [{ name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 4000 },
    { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 4000 }],
  charter: (charter) => {
    for (const tenant of Object.values(charter.tenants)) {
      delete tenant.limits;
    }
  },
  config: (config) => {
    config.timeouts = { drain_wait_ms: IDLE_MS, drain_ms: 60_000 };
    config.ledger = { segment_mib: 8 };
  },
});

const german = async (mesh) => ({ token: await mesh.token('acme/de'), from: 'DE' });
const logOf = (child) => readFileSync(child.log, 'utf8');

let serial = 0;

// A process beside the one that serves, with a log of its own.
function beside(mesh, node, { config = node.config, takeOver = true } = {}) {
  serial += 1;
  return new Child(BINARY, ['node', '--config', config, ...(takeOver ? ['--take-over'] : [])],
    { log: path.join(mesh.logs, `${node.name}-${serial}.log`), env: node.env });
}

// The new process serves and is the mesh's; gives the old one, which drains.
async function takeOver(mesh, node) {
  const old = node.child;
  const next = beside(mesh, node);
  await next.until('the takeover is done', () => logOf(next).includes('event=takeover.done')
    || logOf(next).includes('takeover.done'), 30_000);
  node.child = next;
  return old;
}

// Streams under way: each has its head, and bytes still to come. Not all at once: the model
// server is one thread, and each is a handshake of its own.
async function openStreams(mesh, count, who) {
  let heads = 0;
  const ends = [];
  while (ends.length < count) {
    for (let i = 0; i < OPENED_AT_ONCE && ends.length < count; i += 1) {
      const end = ask(mesh.central, who, { body: chatBody({ stream: true }),
        onHead: () => { heads += 1; } });
      end.catch(() => {}); // looked at by who waits for it
      ends.push(end);
    }
    await mesh.central.until('streams have begun', () => heads === ends.length, 40_000);
  }
  return ends;
}

function checkStream(answer) {
  assert.equal(answer.status, 200, answer.text);
  const events = answer.text.split('\n\n').filter((one) => one.startsWith('data: '));
  assert.equal(events.at(-1), 'data: [DONE]', 'the stream has its end');
  assert.ok(events.length > TOKENS, `${events.length} events`);
  assert.ok(!answer.text.includes('"error"'));
}

// Short requests without pause, half of them on kept connections; each must be answered 200.
function load(node, who) {
  let going = true;
  let count = 0;
  const faults = [];
  const callers = Array.from({ length: CALLERS }, async (_, i) => {
    const agent = i % 2 === 0 ? new https.Agent({ keepAlive: true, maxSockets: 1 }) : false;
    while (going) {
      try {
        const answer = await ask(node, who, { body: chatBody(), agent });
        if (answer.status !== 200) {
          faults.push(`${answer.status} ${answer.text}`);
        }
      } catch (error) {
        faults.push(`${error.code} ${error.message}`);
      }
      count += 1;
    }
    if (agent) {
      agent.destroy();
    }
  });
  return {
    count: () => count,
    more: (n = 20) => { const goal = count + n; return until('more answers', () => count >= goal); },
    end: () => { going = false; },
    stop: async () => {
      going = false;
      await Promise.all(callers);
      assert.deepEqual(faults, [], 'no request was refused or cut');
      return count;
    },
  };
}

// What a peer thinks of the node, all the time.
function watch(mesh) {
  let going = true;
  const gaps = [];
  const done = (async () => {
    while (going) {
      const { nodes } = JSON.parse((await mesh.west.admin('/ready')).text);
      if (nodes[mesh.central.name] !== true) {
        gaps.push(Date.now());
      }
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  })();
  return async () => { going = false; await done; assert.deepEqual(gaps, [], 'a peer saw no gap'); };
}

// Every request has its end. There may be more permits than requests: one that a peer refused
// goes elsewhere, and one whose record became durable while a new charter came into force was not
// sent under it, and decided anew.
async function checkEvidence(mesh, requests, { lost = 0 } = {}) {
  const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
  assert.equal(code, 0, stdout + stderr);
  const [, permits, completions] = /(\d+) permits, .* (\d+) completions/.exec(stdout).map(Number);
  const again = mesh.central.readLedger().flatMap((run) => run.a2)
    .reduce((sum, a2) => sum + a2.attempts.length - 1, 0);
  assert.equal(completions, requests, stdout);
  assert.equal(permits, requests + again, stdout);
  assert.match(stdout, new RegExp(`${lost} lost, 0 open`), stdout);
}

// How many requests have a permit so far, however many each.
const requestsOf = (node) => new Set(node.readLedger().flatMap((run) => run.a1)
  .filter((a1) => a1.claims.verdict === 'permit').map((a1) => a1.claims.txn)).size;

// Gone, with everything that it had to do done.
async function ended(child, timeoutMs = 60_000) {
  await until('the old process has ended', () => !child.running, timeoutMs);
  const { code, signal } = await child.exited;
  assert.equal(code, 0, `${signal} ${child.tail()}`);
}

// Streams, a load and a peer's view while `cross` does something to the node; gives how many
// requests there were. `after`: once every stream has had its end, with the load going on.
async function whileLoaded(mesh, cross, after = () => {}) {
  const who = await german(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  // Both: on a busy machine a probe may be late, and the other region's backend answers.
  const script = { token_interval_ms: 500, tokens: TOKENS };
  await mesh.de.script(script);
  await mesh.ie.script(script);
  const before = requestsOf(mesh.central);
  const streams = await openStreams(mesh, STREAMS, who);
  const callers = load(mesh.central, who);
  const stopWatching = watch(mesh);
  try {
    await callers.more();
    const open = await Promise.all([mesh.de, mesh.ie].map((one) => one.stats()));
    assert.ok(open[0].in_flight + open[1].in_flight >= STREAMS, 'all are still under way');
    await cross();
    await callers.more();
    for (const answer of await Promise.all(streams)) {
      checkStream(answer);
    }
    await after();
    await callers.more();
  } finally {
    callers.end();
  }
  const short = await callers.stop();
  await stopWatching();
  await mesh.de.script({});
  await mesh.ie.script({});
  return before + STREAMS + short;
}

scene(`${STREAMS} streams and a load cross a SIGHUP`, async (mesh) => {
  const requests = await whileLoaded(mesh, async () => {
    await mesh.signCharter();
    await mesh.reload([mesh.central]);
  });
  await mesh.whileStopped([mesh.central, mesh.west], () => checkEvidence(mesh, requests));
}, { timeout: 120_000 });

scene(`${STREAMS} streams and a load cross a change of the binary`, async (mesh) => {
  const runsBefore = mesh.central.readLedger().length - 1;
  let old;
  const requests = await whileLoaded(mesh, async () => {
    old = await takeOver(mesh, mesh.central);
    assert.ok(old.running, 'the old process still has its streams');
    const live = await mesh.verifyLedger(mesh.central);
    assert.equal(live.code, 0, live.stdout + live.stderr);
    assert.match(live.stdout, /a run goes on/);
  }, async () => {
    await ended(old);
    await mesh.central.until('the new process knows', () =>
      logOf(mesh.central.child).includes('ledger.run_over'));
  });
  // Every A1 has its A2, in the run of the process that had the request.
  const runs = mesh.central.readLedger().slice(runsBefore);
  assert.equal(runs.length, 2);
  assert.deepEqual(runs[1].control[0].previous, { live: true, run: runs[0].name.slice(14) });
  assert.deepEqual(runs[1].control.find((one) => one.kind === 'previous_end')?.frames,
    runs[0].frames.length);
  assert.equal(runs[0].control.at(-1).reason, 'stop');
  await mesh.whileStopped([mesh.central, mesh.west], async () => {
    await checkEvidence(mesh, requests);
    const { code, report, stdout, stderr } = await mesh.report();
    assert.equal(code, 0, stdout + stderr);
    assert.equal(report.complete, true, stdout);
  });
}, { timeout: 120_000 });

scene('the new process hands over in its turn, and a request that waits is answered', async (mesh) => {
  const who = await german(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.hold(true);
  const waits = chat(mesh.central, who);
  await mesh.de.until('in_flight=1');
  const first = await takeOver(mesh, mesh.central);
  const also = chat(mesh.central, who);
  await mesh.de.until('in_flight=2');
  const second = await takeOver(mesh, mesh.central);
  await mesh.de.hold(false);
  assert.deepEqual([(await waits).status, (await also).status], [200, 200]);
  await ended(first);
  await ended(second);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
});

// --- One law for both ----------------------------------------------------------------------

const forbid = (charter) => { charter.tenants['acme/de'].operators_from = ['FR']; };

// A stream of a tenant that says `cut` is the old process's, and the new one serves.
async function whileOldStreams(mesh, action) {
  const who = await german(mesh);
  const before = mesh.readCharter();
  await mesh.signCharter((charter) => { charter.tenants['acme/de'].on_revoke = 'cut'; });
  await mesh.reload([mesh.central]);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.script({ stall_after_events: 2 });
  const stream = await beginStream(mesh.central, who);
  const old = await takeOver(mesh, mesh.central);
  try {
    await action({ who, stream, old });
    await ended(old);
    const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
    assert.equal(code, 0, stdout + stderr);
  } finally {
    await mesh.de.script({});
    await mesh.signCharter((charter) => {
      Object.assign(charter, before, { version: charter.version });
    });
    await mesh.reload([mesh.central]);
    await mesh.serves(mesh.central, 'acme/de', 'DE');
  }
}

// What became of the stream is in the old one's run.
async function isCut(mesh, stream, { code, end, outcome }) {
  assert.equal((await stream.end).broken, 'ECONNRESET', 'no final chunk');
  assert.equal(endedWith(stream), code);
  const a2 = await until('the A2', () => mesh.central.readLedger().at(-2).a2
    .find((one) => one.txn === stream.id));
  assert.equal(a2.end, end);
  assert.deepEqual(a2.attempts.map((one) => one.outcome), [outcome]);
}

const revoked = { code: 'residency_denied', end: 'denied', outcome: 'revoked' };

scene('a reload of the new process is one of the old: its streams are cut', (mesh) =>
  whileOldStreams(mesh, async ({ who, stream }) => {
    await mesh.signCharter(forbid);
    await mesh.reload([mesh.central]);
    await isCut(mesh, stream, revoked);
    assert.equal((await chat(mesh.central, who)).status, 403);
  }));

scene('what the new process may change by its start does not keep the old one from it', (mesh) =>
  whileOldStreams(mesh, async ({ stream, old }) => {
    mesh.central.changeConfig((config) => { config.workers = 3; });
    const since = Date.now();
    const newer = await takeOver(mesh, mesh.central); // between the two now
    await until('it has had its time', () => Date.now() > since + 3 * IDLE_MS);
    assert.ok(newer.running && old.running, 'both hear what is reloaded');
    await mesh.signCharter(forbid);
    const { code, stdout, stderr } = await mesh.reloadBy(mesh.central);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `reloaded: charter version ${mesh.readCharter().version} is in force\n`);
    assert.equal((await stream.end).broken, 'ECONNRESET');
    assert.equal(endedWith(stream), 'residency_denied');
    await ended(newer);
    assert.match(logOf(old), /reload\.done/);
    mesh.central.changeConfig((config) => { delete config.workers; });
    await ended(await takeOver(mesh, mesh.central));
  }));

scene('a SIGHUP to the old process is its successor\'s, and so both\'s', (mesh) =>
  whileOldStreams(mesh, async ({ who, stream, old }) => {
    await mesh.signCharter(forbid);
    old.signal('SIGHUP');
    await isCut(mesh, stream, revoked);
    assert.match(logOf(old), /reload\.left/);
    assert.equal(await mesh.central.metric('portolan_reloads_total'), 1);
    assert.equal((await chat(mesh.central, who)).status, 403);
  }));

scene('an old process that can\'t follow ends what it has', (mesh) =>
  whileOldStreams(mesh, async ({ stream, old }) => {
    const limited = await run('prlimit', ['--pid', String(old.process.pid), '--nofile=5:5']);
    assert.equal(limited.code, 0, limited.stderr);
    await mesh.signCharter();
    const { code, stdout, stderr } = await mesh.reloadBy(mesh.central);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /is in force; the process before this one could not follow: .*can't be read/);
    await isCut(mesh, stream, { code: 'overloaded', end: 'drained', outcome: 'drained' });
    assert.match(logOf(old), /reload\.behind/);
  }));

scene('without a successor that lives the old process reloads by itself', (mesh) =>
  whileOldStreams(mesh, async ({ stream, old }) => {
    await mesh.central.kill();
    await mesh.signCharter(forbid);
    old.signal('SIGHUP');
    assert.equal((await stream.end).broken, 'ECONNRESET');
    assert.equal(endedWith(stream), 'residency_denied');
    await ended(old);
    await mesh.central.start();
  }));

scene('a SIGHUP during a takeover takes effect in the new process', async (mesh) => {
  const old = mesh.central.child;
  await whileUnready(mesh, async (next) => {
    await mesh.signCharter();
    old.signal('SIGHUP');
    await until('it waits', () => logOf(old).includes('reload.waits'));
    mesh.central.child = next;
  });
  await mesh.central.until('the new one has reloaded', () =>
    logOf(mesh.central.child).includes('reload.done'));
  const answer = await chat(mesh.central, await german(mesh));
  assert.equal(attestationsOf(answer)[0].claims.charter.version, mesh.readCharter().version);
  await ended(old);
});

// --- What fails changes nothing ------------------------------------------------------------

// The new process can't become ready while everything it could use is down.
async function whileUnready(mesh, action) {
  await mesh.west.stop();
  await mesh.de.script({ health: 'down' });
  try {
    const next = beside(mesh, mesh.central);
    await next.until('it has begun', () => logOf(mesh.central.child).includes('takeover.begun')
      && logOf(next).includes('node.started'));
    await action(next);
  } finally {
    await mesh.de.script({ health: 'up' });
    await mesh.west.start();
    await mesh.serves(mesh.central, 'acme/de', 'DE');
  }
}

async function failed(child, words) {
  const { code } = await child.exited;
  assert.equal(code, 1, child.tail());
  assert.match(logOf(child), words);
}

scene('a third process is refused, whatever it tries', async (mesh) => {
  await whileUnready(mesh, async (next) => {
    await failed(beside(mesh, mesh.central), /another process is taking over/);
    await failed(beside(mesh, mesh.central, { takeOver: false }), /listen\.failed|lock/);
    await next.end('SIGKILL');
  });
});

scene('a new process that dies before it is ready changes nothing', async (mesh) => {
  const old = mesh.central.child;
  const seen = logOf(old).split('takeover.failed').length;
  await whileUnready(mesh, async (next) => {
    await next.end('SIGKILL');
    await until('the old one goes on', () => logOf(old).split('takeover.failed').length > seen);
  });
  assert.ok(old.running);
  await mesh.reload([mesh.central]); // not held up by the takeover that failed
  const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
  assert.equal(code, 0, stdout + stderr);
  await ended(await takeOver(mesh, mesh.central)); // nor is the next one
});

scene('a new process that can\'t open the ledger changes nothing', async (mesh) => {
  const who = await german(mesh);
  const blocker = path.join(mesh.central.ledger, 'runs/.new');
  const callers = load(mesh.central, who);
  await callers.more();
  writeFileSync(blocker, '');
  await failed(beside(mesh, mesh.central), /ledger\.failed/);
  rmSync(blocker);
  await callers.more();
  await callers.stop();
});

scene('terms that differ are refused by name', async (mesh) => {
  const config = readFileSync(mesh.central.config);
  const envelope = readFileSync(mesh.envelope);
  const source = readFileSync(mesh.source);
  try {
    mesh.central.changeConfig((value) => { value.listeners.admin.address = '127.0.0.1:1'; });
    await failed(beside(mesh, mesh.central), /listeners\.admin\.address: changes only with/);
    writeFileSync(mesh.central.config, config);
    await mesh.signCharter();
    await failed(beside(mesh, mesh.central), /charter: the running process has another one/);
  } finally {
    writeFileSync(mesh.central.config, config);
    writeFileSync(mesh.envelope, envelope);
    writeFileSync(mesh.source, source);
  }
  // What was only tried was not seen: the same version as before is still the highest.
  await ended(await takeOver(mesh, mesh.central));
});

scene('nobody to take over from is an error', async (mesh) => {
  await mesh.west.stop();
  await failed(beside(mesh, mesh.west), /no process listens/);
  await mesh.west.start();
  const { mode } = statSync(path.join(mesh.west.dir, 'state/takeover.sock'));
  assert.equal(mode & 0o777, 0o600);
});

scene('the old process dies half way: its requests are lost, and nothing else', async (mesh) => {
  const who = await german(mesh);
  await mesh.serves(mesh.central, 'acme/de', 'DE');
  await mesh.de.script({ stall_after_events: 2 });
  const streams = (await openStreams(mesh, 5, who)).map((one) => one.catch(() => 'cut'));
  const lines = logOf(mesh.central.child).length;
  const old = await takeOver(mesh, mesh.central);
  assert.ok(lines > 0);
  await mesh.de.script({});
  const callers = load(mesh.central, who);
  await old.end('SIGKILL');
  assert.deepEqual(await Promise.all(streams), Array(5).fill('cut'));
  await mesh.central.until('the new one closes its run', () =>
    /ledger\.run_over.*died=1 lost=5/.test(logOf(mesh.central.child)));
  await callers.more();
  await callers.stop();
  const lost = mesh.central.readLedger().flatMap((run) => run.a2)
    .filter((a2) => a2.end === 'lost').length;
  assert.equal(lost, 5);
  const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
  assert.equal(code, 0, stdout + stderr);
});

scene('the old process dies before the new one is ready: the new one serves', async (mesh) => {
  const old = mesh.central.child;
  await whileUnready(mesh, async (next) => {
    await old.end('SIGKILL');
    mesh.central.child = next;
  });
  assert.match(logOf(mesh.central.child), /takeover\.alone/);
  const { code, stdout, stderr } = await mesh.verifyLedger(mesh.central);
  assert.equal(code, 0, stdout + stderr);
});

scene('both processes give one pseudonym to one caller', async (mesh) => {
  const token = await mesh.token('acme/de', { subject: 'new-here' });
  await mesh.de.hold(true);
  const here = chat(mesh.central, { token, from: 'DE' });
  await mesh.de.until('in_flight=1');
  const old = await takeOver(mesh, mesh.central);
  const there = chat(mesh.central, { token, from: 'DE' });
  await mesh.de.until('in_flight=2');
  await mesh.de.hold(false);
  const [a, b] = (await Promise.all([here, there])).map((one) => attestationsOf(one)[0].claims.sub);
  assert.equal(a, b);
  await ended(old);
});
