/** One value of one metric. */
export interface MetricSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What a `/metrics` answered. */
export class MetricSamples {
  readonly samples: readonly MetricSample[];

  constructor(samples: readonly MetricSample[]) {
    this.samples = samples;
  }

  /** Of all samples with this name and these labels; 0 when there are none. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.valuesOf(name, labels).reduce((sum, value) => sum + value, 0);
  }

  /** The same, each for itself. */
  valuesOf(name: string, labels: Readonly<Record<string, string>> = {}): number[] {
    const wanted = Object.entries(labels);
    return this.samples
      .filter((each) => each.name === name && wanted.every(([key, text]) => each.labels[key] === text))
      .map(({ value }) => value);
  }
}

const SAMPLE = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)/;
const LABEL = /(?<key>\w+)="(?<text>(?:[^"\\]|\\.)*)"/g;

/** Reads Prometheus' text format. Comments and lines that are no samples are left out. */
export function parseMetrics(text: string): MetricSamples {
  const samples: MetricSample[] = [];
  for (const line of text.split('\n')) {
    const { name, labels = '', value } = SAMPLE.exec(line)?.groups ?? {};
    if (name === undefined || value === undefined) continue;
    samples.push({ name, labels: parseLabels(labels), value: Number(value.replace(/Inf$/, 'Infinity')) });
  }
  return new MetricSamples(samples);
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const { groups } of text.matchAll(LABEL)) {
    const { key = '', text: escaped = '' } = groups ?? {};
    labels[key] = escaped.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
  }
  return labels;
}
