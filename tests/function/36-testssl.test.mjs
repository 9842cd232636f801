// What an independent examiner says of the public listener: Debian's testssl.sh, by its JSON.
// Left out is what belongs to the certificate's source (a test CA) and to web pages' headers.
// (BREACH is asked of a refusal alone; that answers come in no coding is in 51-http-client.)
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { run, useMesh } from './lib.mjs';

const scene = useMesh();
const LIMIT_MS = 240_000; // about 35 s of processor time

// One part of the examination a process, because each is one long line of handshakes. What each
// must have looked at, so that an examiner who gave up is no pass.
const PARTS = {
  protocols: {
    args: ['--protocols', '--std', '--server-preference'],
    ids: ['SSLv2', 'SSLv3', 'TLS1', 'TLS1_1', 'TLS1_2', 'TLS1_3', 'cipherlist_NULL',
      'cipherlist_aNULL', 'cipherlist_EXPORT', 'cipherlist_LOW', 'cipherlist_3DES_IDEA',
      'cipher_order'],
  },
  secrecy: { args: ['--fs'], ids: ['PFS'] },
  weaknesses: {
    args: ['--heartbleed', '--ccs-injection', '--ticketbleed', '--robot', '--renegotiation',
      '--crime', '--poodle', '--tls-fallback', '--sweet32', '--freak', '--drown', '--logjam',
      '--beast', '--lucky13', '--rc4', '--breach'],
    ids: ['heartbleed', 'CCS', 'ticketbleed', 'ROBOT', 'secure_renego', 'secure_client_renego',
      'CRIME_TLS', 'POODLE_SSL', 'fallback_SCSV', 'SWEET32', 'FREAK', 'DROWN', 'LOGJAM', 'BEAST',
      'LUCKY13', 'RC4', 'BREACH'],
  },
};
const FINE = ['OK', 'INFO', 'LOW', 'DEBUG'];

async function examine(mesh, name) {
  const file = path.join(mesh.logs, `testssl-${name}.json`);
  const node = mesh.central;
  const { code, stdout, stderr } = await run('testssl', [
    '--quiet', '--color', '0', '--warnings', 'batch', '--nodns', 'none', '--ip', '127.0.0.1',
    '--add-ca', path.join(mesh.dir, 'ca/ca.pem'), '--jsonfile', file, ...PARTS[name].args,
    `localhost:${node.port}`,
  ], { timeoutMs: LIMIT_MS, env: { NO_ENGINE: 'true' } }); // GOST is the examiner's own matter
  assert.notEqual(code, 'ENOENT',
    'testssl is missing: install the Debian package testssl.sh (scripts/setup does)');
  assert.equal(code, 0, stdout + stderr);
  return JSON.parse(readFileSync(file, 'utf8'));
}

scene('testssl.sh finds nothing of MEDIUM or above', async (mesh, t) => {
  const names = Object.keys(PARTS);
  const results = await Promise.all(names.map((name) => examine(mesh, name)));
  results.forEach((findings, i) => {
    const seen = new Map(findings.map((one) => [one.id, one]));
    for (const id of PARTS[names[i]].ids) {
      assert.ok(seen.has(id), `${names[i]}: nothing was said of ${id}`);
    }
    for (const { id, severity, finding } of findings) {
      assert.ok(FINE.includes(severity), `${severity} ${id}: ${finding}`);
      if (severity === 'LOW') {
        t.diagnostic(`${id}: ${finding}`);
      }
    }
  });
}, { timeout: LIMIT_MS });
