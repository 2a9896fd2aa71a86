import type { Registry } from 'prom-client';

/** A Markdown table of everything in the registry: name, type, labels, meaning. */
export async function metricsReference({ registry }: { readonly registry: Registry }): Promise<string> {
  const rows = (await registry.getMetricsAsJSON()).map(({ name, type, help }) => {
    const cells = [`\`${name}\``, String(type), labelsOf(registry, name), help];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  });
  return `| metric | type | labels | meaning |\n|---|---|---|---|\n${rows.join('')}`;
}

/** The types of prom-client leave out `labelNames`. */
function labelsOf(registry: Registry, name: string): string {
  const metric = registry.getSingleMetric(name) as { readonly labelNames?: readonly string[] } | undefined;
  return (metric?.labelNames ?? []).map((label) => `\`${label}\``).join(', ');
}
