// A backend that was ejected is tried by one request at a time, and by nobody else's outcome.
import assert from 'node:assert/strict';
import { ask, chat, chatBody, until, useMesh } from './lib.mjs';

const scene = useMesh({ backends: [
  { name: 'de-1', region: 'eu-central', kind: 'vllm', operator: 'DE', slots: 16 },
  { name: 'ie-1', region: 'eu-west', kind: 'vllm', operator: 'IE', slots: 16 },
] });

// A request that its caller can leave; `head` is told once there is one.
function leavable(node, who, body) {
  const leaving = new AbortController();
  const one = { head: null, leave: () => leaving.abort() };
  one.answer = ask(node, who, { body: chatBody(body), signal: leaving.signal,
    onHead: (head) => { one.head = head; } }).catch(() => ({ status: 'gone' }));
  return one;
}

// A stream that has begun and does not end.
async function openStream(mesh, who) {
  await mesh.de.script({ stall_after_events: 2, count: 1 });
  const stream = leavable(mesh.central, who, { stream: true });
  await until('the stream has begun', () => stream.head !== null);
  assert.equal(stream.head.statusCode, 200);
  return stream;
}

scene('what older requests report lets no second trial out, and a stream passes with its first event',
  async (mesh) => {
    const who = { token: await mesh.token('clinic'), from: 'DE' }; // its only place is de-1
    await mesh.serves(mesh.central, 'clinic', 'DE');
    const older = [await openStream(mesh, who), await openStream(mesh, who)];
    // For as long as it takes: a kept connection that is reset is tried anew, and counts for nothing.
    await mesh.de.script({ reset: true });
    for (let i = 0; i < 3; i += 1) {
      assert.equal((await chat(mesh.central, who)).status, 502);
    }
    await mesh.de.forget();
    await mesh.de.script({ delay_ms: 60_000 });

    // The trial: the first request that gets through once the back-off is over.
    const arrived = mesh.de.until('running=3').then(() => 'arrived');
    let trial = null;
    await mesh.central.until('the trial is out', async () => {
      trial = leavable(mesh.central, who);
      return await Promise.race([trial.answer, arrived]) === 'arrived';
    });
    for (const [i, stream] of older.entries()) {
      stream.leave();
      await mesh.de.until(`running=${2 - i}`);
      const second = leavable(mesh.central, who);
      const passed = mesh.de.until(`running=${3 - i}&timeout_ms=1000`).then(() => 'passed', () => 'no');
      const { status } = await Promise.race([second.answer, passed]);
      second.leave();
      assert.equal(status, 503);
      await passed;
    }

    // Given up by its own caller it decides nothing: the next one is the trial.
    trial.leave();
    await mesh.de.until('running=0');
    const stream = await openStream(mesh, who);
    await mesh.de.script({});
    assert.equal((await chat(mesh.central, who)).status, 200);
    stream.leave();
    await mesh.de.until('running=0');
    assert.equal((await chat(mesh.central, who)).status, 200);
  });
