// Commitments computed anew, from docs/formats.md section 7 alone and a node's own keys.
import { createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const TENANT_ROW = 72;
const SUBJECT_ROW = 128;

const rowsOf = (file, size) => {
  const bytes = readFileSync(file);
  return Array.from({ length: Math.floor(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size));
};

function subjectKey(tenantKey, row) {
  const decipher = createDecipheriv('aes-256-gcm', tenantKey, row.subarray(48, 60));
  decipher.setAAD(row.subarray(8, 48));
  decipher.setAuthTag(row.subarray(92, 108));
  return Buffer.concat([decipher.update(row.subarray(60, 92)), decipher.final()]);
}

// Every subject's key that a node has.
function subjectKeys(dir) {
  const tenants = rowsOf(path.join(dir, 'tenants.keys'), TENANT_ROW)
    .map((row) => row.subarray(32, 64));
  return rowsOf(path.join(dir, 'subjects.rows'), SUBJECT_ROW)
    .filter((row) => row.toString('latin1', 0, 4) === 'SUBJ').flatMap((row) => tenants
      .filter((key) => createHmac('sha256', key).update('portolan/v1/tenant').digest()
        .subarray(0, 16).equals(row.subarray(8, 24)))
      .map((key) => subjectKey(key, row)));
}

export const commitmentOf = (key, label, text) => createHmac('sha256', key).update(label)
  .update(Buffer.alloc(1)).update(text).digest('base64url');

// The key of a request that this node was the ingress of: of the subject whose commitment to the
// request's body is the attested one. Undefined: of none.
export function commitmentKey(node, txn, body, attested) {
  const dir = path.resolve(node.dir, node.readConfig().subjects_dir ?? 'subjects');
  return subjectKeys(dir)
    .map((key) => Buffer.from(hkdfSync('sha256', key, txn, 'portolan/v1/request', 32)))
    .find((key) => commitmentOf(key, 'request', body) === attested);
}
