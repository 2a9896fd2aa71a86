import { createMetrics, metricsReference, settingsReference } from '@spanbuf/service';
import { expect, it } from 'vitest';
import { flusherApp } from '../src/app.ts';

it('is what docs/reference/flusher.md says; mend that with: vitest run --project apps/flusher -u', async () => {
  const { name, settings, metrics } = flusherApp;
  const text = [
    `# ${name}: settings and metrics`,
    'Made from the code by `apps/flusher/test/reference.test.ts`. Seconds and bytes are decimal numbers.',
    '## Settings',
    'Environment variables. An empty one counts as absent; an unknown `SPANBUF_…` is refused.',
    settingsReference(settings),
    '## Metrics',
    'On `/metrics`, in the format of Prometheus.',
    await metricsReference(createMetrics(metrics)),
  ];
  await expect(`${text.map((part) => part.trim()).join('\n\n')}\n`).toMatchFileSnapshot(
    '../../../docs/reference/flusher.md',
  );
});
