// Writes corpus/fuzz_wal/: records as text, and runs of frames, some as the raw bytes of two
// segments with their CRCs. Run it once more when docs/formats.md changes them:
//
//     node tests/fuzz/wal_seeds.mjs
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('corpus/fuzz_wal/', import.meta.url));
const [TEXT, PAYLOAD, RAW, FRAMES] = ['0', '1', '2', '3']; // the first byte, by its low two bits
const [CONTROL, A1, A2, END] = [1, 2, 3, 4];
const NO_SLOT = 0xff;
const RUN = Buffer.from([...Array(16).keys()]);
const TXN = '01931b2e-7a3c-7def-8a12-0123456789ab';
const SHARD = 'EEEEEEEEEEEEEEEEEEEEEA';
const ID = 'AAAAAAAAAAAAAAAAAAAAAA';
const HASH = 'BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

const put = (name, kind, bytes) => writeFileSync(FOLDER + name,
  Buffer.concat([Buffer.from(kind), Buffer.from(bytes)]));
const b64 = (text) => Buffer.from(text).toString('base64url');

// --- Records --------------------------------------------------------------------------------

const target = '"target":{"backend":"de-1","region":"eu-west","country":"DE","operator":"DE",'
  + `"owner":"FR","assurance":"spki","key":"${ID}"},`;
const a1 = `{"v":1,"iss":"spiffe://acme/node/eu-west-1","aud":"backend:de-1","txn":"${TXN}",`
  + `"jti":"${TXN}.eu-west-1.0","iat":1795464000,"exp":1795464120,"hop":0,"verdict":"permit",`
  + `"reason":"permitted","tenant":"acme/de","sub":"${ID}","auth":"jwt","role":"analyst",`
  + `"origin":{"country":"DE","registered":"FR","source":"socket","quality":"found","db":"${ID}"},`
  + '"ingress":{"region":"eu-west","node":"eu-west-1"},'
  + `"charter":{"version":7,"digest":"${ID}"},"policy":"${ID}","legal":{"count":3,"digest":"${ID}"},`
  + `${target}"model":{"requested":"small","served":"acme/small","version":"small@1",`
  + '"digest":"44cb182f32bef0cbf2189623f3a46713","evidence":"name"},'
  + `"request":{"endpoint":"chat.completions","bytes":1234,"commitment":"${HASH}"},"shard":"${SHARD}"}`;
const denied = a1.replace('"aud":"backend:de-1",', '').replace('permit"', 'deny"')
  .replace('permitted', 'no_legal_place').replace(target, '');
const toPeer = a1.replace(target, '"target":{"node":"eu-central-1","region":"eu-central"},');
const atPeer = a1.replace('"hop":0', `"hop":1,"prev":"${HASH}"`);
const streamed = a1.replace(`"bytes":1234,"commitment":"${HASH}"`, '"streamed":true');
const bare = a1.replace(/"origin":\{.*?\}/, '"origin":{}').replace(/"model":\{.*?\}/, '"model":{}');
const jws = (payload) => `${b64(`{"alg":"ES256","kid":"${HASH}","typ":"residency+jwt"}`)}`
  + `.${b64(payload)}.${b64(Buffer.alloc(64, 1))}`;
const hashOf = (text) => createHash('sha256').update(text).digest('base64url');
const a2 = `{"a1":{"hash":"${hashOf(jws(a1))}","index":0},"answer":{"bytes":10,`
  + `"commitment":"${HASH}","sent_bytes":9,"sent_commitment":"${HASH}"},`
  + '"attempts":[{"index":0,"outcome":"status_503","status":503,"target":"de-2"},'
  + '{"index":0,"outcome":"ok","status":200,"target":"de-1"}],"end":"complete","kind":"a2",'
  + `"model":{"reported":"m\\"\\u0001\\n","response_id":"r-1"},"peer":"${HASH}","reason":"cut",`
  + `"request":{"bytes":5,"commitment":"${HASH}","upstream_commitment":"${HASH}"},`
  + `"shard":"${SHARD}","status":200,"times":{"dispatched":2,"end":4,"first_byte":3,"received":1},`
  + `"tokens":{"completion":0,"prompt":5,"source":"answer"},"txn":"${TXN}","v":1}`;
const lost = `{"a1":{"hash":"${hashOf(jws(a1))}","index":0},"answer":{"bytes":0},"attempts":[],`
  + `"end":"lost","kind":"a2","shard":"${SHARD}","status":0,"times":{},`
  + `"tokens":{"source":"none"},"txn":"${TXN}","v":1}`;

// --- Control records ------------------------------------------------------------------------

const start = (previous = '') => '{"durability":"disk","kind":"run_start","mesh":"acme",'
  + `"node":"eu-west-1",${previous}"region":"eu-west","run":"${RUN.toString('hex')}",`
  + '"software":"portolan/0.1.0","t":1795464000000,"v":1}';
const open = (slot) => `{"kind":"shard_open","month":"2026-11","shard":"${SHARD}","slot":${slot},`
  + '"t":1795464000000,"tenant":"acme/de","v":1}';
const runEnd = (frames) => `{"frames":${frames},"kind":"run_end","reason":"stop","t":1,"v":1}`;
const recovery = '{"cut_bytes":3,"kind":"recovery","lost":1,'
  + `"run":"${RUN.toString('hex')}","t":1,"v":1}`;
const previousEnd = `{"frames":9,"kind":"previous_end","run":"${'ab'.repeat(16)}","t":1,"v":1}`;

const control = (text) => ({ type: CONTROL, slot: NO_SLOT, index: 0, text });
const leaf = (type, text, index, slot = 0) => ({ type, slot, index, text });
const whole = [control(start()), control(open(0)), leaf(A1, jws(a1), 0), leaf(A2, a2, 1),
  control(runEnd(5))];

// --- Frames: [type, slot, index, length of 2 bytes, payload], or as the log has them ---------

const listed = (frames) => Buffer.concat(frames.map(({ type, slot, index, text }) => Buffer.concat([
  Buffer.from([type - 1, slot, index, text.length & 0xff, text.length >> 8]), Buffer.from(text)])));

function crc32c(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function saltOf(number) {
  const le = Buffer.alloc(8);
  le.writeUInt32LE(number);
  return createHash('sha256').update('portolan/v1/wal-salt').update(RUN).update(le).digest()
    .subarray(0, 4);
}

function segment(number, firstSeq, frames) {
  const salt = saltOf(number);
  const header = Buffer.alloc(64);
  header.write('PTLNWAL1', 'latin1');
  RUN.copy(header, 8);
  header.writeUInt32LE(number, 24);
  header.writeUInt32LE(firstSeq, 32);
  salt.copy(header, 40);
  header.writeUInt32LE(crc32c(header.subarray(0, 60)), 60);
  return Buffer.concat([header, ...frames.map(({ type, slot, index, text }, i) => {
    const frame = Buffer.alloc(40 + text.length);
    frame.set([0x7c, 0xa1, 1, type]);
    frame.writeUInt32LE(text.length, 4);
    frame.writeUInt32LE(firstSeq + i, 8);
    frame.writeUInt32LE(firstSeq + i, 16); // each frame a batch of its own
    frame.writeUInt32LE(index, 24);
    frame.writeUInt32LE(slot === NO_SLOT ? 0xffffffff : slot, 32);
    frame.write(text, 40);
    frame.writeUInt32LE(crc32c(Buffer.concat([salt, frame.subarray(0, 36), frame.subarray(40)])), 36);
    return frame;
  })]);
}

// The target cuts its input in the middle: both segments get one length.
function segments(first, second = Buffer.alloc(0)) {
  const size = Math.max(first.length, second.length) + 8;
  return Buffer.concat([first, Buffer.alloc(size - first.length), second,
    Buffer.alloc(size - second.length)]);
}

const spoiled = (bytes, at) => {
  const copy = Buffer.from(bytes);
  copy[at] ^= 1;
  return copy;
};

mkdirSync(FOLDER, { recursive: true });
put('text-a1', TEXT, jws(a1));
put('text-a1-eddsa', TEXT, jws(a1).replace(/^[^.]*/,
  b64(`{"alg":"EdDSA","kid":"${HASH}","typ":"residency+jwt"}`)));
put('text-a1-alg-none', TEXT, jws(a1).replace(/^[^.]*/, b64('{"alg":"none"}')));
put('text-a1-signature-short', TEXT, jws(a1).slice(0, -2));
put('text-a2', TEXT, a2);
put('text-a2-lost', TEXT, lost);
put('text-a2-counted', TEXT, lost.replace('{"source":"none"}', '{"completion":7,"source":"counted"}'));
put('text-a2-response-id-alone', TEXT, a2.replace('"reported":"m\\"\\u0001\\n",', ''));
put('text-a2-upstream-alone', TEXT, a2.replace(`"bytes":5,"commitment":"${HASH}",`, ''));
put('text-a2-nine-attempts', TEXT, a2.replace(/"attempts":\[.*?\]/, `"attempts":[${
  Array(9).fill('{"index":1,"outcome":"eof","status":0}').join(',')}]`));
put('text-a2-outcome-unknown', TEXT, a2.replace('"ok"', '"fine"'));
put('text-a2-end-unknown', TEXT, a2.replace('"complete"', '"perhaps"'));
put('text-a2-uuid-4', TEXT, a2.replace('7def', '4def'));
put('payload-permit', PAYLOAD, a1);
put('payload-deny', PAYLOAD, denied);
put('payload-to-peer', PAYLOAD, toPeer);
put('payload-at-peer', PAYLOAD, atPeer);
put('payload-streamed', PAYLOAD, streamed);
put('payload-bare', PAYLOAD, bare);
put('payload-exp-late', PAYLOAD, a1.replace('1795464120', '1795464121'));
put('payload-jti-other', PAYLOAD, a1.replace('.eu-west-1.0', '.eu-west-1.00'));
put('payload-hop-2', PAYLOAD, a1.replace('"hop":0', '"hop":2'));
put('payload-prev-at-ingress', PAYLOAD, a1.replace('"hop":0', `"hop":0,"prev":"${HASH}"`));
put('payload-deny-with-target', PAYLOAD, a1.replace('permit"', 'deny"'));
put('payload-two-targets', PAYLOAD, a1.replace('"de-1",', '"de-1","node":"eu-central-1",'));
put('payload-text-escapes', PAYLOAD, a1.replace('"small"', '"\\"\\\\\\u0001\\n\u20ac"'));
put('frames-whole', FRAMES, listed(whole));
put('frames-open', FRAMES, listed(whole.slice(0, 3)));
put('frames-recovered', FRAMES, listed([...whole.slice(0, 3), leaf(A2, lost, 1), control(recovery),
  control(runEnd(6).replace('stop', 'recovered'))]));
put('frames-denied', FRAMES, listed([...whole.slice(0, 2), leaf(A1, jws(denied), 0)]));
put('frames-previous', FRAMES, listed([control(start(`"previous":{"frames":9,"run":"${
  'ab'.repeat(16)}"},`)), control(previousEnd)]));
put('frames-previous-live', FRAMES,
  listed([control(start(`"previous":{"live":true,"run":"${'ab'.repeat(16)}"},`))]));
put('frames-no-start', FRAMES, listed(whole.slice(1)));
put('frames-no-shard', FRAMES, listed([whole[0], ...whole.slice(2)]));
put('frames-a2-twice', FRAMES, listed([...whole.slice(0, 4), leaf(A2, a2, 2)]));
put('frames-index-gap', FRAMES, listed([...whole.slice(0, 2), leaf(A1, jws(a1), 3)]));
put('frames-retried', FRAMES, listed([...whole.slice(0, 3),
  leaf(A1, jws(a1.replace('west-1.0', 'west-1.1')), 1), leaf(A2, a2, 2)]));
put('frames-nine-attempts', FRAMES, listed([...whole.slice(0, 2),
  ...Array.from({ length: 9 }, (_, i) => leaf(A1, jws(a1), i))]));
put('frames-refused-later', FRAMES, listed([...whole.slice(0, 3), leaf(A1, jws(denied), 1),
  leaf(A2, a2, 2)]));
put('frames-refused-twice', FRAMES, listed([...whole.slice(0, 2), leaf(A1, jws(denied), 0),
  leaf(A1, jws(denied), 1)]));
put('frames-a1-behind-a2', FRAMES, listed([...whole.slice(0, 4), leaf(A1, jws(a1), 2)]));
put('frames-a2-of-other-a1', FRAMES, listed([...whole.slice(0, 3), leaf(A2, a2.replace(hashOf(jws(a1)),
  HASH), 1)]));
put('frames-two-shards', FRAMES, listed([...whole.slice(0, 3), control(open(1)),
  leaf(A2, a2, 0, 1)]));
put('frames-other-tenant', FRAMES, listed([whole[0], control(open(0).replace('acme/de', 'acme/fr')),
  whole[2]]));
put('frames-other-shard', FRAMES, listed([whole[0], control(open(0).replace('EA"', 'EQ"')), whole[2]]));
put('frames-shard-out-of-order', FRAMES, listed([whole[0], control(open(3))]));
put('frames-two-starts', FRAMES, listed([whole[0], whole[0]]));
put('frames-start-malformed', FRAMES, listed([control(start().replace('disk', 'tape'))]));
put('frames-start-of-other-run', FRAMES, listed([control(start().replace('0f"', '0e"'))]));
put('frames-records-malformed', FRAMES, listed([...whole.slice(0, 2), leaf(A1, 'a.b.c', 0),
  leaf(A2, '{}', 1)]));
put('frames-behind-end', FRAMES, listed([...whole, control(recovery)]));
put('frames-segment-end', FRAMES, listed([whole[0], leaf(END, '', 0), whole[1]]));
put('raw-whole', RAW, segments(segment(0, 0, whole)));
put('raw-two-segments', RAW, segments(
  segment(0, 0, [...whole.slice(0, 2), { type: END, slot: NO_SLOT, index: 0, text: '' }]),
  segment(1, 3, [whole[2], whole[3], control(runEnd(6))])));
put('raw-torn', RAW, segments(segment(0, 0, whole).subarray(0, 700)));
put('raw-damaged', RAW, segments(spoiled(segment(0, 0, whole), 400)));
put('raw-header-damaged', RAW, segments(spoiled(segment(0, 0, whole), 9)));
put('raw-zeros', RAW, Buffer.alloc(160));
put('raw-first-segment-gone', RAW, segments(Buffer.alloc(0), segment(1, 3, whole.slice(2))));
