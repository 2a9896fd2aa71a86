import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** One metric, as it is documented and exposed. Names carry the unit: `…_seconds`, `…_bytes`, `…_total`. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** One sentence. */
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds; of a histogram only. */
  readonly buckets?: readonly number[];
}

/** Property name -> metric. `registry` is taken. */
export type MetricDefinitions = Readonly<Record<string, MetricDefinition>> & { readonly registry?: never };

/** Metrics by property name, and the registry that holds them beside those of Node itself. */
export type Metrics<D extends MetricDefinitions> = {
  readonly [K in Exclude<keyof D, 'registry'>]: MetricOf<D[K]>;
} & { readonly registry: Registry };

/** Names of the labels of a definition. */
export type LabelsOf<D> = D extends { readonly labels: readonly (infer L extends string)[] } ? L : never;

/** What a definition becomes. */
export type MetricOf<D> = D extends { readonly type: 'counter' }
  ? Counter<LabelsOf<D>>
  : D extends { readonly type: 'gauge' }
    ? Gauge<LabelsOf<D>>
    : Histogram<LabelsOf<D>>;

/** Makes the metrics in a registry of their own. Those without labels begin at 0. */
export function createMetrics<const D extends MetricDefinitions>(definitions: D): Metrics<D> {
  const registry = new Registry();
  const metrics: Record<string, unknown> = { registry };
  for (const [property, { name, type, help, labels = [], buckets }] of Object.entries<MetricDefinition>(definitions)) {
    const configuration = { name, help, labelNames: [...labels], registers: [registry] };
    if (type === 'counter') metrics[property] = new Counter(configuration);
    else if (type === 'gauge') metrics[property] = new Gauge(configuration);
    else metrics[property] = new Histogram({ ...configuration, ...(buckets && { buckets: [...buckets] }) });
  }
  collectDefaultMetrics({ register: registry });
  return metrics as Metrics<D>;
}
