// A report as one SVG: a panel of bars for each question, readable on light and dark ground,
// nothing loaded from anywhere.
//
//   node bench/plot.mjs REPORT.json FILE.svg
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const WIDTH = 760;
const LABEL_WIDTH = 190;
const VALUE_WIDTH = 90;
const BAR = 18;
const GAP = 6;
const TITLE = 34;

const STYLE = `
  .ground { fill: #ffffff } text { fill: #1b1f24; font: 13px system-ui, sans-serif }
  .title { font-weight: 600 } .note { fill: #57606a; font-size: 12px }
  .own { fill: #0969da } .rival { fill: #8c959f } .bar { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .note { fill: #9198a1 }
    .own { fill: #4493f8 } .rival { fill: #656c76 } .bar { stroke: #f85149 }
  }`;

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// Panels of {title, unit, digits, bars: [{name, value}], limit: {value, text}}.
export function panels({ parts: { unary, sse, large, scale, latency } }) {
  const list = [];
  const bars = (figures, key) => Object.entries(figures).map(([name, m]) => ({ name, value: m[key] }));
  if (unary) list.push({ title: 'CPU of a small request', unit: 'µs', digits: 1, bars: bars(unary.medians, 'cpu_us') });
  for (const scene of sse?.scenes ?? []) {
    list.push({ title: `CPU of an event, ${scene.streams} streams`, unit: 'µs', digits: 1, bars: bars(scene.medians, 'cpu_us_event') });
    list.push({ title: `memory of a stream, ${scene.streams} streams`, unit: 'KB', digits: 1, bars: bars(scene.medians, 'kb_a_stream'), limit: { value: 42, text: 'goal' } });
  }
  if (large) list.push({ title: 'CPU of a 400 KB request', unit: 'µs', digits: 0, bars: bars(large.medians, 'cpu_us'), limit: { value: large.bar_us, text: 'twice the floor' } });
  for (const what of ['tenants', 'backends', 'tokens']) {
    if (scale) list.push({ title: `CPU of a request by ${what}`, unit: 'µs', digits: 1, bars: bars(scale[what].medians, 'cpu_us').map((bar) => ({ ...bar, own: true })) });
  }
  if (latency) {
    list.push({ title: 'added p99 at half of the saturation rate', unit: 'ms', digits: 2, bars: bars(latency.added, 'p99_ms'), limit: { value: 0.8, text: 'goal with disk' } });
  }
  return list;
}

function panel({ title, unit, digits, bars, limit }, top) {
  const room = WIDTH - LABEL_WIDTH - VALUE_WIDTH - 20;
  const most = Math.max(...bars.map((bar) => bar.value), limit?.value ?? 0, Number.MIN_VALUE);
  const length = (value) => Math.max(0, (value / most) * room);
  const lines = [`<text class="title" x="16" y="${top + 22}">${escaped(title)}</text>`];
  let y = top + TITLE;
  for (const { name, value, own } of bars) {
    const kind = own || name.startsWith('portolan') ? 'own' : 'rival';
    lines.push(`<text x="${LABEL_WIDTH - 8}" y="${y + 14}" text-anchor="end">${escaped(name)}</text>`,
      `<rect class="${kind}" x="${LABEL_WIDTH}" y="${y}" width="${length(value).toFixed(1)}" height="${BAR}" rx="2"/>`,
      `<text x="${(LABEL_WIDTH + length(value) + 6).toFixed(1)}" y="${y + 14}">${value.toFixed(digits)} ${unit}</text>`);
    y += BAR + GAP;
  }
  if (limit) {
    const x = (LABEL_WIDTH + length(limit.value)).toFixed(1);
    lines.push(`<line class="bar" x1="${x}" x2="${x}" y1="${top + TITLE - 4}" y2="${y}"/>`,
      `<text class="note" x="${WIDTH - 16}" y="${top + 22}" text-anchor="end">- - ${escaped(limit.text)}: ${limit.value.toFixed(digits)} ${unit}</text>`);
  }
  return { lines, bottom: y + 10 };
}

export function plot(report) {
  const lines = [];
  let top = 44;
  for (const each of panels(report)) {
    const drawn = panel(each, top);
    lines.push(...drawn.lines);
    top = drawn.bottom;
  }
  const { machine, made, options } = report;
  const note = `${made.slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores, ${machine.kernel}${options.quick ? ' - a quick run: no figures' : ''}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${top}" viewBox="0 0 ${WIDTH} ${top}" role="img" aria-label="Portolan beside its rivals">
<style>${STYLE}
</style>
<rect class="ground" width="${WIDTH}" height="${top}"/>
<text class="title" x="16" y="24">Portolan beside its rivals: shorter is better</text>
<text class="note" x="16" y="40">${escaped(note)}</text>
${lines.join('\n')}
</svg>
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2);
  if (!to) {
    console.error('usage: node bench/plot.mjs REPORT.json FILE.svg');
    process.exit(2);
  }
  writeFileSync(to, plot(JSON.parse(readFileSync(from, 'utf8'))));
}
