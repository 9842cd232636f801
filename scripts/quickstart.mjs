// The story of Portolan on one machine. Every line is printed when it was found to be true; the
// first that is not ends the run with exit 1.
import assert from 'node:assert/strict';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { chat, FROM, openai } from '../tests/function/client.mjs';
import { attestationsOf } from '../tests/function/evidence.mjs';
import { Mesh } from '../tests/function/mesh.mjs';
import { run } from '../tests/function/process.mjs';

const { values: options } = parseArgs({
  options: { once: { type: 'boolean', default: false }, dir: { type: 'string' } },
});
const stays = !options.once && process.stdout.isTTY === true && process.stdin.isTTY === true;
const messages = [{ role: 'user', content: 'Where are you?' }];
const ANSWER = 'echo: Where are you?';

const attestations = []; // each Residency-Attestation field of the run
let lines = 0;

function say(text) {
  process.stdout.write(`${text}\n`);
}

// One line of the story: the body finds out and gives the words.
async function tell(body) {
  const words = await body();
  lines += 1;
  say(`  ok  ${words}`);
}

// A refused or permitted answer by a plain request; its attestation is kept for later.
async function send(node, caller, more) {
  const answer = await chat(node, caller, { messages, ...more });
  if (answer.headers['residency-attestation'] !== undefined) {
    attestations.push(answer.headers['residency-attestation']);
  }
  return answer;
}

function placeOf(answer) {
  const { target } = attestationsOf(answer).at(-1).claims;
  return target;
}

async function story(mesh) {
  const { west, central } = mesh;
  const who = async (tenant, from) => ({ token: await mesh.token(tenant), from });
  const german = await who('acme/de', 'DE');
  const french = await who('acme/fr', 'FR');
  const clinic = await who('clinic', 'DE');
  const client = (node, caller) => openai(node, caller, (answer) => {
    attestations.push(answer.headers['residency-attestation']);
  });

  await mesh.serves(central, 'acme/de', 'DE');
  await mesh.serves(west, 'acme/fr', 'FR', 'eu-west');
  await mesh.serves(central, 'clinic', 'DE');

  say('\nLawful places');
  await tell(async () => {
    const answer = await client(central, german).chat.completions
      .create({ model: 'small', messages });
    assert.equal(answer.choices[0].message.content, ANSWER);
    const { target } = attestationsOf({ headers: { 'residency-attestation': attestations.at(-1) } })
      .at(-1).claims;
    assert.deepEqual([target.region, target.country], ['eu-central', 'DE']);
    return `a German caller of acme/de is served in eu-central by ${target.backend} (openai client)`;
  });
  await tell(async () => {
    const { code, stdout, stderr } = await run('curl', ['-sS', '-i', '--cacert',
      path.join(mesh.dir, 'ca/ca.pem'),
      '-H', `Authorization: Bearer ${french.token}`, '-H', `X-Forwarded-For: ${FROM.FR}`,
      '-H', 'Content-Type: application/json', '-d', JSON.stringify({ model: 'small', messages }),
      `https://localhost:${west.port}/v1/chat/completions`]);
    assert.equal(code, 0, stderr);
    const [head, body] = stdout.split('\r\n\r\n');
    assert.match(head, /^HTTP\/1\.1 200 /);
    assert.equal(JSON.parse(body).choices[0].message.content, ANSWER);
    attestations.push(/^residency-attestation: (.*)$/im.exec(head)[1].trim());
    const { target } = attestationsOf({ headers: { 'residency-attestation': attestations.at(-1) } })
      .at(-1).claims;
    assert.deepEqual([target.region, target.country], ['eu-west', 'IE']);
    return `a French caller of acme/fr is served in eu-west by ${target.backend} (curl)`;
  });
  await tell(async () => {
    const stream = await client(central, german).chat.completions
      .create({ model: 'small', messages, stream: true });
    let text = '';
    let events = 0;
    for await (const event of stream) {
      text += event.choices[0]?.delta?.content ?? '';
      events += 1;
    }
    assert.equal(text, ANSWER);
    assert.ok(events > 3);
    return `a stream arrives in ${events} events (openai client)`;
  });
  await tell(async () => {
    const answer = await send(central, await who('acme/fr', 'US'));
    assert.deepEqual([answer.status, answer.json().error.code], [403, 'residency_denied']);
    return `a caller from ${FROM.US} (US) is refused: 403 residency_denied`;
  });

  say('\nPinned means pinned');
  await tell(async () => {
    const answer = await send(central, clinic);
    assert.equal(answer.status, 200);
    assert.deepEqual([placeOf(answer).backend, placeOf(answer).operator], ['de-1', 'DE']);
    return 'the clinic is served in DE by de-1, operated from DE';
  });
  await tell(async () => {
    await mesh.de.stop();
    await mesh.ie.forget();
    const answer = await central.until('the clinic is refused', async () => {
      const one = await send(central, clinic);
      return one.status === 503 && one;
    });
    assert.equal(answer.json().error.code, 'no_legal_capacity');
    const idle = await mesh.ie.stats();
    assert.deepEqual([idle.in_flight, idle.total], [0, 0]);
    return 'de-1 stopped: the clinic is refused with 503, though ie-1 is up and idle';
  });
  await tell(async () => {
    await mesh.de.start();
    await mesh.serves(central, 'clinic', 'DE');
    return 'de-1 is back: the clinic is served again';
  });

  say('\nAcross regions, with both nodes\' word for it');
  await tell(async () => {
    await mesh.us.forget();
    await mesh.ie.stop();
    const answer = await west.until('acme/fr is served from eu-central', async () => {
      const one = await send(west, french);
      return one.status === 200 && one;
    });
    const [ingress, peer] = attestationsOf(answer);
    assert.deepEqual([ingress.claims.hop, ingress.claims.target.node], [0, central.name]);
    assert.deepEqual([peer.claims.hop, peer.claims.target.country], [1, 'DE']);
    return `ie-1 stopped: acme/fr moves to eu-central (${peer.claims.target.backend}), attested by `
      + `${west.name} and ${central.name}`;
  });
  await tell(async () => {
    const stats = await mesh.us.stats();
    assert.equal(stats.total, 0);
    return 'ie-us-1 stood in eu-west all the while, up and idle, and got nothing: it is operated'
      + ' from the US';
  });
  await tell(async () => {
    await mesh.ie.start();
    await mesh.serves(west, 'acme/fr', 'FR', 'eu-west');
    return 'ie-1 is back: acme/fr is served in eu-west again';
  });

  say('\nNothing a caller says widens anything');
  await tell(async () => {
    const answer = await send(central, { ...german,
      headers: { 'Residency-Attestation': 'eyJhbGciOiJub25lIn0.e30.;idx=7' } });
    assert.equal(answer.status, 200);
    const list = attestationsOf(answer);
    assert.ok(list.length === 1 && !answer.headers['residency-attestation'].includes('eyJhbGciOiJub'));
    const seen = (await mesh.seen('eu-central')).find((one) =>
      one.fields.get('residency-attestation')[0] === list[0].jws);
    assert.equal(seen.fields.get('residency-attestation').length, 1);
    return 'a forged Residency-Attestation is dropped: the backend saw the node\'s own only';
  });
  await tell(async () => {
    const answer = await send(central, german, { messages: [{ role: 'user', content: [
      { type: 'image_url', image_url: { url: 'https://elsewhere.example/scan.png' } }] }] });
    assert.deepEqual([answer.status, answer.json().error.code], [403, 'remote_reference']);
    return 'a prompt with a remote image is refused: 403 remote_reference';
  });

  say('\nRedis carries weather, not law');
  await tell(async () => {
    await mesh.redis.kill();
    for (let i = 0; i < 10; i += 1) {
      assert.equal((await send(central, german)).status, 200);
      assert.equal((await send(west, french)).status, 200);
    }
    await mesh.redis.start();
    return 'Redis stopped: 20 of 20 requests answered; Redis is back';
  });
}

async function evidence(mesh) {
  say('\nEvidence');
  await tell(async () => {
    let hops = 0;
    for (const field of attestations) {
      const { code, stdout, stderr } = await mesh.verify(field);
      assert.equal(code, 0, stdout + stderr);
      hops += field.split(', ').length;
    }
    return `all ${hops} attestations of ${attestations.length} answers verified offline, with the`
      + ' charter and its key alone';
  });
  await tell(() => mesh.whileStopped([...mesh.nodes.values()], async () => {
    for (const node of mesh.nodes.values()) {
      const { code, stdout, stderr } = await mesh.verifyLedger(node);
      assert.equal(code, 0, stdout + stderr);
    }
    const { code, stdout, stderr, out, records } = await mesh.report();
    assert.equal(code, 0, stdout + stderr);
    const [head, ...rows] = records.trimEnd().split('\r\n').map((row) => row.split(','));
    const column = (name) => head.indexOf(name);
    assert.ok(column('txn') >= 0 && column('verdict') >= 0);
    const denied = rows.filter((row) => row[column('verdict')] === 'deny').length;
    return `both ledgers verified; the report proves ${rows.length} requests: `
      + `${rows.length - denied} served, ${denied} refused`
      + `${stays || options.dir !== undefined ? ` (${out})` : ''}`;
  }));
}

function showAddresses(mesh) {
  say('\nThe mesh stays up until Ctrl-C:');
  for (const node of mesh.nodes.values()) {
    say(`  ${node.name.padEnd(13)} https://localhost:${node.port}   ${node.adminUrl}/metrics`);
  }
  say(`  folder        ${mesh.dir}\n\nTry it:\n`
    + `  TOKEN=$(build/portolan token --dir ${mesh.dir} --tenant acme/de --roles user)\n`
    + `  curl --cacert ${mesh.dir}/ca/ca.pem -H "Authorization: Bearer $TOKEN" \\\n`
    + `    -H 'X-Forwarded-For: ${FROM.DE}' -H 'Content-Type: application/json' -i \\\n`
    + '    -d \'{"model":"small","messages":[{"role":"user","content":"Hello"}]}\' \\\n'
    + `    https://localhost:${mesh.central.port}/v1/chat/completions\n`);
}

let mesh = null;
let stopped = null;
const stop = new Promise((resolve) => { stopped = resolve; });
const interrupted = stop.then(() => { throw new Error('interrupted'); });
interrupted.catch(() => {});
process.once('SIGINT', stopped);
process.once('SIGTERM', stopped);

async function main() {
  say('A mesh of two regions: Redis, two nodes, four stand-in model servers');
  mesh = await Mesh.create({ dir: options.dir });
  for (const node of mesh.nodes.values()) {
    say(`  ok  ${node.name} is ready: https://localhost:${node.port}`);
  }
  await story(mesh);
  await evidence(mesh);
  say(`\n${lines} lines, all true.`);
  if (stays) {
    showAddresses(mesh);
    await stop;
  }
}

let failure = null;
try {
  await (stays ? main() : Promise.race([main(), interrupted]));
} catch (error) {
  failure = error;
}
await mesh?.end({ keep: failure !== null }).catch((error) => { failure ??= error; });
if (failure !== null) {
  process.stderr.write(`\n  NO  ${failure.message}\n`);
  process.exitCode = 1;
}
