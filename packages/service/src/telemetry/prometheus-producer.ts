import { type Attributes, type HrTime, ValueType } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type CollectionResult,
  type DataPoint,
  DataPointType,
  type Histogram,
  type MetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import type { Registry } from 'prom-client';

/** One line of a metric, as prom-client answers it. Of a histogram, `metricName` says which of its series it is of. */
interface Line {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  readonly metricName?: string;
}

/**
 * The metrics of a registry of prom-client, as they are, under their names: cumulative since the start. So what is exported
 * is what `/metrics` shows, and nothing is counted twice.
 */
export class PrometheusProducer implements MetricProducer {
  readonly #registry: Registry;
  readonly #scope: { readonly name: string; readonly version: string };
  readonly #clockMs: () => number;
  readonly #startTime: HrTime;

  constructor(registry: Registry, scope: { readonly name: string; readonly version: string }, clockMs: () => number) {
    this.#registry = registry;
    this.#scope = scope;
    this.#clockMs = clockMs;
    this.#startTime = hrTimeOf(clockMs());
  }

  async collect(): Promise<CollectionResult> {
    const all = await this.#registry.getMetricsAsJSON();
    const endTime = hrTimeOf(this.#clockMs());
    const metrics = all.flatMap(({ name, help, type, values }): MetricData[] => {
      const descriptor = { name, description: help, unit: unitOf(name), valueType: ValueType.DOUBLE };
      const common = { descriptor, aggregationTemporality: AggregationTemporality.CUMULATIVE };
      const lines = values as readonly Line[];
      // prom-client's types say enum, its JSON says text.
      const kind = String(type);
      if (kind === 'histogram') {
        const dataPoints = this.#histograms(name, lines, endTime);
        return [{ ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints }];
      }
      const dataPoints = lines.map(({ labels, value }) => this.#point(labels, value, endTime));
      if (kind === 'gauge') return [{ ...common, dataPointType: DataPointType.GAUGE, dataPoints }];
      return kind === 'counter' ? [{ ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }] : [];
    });
    // The resource of the SDK is used instead.
    return {
      resourceMetrics: { resource: resourceFromAttributes({}), scopeMetrics: [{ scope: this.#scope, metrics }] },
      errors: [],
    };
  }

  /** One point for each set of labels but `le`. */
  #histograms(name: string, lines: readonly Line[], endTime: HrTime): DataPoint<Histogram>[] {
    const series = new Map<string, { labels: Line['labels']; lines: Line[] }>();
    for (const line of lines) {
      const { le: _, ...labels } = line.labels;
      const key = JSON.stringify(labels);
      const one = series.get(key);
      if (one === undefined) series.set(key, { labels, lines: [line] });
      else one.lines.push(line);
    }
    return [...series.values()].map(({ labels, lines }) => {
      const buckets = lines.filter(({ labels: { le } }) => le !== undefined);
      const boundaries = buckets.map(({ labels: { le } }) => Number(le)).filter(Number.isFinite);
      const upTo = buckets.map(({ value }) => value);
      const lineOf = (suffix: string) => lines.find(({ metricName }) => metricName === name + suffix)?.value ?? 0;
      const histogram = {
        // Prometheus counts what is below each bound, OpenTelemetry what is between two.
        buckets: { boundaries, counts: upTo.map((count, i) => count - (upTo[i - 1] ?? 0)) },
        sum: lineOf('_sum'),
        count: lineOf('_count'),
      };
      return this.#point(labels, histogram, endTime);
    });
  }

  #point<T>(labels: Line['labels'], value: T, endTime: HrTime): DataPoint<T> {
    const attributes: Attributes = Object.fromEntries(
      Object.entries(labels).map(([label, text]) => [label, String(text)]),
    );
    return { startTime: this.#startTime, endTime, attributes, value };
  }
}

/** Of the units that names end in here. */
function unitOf(name: string): string {
  const stem = name.replace(/_total$/, '');
  return stem.endsWith('_seconds') ? 's' : stem.endsWith('_bytes') ? 'By' : '';
}

function hrTimeOf(ms: number): HrTime {
  return [Math.floor(ms / 1_000), Math.round((ms % 1_000) * 1e6)];
}
