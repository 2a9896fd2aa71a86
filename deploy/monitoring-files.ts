/** The alert rules and dashboards of this folder as data, for the tests that judge them. */
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';

export const RULES_FILE = join(import.meta.dirname, 'prometheus', 'rules.yml');
export const RULES_TEST_FILE = join(import.meta.dirname, 'prometheus', 'rules.test.yml');

export interface AlertRule {
  readonly alert: string;
  /** PromQL. */
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook: string };
}

interface RuleGroups {
  readonly groups: readonly { readonly name: string; readonly rules: readonly AlertRule[] }[];
}

export interface DashboardQuery {
  /** File, panel and number: names the query in a message. */
  readonly name: string;
  readonly expr: string;
  /** May name labels: `{{shard}}`. */
  readonly legend: string;
}

function readGroups(): RuleGroups {
  return parse(readFileSync(RULES_FILE, 'utf8'));
}

export function readAlertRules(): readonly AlertRule[] {
  return readGroups().groups.flatMap(({ rules }) => rules);
}

/** Every query of every panel, as it stands in the JSON files. */
export function readDashboardQueries(): readonly DashboardQuery[] {
  return globSync('grafana/dashboards/*.json', { cwd: import.meta.dirname })
    .sort()
    .flatMap((path) => {
      const { panels } = JSON.parse(readFileSync(join(import.meta.dirname, path), 'utf8')) as {
        readonly panels: readonly {
          readonly title: string;
          readonly targets?: readonly {
            readonly expr: string;
            readonly legendFormat: string;
            readonly refId: string;
          }[];
        }[];
      };
      return panels.flatMap(({ title, targets = [] }) =>
        targets.map(({ expr, legendFormat, refId }) => ({
          name: `${basename(path, '.json')}: ${title}, ${refId}`,
          expr,
          legend: legendFormat,
        })),
      );
    });
}

/** What Grafana fills in before it asks Prometheus. */
export function filledIn(expr: string, seconds: number): string {
  return expr.replace(/\$__rate_interval|\$__range/g, `${seconds}s`);
}

/** What a query refers to. */
export interface References {
  readonly selectors: readonly { readonly metric: string; readonly labels: readonly string[] }[];
  /** In `by`, `without`, `on` and `ignoring`. */
  readonly grouping: readonly string[];
}

/** @param expr - PromQL without variables. @throws Error where it is none. */
export function referencesOf(expr: string): References {
  const selectors: { metric: string; labels: string[] }[] = [];
  const grouping: string[] = [];
  let isGrouping = false;
  parser.parse(expr).iterate({
    enter: ({ name, from, to, type }) => {
      const text = expr.slice(from, to);
      if (type.isError) throw new Error(`no PromQL at "${expr.slice(from)}": ${expr}`);
      if (name === 'VectorSelector') selectors.push({ metric: '', labels: [] });
      const selector = selectors.at(-1);
      if (name === 'GroupingLabels') isGrouping = true;
      else if (name === 'LabelName' && isGrouping) grouping.push(text);
      else if (name === 'LabelName') selector?.labels.push(text);
      else if (name === 'Identifier' && selector !== undefined) selector.metric = text;
    },
    leave: ({ name }) => {
      if (name === 'GroupingLabels') isGrouping = false;
    },
  });
  return { selectors, grouping };
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };
/** Of a range and an offset. */
const DURATION_NODES = new Set(['NumberDurationLiteralInDurationContext', 'NumberDurationLiteral']);

function secondsOf(duration: string): number {
  const [, count, unit = ''] = /^(\d+)([smhd])$/.exec(duration) ?? [];
  const unitSeconds = UNIT_SECONDS[unit];
  if (count === undefined || unitSeconds === undefined) throw new Error(`a duration of several units: ${duration}`);
  return Number(count) * unitSeconds;
}

/**
 * The rules for a Prometheus in which time goes faster: each `for`, range and offset is `factor` times as short, and everything
 * else, limits too, as it is. JSON, which is YAML.
 */
export function fasterRules(factor: number): string {
  const faster = (duration: string) => `${Math.max(1, Math.round(secondsOf(duration) / factor))}s`;
  const groups = readGroups().groups.map(({ name, rules }) => ({
    name,
    interval: '1s',
    rules: rules.map((rule) => ({
      ...rule,
      expr: withDurations(rule.expr, faster),
      ...(rule.for !== undefined && { for: faster(rule.for) }),
    })),
  }));
  return JSON.stringify({ groups });
}

function withDurations(expr: string, change: (duration: string) => string): string {
  const found: { from: number; to: number }[] = [];
  parser.parse(expr).iterate({
    enter: ({ name, from, to }) => {
      // The same node stands for a number, such as a limit, which has no unit.
      if (DURATION_NODES.has(name) && /[a-z]$/.test(expr.slice(from, to))) found.push({ from, to });
    },
  });
  return found.reduceRight(
    (text, { from, to }) => text.slice(0, from) + change(text.slice(from, to)) + text.slice(to),
    expr,
  );
}
