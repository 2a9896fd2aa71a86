import type { Writable } from 'node:stream';
import { createMetrics, type MetricDefinitions } from '../metrics/create-metrics.ts';
import { printable, quote } from '../printable.ts';
import { InvalidSettingsError, parseSettings } from '../settings/parse-settings.ts';
import { formatSettings } from '../settings/settings-reference.ts';
import { startTelemetry } from '../telemetry/start-telemetry.ts';
import { NO_TRACING } from '../telemetry/tracing.ts';
import type { AppContext, AppDefinition, AppSettings } from './app-definition.ts';
import { type Command, helpText, parseCommand, UsageError } from './command-line.ts';
import { withinSeconds } from './deadline.ts';
import { EXIT } from './exit-codes.ts';
import { createLogger } from './logger.ts';
import type { ProcessHost } from './process-host.ts';
import { serveApp, startLimitSeconds } from './serve-app.ts';

/** How long the last log lines may take to leave the process. */
const FLUSH_SECONDS = 1;

/**
 * Runs an app to its end: command line, settings, log, health, signals, exit code. Resolves once `host.exit` was called, and
 * never rejects.
 */
export async function runApp<D extends AppSettings, M extends MetricDefinitions>(
  definition: AppDefinition<D, M>,
  host: ProcessHost,
): Promise<void> {
  let hasExited = false;
  const exit = (code: number): void => {
    if (!hasExited) host.exit(code);
    hasExited = true;
  };
  let code: number;
  try {
    code = await run(definition, host, exit);
  } catch (error) {
    code = await explain(error, host);
  }
  await flushed(host.stdout);
  exit(code);
}

async function run<D extends AppSettings, M extends MetricDefinitions>(
  definition: AppDefinition<D, M>,
  host: ProcessHost,
  exit: (code: number) => void,
): Promise<number> {
  const command: Command = parseCommand(host.argv);
  if (command === 'help' || command === 'version') {
    host.stdout.write(command === 'help' ? helpText(definition) : `${definition.version}\n`);
    return EXIT.ok;
  }
  const settings = parseSettings(definition.settings, host.env, definition);
  if (command === 'print-config') {
    host.stdout.write(formatSettings(definition.settings, settings));
    return EXIT.ok;
  }
  const instanceId = `${definition.name}-${host.randomId()}`;
  const context: AppContext<D, M> = {
    name: definition.name,
    version: definition.version,
    settings,
    log: createLogger(
      {
        level: settings.logLevel,
        bindings: { app: definition.name, instance: instanceId, version: definition.version },
      },
      host,
    ),
    metrics: createMetrics(definition.metrics),
    tracing: NO_TRACING,
    instanceId,
    clockMs: () => host.clockMs(),
  };
  if (command === 'run') {
    const { name, version, log, metrics, clockMs } = context;
    const { env } = host;
    const options = { name, version, instanceId, env, log, registry: metrics.registry, clockMs };
    const telemetry = await startTelemetry(settings.openTelemetry, options);
    try {
      return await serveApp(definition, { ...context, tracing: telemetry.tracing }, host, exit);
    } finally {
      await telemetry.stop();
    }
  }
  const limitSeconds = startLimitSeconds(settings);
  await withinSeconds(definition.check(context), limitSeconds, `not checked within ${limitSeconds} s`);
  host.stdout.write('ok\n');
  return EXIT.ok;
}

/** Plain lines, for a person at a terminal: nothing works yet that could read a log. */
async function explain(error: unknown, { stderr }: ProcessHost): Promise<number> {
  const isUsage = error instanceof UsageError || error instanceof InvalidSettingsError;
  const problems = error instanceof InvalidSettingsError ? error.problems : [messageOf(error)];
  stderr.write(problems.map((problem) => `error: ${printable(problem)}\n`).join(''));
  await flushed(stderr);
  return isUsage ? EXIT.usage : EXIT.failed;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : quote(String(error));
}

async function flushed(stream: Writable): Promise<void> {
  const written = new Promise<void>((resolve) => {
    stream.write('', () => resolve());
  });
  await withinSeconds(written, FLUSH_SECONDS, 'not flushed').catch(() => undefined);
}
