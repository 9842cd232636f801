// Charters that no node may take, neither at its start nor by a reload: what is done to the one in
// force, and what the node says of it.
import { writeFileSync } from 'node:fs';

export const badCharters = [
  ['an unsigned charter', (mesh) => mesh.writeCharter((envelope) => {
    envelope.signatures[0].sig = Buffer.alloc(64, 1).toString('base64');
  }), /signed by 0 of the trusted keys, 1 are needed/],
  ['a charter with too few signatures', (mesh) => mesh.writeCharter((envelope) => {
    envelope.signatures = [];
  }), /signatures/],
  ['a changed charter', (mesh) => mesh.writeCharter((envelope) => {
    const payload = Buffer.from(envelope.payload, 'base64').toString('utf8');
    envelope.payload = Buffer.from(payload.replace('"IE"', '"DE"')).toString('base64');
  }), /signed by 0 of the trusted keys, 1 are needed/],
  ['an older version', (mesh) => mesh.signCharter((charter) => { charter.version -= 2; }),
    /version/],
  ['the same version with another content', (mesh) => mesh.signCharter((charter) => {
    charter.version -= 1;
    charter.seed = Buffer.alloc(32, 7).toString('base64url');
  }), /version/],
  ['an expired charter', (mesh) => mesh.signCharter((charter) => {
    charter.issued = '2020-01-01T00:00:00Z';
    charter.renew_by = '2020-02-01T00:00:00Z';
    charter.valid_until = '2020-03-01T00:00:00Z';
  }), /valid_until.*has passed/],
  ['text that is no charter', (mesh) => writeFileSync(mesh.envelope, 'nothing'),
    /charter\.dsse\.json/],
];
