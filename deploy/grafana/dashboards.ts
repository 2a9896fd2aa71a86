/**
 * The dashboards, from which `node deploy/grafana/dashboards.ts` makes the JSON files beside it. Built with Grafana's own builders, so
 * that the compiler knows what Grafana knows; a test compares the files with this.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleMode,
  ReduceDataOptionsBuilder,
  StackingMode,
  VisibilityMode,
} from '@grafana/grafana-foundation-sdk/common';
import {
  AdHocVariableBuilder,
  AnnotationQueryBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  type Panel,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeSeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

/** Of the variable at the top of each dashboard. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's, not ours.
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
const HEIGHT = { stat: 4, graph: 8 };
/** Of Grafana's 24 columns. */
const SPAN = { stat: 4, graph: 8 };

interface Looks {
  readonly unit?: string;
  readonly description?: string;
  /** Where it turns yellow and red; a limit of an alert is red. */
  readonly warn?: number;
  readonly alarm?: number;
  /** Red is below the limit, not above. */
  readonly isBadWhenLow?: boolean;
  readonly isStacked?: boolean;
  readonly max?: number;
  readonly decimals?: number;
}

/** Legend -> PromQL. A legend may name labels: `{{shard}}`. */
type Queries = Readonly<Record<string, string>>;

/** A row: its title, and the panels in it from left to right. */
interface Row {
  readonly title: string;
  readonly panels: readonly Builder<Panel>[];
}

function queriesOf(queries: Queries, isInstant = false): Builder<Dataquery>[] {
  return Object.entries(queries).map(([legend, expr], i) => {
    const query = new DataqueryBuilder()
      .refId(String.fromCharCode('A'.charCodeAt(0) + i))
      .datasource(DATASOURCE)
      .expr(expr)
      .legendFormat(legend);
    return isInstant ? query.instant() : query.range();
  });
}

function limits({ warn, alarm, isBadWhenLow = false }: Looks): ThresholdsConfigBuilder {
  const [low, high] = isBadWhenLow ? ['red', 'green'] : ['green', 'red'];
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([
      { value: null, color: low },
      ...(warn === undefined ? [] : [{ value: warn, color: 'yellow' }]),
      ...(alarm === undefined ? [] : [{ value: alarm, color: high }]),
    ]);
}

/** One number. */
function stat(title: string, expr: string, looks: Looks = {}): Builder<Panel> {
  const panel = new StatBuilder()
    .title(title)
    .datasource(DATASOURCE)
    .height(HEIGHT.stat)
    .span(SPAN.stat)
    .unit(looks.unit ?? 'short')
    .thresholds(limits(looks))
    .colorMode(BigValueColorMode.Value)
    .graphMode(BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false).fields(''))
    .noValue('–');
  if (looks.decimals !== undefined) panel.decimals(looks.decimals);
  if (looks.description !== undefined) panel.description(looks.description);
  for (const query of queriesOf({ [title]: expr }, true)) panel.withTarget(query);
  return panel;
}

/** Curves over time. */
function graph(title: string, queries: Queries, looks: Looks = {}): Builder<Panel> {
  const panel = new TimeSeriesBuilder()
    .title(title)
    .datasource(DATASOURCE)
    .height(HEIGHT.graph)
    .span(SPAN.graph)
    .unit(looks.unit ?? 'short')
    .min(0)
    .fillOpacity(looks.isStacked ? 30 : 8)
    .showPoints(VisibilityMode.Never)
    .thresholds(limits(looks));
  if (looks.alarm !== undefined) panel.thresholdsStyle({ build: () => ({ mode: GraphThresholdsStyleMode.Dashed }) });
  if (looks.isStacked) panel.stacking({ build: () => ({ mode: StackingMode.Normal, group: 'A' }) });
  if (looks.max !== undefined) panel.max(looks.max);
  if (looks.description !== undefined) panel.description(looks.description);
  for (const query of queriesOf(queries)) panel.withTarget(query);
  return panel;
}

/** Half of the values are below the first curve, 99 of 100 below the second. */
function quantiles(title: string, histogram: string, looks: Looks = {}): Builder<Panel> {
  const quantile = (share: number) =>
    `histogram_quantile(${share}, sum by (le) (rate(${histogram}_bucket[$__rate_interval])))`;
  return graph(title, { median: quantile(0.5), '99 %': quantile(0.99) }, looks);
}

const rate = (by: string, selector: string) => `sum by (${by}) (rate(${selector}[$__rate_interval]))`;
const total = (selector: string) => `sum(rate(${selector}[$__rate_interval]))`;

/** What Node says of each process of an app. */
function processRow(app: 'consumer' | 'flusher'): Row {
  const job = `job="spanbuf-${app}"`;
  return {
    title: 'Processes',
    panels: [
      graph(
        'CPU',
        { '{{instance}}': `rate(process_cpu_seconds_total{${job}}[$__rate_interval])` },
        { description: 'Cores. JavaScript runs on one; compression and TLS may take more.' },
      ),
      graph(
        'Memory',
        {
          '{{instance}} resident': `process_resident_memory_bytes{${job}}`,
          '{{instance}} heap': `nodejs_heap_size_used_bytes{${job}}`,
        },
        { unit: 'bytes' },
      ),
      graph(
        'Event loop delay, 99 %',
        { '{{instance}}': `nodejs_eventloop_lag_p99_seconds{${job}}` },
        { unit: 's', description: 'How long work waits because other work is being done.' },
      ),
    ],
  };
}

/** In the order in which somebody asks who was woken up. */
const OVERVIEW: readonly Row[] = [
  {
    title: 'Is it well?',
    panels: [
      stat('Alerts', 'count(ALERTS{alertname=~"Spanbuf.+", alertstate="firing"}) or vector(0)', { alarm: 1 }),
      stat('Consumers ready', 'sum(spanbuf_ready and on (instance, job) spanbuf_consumer_assigned_partitions)', {
        isBadWhenLow: true,
        alarm: 1,
      }),
      stat('Flushers ready', 'sum(spanbuf_ready and on (instance, job) spanbuf_flusher_live_flushers)', {
        isBadWhenLow: true,
        alarm: 1,
      }),
      stat('Spans lost', 'sum(increase(spanbuf_flusher_lost_spans_total[$__range]))', {
        alarm: 1,
        decimals: 0,
        description: 'Within the time shown: accepted, and gone from Redis when their segment was flushed.',
      }),
      stat(
        'Redis data losses',
        'max(increase(spanbuf_consumer_lost_receipts_total[$__range])) + max(increase(spanbuf_consumer_redis_losses_total[$__range]))',
        { alarm: 1, decimals: 0, description: 'Within the time shown: times that consumers saw that Redis lost data.' },
      ),
      stat('Parked segments', 'sum(max by (shard) (spanbuf_flusher_queued_segments{state="parked"}))', { alarm: 1 }),
      stat('Lag', 'max(spanbuf_consumer_lag_seconds)', { unit: 's', warn: 60, alarm: 300 }),
      stat('Commit lag', 'max(spanbuf_consumer_commit_lag_seconds)', { unit: 's', warn: 700, alarm: 1_200 }),
      stat('Oldest due segment', 'max(spanbuf_flusher_overdue_seconds)', { unit: 's', warn: 15, alarm: 60 }),
      stat('Segments waiting', 'sum(max by (shard) (spanbuf_flusher_queued_segments{state="due"}))'),
      stat('Fullest Redis node', 'max(spanbuf_consumer_redis_memory_share)', {
        unit: 'percentunit',
        warn: 0.65,
        alarm: 0.75,
      }),
      stat('Reading paused', 'max(spanbuf_consumer_paused)', { alarm: 1 }),
    ],
  },
  {
    title: 'What flows',
    panels: [
      graph(
        'Spans a second',
        {
          accepted: total('spanbuf_consumer_spans_total{outcome="accepted"}'),
          produced: total('spanbuf_flusher_spans_total'),
        },
        { description: 'In the long run both are the same.' },
      ),
      graph(
        'What became of messages, a second',
        { '{{outcome}}': rate('outcome', 'spanbuf_consumer_spans_total') },
        {
          isStacked: true,
        },
      ),
      graph(
        'Segments a second, by reason',
        { '{{reason}}': rate('reason', 'spanbuf_flusher_segments_total') },
        {
          isStacked: true,
        },
      ),
    ],
  },
  {
    title: 'What waits',
    panels: [
      graph(
        'Lag',
        { 'partition {{partition}}': 'topk(10, max by (partition) (spanbuf_consumer_lag_seconds))' },
        {
          unit: 's',
          alarm: 300,
          description: 'The ten partitions that are furthest behind.',
        },
      ),
      graph(
        'Oldest due segment',
        { 'shard {{shard}}': 'topk(10, max by (shard) (spanbuf_flusher_overdue_seconds))' },
        {
          unit: 's',
          alarm: 60,
          description: 'The ten shards that are furthest behind.',
        },
      ),
      graph(
        'Segments in Redis',
        { '{{state}}': 'sum by (state) (max by (shard, state) (spanbuf_flusher_queued_segments))' },
        { isStacked: true, description: 'due: now or later. in-flight: a flusher has them.' },
      ),
      graph(
        'Fullest Redis node',
        { share: 'max(spanbuf_consumer_redis_memory_share)' },
        {
          unit: 'percentunit',
          alarm: 0.85,
          max: 1,
          description: 'Reading pauses at SPANBUF_PAUSE_MEMORY_SHARE, 85 % by default.',
        },
      ),
      graph('Reading paused', { '{{cause}}': 'max by (cause) (spanbuf_consumer_paused)' }, { max: 1 }),
      quantiles('From the last span of a segment to its flush', 'spanbuf_flusher_segment_idle_seconds', {
        unit: 's',
        description: 'Message time: SPANBUF_ROOT_TIMEOUT_SECONDS or SPANBUF_TIMEOUT_SECONDS, and the delay.',
      }),
    ],
  },
];

const CONSUMERS: readonly Row[] = [
  {
    title: 'Intake',
    panels: [
      graph(
        'Messages a second',
        { '{{instance}}': rate('instance', 'spanbuf_consumer_messages_total') },
        {
          isStacked: true,
        },
      ),
      graph(
        'Bytes a second',
        { '{{instance}}': rate('instance', 'spanbuf_consumer_payload_bytes_total') },
        {
          unit: 'Bps',
          isStacked: true,
        },
      ),
      graph('Partitions', { '{{instance}}': 'spanbuf_consumer_assigned_partitions' }, { isStacked: true }),
      quantiles('Time until a batch is stored', 'spanbuf_consumer_batch_seconds', { unit: 's' }),
      quantiles('Messages of a batch', 'spanbuf_consumer_batch_spans'),
      graph('Fetched, not applied', { '{{instance}}': 'spanbuf_consumer_queued_bytes' }, { unit: 'bytes' }),
    ],
  },
  {
    title: 'Lag and commits',
    panels: [
      graph('Messages behind', {
        'partition {{partition}}': 'topk(10, max by (partition) (spanbuf_consumer_lag_messages))',
      }),
      graph('Applied, not committed', {
        'partition {{partition}}': 'topk(10, max by (partition) (spanbuf_consumer_commit_lag_messages))',
      }),
      graph(
        'Commit lag',
        { 'partition {{partition}}': 'topk(10, max by (partition) (spanbuf_consumer_commit_lag_seconds))' },
        { unit: 's', alarm: 1_200 },
      ),
      graph('Commits a second', { '{{instance}}': rate('instance', 'spanbuf_consumer_commits_total') }),
      graph('Rebalances', {
        '{{instance}}': 'sum by (instance) (increase(spanbuf_consumer_rebalances_total[$__rate_interval]))',
      }),
      graph('Attempts repeated, a second', { '{{step}}': rate('step', 'spanbuf_consumer_retries_total') }),
    ],
  },
  {
    title: 'What is not accepted',
    panels: [
      graph('Dead letters a second', { '{{form}}': rate('form', 'spanbuf_consumer_dead_letters_total') }),
      graph('Dropped spans a second, by rule', { '{{rule}}': rate('rule', 'spanbuf_consumer_dropped_spans_total') }),
      graph('Drop rules in force', { '{{instance}}': 'spanbuf_consumer_drop_rules' }),
    ],
  },
  {
    title: 'What consumers see of Redis and the flushers',
    panels: [
      graph(
        'Fullest Redis node',
        { '{{instance}}': 'spanbuf_consumer_redis_memory_share' },
        { unit: 'percentunit', alarm: 0.85, max: 1 },
      ),
      graph('Data losses of Redis', {
        'receipts, {{instance}}': 'increase(spanbuf_consumer_lost_receipts_total[$__rate_interval])',
        'epochs, {{instance}}': 'increase(spanbuf_consumer_redis_losses_total[$__rate_interval])',
      }),
      graph('Flushers heard of', { '{{instance}}': 'spanbuf_consumer_live_flushers' }),
    ],
  },
  processRow('consumer'),
];

const FLUSHERS: readonly Row[] = [
  {
    title: 'Output',
    panels: [
      graph(
        'Spans a second',
        { '{{instance}}': rate('instance', 'spanbuf_flusher_spans_total') },
        {
          isStacked: true,
        },
      ),
      graph(
        'Messages a second',
        { '{{instance}}': rate('instance', 'spanbuf_flusher_messages_total') },
        {
          isStacked: true,
        },
      ),
      graph(
        'Bytes a second',
        { '{{instance}}': rate('instance', 'spanbuf_flusher_message_bytes_total') },
        {
          unit: 'Bps',
          isStacked: true,
        },
      ),
      graph(
        'Segments a second, by reason',
        { '{{reason}}': rate('reason', 'spanbuf_flusher_segments_total') },
        {
          isStacked: true,
        },
      ),
      quantiles('Spans of a segment', 'spanbuf_flusher_segment_spans'),
      quantiles('From the last span of a segment to its flush', 'spanbuf_flusher_segment_idle_seconds', { unit: 's' }),
    ],
  },
  {
    title: 'Kafka',
    panels: [
      quantiles('Time until Kafka has what was in hand', 'spanbuf_flusher_send_seconds', { unit: 's' }),
      graph('Messages not acknowledged, a second', {
        '{{instance}}': rate('instance', 'spanbuf_flusher_send_failures_total'),
      }),
      graph('Segments given up for now, a second', {
        '{{instance}}': rate('instance', 'spanbuf_flusher_released_segments_total'),
      }),
    ],
  },
  {
    title: 'Queues',
    panels: [
      graph(
        'Due, now or later',
        { 'shard {{shard}}': 'max by (shard) (spanbuf_flusher_queued_segments{state="due"})' },
        { isStacked: true },
      ),
      graph(
        'In flight',
        { 'shard {{shard}}': 'max by (shard) (spanbuf_flusher_queued_segments{state="in-flight"})' },
        { isStacked: true },
      ),
      graph(
        'Oldest due segment',
        { 'shard {{shard}}': 'max by (shard) (spanbuf_flusher_overdue_seconds)' },
        {
          unit: 's',
          alarm: 60,
        },
      ),
      graph('Payload in hand', { '{{instance}}': 'spanbuf_flusher_in_hand_bytes' }, { unit: 'bytes' }),
      graph('Flushers alive', { '{{instance}}': 'spanbuf_flusher_live_flushers' }),
    ],
  },
  {
    title: 'What cannot be produced',
    panels: [
      graph('Parked', { 'shard {{shard}}': 'max by (shard) (spanbuf_flusher_queued_segments{state="parked"})' }),
      graph('Segments parked a second, by reason', {
        '{{reason}}': rate('reason', 'spanbuf_flusher_parked_segments_total'),
      }),
      graph('Spans lost', {
        '{{instance}}': 'sum by (instance) (increase(spanbuf_flusher_lost_spans_total[$__rate_interval]))',
      }),
    ],
  },
  processRow('flusher'),
];

function dashboard(uid: string, title: string, description: string, rows: readonly Row[]): Dashboard {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['spanbuf'])
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .editable()
    .link(
      new DashboardLinkBuilder('spanbuf')
        .type(DashboardLinkType.Dashboards)
        .tags(['spanbuf'])
        .asDropdown(false)
        .keepTime(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'))
    .withVariable(new AdHocVariableBuilder('filters').label('Only').datasource(DATASOURCE))
    .annotation(
      new AnnotationQueryBuilder()
        .name('Alerts')
        .datasource(DATASOURCE)
        .enable(true)
        .iconColor('red')
        .expr('ALERTS{alertname=~"Spanbuf.+", alertstate="firing"}')
        .titleFormat('{{alertname}}'),
    );
  for (const row of rows) {
    builder.withRow(new RowBuilder(row.title));
    for (const panel of row.panels) builder.withPanel(panel);
  }
  const built = builder.build();
  for (const [i, panel] of (built.panels ?? []).entries()) panel.id = i + 1;
  return built;
}

/** File name -> dashboard. */
export const DASHBOARDS: Readonly<Record<string, Dashboard>> = {
  'spanbuf-overview.json': dashboard(
    'spanbuf-overview',
    'spanbuf: overview',
    'Is it well, what flows, what waits. docs/monitoring.md',
    OVERVIEW,
  ),
  'spanbuf-consumers.json': dashboard(
    'spanbuf-consumers',
    'spanbuf: consumers',
    'What the consumers do, one by one.',
    CONSUMERS,
  ),
  'spanbuf-flushers.json': dashboard(
    'spanbuf-flushers',
    'spanbuf: flushers',
    'What the flushers do, one by one.',
    FLUSHERS,
  ),
};

export function dashboardText(dashboard: Dashboard): string {
  // The builders always say that links and annotations are to be hidden in a menu; left out, they are shown.
  const shown = (key: string, value: unknown) => (key === 'placement' ? undefined : value);
  return `${JSON.stringify(dashboard, shown, 2)}\n`;
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, 'dashboards');
  mkdirSync(folder, { recursive: true });
  for (const [name, each] of Object.entries(DASHBOARDS)) writeFileSync(join(folder, name), dashboardText(each));
}
