// configs/node.schema.json says the same as the program's own table of keys, and admits what
// `init` writes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { BINARY, ROOT, run, useMesh } from './lib.mjs';

const schema = JSON.parse(readFileSync(path.join(ROOT, 'configs/node.schema.json'), 'utf8'));
const scene = useMesh();

function at(where) {
  return where.split('.').reduce((node, part) => node?.properties?.[part], schema);
}

scene('each key of the reference stands in the schema, with its range', async () => {
  const { code, stdout } = await run(BINARY, ['check', '--reference']);
  assert.equal(code, 0);
  const lines = stdout.trim().split('\n');
  assert.ok(lines.length > 40);
  for (const line of lines) {
    const [, key, standard, help] = /^(\S+)\s+(\S+)\s+(.*)$/.exec(line);
    const leaf = at(key);
    assert.ok(leaf, key);
    const range = /\((\d+) to (\d+)(?: \w+)?\)$/.exec(help);
    if (range !== null && key !== 'v') {
      assert.deepEqual([leaf.minimum, leaf.maximum, leaf.default],
        [Number(range[1]), Number(range[2]), Number(standard)], key);
    }
  }
  const leaves = (node) => (node.properties === undefined || node.additionalProperties === undefined
    ? 1 : Object.values(node.properties).reduce((sum, one) => sum + leaves(one), 0));
  // trust and store are one key each in the table, objects in the schema.
  const inner = ['trust', 'store'].reduce((sum, key) => sum + leaves(at(key)) - 1, 0);
  assert.equal(leaves(schema) - inner, lines.length);
});

scene('what init writes has no key that the schema does not know', async (mesh) => {
  const walk = (value, node, where) => {
    for (const [key, inner] of Object.entries(value)) {
      const next = node.properties?.[key];
      if (next === undefined) {
        assert.equal(typeof node.additionalProperties, 'object', `${where}.${key}`);
      } else if (next.type === 'object' && inner !== null && typeof inner === 'object') {
        walk(inner, next, `${where}.${key}`);
      }
    }
    for (const key of node.required ?? []) {
      assert.ok(Object.hasOwn(value, key), `${where}.${key} is required`);
    }
  };
  for (const node of [mesh.central, mesh.west]) {
    walk(node.readConfig(), schema, '');
  }
});
