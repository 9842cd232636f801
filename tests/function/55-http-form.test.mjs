// The largest form: 64 MiB pass, to the byte, and one byte more does not, however it is announced.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { attestationsOf, until, useMesh } from './lib.mjs';
import { askForm, BOUNDARY, END, partOf } from './form.mjs';
import { assertGrewLess, residentKiB } from './memory.mjs';
import { requestOf, Talk } from './raw.mjs';

const scene = useMesh({ backends: [
  { name: 'de-1', region: 'eu-central', kind: 'openai', operator: 'DE', slots: 16, raw: true },
  { name: 'ie-us-1', region: 'eu-west', kind: 'openai', operator: 'US', slots: 16 },
] });

const MIB = 1024 * 1024;
const LIMIT = 64 * MIB;
const PIECE = 256 * 1024;
const ENOUGH_KIB = 12 * 1024; // what a node may grow by: its buffers, and nothing of the form

// A form of so many bytes: the parts around its file, and how large the file is.
function partsOf(size, model = 'small') {
  const [before, behind] = partOf(['file', '<>', 'a.wav']).toString('latin1').split('<>');
  const first = Buffer.concat([partOf(['model', model]), Buffer.from(before)]);
  const last = Buffer.concat([Buffer.from(behind), END]);
  return { first, last, file: size - first.length - last.length };
}

const filler = Buffer.alloc(PIECE, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));

// Piece by piece, with a look at the nodes' memory at each.
async function send(request, { first, last, file }, watch) {
  const pieces = [first];
  for (let left = file; left > 0; left -= PIECE) {
    pieces.push(filler.subarray(0, Math.min(left, PIECE)));
  }
  for (const piece of [...pieces, last]) {
    if (request.destroyed) {
      return;
    }
    watch();
    if (!request.write(piece)) {
      await Promise.race([new Promise((resolve) => { request.once('drain', resolve); }),
        new Promise((resolve) => { request.once('close', resolve); })]);
    }
  }
  request.end();
}

function sha256Of({ first, last, file }) {
  const hash = createHash('sha256').update(first);
  for (let left = file; left > 0; left -= PIECE) {
    hash.update(filler.subarray(0, Math.min(left, PIECE)));
  }
  return hash.update(last).digest('hex');
}

async function play(mesh, node, size, isAnnounced) {
  const token = await mesh.token('acme/de');
  await mesh.serves(node, 'acme/de', 'DE', 'eu-central');
  mesh.de.forget();
  const nodes = [...mesh.nodes.values()];
  const before = nodes.map(residentKiB);
  const grown = nodes.map(() => 0);
  const watch = () => nodes.forEach((one, i) => {
    grown[i] = Math.max(grown[i], residentKiB(one) - before[i]);
  });
  const answer = await askForm(node, { token, from: 'DE' }, {
    headers: isAnnounced ? { 'content-length': size } : {},
    write: (request) => send(request, partsOf(size), watch),
  });
  watch();
  nodes.forEach((one, i) => assertGrewLess(one, grown[i], ENOUGH_KIB));
  return answer;
}

const recordOf = (node, answer) => node.until('the A2', () => node.readLedger().at(-1).a2
  .find((one) => one.txn === answer.headers['x-request-id']));

for (const [name, isAnnounced] of [['with a length', true], ['in chunks', false]]) {
  scene(`64 MiB ${name} pass whole, through bounded memory`, async (mesh) => {
    const answer = await play(mesh, mesh.central, LIMIT, isAnnounced);
    assert.equal(answer.status, 200, answer.text);
    const [seen] = mesh.de.requests();
    const sent = partsOf(LIMIT, 'small-instruct');
    sent.file = partsOf(LIMIT).file;
    const size = LIMIT + 'small-instruct'.length - 'small'.length;
    assert.deepEqual([seen.whole, seen.size, seen.sha256], [true, size, sha256Of(sent)]);
    assert.deepEqual(seen.fields.get('content-type'),
      [`multipart/form-data; boundary="${BOUNDARY}"`]);
    assert.deepEqual([seen.fields.get('content-length'), seen.fields.get('transfer-encoding')],
      isAnnounced ? [[String(size)], undefined] : [undefined, ['chunked']]);
    const a2 = await recordOf(mesh.central, answer);
    assert.deepEqual([a2.end, a2.request.bytes], ['complete', LIMIT]);
  });
}

scene('64 MiB pass through two nodes, through bounded memory on both', async (mesh) => {
  const answer = await play(mesh, mesh.west, LIMIT, true);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(attestationsOf(answer).length, 2);
  assert.equal(mesh.de.requests()[0].size, LIMIT + 'small-instruct'.length - 'small'.length);
});

scene('a byte more, announced: 413, and no backend hears of it', async (mesh) => {
  const answer = await play(mesh, mesh.central, LIMIT + 1, true);
  assert.deepEqual([answer.status, answer.json().error.code], [413, 'request_too_large']);
  assert.equal(attestationsOf(answer)[0].claims.verdict, 'deny');
  assert.deepEqual(mesh.de.requests(), []);
});

for (const hops of [1, 2]) {
  scene(`a byte more, in chunks, through ${hops}: 413, and the backend's connection is ended`,
    async (mesh) => {
      const node = hops === 1 ? mesh.central : mesh.west;
      const answer = await play(mesh, node, LIMIT + 1, false);
      assert.deepEqual([answer.status, answer.json().error.code], [413, 'request_too_large']);
      const [connection] = mesh.de.connections;
      await until('the backend\'s connection is ended', () => connection.closed);
      assert.deepEqual(connection.requests.map((one) => one.whole), [false]);
      const a2 = await recordOf(node, answer);
      assert.deepEqual([a2.end, a2.reason, a2.attempts.map((one) => one.outcome)],
        ['denied', 'request_too_large', ['cut']]);
      assert.ok(a2.request.bytes <= LIMIT);
    });
}

// What the backend has by then is all it ever gets: its connection ends without an end of the form.
for (const [name, bytes] of [['a malformed chunk', '0x5\r\nabcde\r\n'],
  ['a malformed trailer', '0\r\nX_A: a\r\n\r\n']]) {
  scene(`${name} behind megabytes that streamed through: 400, the backend's connection is ended`,
    async (mesh) => {
      const token = await mesh.token('acme/de');
      await mesh.serves(mesh.central, 'acme/de', 'DE');
      mesh.de.forget();
      const { first } = partsOf(LIMIT);
      const talk = await Talk.open(mesh.central);
      talk.write(requestOf(mesh.central, token, { line: 'POST /v1/audio/transcriptions HTTP/1.1',
        type: `multipart/form-data; boundary=${BOUNDARY}`, framing: 'Transfer-Encoding: chunked',
        body: '' }));
      for (const piece of [first, filler, filler, filler, filler]) {
        talk.write(`${piece.length.toString(16)}\r\n`).write(piece).write('\r\n');
      }
      await until('the backend has some', () => mesh.de.requests()[0]?.size > filler.length);
      const answer = await talk.ask(bytes);
      assert.deepEqual([answer.status, answer.code, answer.close], [400, 'bad_request', true]);
      const [connection] = mesh.de.connections;
      await until('the backend\'s connection is ended', () => connection.closed);
      assert.deepEqual(connection.requests.map((one) => one.whole), [false]);
      assert.ok(!connection.text.endsWith('0\r\n\r\n'));
      const [txn] = answer.fields.get('x-request-id');
      const a2 = await recordOf(mesh.central, { headers: { 'x-request-id': txn } });
      assert.deepEqual([a2.end, a2.attempts.map((one) => one.outcome)], ['denied', ['cut']]);
    });
}
