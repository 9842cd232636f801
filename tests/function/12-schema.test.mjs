// The schemas in configs/ say the same as the program: as its table of keys, and as its loader of
// what `init` writes and of each fault in that.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Ajv2020 from 'ajv/dist/2020.js';
import { BINARY, ROOT, run, useMesh } from './lib.mjs';
import { parseCommented } from './mesh.mjs';

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

// --- The schemas and the loader say the same -------------------------------------------------

const validator = (name) => new Ajv2020({ allErrors: true })
  .compile(JSON.parse(readFileSync(path.join(ROOT, 'configs', name), 'utf8')));

// A document with one fault, for each value in it: another type in its place, and in an object a
// member of no meaning. Of a list the first item stands for all. [where, the document]
function* mutants(value, where = '', rebuild = (changed) => changed) {
  const wrong = typeof value === 'string' ? 7 : 'wrong';
  yield [where, rebuild(wrong)];
  if (value === null || typeof value !== 'object') {
    return;
  }
  if (!Array.isArray(value)) {
    yield [`${where}.frob`, rebuild({ ...value, frob: 7 })];
  }
  for (const [key, inner] of Object.entries(value).slice(0, Array.isArray(value) ? 1 : undefined)) {
    yield* mutants(inner, `${where}.${key}`, (changed) => rebuild(Array.isArray(value)
      ? [changed, ...value.slice(1)] : { ...value, [key]: changed }));
  }
}

// The loader's judgement of a charter's source, and of a config; `check` looks further than a
// schema can, but what it calls good is good.
const judges = {
  'charter.schema.json': (file) => ['--charter', file],
  'node.schema.json': (file) => ['--config', file],
};

async function agree(mesh, name, document, folder) {
  const isValid = validator(name);
  const check = async (value) => {
    const file = path.join(folder, 'judged.jsonc');
    writeFileSync(file, JSON.stringify(value));
    const { code, stdout, stderr } = await run(BINARY, ['check', ...judges[name](file)]);
    return { good: code === 0, told: stdout + stderr };
  };
  assert.ok(isValid(document), JSON.stringify(isValid.errors));
  const { good, told } = await check(document);
  assert.ok(good, told);
  let count = 0;
  for (const [where, mutant] of mutants(document)) {
    if (where === '') {
      continue;
    }
    count += 1;
    const valid = isValid(mutant);
    const judged = await check(mutant);
    // Members of a JWK that mean nothing here are ignored (RFC 7517 section 4), and what its own
    // say is for who makes a key of it.
    if (/\.jwk\.|^\.trust\.keys\.\d+\./.test(where)) {
      assert.ok(valid || !judged.good, `the loader takes ${where}, the schema does not`);
      continue;
    }
    assert.equal(valid, false, `the schema takes ${where}`);
    assert.equal(judged.good, false, `the loader takes ${where}`);
    // A fault of form has its place: file, line and member.
    assert.match(judged.told, /judged\.jsonc:\d+: /, where);
  }
  return count;
}

scene('the charter that init writes, and each fault in it: the schema and the loader agree',
  async (mesh) => {
    const count = await agree(mesh, 'charter.schema.json', mesh.readCharter(),
      path.dirname(mesh.source));
    assert.ok(count > 150, `${count}`);
  }, { timeout: 120_000 });

scene('the config that init writes, and each fault in it: the schema and the loader agree',
  async (mesh) => {
    const { central } = mesh;
    const count = await agree(mesh, 'node.schema.json', central.readConfig(),
      path.dirname(central.config));
    assert.ok(count > 30, `${count}`);
  }, { timeout: 120_000 });

scene('the example of a charter is one', async () => {
  const file = path.join(ROOT, 'configs/charter.example.jsonc');
  const isValid = validator('charter.schema.json');
  assert.ok(isValid(parseCommented(readFileSync(file, 'utf8'))), JSON.stringify(isValid.errors));
  const { code, stdout, stderr } = await run(BINARY, ['check', '--charter', file]);
  assert.equal(code, 0, stdout + stderr);
});
