/** How the rounds of {@link measureRound} become ratios, tables and figures. */
import type { Recording, Wanted } from '../report/recording.ts';
import type { Bar } from '../report/result.ts';
import { bar, median, spread } from '../report/statistics.ts';
import type { Floor, Ours, Round, Variant } from './against-floor.ts';
import { type Cost, type Measure, totalOf } from './cost.ts';

/** What is compared: some of our steps with some of the floor's. */
interface Comparison {
  readonly name: string;
  readonly ours: (ours: Ours) => Cost[];
  readonly floor: (floor: Floor) => Cost[];
}

const COMPARISONS: readonly Comparison[] = [
  { name: 'process / SET', ours: (o) => [o.process], floor: (f) => [f.write] },
  {
    name: 'flush+messages+done / GET+UNLINK',
    ours: (o) => [o.flush, o.messages, o.done],
    floor: (f) => [f.read, f.remove],
  },
];

const HEADER = [
  'ours / floor',
  'ours, k spans/s',
  'floor, k spans/s',
  'ratio',
  'client us',
  'Redis us',
  'commands us',
  'script calls',
];

export const nameOf = ({ nodes, layout, compression }: Variant) => `${nodes}, ${layout}, ${compression}`;

/**
 * Records a variant.
 * @param wanted - Of both ratios.
 * @returns A bar for each ratio.
 */
export function recordVariant(
  recording: Recording,
  name: string,
  rounds: readonly Round[],
  spanCount: number,
  wanted?: Wanted,
): Bar[] {
  const bars: Bar[] = [];
  const rows = COMPARISONS.map((comparison) => {
    const sides = rounds.map(({ ours, floor }) => [comparison.ours(ours), comparison.floor(floor)] as const);
    const perSpan = (measure: Measure) =>
      ([0, 1] as const).map((side) => sides.map((costs) => totalOf(costs[side], measure) / spanCount));
    const [ours = [], floor = []] = perSpan('wallMicros');
    const values = ours.map((micros, i) => (floor[i] as number) / micros);
    bars.push(bar(`${comparison.name}: ${name}`, values));
    const both = (measure: Measure, digits: number) =>
      perSpan(measure)
        .map((costs) => median(costs).toFixed(digits))
        .join(' / ');
    return [
      comparison.name,
      spread(
        ours.map((micros) => 1e3 / micros),
        1,
      ),
      spread(
        floor.map((micros) => 1e3 / micros),
        1,
      ),
      recording.ratio({ name: `${comparison.name}: ${name}`, values, better: 'higher' }, wanted),
      both('clientMicros', 1),
      both('redisMicros', 1),
      both('commandMicros', 2),
      both('scriptCalls', 3),
    ];
  });
  recording.table(name, HEADER, rows);
  return bars;
}

export const UNITS =
  'Ratios: median (min-max) of the rounds, above 1 faster than the floor. Microseconds and calls are per span. client: CPU time of ' +
  'the client; Redis: CPU time of all nodes (INFO cpu); commands: time inside commands and scripts (commandstats).';

const STEPS = ['process', 'flush', 'messages', 'done'] as const;

/** What each step costs per span, under `<prefix>.<step>.<measure>`. */
export function recordFigures(recording: Recording, prefix: string, rounds: readonly Round[], spanCount: number): void {
  for (const step of STEPS) {
    for (const measure of ['clientMicros', 'redisMicros', 'inBytes', 'outBytes', 'wallMicros'] as const) {
      const costs = rounds.map(({ ours }) => totalOf([ours[step]], measure) / spanCount);
      recording.figure(`${prefix}.${step}.${measure}`, median(costs));
    }
  }
}
