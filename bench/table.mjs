// The tables of a report (--json of run.mjs), in Markdown:
//
//   node bench/table.mjs REPORT.json                  prints them
//   node bench/table.mjs REPORT.json --write FILE.md  puts them between FILE's markers
//                                                     <!-- bench:begin --> and <!-- bench:end -->
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { goals } from './goals.mjs';

const BEGIN = '<!-- bench:begin -->';
const END = '<!-- bench:end -->';

const us = (value) => `${value.toFixed(1)} µs`;
const ms = (value) => `${value.toFixed(2)} ms`;
const whole = (value) => Math.round(value).toLocaleString('en-US');
const mib = (kib) => `${(kib / 1024).toFixed(1)} MiB`;

function rows(head, list) {
  return [head, head.map(() => '---'), ...list].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function machineLines({ machine: m, options: o, made }) {
  const programs = Object.values(m.programs).map((line) => line.replace(/ *(- )?https?:\S+| *Copyright.*/g, '')).join('; ');
  return `Made ${made.slice(0, 10)} on ${m.cpu}, ${m.cores} cores, ${whole(m.memory_mib)} MiB, ${m.kernel}, ledger on ${m.file_system}; ` +
    `medians of ${o.runs} alternating runs of ${o.seconds} s (fewer where no ratio comes from them), ${o.connections} connections, ` +
    `\`durability: ${o.durability}\`${o.quick ? '; **a quick run: its sizes are small and its figures mean nothing**' : ''}.\n\n${programs}.`;
}

function goalTable(report) {
  const list = goals(report).map((g) => [g.text, `${g.value.toFixed(g.digits)}${g.unit}`, `≤ ${g.bar.toFixed(g.digits)}${g.unit}`, g.met ? 'yes' : '**no**']);
  return list.length === 0 ? '' : rows(['goal', 'measured', 'bar', 'met'], list);
}

function unaryTable({ medians, idle_pss_kib: idle }) {
  const list = Object.entries(medians).map(([name, m]) => [name, us(m.cpu_us), whole(m.rps), ms(m.p50_ms), ms(m.p99_ms), mib(m.pss_kib)]);
  return rows(['small requests', 'CPU a request', 'requests/s', 'p50', 'p99', 'PSS'], [...list, ['portolan, idle', '', '', '', '', mib(idle)]]);
}

function sseTable({ scenes }) {
  const list = scenes.flatMap(({ streams, every_ms: every, medians, below_planned_rate: below }) => Object.entries(medians).map(([name, m]) =>
    [`${name}, ${whole(streams)} × ${(1000 / every).toFixed(1)}/s`, us(m.cpu_us_event), `${whole(m.events_a_second)}${below.includes(name) ? ' (fewer than planned)' : ''}`, `${m.kb_a_stream.toFixed(1)} KB`]));
  for (const { streams, cannot } of scenes) {
    for (const [name, why] of Object.entries(cannot)) list.push([`${name}, ${whole(streams)}`, `no figure: ${why.replace(/\s*\n.*/s, '').replaceAll('|', '/')}`, '', '']);
  }
  return rows(['streams', 'CPU an event', 'events/s', 'memory a stream'], list);
}

function largeTable({ medians, cannot, micro, floor_us: floor }) {
  const list = Object.entries(medians).map(([name, m]) => [name, `${m.cpu_us.toFixed(0)} µs`, whole(m.rps)]);
  for (const [name, why] of Object.entries(cannot)) list.push([name, `can't: ${why}`, '']);
  const parts = [['scan', 'scan'], ['SHA-256', 'sha256'], ['HMAC', 'hmac'], ['AES-128-GCM', 'aes128gcm'], ['AES-256-GCM', 'aes256gcm'], ['copy', 'copy']];
  const floors = parts.map(([name, key]) => [name, us(micro[key].us), `${micro[key].gb_s.toFixed(2)} GB/s`]);
  return `${rows([`bodies of ${whole(micro.bytes)} bytes`, 'CPU a request', 'requests/s'], list)}\n\n` +
    rows(['the same bytes', 'time', 'rate'], [...floors, ['floor: copy + SHA-256 + 2 × AES-256-GCM + scan', us(floor), '']]);
}

function scaleTable(scale) {
  const list = ['tenants', 'backends', 'tokens'].flatMap((what) => Object.entries(scale[what].medians).map(([name, m]) => {
    const growth = scale[what].growth_percent[name];
    const idle = scale[what].idle_cpu_ms_a_second?.[name];
    return [name, us(m.cpu_us), growth === undefined ? '' : `${growth >= 0 ? '+' : ''}${growth.toFixed(1)} %`, idle === undefined ? '' : `${idle.toFixed(1)} ms a second, subtracted`];
  }));
  return rows(['scale', 'CPU a request', 'growth', 'probes'], list);
}

function latencyTable({ medians, added, rates }) {
  const list = Object.entries(medians).map(([name, m]) => [name, whole(m.rps), ms(m.p50_ms), ms(m.p99_ms), added[name] ? ms(added[name].p50_ms) : '', added[name] ? ms(added[name].p99_ms) : '']);
  return rows([`half of saturation (${whole(rates.portolan)}/s; HAProxy ${whole(rates['haproxy full'])}/s)`, 'requests/s', 'p50', 'p99', 'added p50', 'added p99'], list);
}

export function table(report) {
  const makers = { unary: unaryTable, sse: sseTable, large: largeTable, scale: scaleTable, latency: latencyTable };
  const parts = Object.entries(makers).filter(([name]) => report.parts[name]).map(([name, make]) => make(report.parts[name]));
  return [machineLines(report), goalTable(report), ...parts].filter((text) => text !== '').join('\n\n');
}

// The text with what stands between its markers replaced.
export function replaceTables(text, tables) {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin || text.indexOf(BEGIN, begin + 1) >= 0) throw new Error(`exactly one ${BEGIN} before one ${END} is needed`);
  return `${text.slice(0, begin)}${BEGIN}\n\n${tables}\n\n${text.slice(end)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { write: { type: 'string' } } });
  if (positionals.length !== 1) {
    console.error('usage: node bench/table.mjs REPORT.json [--write FILE.md]');
    process.exit(2);
  }
  const report = JSON.parse(readFileSync(positionals[0], 'utf8'));
  if (!values.write) {
    console.log(table(report));
  } else {
    // A quick run's figures are no figures.
    if (report.options.quick) throw new Error('a quick run is not for the documentation');
    writeFileSync(values.write, replaceTables(readFileSync(values.write, 'utf8'), table(report)));
  }
}
