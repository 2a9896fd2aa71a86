import { describe, expect, it } from 'vitest';
import { createMetrics, metricsReference } from '../src/index.ts';

const definitions = {
  spans: { name: 'spanbuf_spans_total', type: 'counter', help: 'Spans taken.', labels: ['outcome'] },
  lag: { name: 'spanbuf_lag_seconds', type: 'gauge', help: 'How far | behind.' },
  batch: { name: 'spanbuf_batch_seconds', type: 'histogram', help: 'Time of a batch.', buckets: [0.1, 1] },
} as const;

/** Name -> type of everything that a scrape shows. */
function exposed(scrape: string): Map<string, string> {
  return new Map(
    [...scrape.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name as string, type as string]),
  );
}

describe('createMetrics', () => {
  it('makes what is defined, with the labels and buckets that are', async () => {
    const metrics = createMetrics(definitions);
    metrics.spans.inc({ outcome: 'accepted' }, 3);
    metrics.lag.set(1.5);
    metrics.batch.observe(0.5);
    const scrape = await metrics.registry.metrics();
    expect(scrape).toContain('spanbuf_spans_total{outcome="accepted"} 3\n');
    expect(scrape).toContain('spanbuf_lag_seconds 1.5\n');
    expect(scrape.match(/spanbuf_batch_seconds_bucket\{le="[^"]+"\} \d/g)).toEqual([
      'spanbuf_batch_seconds_bucket{le="0.1"} 0',
      'spanbuf_batch_seconds_bucket{le="1"} 1',
      'spanbuf_batch_seconds_bucket{le="+Inf"} 1',
    ]);
    // @ts-expect-error: the compiler knows the labels.
    expect(() => metrics.spans.inc({ colour: 'red' })).toThrow('colour');
  });

  it('shows all names before anything was counted, those of Node among them', async () => {
    const names = exposed(await createMetrics(definitions).registry.metrics());
    for (const { name, type } of Object.values(definitions)) expect(names.get(name)).toBe(type);
    expect(names.get('spanbuf_ready')).toBe('gauge');
    expect(names.get('nodejs_eventloop_lag_seconds')).toBe('gauge');
    expect(names.get('process_cpu_seconds_total')).toBe('counter');
  });

  it('begins at 0 with each value that a label is known to have, so that the first event is an increase', async () => {
    const known = {
      spans: { ...definitions.spans, values: ['accepted', 'invalid'] },
      paused: { name: 'spanbuf_paused', type: 'gauge', help: 'Whether.', labels: ['cause'], values: ['memory'] },
    } as const;
    const scrape = await createMetrics(known).registry.metrics();
    expect(scrape).toContain('spanbuf_spans_total{outcome="accepted"} 0\n');
    expect(scrape).toContain('spanbuf_spans_total{outcome="invalid"} 0\n');
    expect(scrape).toContain('spanbuf_paused{cause="memory"} 0\n');
  });

  it('keeps apart the metrics of two apps in one process', async () => {
    const [first, second] = [createMetrics(definitions), createMetrics(definitions)];
    first.lag.set(1);
    expect(await second.registry.metrics()).toContain('spanbuf_lag_seconds 0\n');
  });
});

describe('metricsReference', () => {
  it('documents every metric that a scrape shows, and no other', async () => {
    const metrics = createMetrics(definitions);
    const reference = await metricsReference(metrics);
    const documented = [...reference.matchAll(/^\| `(\S+)` \| (\w+) \|/gm)].map(([, name, type]) => [name, type]);
    expect(documented).toEqual([...exposed(await metrics.registry.metrics())]);
    expect(reference).toContain('| `spanbuf_spans_total` | counter | `outcome` | Spans taken. |\n');
    expect(reference).toContain('| `spanbuf_lag_seconds` | gauge |  | How far \\| behind. |\n');
  });
});
