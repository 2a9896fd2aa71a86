/** The process that run-app-process.test.ts starts. */
import { oneOf, processHost, type RunningApp, runApp, serviceSettings, setting } from '@spanbuf/service';

const BEHAVIOURS = ['drains', 'hangs', 'never-starts', 'throws', 'rejects', 'works'] as const;
const never = new Promise<never>(() => undefined);

await runApp(
  {
    name: 'an-app',
    version: '0.0.0',
    description: 'Behaves as it is told.',
    settings: {
      ...serviceSettings,
      behaviour: setting('SPANBUF_BEHAVIOUR', oneOf(BEHAVIOURS).default('drains'), 'How to behave.'),
    },
    metrics: {
      batches: { name: 'an_app_batches_total', type: 'counter', help: 'Batches.', labels: ['outcome'] },
      batchSeconds: { name: 'an_app_batch_seconds', type: 'histogram', help: 'Time of a batch.', buckets: [0.1, 1] },
      heldBytes: { name: 'an_app_held_bytes', type: 'gauge', help: 'Bytes held.' },
    },
    start: async ({ settings: { behaviour }, tracing, metrics }): Promise<RunningApp> => {
      if (behaviour === 'works') {
        metrics.batches.inc({ outcome: 'ok' }, 2);
        metrics.heldBytes.set(7);
        for (const seconds of [0.05, 0.5, 0.5, 5]) metrics.batchSeconds.observe(seconds);
        const failed = tracing.span('batch', { attributes: { partition: 3 }, kind: 'consumer' }, async (span) => {
          span.set({ spans: 12 });
          await tracing.span('store', {}, async () => undefined);
          throw new Error('it went wrong');
        });
        await failed.catch(() => undefined);
      }
      if (behaviour === 'never-starts') return never;
      if (behaviour === 'throws') {
        setImmediate(() => {
          throw new Error('nobody catches this');
        });
      }
      if (behaviour === 'rejects') setImmediate(() => void Promise.reject(new Error('nobody catches this')));
      return {
        ended: never,
        liveProblems: () => [],
        readyProblems: () => [],
        stop: () => (behaviour === 'hangs' ? never : Promise.resolve()),
      };
    },
    check: async () => undefined,
  },
  processHost(process),
);
