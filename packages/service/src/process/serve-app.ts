import { SpanbufError } from '@spanbuf/keys';
import type { Logger } from 'pino';
import type { MetricDefinitions, Metrics } from '../metrics/create-metrics.ts';
import { InvalidSettingsError } from '../settings/parse-settings.ts';
import type { ServiceSettings } from '../settings/shared-settings.ts';
import type { AppContext, AppDefinition, AppSettings, RunningApp } from './app-definition.ts';
import { withinSeconds } from './deadline.ts';
import { EXIT, SIGNAL_EXIT } from './exit-codes.ts';
import { type HttpServer, startHttpServer } from './http-server.ts';
import type { ProcessHost, StopSignal } from './process-host.ts';

/** Redis and Kafka each have `startSeconds`; this ends a start that hangs all the same. */
const START_LIMIT_FACTOR = 3;

/** How long a start, or a check, may take as a whole. */
export function startLimitSeconds({ startSeconds }: Pick<ServiceSettings, 'startSeconds'>): number {
  return startSeconds * START_LIMIT_FACTOR;
}

/** What there is to say about the app while it does not work. */
interface State {
  phase: 'starting' | 'running' | 'stopping';
  app: RunningApp | undefined;
}

/**
 * Runs a configured app until a signal or until it cannot go on, and drains it.
 * @param exit - Ends the process at once: for a second signal, and for what nobody caught.
 * @returns the exit code.
 * @throws {@link InvalidSettingsError} when a file that a setting names cannot be used.
 */
export async function serveApp<D extends AppSettings, M extends MetricDefinitions>(
  definition: AppDefinition<D, M>,
  context: AppContext<D, M>,
  host: ProcessHost,
  exit: (code: number) => void,
): Promise<number> {
  const { log } = context;
  const settings: ServiceSettings = context.settings;
  const state: State = { phase: 'starting', app: undefined };
  host.onCrash((error) => {
    log.fatal({ err: error }, 'this should not happen');
    exit(EXIT.bug);
  });
  const signalled = firstSignal(host, log, exit);
  try {
    const http = await serveHealth(settings, context.metrics, state);
    log.info({ host: settings.httpHost, port: http.port }, 'serving health and metrics');
    try {
      const app = await startUnless(signalled, definition.start(context), settings);
      if (app === undefined) {
        log.info('stopped before it had started');
        return EXIT.ok;
      }
      return await superviseApp(app, state, signalled, settings, log);
    } finally {
      http.close();
    }
  } catch (error) {
    if (error instanceof InvalidSettingsError) throw error;
    logFailure(log, 'cannot start', error);
    return EXIT.failed;
  }
}

/** Resolves with the first signal. A second one ends the process. */
function firstSignal(host: ProcessHost, log: Logger, exit: (code: number) => void): Promise<StopSignal> {
  return new Promise((resolve) => {
    let hasCome = false;
    host.onSignal((signal) => {
      if (hasCome) {
        log.warn({ signal }, 'ending at once');
        exit(SIGNAL_EXIT[signal]);
      } else {
        log.info({ signal }, 'stopping');
      }
      hasCome = true;
      resolve(signal);
    });
  });
}

function serveHealth(
  { httpHost, httpPort }: ServiceSettings,
  { registry, ready }: Pick<Metrics<MetricDefinitions>, 'registry' | 'ready'>,
  state: State,
): Promise<HttpServer> {
  const readyProblems = () => (state.phase === 'running' ? (state.app?.readyProblems() ?? []) : [state.phase]);
  return startHttpServer({
    host: httpHost,
    port: httpPort,
    metrics: async () => {
      ready.set(readyProblems().length === 0 ? 1 : 0);
      return { text: await registry.metrics(), contentType: registry.contentType };
    },
    liveProblems: () => state.app?.liveProblems() ?? [],
    readyProblems,
  });
}

/** @returns undefined when the signal came first. */
async function startUnless(
  signalled: Promise<StopSignal>,
  starting: Promise<RunningApp>,
  settings: ServiceSettings,
): Promise<RunningApp | undefined> {
  const limitSeconds = startLimitSeconds(settings);
  const message = `it did not start within ${limitSeconds} s`;
  const first = await withinSeconds(Promise.race([starting, signalled]), limitSeconds, message);
  return typeof first === 'string' ? undefined : first;
}

/** @returns the exit code. */
async function superviseApp(
  app: RunningApp,
  state: State,
  signalled: Promise<StopSignal>,
  { shutdownSeconds }: ServiceSettings,
  log: Logger,
): Promise<number> {
  let code: number = EXIT.ok;
  const fail = (what: string, error: unknown): void => {
    code = EXIT.failed;
    logFailure(log, what, error);
  };
  state.app = app;
  state.phase = 'running';
  log.info('started');
  const ended = app.ended.then(
    () => {
      if (state.phase === 'running') fail('cannot go on', new Error('it ended by itself'));
    },
    (error: unknown) => fail('cannot go on', error),
  );
  await Promise.race([signalled, ended]);
  state.phase = 'stopping';
  try {
    await withinSeconds(app.stop(), shutdownSeconds, `the work in hand did not end within ${shutdownSeconds} s`);
  } catch (error) {
    fail('not drained', error);
  }
  log.info({ code }, 'stopped');
  return code;
}

/** One line that says it all; with a stack only where somebody has to look into the code. */
function logFailure(log: Logger, what: string, error: unknown): void {
  const message = `${what}: ${error instanceof Error ? error.message : String(error)}`;
  if (error instanceof SpanbufError) log.fatal({ code: error.code }, message);
  else log.fatal({ err: error }, message);
}
