// What the figures are held against: each goal with the figure that a report has for it. A goal
// whose part was not measured is left out.

export function goals(report) {
  const { unary, sse, large, scale, latency } = report.parts;
  const list = [];
  const goal = (text, value, bar, digits = 2, unit = '') => {
    if (Number.isFinite(value)) list.push({ text, value, bar, digits, unit, met: value <= bar });
  };
  if (unary) {
    goal('CPU of a small request / HAProxy `tlsmtls`', unary.ratios.ratio_cpu_mtls, 2.2);
    goal('CPU of a small request / HAProxy `full`', unary.ratios.ratio_cpu_full, 0.5);
    goal('CPU of the bare relay / HAProxy `tlsmtls`', unary.ratios.ratio_cpu_bare, 1.1);
  }
  if (sse) {
    const { portolan, 'haproxy full': rival } = sse.scenes[0].medians;
    goal('CPU of an event / HAProxy `full`', sse.ratios.ratio_cpu_sse, 0.7);
    goal('memory of a stream', portolan.kb_a_stream, 42, 1, ' KB');
    goal('memory of a stream / HAProxy `full`', portolan.kb_a_stream / rival.kb_a_stream, 1);
  }
  if (large) goal('CPU of a 400 KB request', large.medians.portolan.cpu_us, large.bar_us, 0, ' µs');
  if (scale) {
    for (const what of ['tenants', 'backends']) {
      for (const [name, percent] of Object.entries(scale[what].growth_percent)) goal(`growth of CPU a request to ${name}`, percent, 10, 1, ' %');
    }
  }
  if (latency) {
    goal('added p99, `disk`', latency.added['portolan disk'].p99_ms, 0.8, 2, ' ms');
    goal('added p99, `process`', latency.added['portolan process'].p99_ms, 0.25, 2, ' ms');
  }
  return list;
}
