/** The process that run-app-process.test.ts starts. */
import { oneOf, processHost, type RunningApp, runApp, serviceSettings, setting } from '@spanbuf/service';

const BEHAVIOURS = ['drains', 'hangs', 'never-starts', 'throws', 'rejects'] as const;
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
    metrics: {},
    start: async ({ settings: { behaviour } }): Promise<RunningApp> => {
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
