// A second reader of the evidence, written from docs/formats.md alone: attestations and the
// write-ahead log. It shares no code with the node, so that both must be right to agree.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

// --- A1 ------------------------------------------------------------------------------------

export const hashOf = (value) => createHash('sha256').update(value).digest('base64url');

const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));

// {jws, header, claims} of a compact JWS; the signature is not looked at.
export function readA1(jws) {
  const parts = jws.split('.');
  assert.equal(parts.length, 3, `a compact JWS: ${jws}`);
  assert.ok(jws.length <= 2048, 'an A1 has at most 2,048 bytes');
  return { jws, header: decode(parts[0]), claims: decode(parts[1]) };
}

// The attestations in a Residency-Attestation field, ingress first, each with its index.
export function attestationsOf(answer) {
  const field = answer.headers['residency-attestation'];
  assert.equal(typeof field, 'string', 'the answer has a Residency-Attestation');
  return field.split(', ').map((item) => {
    const match = /^([\w.-]+);idx=(\d+)$/.exec(item);
    assert.notEqual(match, null, `an item of a Residency-Attestation: ${item}`);
    return { ...readA1(match[1]), index: Number(match[2]) };
  });
}

export function thumbprint({ kty, crv, x, y }) {
  const members = kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x };
  return hashOf(JSON.stringify(members));
}

// Whether a node's published keys vouch for the attestation.
export function isSignedBy(jwks, a1) {
  const jwk = jwks.keys.find((key) => thumbprint(key) === a1.header.kid);
  if (jwk === undefined) {
    return false;
  }
  const signed = a1.jws.slice(0, a1.jws.lastIndexOf('.'));
  const signature = Buffer.from(a1.jws.slice(signed.length + 1), 'base64url');
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  return a1.header.alg === 'ES256'
    ? verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)
    : verify(null, signed, key, signature);
}

// --- Write-ahead log -----------------------------------------------------------------------

const HEADER = 64;
const FRAME = 40;
const TYPES = ['', 'control', 'a1', 'a2', 'end'];

const table = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) {
    c = (c & 1) === 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  }
  return c >>> 0;
});

function crc32c(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) {
    c = table[(c ^ byte) & 0xff] ^ (c >>> 8);
  }
  return (c ^ 0xffffffff) >>> 0;
}

// The frame at an offset, or null where there is none that counts.
function frameAt(bytes, at, salt, seq) {
  if (at + FRAME > bytes.length || bytes.readUInt16LE(at) !== 0xa17c || bytes[at + 2] !== 1) {
    return null;
  }
  const length = bytes.readUInt32LE(at + 4);
  if (length > 16_384 || at + FRAME + length > bytes.length) {
    return null;
  }
  const covered = Buffer.concat([salt, bytes.subarray(at, at + 36),
    bytes.subarray(at + FRAME, at + FRAME + length)]);
  if (bytes.readUInt32LE(at + 36) !== crc32c(covered)
      || bytes.readBigUInt64LE(at + 8) !== BigInt(seq)) {
    return null;
  }
  return {
    seq,
    type: TYPES[bytes[at + 3]],
    batch: Number(bytes.readBigUInt64LE(at + 16)),
    index: Number(bytes.readBigUInt64LE(at + 24)),
    slot: bytes.readUInt32LE(at + 32),
    text: bytes.subarray(at + FRAME, at + FRAME + length).toString('utf8'),
    size: FRAME + length,
  };
}

// The frames of a run, up to the first thing that is none.
function* framesOfRun(folder) {
  let seq = 0;
  for (const name of readdirSync(folder).filter((one) => one.endsWith('.wal')).sort()) {
    const bytes = readFileSync(path.join(folder, name));
    // A segment that was prepared but never used has no header yet.
    if (bytes.length < HEADER || bytes.toString('latin1', 0, 8) !== 'PTLNWAL1') {
      return;
    }
    assert.equal(bytes.readUInt32LE(60), crc32c(bytes.subarray(0, 60)), `header of ${name}`);
    if (Number(bytes.readBigUInt64LE(32)) !== seq) {
      return;
    }
    const salt = bytes.subarray(40, 44);
    let at = HEADER;
    let ended = false;
    while (!ended) {
      const frame = frameAt(bytes, at, salt, seq);
      if (frame === null) {
        return;
      }
      yield frame;
      seq += 1;
      at += frame.size;
      ended = frame.type === 'end';
    }
  }
}

const runsOf = (folder) => readdirSync(path.join(folder, 'runs')).sort()
  .map((name) => ({ name, folder: path.join(folder, 'runs', name) }));

// Every frame of every run of a node's ledger, one after the other: a ledger may be large.
export function* framesOf(folder) {
  for (const run of runsOf(folder)) {
    yield* framesOfRun(run.folder);
  }
}

// Every run of a node's ledger, oldest first: {name, frames, a1, a2, control}.
export function readLedger(folder) {
  return runsOf(folder).map((run) => {
    const frames = [...framesOfRun(run.folder)];
    const of = (type) => frames.filter((frame) => frame.type === type);
    return {
      name: run.name,
      frames,
      a1: of('a1').map((frame) => ({ ...readA1(frame.text), index: frame.index, seq: frame.seq })),
      a2: of('a2').map((frame) => JSON.parse(frame.text)),
      control: of('control').map((frame) => JSON.parse(frame.text)),
    };
  });
}
