// A whole report as bench/run.mjs writes it, with figures made up.
const figures = (cpu, more = {}) => ({ cpu_us: cpu, rps: 1000, p50_ms: 1, p99_ms: 2, pss_kib: 20480, ...more });
const named = (names, of) => Object.fromEntries(names.map((name, i) => [name, of(i)]));
const stream = (cpu, kb) => ({ cpu_us_event: cpu, events_a_second: 10000, planned_events_a_second: 10000, kb_a_stream: kb });
const part = (us) => ({ us, gb_s: 400 / us });

function growth(names, percent, more = {}) {
  return { medians: named(names, (i) => figures(60 + i)), growth_percent: named(names.slice(1), () => percent), ...more };
}

export function sampleReport({ quick = false } = {}) {
  const micro = { bytes: 400000, scan: part(100), sha256: part(200), hmac: part(200), aes128gcm: part(80), aes256gcm: part(90), copy: part(10) };
  return {
    v: 1, made: '2026-01-02T03:04:05.000Z', took_s: 800,
    machine: { cpu: 'A <processor> & more', cores: 2, memory_mib: 4096, kernel: 'Linux 6.1', file_system: 'ext4', load_before: 0, programs: { haproxy: 'HAProxy version 2.6.12 2023/12/16 - https://haproxy.org/' } },
    options: { quick, runs: 5, seconds: 4, connections: 64, durability: 'disk' },
    ratios: { ratio_cpu_mtls: 2.1, ratio_cpu_full: 0.51, ratio_cpu_bare: 1.05, ratio_cpu_sse: 0.6 },
    parts: {
      unary: { medians: named(['haproxy tlsmtls', 'portolan'], (i) => figures(40 + 44 * i)), idle_pss_kib: 10240, ratios: { ratio_cpu_mtls: 2.1, ratio_cpu_full: 0.51, ratio_cpu_bare: 1.05 } },
      sse: { scenes: [{ streams: 1000, every_ms: 100, cannot: { 'haproxy full': 'haproxy full: a stream failed\nmore' }, below_planned_rate: ['portolan'], medians: { 'haproxy full': stream(30, 45), portolan: stream(18, 40) } }], ratios: { ratio_cpu_sse: 0.6 } },
      large: { body_bytes: 400000, micro, floor_us: 490, bar_us: 980, cannot: { 'haproxy full': 'status 404' }, medians: named(['portolan'], () => figures(900)) },
      scale: {
        tenants: growth(['10 tenants', '10000 tenants'], 3), tokens: growth(['1 tokens', '1000 tokens'], 1),
        backends: growth(['10 backends', '1000 backends'], 12, { idle_cpu_ms_a_second: { '10 backends': 1, '1000 backends': 90 } }),
      },
      latency: {
        rates: { portolan: 3000, 'haproxy full': 2000 }, medians: named(['direct', 'portolan disk', 'portolan process'], (i) => figures(0, { p99_ms: 1 + i })),
        added: { 'portolan disk': { p50_ms: 0.2, p99_ms: 0.7 }, 'portolan process': { p50_ms: 0.1, p99_ms: 0.3 } },
      },
    },
  };
}
