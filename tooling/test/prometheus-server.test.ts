import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isPrometheusInstalled, startPrometheus } from '../prometheus-server.ts';

const RULES = JSON.stringify({
  groups: [
    {
      name: 'test',
      rules: [{ alert: 'Hot', expr: 'heat > 40', annotations: { summary: '{{ $value }} in {{ $labels.job }}' } }],
    },
  ],
});

describe.skipIf(!isPrometheusInstalled())('startPrometheus', () => {
  it('reads targets, answers queries, and judges rules', async () => {
    const app = createServer((_, response) => response.end('heat 41\n'));
    await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void app.close());
    const url = `http://127.0.0.1:${(app.address() as AddressInfo).port}`;
    const prometheus = await startPrometheus({ rules: RULES, targets: [{ job: 'oven', url }] });
    onTestFinished(() => prometheus.stop());
    await expect
      .poll(async () => (await prometheus.query('heat'))[0])
      .toMatchObject({ labels: { job: 'oven' }, value: 41 });
    await expect
      .poll(() => prometheus.firingAlerts())
      .toMatchObject([{ labels: { alertname: 'Hot' }, annotations: { summary: '41 in oven' } }]);
    await expect(prometheus.query('heat >')).rejects.toThrow('parse error');
    const { directory } = prometheus;
    await prometheus.stop();
    expect(existsSync(directory)).toBe(false);
  });

  it('says what is wrong with a rule', async () => {
    const rules = JSON.stringify({ groups: [{ name: 'test', rules: [{ alert: 'Odd', expr: 'heat >' }] }] });
    await expect(startPrometheus({ rules, targets: [] })).rejects.toThrow('parse error');
  });
});
