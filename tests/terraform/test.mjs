// What can be known of terraform/ without a cloud: that it parses, that its parts fit together,
// and that it keeps the promises of residency (no way out but the named ones, no public address,
// TLS to Redis, EU locations). Every check is also run on a broken copy that it must refuse.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from '@cdktf/hcl2json';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MODULE = 'terraform/modules/region';
const ENVIRONMENT = 'terraform/environments/eu-two-regions';
const FOLDERS = [MODULE, ENVIRONMENT];

// EU-27 and the three EEA states.
const EEA = ['AT', 'BE', 'BG', 'CY', 'CZ', 'DE', 'DK', 'EE', 'ES', 'FI', 'FR', 'GR', 'HR', 'HU',
  'IE', 'IT', 'LT', 'LU', 'LV', 'MT', 'NL', 'PL', 'PT', 'RO', 'SE', 'SI', 'SK', 'IS', 'LI', 'NO'];

function readFiles() {
  const files = {};
  for (const folder of FOLDERS) {
    for (const name of readdirSync(path.join(ROOT, folder), { recursive: true })) {
      if (/\.(tf|tftpl|sh)$/.test(name)) {
        files[`${folder}/${name}`] = readFileSync(path.join(ROOT, folder, name), 'utf8');
      }
    }
  }
  return files;
}

// The merged blocks of a folder, and its source text without comments.
async function load(files, folder) {
  const config = { text: '', resource: {}, data: {}, variable: {}, output: {}, module: {},
    locals: {} };
  for (const [name, source] of Object.entries(files)) {
    if (path.dirname(name) !== folder || !name.endsWith('.tf')) {
      continue;
    }
    config.text += source.replace(/^\s*#.*$/gm, '');
    const blocks = await parse(name, source);
    for (const kind of ['variable', 'output', 'module']) {
      Object.assign(config[kind], blocks[kind]);
    }
    for (const kind of ['resource', 'data']) {
      for (const [type, named] of Object.entries(blocks[kind] ?? {})) {
        config[kind][type] = { ...config[kind][type], ...named };
      }
    }
    for (const block of blocks.locals ?? []) {
      Object.assign(config.locals, block);
    }
  }
  return config;
}

const resources = (config, type) =>
  Object.entries(config.resource[type] ?? {}).map(([name, [body]]) => ({ ...body, name }));

const allResources = (config) => Object.entries(config.resource).flatMap(([type, named]) =>
  Object.entries(named).map(([name, [body]]) => ({ type, name, body })));

const uses = (text, pattern) => new Set([...text.matchAll(pattern)].map((match) => match[1]));

// --- The checks: each returns what is wrong ------------------------------------------------

function variableProblems(config) {
  const used = uses(config.text, /\bvar\.(\w+)/g);
  const declared = Object.keys(config.variable);
  return [
    ...[...used].filter((name) => !declared.includes(name)).map((name) => `var.${name} unknown`),
    ...declared.filter((name) => !used.has(name)).map((name) => `var.${name} unused`),
    ...declared.filter((name) => config.variable[name][0].type === undefined)
      .map((name) => `var.${name} has no type`),
  ];
}

function localProblems(config) {
  const used = uses(config.text, /\blocal\.(\w+)/g);
  const declared = Object.keys(config.locals);
  return [
    ...[...used].filter((name) => !declared.includes(name)).map((name) => `local.${name} unknown`),
    ...declared.filter((name) => !used.has(name)).map((name) => `local.${name} unused`),
  ];
}

function referenceProblems(config) {
  const references = [...config.text.matchAll(/(data\.)?\b(azurerm_\w+)\.(\w+)/g)];
  return references
    .filter(([, data, type, name]) =>
      (data ? config.data : config.resource)[type]?.[name] === undefined)
    .map(([whole]) => `${whole} unknown`);
}

function moduleProblems(region, environment) {
  const problems = [];
  for (const [name, [call]] of Object.entries(environment.module)) {
    if (path.join(ENVIRONMENT, call.source) !== MODULE) {
      problems.push(`module ${name}: source ${call.source}`);
    }
    const given = Object.keys(call).filter((key) => key !== 'source');
    problems.push(...given.filter((key) => region.variable[key] === undefined)
      .map((key) => `module ${name}: no variable ${key}`));
    problems.push(...Object.entries(region.variable)
      .filter(([key, [body]]) => !('default' in body) && !given.includes(key))
      .map(([key]) => `module ${name}: ${key} missing`));
  }
  for (const [whole, name, output] of environment.text.matchAll(/\bmodule\.(\w+)\.(\w+)/g)) {
    if (environment.module[name] === undefined || region.output[output] === undefined) {
      problems.push(`${whole} unknown`);
    }
  }
  return problems;
}

// Each template gets exactly the values that it asks for.
function templateProblems(files, region) {
  const problems = [];
  const calls = [...region.text.matchAll(
    /templatefile\("\$\{path\.module\}\/([^"]+\.tftpl)", \{\n([\s\S]*?)\n\s*\}\)/g)];
  for (const [, file, body] of calls) {
    const given = new Set([...body.matchAll(/^\s*(\w+)\s*=/gm)].map((match) => match[1]));
    const names = file.includes('${')
      ? Object.keys(files).filter((name) => name.endsWith('.service.tftpl'))
      : [`${MODULE}/${file}`];
    for (const name of names) {
      const wanted = uses(files[name] ?? '', /\$\{(\w+)\}/g);
      if (files[name] === undefined) {
        problems.push(`${name} missing`);
      }
      problems.push(...[...wanted].filter((key) => !given.has(key))
        .map((key) => `${name}: ${key} not given`));
    }
  }
  return calls.length === 0 ? ['no template is used'] : problems;
}

// Nothing has a way from or to the Internet that an address could be given to.
function publicProblems(config) {
  const forbidden = ['azurerm_public_ip', 'azurerm_public_ip_prefix', 'azurerm_nat_gateway',
    'azurerm_firewall', 'azurerm_bastion_host', 'azurerm_virtual_network_gateway'];
  const problems = allResources(config).filter(({ type }) => forbidden.includes(type))
    .map(({ type, name }) => `${type}.${name}`);
  if (/public_ip_address_id/.test(config.text)) {
    problems.push('public_ip_address_id');
  }
  for (const subnet of resources(config, 'azurerm_subnet')) {
    if (subnet.default_outbound_access_enabled !== false) {
      problems.push(`subnet ${subnet.name}: default outbound access`);
    }
  }
  for (const type of ['azurerm_key_vault', 'azurerm_redis_cache', 'azurerm_managed_disk']) {
    for (const resource of resources(config, type)) {
      if (resource.public_network_access_enabled !== false) {
        problems.push(`${type}.${resource.name}: public network access`);
      }
    }
  }
  return problems;
}

const everything = (rule) => ['protocol', 'source_address_prefix', 'source_port_range',
  'destination_address_prefix', 'destination_port_range'].every((key) => rule[key] === '*');

function rulesOf(group) {
  const dynamic = (group.dynamic?.security_rule ?? []).flatMap((block) => block.content);
  return [...(group.security_rule ?? []), ...dynamic];
}

function egressProblems(config) {
  const problems = [];
  for (const group of resources(config, 'azurerm_network_security_group')) {
    for (const direction of ['Inbound', 'Outbound']) {
      const rules = rulesOf(group).filter((rule) => rule.direction === direction);
      const last = rules.filter((rule) => rule.priority === 4096);
      if (last.length !== 1 || last[0].access !== 'Deny' || !everything(last[0])) {
        problems.push(`${group.name}: ${direction} does not end in deny-all at 4096`);
      }
      for (const rule of rules.filter((one) => one.access === 'Allow')) {
        const targets = [rule.destination_address_prefix, rule.destination_address_prefixes,
          rule.source_address_prefix, rule.source_address_prefixes].flat()
          .filter((one) => one !== undefined);
        if (targets.some((one) => ['*', 'Internet', '0.0.0.0/0', 'VirtualNetwork'].includes(one))) {
          problems.push(`${group.name}: ${rule.name} allows everything`);
        }
        if (typeof rule.priority === 'number' && rule.priority >= 1000) {
          problems.push(`${group.name}: ${rule.name} stands among the charter's`);
        }
      }
    }
  }
  for (const subnet of resources(config, 'azurerm_subnet')) {
    const [bound] = config.resource
      .azurerm_subnet_network_security_group_association?.[subnet.name] ?? [];
    if (bound?.subnet_id !== `\${azurerm_subnet.${subnet.name}.id}`
      || bound?.network_security_group_id
        !== `\${azurerm_network_security_group.${subnet.name}.id}`) {
      problems.push(`subnet ${subnet.name}: no security group of its own`);
    }
  }
  return problems;
}

// The charter's egress is the only rule whose target comes from outside of the module.
function charterEgressProblems(config) {
  const [group] = config.resource.azurerm_network_security_group?.mesh ?? [];
  const blocks = group?.dynamic?.security_rule ?? [];
  const problems = [];
  if (blocks.length !== 1 || blocks[0].for_each !== '${var.allowed_egress}') {
    problems.push('mesh: allowed_egress is not the one list of further rules');
  }
  for (const name of ['model', 'endpoints']) {
    if (config.resource.azurerm_network_security_group?.[name]?.[0].dynamic !== undefined) {
      problems.push(`${name}: rules beside the fixed ones`);
    }
  }
  return problems;
}

// A model server hears this region's nodes, and speaks to the vault's endpoint.
function modelProblems(config) {
  const [group] = config.resource.azurerm_network_security_group?.model ?? [{}];
  const allowed = rulesOf(group).filter((rule) => rule.access === 'Allow').map((rule) =>
    [rule.direction, rule.source_address_prefix, rule.destination_address_prefix,
      rule.destination_port_range].join(' '));
  const wanted = ['Inbound ${local.mesh_cidr} ${local.model_cidr} 443',
    'Outbound ${local.model_cidr} ${local.endpoints_cidr} 443'];
  return allowed.join('|') === wanted.join('|') ? [] : [`model: ${allowed.join(', ')}`];
}

// What names another region's addresses: the mesh port between nodes, and Redis with TLS.
function peerProblems(config) {
  const ports = ['${tostring(var.mesh_port)}', '${tostring(local.redis_port)}'];
  const problems = [];
  for (const group of resources(config, 'azurerm_network_security_group')) {
    for (const rule of rulesOf(group)) {
      if (/local\.peer_/.test(JSON.stringify(rule))
        && !ports.includes(rule.destination_port_range)) {
        problems.push(`${group.name}: ${rule.name} opens another port to peers`);
      }
      if (/local\.peer_/.test(JSON.stringify(rule)) && group.name === 'model') {
        problems.push('model: open to peers');
      }
    }
  }
  return problems;
}

function redisProblems(config) {
  const problems = [];
  const caches = resources(config, 'azurerm_redis_cache');
  for (const cache of caches) {
    if (cache.non_ssl_port_enabled !== false) {
      problems.push('Redis: plain port');
    }
    if (cache.minimum_tls_version !== '1.2') {
      problems.push('Redis: TLS below 1.2');
    }
    if (cache.public_network_access_enabled !== false) {
      problems.push('Redis: public network access');
    }
    if (cache.redis_configuration?.[0].authentication_enabled === false) {
      problems.push('Redis: no authentication');
    }
  }
  const endpoints = resources(config, 'azurerm_private_endpoint').filter((endpoint) =>
    endpoint.private_service_connection[0].private_connection_resource_id
      === '${azurerm_redis_cache.this.id}');
  if (caches.length !== 1 || endpoints.length !== 1) {
    problems.push('Redis: one cache with one private endpoint is wanted');
  }
  return problems;
}

function machineProblems(config) {
  const machines = resources(config, 'azurerm_linux_virtual_machine');
  const problems = machines.length === 2 ? [] : ['node and model machines are wanted'];
  const wanted = { encryption_at_host_enabled: true, disable_password_authentication: true,
    provision_vm_agent: false, allow_extension_operations: false, vtpm_enabled: true };
  for (const machine of machines) {
    problems.push(...Object.entries(wanted).filter(([key, value]) => machine[key] !== value)
      .map(([key]) => `machine ${machine.name}: ${key}`));
  }
  for (const disk of resources(config, 'azurerm_managed_disk')) {
    if (disk.lifecycle?.[0].prevent_destroy !== true || disk.network_access_policy !== 'DenyAll') {
      problems.push(`disk ${disk.name}: can be destroyed or exported`);
    }
  }
  return problems;
}

function validatedLocations(region) {
  const [{ validation }] = region.variable.location ?? [{}];
  return [...(validation?.[0].condition ?? '').matchAll(/"([a-z]+)"/g)].map((match) => match[1]);
}

function locationProblems(region, environment) {
  const problems = [];
  const countries = region.locals.countries ?? {};
  const locations = validatedLocations(region);
  if (locations.join() !== Object.keys(countries).sort().join()) {
    problems.push('the allowed locations and the table of countries differ');
  }
  problems.push(...Object.entries(countries).filter(([, country]) => !EEA.includes(country))
    .map(([location]) => `${location} is not in the EEA`));
  problems.push(...allResources(region)
    .filter(({ body }) => 'location' in body && body.location !== '${var.location}')
    .map(({ type, name }) => `${type}.${name}: a location of its own`));
  problems.push(...allResources(environment)
    .filter(({ body }) => 'location' in body && !locations.includes(body.location))
    .map(({ type, name, body }) => `${type}.${name}: location ${body.location}`));
  const placed = Object.values(environment.module)
    .map(([call]) => `${call.region}=${call.location}`).sort();
  if (placed.join() !== 'eu-central=germanywestcentral,eu-west=westeurope') {
    problems.push(`regions: ${placed.join(', ')}`);
  }
  return problems;
}

function serviceProblems(region) {
  return region.text.includes('file("${path.module}/../../../configs/portolan.service")')
    ? [] : ['the node does not run the unit of configs/'];
}

async function problemsOf(files) {
  const region = await load(files, MODULE);
  const environment = await load(files, ENVIRONMENT);
  return [
    ...[region, environment].flatMap((config) => [...variableProblems(config),
      ...localProblems(config), ...referenceProblems(config), ...publicProblems(config)]),
    ...moduleProblems(region, environment), ...templateProblems(files, region),
    ...egressProblems(region), ...charterEgressProblems(region), ...modelProblems(region),
    ...peerProblems(region), ...redisProblems(region), ...machineProblems(region),
    ...locationProblems(region, environment), ...serviceProblems(region),
  ];
}

// --- The tests -----------------------------------------------------------------------------

let files;
before(() => { files = readFiles(); });

describe('terraform', () => {
  test('every file parses and every check holds', async () => {
    assert.deepEqual(await problemsOf(files), []);
  });

  test('the example gives every value that has no default, and no other name', async () => {
    const example = 'terraform.tfvars.example';
    const values = await parse(example,
      readFileSync(path.join(ROOT, ENVIRONMENT, example), 'utf8'));
    const { variable } = await load(files, ENVIRONMENT);
    const needed = Object.keys(variable).filter((name) => !('default' in variable[name][0]));
    assert.deepEqual(needed.filter((name) => !(name in values)), []);
    assert.deepEqual(Object.keys(values).filter((name) => !(name in variable)), []);
  });

  const breaks = [
    ['a variable that is not declared', MODULE, 'redis.tf', 'var.redis_capacity',
      'var.redis_size', /var\.redis_size unknown/],
    ['a variable that is not used', MODULE, 'variables.tf', 'variable "tags"',
      'variable "idle" {\n  type = string\n}\nvariable "tags"', /var\.idle unused/],
    ['a local that is not declared', MODULE, 'redis.tf', 'local.name', 'local.nmae',
      /local\.nmae unknown/],
    ['a resource that does not exist', MODULE, 'redis.tf', 'azurerm_subnet.endpoints.id',
      'azurerm_subnet.endpoint.id', /azurerm_subnet\.endpoint unknown/],
    ['a module argument that is no variable', ENVIRONMENT, 'main.tf', '  charter  ',
      '  chart  ', /no variable chart/],
    ['a required module argument left out', ENVIRONMENT, 'main.tf',
      /\n {2}operator +=[^\n]+/, '', /operator missing/],
    ['an output that the module lacks', ENVIRONMENT, 'outputs.tf', 'module.eu_west.redis',
      'module.eu_west.cache', /module\.eu_west\.cache unknown/],
    ['a template value that is not given', MODULE, 'model.tf', /\n {4}nginx += base64/,
      '\n    front = base64', /nginx not given/],
    ['a public address', MODULE, 'model.tf',
      /private_ip_address_allocation = "Dynamic"/,
      'private_ip_address_allocation = "Dynamic"\n    public_ip_address_id = var.prefix',
      /public_ip_address_id/],
    ['default outbound access', MODULE, 'network.tf',
      /default_outbound_access_enabled = false/, 'default_outbound_access_enabled = true',
      /default outbound access/],
    ['an egress rule below deny-all that is no deny', MODULE, 'network.tf',
      /("deny-all-out"[\s\S]*?access +=) "Deny"/, '$1 "Allow"', /does not end in deny-all/],
    ['a deny-all that is not last', MODULE, 'network.tf',
      /("deny-all-out"\n +priority +=) 4096/, '$1 4000', /does not end in deny-all/],
    ['egress to everywhere', MODULE, 'network.tf',
      /("models"[\s\S]*?destination_address_prefix =) local\.model_cidr/, '$1 "Internet"',
      /models allows everything/],
    ['a subnet without its security group', MODULE, 'network.tf',
      'azurerm_network_security_group.model.id', 'azurerm_network_security_group.mesh.id',
      /subnet model: no security group/],
    ['a model server that hears callers', MODULE, 'network.tf',
      /("nodes"[\s\S]*?source_address_prefix +=) local\.mesh_cidr/, '$1 local.endpoints_cidr',
      /model: Inbound/],
    ['another port to peers', MODULE, 'network.tf', 'tostring(var.mesh_port)', '"22"',
      /opens another port to peers/],
    ['a Redis with a plain port', MODULE, 'redis.tf', /non_ssl_port_enabled +=.*/,
      'non_ssl_port_enabled = true', /Redis: plain port/],
    ['a Redis with TLS 1.0', MODULE, 'redis.tf', '"1.2"', '"1.0"', /Redis: TLS below 1\.2/],
    ['a public Redis', MODULE, 'redis.tf', /public_network_access_enabled +=.*/,
      'public_network_access_enabled = true', /Redis: public network access/],
    ['a public vault', MODULE, 'vault.tf', /public_network_access_enabled +=.*/,
      'public_network_access_enabled = true', /azurerm_key_vault/],
    ['a machine without encryption at host', MODULE, 'model.tf',
      /encryption_at_host_enabled +=.*/, 'encryption_at_host_enabled = false',
      /machine model: encryption_at_host/],
    ['a ledger that can be destroyed', MODULE, 'mesh.tf', 'prevent_destroy = true',
      'prevent_destroy = false', /disk ledger/],
    ['a location outside the EEA', MODULE, 'outputs.tf', /northeurope += "IE"/,
      'northeurope        = "GB"', /northeurope is not in the EEA/],
    ['a location without a country', MODULE, 'variables.tf', '"austriaeast", ', '',
      /table of countries differ/],
    ['a region in another place', ENVIRONMENT, 'main.tf', '"westeurope"', '"northeurope"',
      /regions: /],
    ['a resource in another place', MODULE, 'redis.tf', /location +=.*/,
      'location = "eastus"', /a location of its own/],
  ];
  for (const [name, folder, file, from, to, expected] of breaks) {
    test(`refused: ${name}`, async () => {
      const broken = { ...files };
      const key = `${folder}/${file}`;
      broken[key] = files[key].replace(from, to);
      assert.notEqual(broken[key], files[key], 'the copy is not broken');
      assert.ok((await problemsOf(broken)).some((problem) => expected.test(problem)),
        `not seen: ${JSON.stringify(await problemsOf(broken))}`);
    });
  }
});

const has = (program, ...args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;

// A CLI configuration of the machine has no say in a test.
const bare = { ...process.env };
delete bare.TF_CLI_CONFIG_FILE;

function hasTerraform() {
  return spawnSync('terraform', ['version'], { stdio: 'ignore', env: bare }).status === 0;
}

describe('with the real tools, where they are installed', () => {
  test('terraform fmt has nothing to say', { skip: !hasTerraform() }, () => {
    execFileSync('terraform', ['fmt', '-check', '-recursive', path.join(ROOT, 'terraform')],
      { env: bare });
  });

  test('the nginx and cloud-init templates render', { skip: !hasTerraform() }, () => {
    const folder = path.join(ROOT, MODULE, 'cloud-init');
    const render = (file, values) => {
      const call = `jsonencode(templatefile("${path.join(folder, file)}", {${
        Object.entries(values).map(([key, value]) => `${key}="${value}"`).join(',')}}))`;
      // An empty folder: a console in the module would want its provider.
      const out = execFileSync('terraform', ['console'], { input: call, env: bare,
        cwd: path.join(ROOT, 'tests/terraform'), encoding: 'utf8' });
      return JSON.parse(JSON.parse(out));
    };
    const nginx = render('nginx.conf.tftpl', { port: 8000 });
    assert.match(nginx, /server 127\.0\.0\.1:8000;/);
    const vault = { vault: 'https://kv/', secret: 's', identity: 'i', fetch: 'Zg==' };
    const mesh = render('mesh.yaml.tftpl', { unit: 'dQ==', config: 'Yw==', charter: 'Yw==',
      ...vault });
    const model = render('model.yaml.tftpl', { unit: 'dQ==', nginx: 'bg==', ...vault });
    for (const text of [mesh, model]) {
      assert.match(text, /^#cloud-config\n/);
      assert.match(text, /fetch-secret https:\/\/kv\/ s i /);
      assert.doesNotMatch(text, /\$\{/);
    }
  });

  test('the secret script is a valid shell script', () => {
    execFileSync('sh', ['-n', path.join(ROOT, MODULE, 'cloud-init/fetch-secret.sh')]);
  });

  test('the systemd unit is exposed by 2.0 at most',
    { skip: !has('systemd-analyze', '--version') }, () => {
      execFileSync('systemd-analyze', ['security', '--offline=true', '--threshold=20',
        '--no-pager', path.join(ROOT, 'configs/portolan.service')], { stdio: 'pipe' });
    });
});
