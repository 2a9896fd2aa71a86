/** Alert rules, dashboards and runbooks: that they refer to what there is, and that alerts fire when they should. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { isPrometheusInstalled } from '@spanbuf/tooling/prometheus-server';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DASHBOARDS, dashboardText } from '../grafana/dashboards.ts';
import {
  filledIn,
  RULES_FILE,
  RULES_TEST_FILE,
  readAlertRules,
  readDashboardQueries,
  referencesOf,
} from '../monitoring-files.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
/** Alerts that only hours bring about, which no run of the stack waits for. */
const UNIT_TESTED_ALONE = ['SpanbufSpansExpireSoon'];

interface KnownMetric {
  readonly type: string;
  readonly labels: readonly string[];
}

/** By name. The references are what the apps' registries hold, which tests of the apps prove. */
const METRICS = new Map(
  ['consumer', 'flusher'].flatMap((app) =>
    [...read(`docs/reference/${app}.md`).matchAll(/^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) \|/gm)].map(
      ([, name = '', type = '', labels = '']): [string, KnownMetric] => [
        name,
        { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label) },
      ],
    ),
  ),
);
/** What Prometheus itself makes. */
const MADE_BY_PROMETHEUS = new Map<string, KnownMetric>([
  ['up', { type: 'gauge', labels: [] }],
  ['ALERTS', { type: 'gauge', labels: ['alertname', 'alertstate', 'severity'] }],
]);
/** What Prometheus puts on every series; `pod` in Kubernetes alone. */
const TARGET_LABELS = ['instance', 'job', 'pod'];

function labelsOf(metric: string): readonly string[] {
  const part = /_(?:bucket|sum|count)$/.exec(metric)?.[0];
  const histogram = METRICS.get(metric.slice(0, -(part?.length ?? 0)));
  if (part !== undefined && histogram?.type === 'histogram')
    return [...histogram.labels, ...TARGET_LABELS, ...(part === '_bucket' ? ['le'] : [])];
  const known = METRICS.get(metric) ?? MADE_BY_PROMETHEUS.get(metric);
  if (known === undefined || known.type === 'histogram') return expect.fail(`no metric ${metric}`);
  return [...known.labels, ...TARGET_LABELS];
}

/** Fails when the query names a metric or a label that does not exist. @returns All labels its metrics have. */
function checkReferences(expr: string): readonly string[] {
  const { selectors, grouping } = referencesOf(expr);
  expect(selectors.length).toBeGreaterThan(0);
  for (const { metric, labels } of selectors) {
    const known = labelsOf(metric);
    for (const label of labels) expect(known, `${metric}{${label}}`).toContain(label);
  }
  const all = selectors.flatMap(({ metric }) => labelsOf(metric));
  for (const label of grouping) expect(all, `by or without ${label}`).toContain(label);
  return all;
}

const RULES = readAlertRules();
const QUERIES = readDashboardQueries();

describe('the alert rules', () => {
  it.each(RULES)('$alert names metrics and labels that exist', ({ expr, annotations, labels }) => {
    const known = checkReferences(expr);
    const texts = Object.values(annotations).join(' ');
    for (const [, label] of texts.matchAll(/\$labels\.(\w+)/g)) expect(known).toContain(label);
    expect(['critical', 'warning']).toContain(labels.severity);
  });

  it('are named once each', () => {
    expect(new Set(RULES.map(({ alert }) => alert)).size).toBe(RULES.length);
  });

  it('each fire, and do not fire, in a unit test, and fire on the running system', () => {
    const { tests } = parse(readFileSync(RULES_TEST_FILE, 'utf8')) as {
      tests: { promql_expr_test: { expr: string; exp_samples: unknown[] }[] }[];
    };
    const checks = tests.flatMap(({ promql_expr_test }) => promql_expr_test);
    const onTheSystem = read('tests/e2e/test/alerts.test.ts');
    for (const { alert } of RULES) {
      const own = checks.filter(({ expr }) => expr.includes(`alertname="${alert}"`));
      expect(own.filter(({ exp_samples }) => exp_samples.length > 0).length, alert).toBeGreaterThan(0);
      expect(own.filter(({ exp_samples }) => exp_samples.length === 0).length, alert).toBeGreaterThan(0);
      expect(onTheSystem.includes(`'${alert}'`), alert).toBe(!UNIT_TESTED_ALONE.includes(alert));
    }
  });
});

describe('the dashboards', () => {
  it.each(Object.keys(DASHBOARDS))(
    '%s is what dashboards.ts makes; mend that with: node deploy/grafana/dashboards.ts',
    (name) => {
      const dashboard = DASHBOARDS[name] ?? expect.fail();
      expect(readFileSync(join(ROOT, 'deploy/grafana/dashboards', name), 'utf8')).toBe(dashboardText(dashboard));
    },
  );

  it.each(QUERIES)('$name names metrics and labels that exist', ({ expr, legend }) => {
    const known = checkReferences(filledIn(expr, 60));
    for (const [, label] of legend.matchAll(/\{\{(\w+)\}\}/g)) expect(known).toContain(label);
  });

  it('show every metric of spanbuf', () => {
    const shown = new Set(
      QUERIES.flatMap(({ expr }) => referencesOf(filledIn(expr, 60)).selectors.map(({ metric }) => metric)),
    );
    const missing = [...METRICS].filter(
      ([name, { type }]) => name.startsWith('spanbuf_') && !shown.has(type === 'histogram' ? `${name}_bucket` : name),
    );
    expect(missing.map(([name]) => name)).toEqual([]);
  });

  it('are told apart by Grafana, and so are their panels', () => {
    const all = Object.values(DASHBOARDS);
    expect(new Set(all.map(({ uid }) => uid)).size).toBe(all.length);
    for (const { panels = [] } of all) expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  });
});

it('compose.yaml gives Prometheus and Grafana these files, where they look for them', () => {
  const { services } = parse(read('compose.yaml'), { merge: true });
  /** Path inside -> path in the repository. */
  const mounts = (service: string): Map<string, string> =>
    new Map(services[service].volumes.map((volume: string) => volume.split(':').slice(0, 2).reverse()));
  const folder = './deploy/prometheus';
  expect(mounts('prometheus').get('/etc/prometheus/prometheus.yml')).toBe(`${folder}/prometheus.yml`);
  const { rule_files: ruleFiles, scrape_configs: jobs } = parse(read('deploy/prometheus/prometheus.yml'));
  for (const name of ruleFiles) expect(mounts('prometheus').get(`/etc/prometheus/${name}`)).toBe(`${folder}/${name}`);
  for (const { job_name: job, dns_sd_configs: names } of jobs) {
    expect(services[names[0].names[0]].image).toBe(job);
    expect(names[0].port).toBe(9464);
  }
  const provided = './deploy/grafana/provisioning';
  expect(mounts('grafana').get('/etc/grafana/provisioning')).toBe(provided);
  const { providers } = parse(read(join(provided, 'dashboards/spanbuf.yml')));
  expect(mounts('grafana').get(providers[0].options.path)).toBe('./deploy/grafana/dashboards');
  const home = services.grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH;
  expect(Object.keys(DASHBOARDS).map((name) => `${providers[0].options.path}/${name}`)).toContain(home);
  const { datasources } = parse(read(join(provided, 'datasources/prometheus.yml')));
  expect(new URL(datasources[0].url).hostname in services).toBe(true);
  const { global } = parse(read('deploy/prometheus/prometheus.yml'));
  expect(datasources[0].jsonData.timeInterval).toBe(global.scrape_interval);
});

describe('the runbooks', () => {
  const PAGES = globSync('docs/runbooks/*.md', { cwd: ROOT }).sort();
  /** Of the command line, by their definitions. */
  const COMMANDS = globSync('apps/cli/src/**/*-command.ts', { cwd: ROOT })
    .concat('apps/cli/src/program.ts')
    .flatMap((path) => [...read(path).matchAll(/\.command\('([\w-]+)'/g)].map(([, name]) => name));
  const SETTINGS = new Set(
    ['consumer', 'flusher'].flatMap((app) => read(`docs/reference/${app}.md`).match(/(?<=^\| `)SPANBUF_\w+/gm) ?? []),
  );

  const SOURCES = globSync('{apps,packages}/*/src/**/*.ts', { cwd: ROOT }).map(read).join('\n');

  it('there is one for each alert, and none for anything else', () => {
    expect(RULES.map(({ annotations }) => annotations.runbook).sort()).toEqual(PAGES);
  });

  it.each(RULES)(
    'of $alert says what it means, what suffers, where to look and what to do',
    ({ alert, annotations }) => {
      const page = read(annotations.runbook);
      expect(page.split('\n')[0]).toBe(`# ${alert}`);
      expect(page.match(/^## .*$/gm)).toEqual(['## Meaning', '## Impact', '## First look', '## Remedy']);
      expect(
        `Spanbuf${basename(annotations.runbook, '.md').replace(/(?:^|-)(\w)/g, (_, letter) => letter.toUpperCase())}`,
      ).toBe(alert);
    },
  );

  it.each(PAGES)('%s names commands, settings, metrics, words of the log and pages that exist', (path) => {
    const page = read(path);
    for (const [, command] of page.matchAll(/\bspanbuf ([a-z]+)(?= |`|$)/gm)) expect(COMMANDS).toContain(command);
    for (const name of page.match(/\bSPANBUF_[A-Z_]+\b/g) ?? []) expect(SETTINGS).toContain(name);
    for (const name of page.match(/\bspanbuf_\w+/g) ?? []) expect([...METRICS.keys()]).toContain(name);
    for (const [, said = ''] of page.matchAll(/“([^”]+)”/g)) expect(SOURCES, said).toContain(said);
    for (const [, link = ''] of page.matchAll(/\]\(([^)#:]+)[^)]*\)/g))
      expect(existsSync(join(ROOT, 'docs/runbooks', link)), link).toBe(true);
  });
});

const hasPrometheus = isPrometheusInstalled();
if (!hasPrometheus && process.env['CI'] !== undefined) throw new Error('prometheus and promtool are not installed');

describe.skipIf(!hasPrometheus)('promtool', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-monitoring-'));
  afterAll(() => rmSync(scratch, { recursive: true }));
  const promtool = (...args: string[]) =>
    execFileSync('promtool', args, { encoding: 'utf8', stdio: 'pipe', cwd: scratch });
  const write = (name: string, text: string) => {
    writeFileSync(join(scratch, name), text);
    return join(scratch, name);
  };

  it('has nothing to say about the rules', () => {
    expect(promtool('check', 'rules', '--lint=all', '--lint-fatal', RULES_FILE)).toContain(
      `${RULES.length} rules found`,
    );
  });

  it('finds that the alerts fire when they should, and none of them on a healthy system', () => {
    promtool('test', 'rules', RULES_TEST_FILE);
  });

  it('can read the queries of the dashboards', () => {
    const rules = QUERIES.map(({ expr }, i) => ({ record: `query:${i}`, expr: filledIn(expr, 60) }));
    promtool('check', 'rules', write('queries.yml', JSON.stringify({ groups: [{ name: 'dashboards', rules }] })));
  });

  it('can read the configuration of compose.yaml', () => {
    promtool('check', 'config', join(ROOT, 'deploy/prometheus/prometheus.yml'));
  });

  it('finds our pods in Kubernetes, and gives them the labels that the rules expect', () => {
    const { scrape_configs: jobs } = parse(read('deploy/prometheus/kubernetes.yml'));
    // Debian's build knows no Kubernetes, so that what it would find is written down here.
    const [{ kubernetes_sd_configs: found, ...job }] = jobs;
    expect(found).toEqual([{ role: 'pod' }]);
    const pod = (app: string, port: string) => ({
      targets: [`10.0.0.1:${port}`],
      labels: {
        __meta_kubernetes_namespace: 'traces',
        __meta_kubernetes_pod_name: `${app}-x`,
        __meta_kubernetes_pod_container_port_number: port,
        __meta_kubernetes_pod_label_app_kubernetes_io_name: app,
      },
    });
    const pods = [
      pod('spanbuf-consumer', '9464'),
      pod('spanbuf-flusher', '9464'),
      pod('spanbuf-flusher', '80'),
      pod('other', '9464'),
    ];
    const config = write('kubernetes.yml', JSON.stringify({ scrape_configs: [{ ...job, static_configs: pods }] }));
    const results = JSON.parse(promtool('check', 'service-discovery', '--timeout=1s', config, job.job_name)) as {
      labels: Record<string, string>;
    }[];
    // In any order, and with those that were left out.
    const kept = results.map(({ labels }) => labels).filter(({ job }) => job !== undefined);
    expect(kept.toSorted((a, b) => `${a['job']}`.localeCompare(`${b['job']}`))).toEqual(
      ['consumer', 'flusher'].map((app) => ({
        job: `spanbuf-${app}`,
        namespace: 'traces',
        pod: `spanbuf-${app}-x`,
        instance: '10.0.0.1:9464',
        __address__: '10.0.0.1:9464',
        __metrics_path__: '/metrics',
        __scheme__: 'http',
        __scrape_interval__: '1m',
        __scrape_timeout__: '10s',
      })),
    );
  });
});
