import { createMetrics, metricsReference, settingsReference } from '@spanbuf/service';
import { expect, it } from 'vitest';
import { consumerApp } from '../src/app.ts';

it('is what docs/reference/consumer.md says; mend that with: vitest run --project apps/consumer -u', async () => {
  const { name, settings, metrics } = consumerApp;
  const text = [
    `# ${name}: settings and metrics`,
    'Made from the code by `apps/consumer/test/reference.test.ts`. Seconds and bytes are decimal numbers.',
    '## Settings',
    'Environment variables. An empty one counts as absent; an unknown `SPANBUF_…` is refused.',
    settingsReference(settings),
    '## Metrics',
    'On `/metrics`, in the format of Prometheus.',
    await metricsReference(createMetrics(metrics)),
  ];
  await expect(`${text.map((part) => part.trim()).join('\n\n')}\n`).toMatchFileSnapshot(
    '../../../docs/reference/consumer.md',
  );
});
