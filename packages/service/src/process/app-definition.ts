import type { Logger } from 'pino';
import type { MetricDefinitions, Metrics } from '../metrics/create-metrics.ts';
import type { SettingDefinitions, SettingsOf } from '../settings/setting.ts';
import type { serviceSettings } from '../settings/shared-settings.ts';
import type { Tracing } from '../telemetry/tracing.ts';

/** Settings of an app; `serviceSettings` are among them. */
export type AppSettings = SettingDefinitions & typeof serviceSettings;

/** One app, as {@link runApp} runs it. */
export interface AppDefinition<D extends AppSettings, M extends MetricDefinitions> {
  /** Name of the program; in every log line. */
  readonly name: string;
  readonly version: string;
  /** One sentence, for `--help`. */
  readonly description: string;
  readonly settings: D;
  /** Contradictions between settings, a line each: `sharedRules` and the app's own. */
  readonly rules?: (settings: SettingsOf<D>) => readonly string[];
  /** Names of settings that other services have: they may share one environment. Anything else unknown is refused. */
  readonly otherSettings?: readonly string[];
  readonly metrics: M;
  /**
   * Opens everything that is needed, then works. Rejects with one clear error when something cannot be reached; it then
   * need not close what it has opened, the process ends.
   */
  readonly start: (context: AppContext<D, M>) => Promise<RunningApp>;
  /** For `--check-config`: reaches everything once, changes nothing. Rejects with one clear error. */
  readonly check: (context: AppContext<D, M>) => Promise<void>;
}

/** The definition as it is; its types are those of its settings and metrics. */
export function defineApp<const D extends AppSettings, const M extends MetricDefinitions>(
  definition: AppDefinition<D, M>,
): AppDefinition<D, M> {
  return definition;
}

/** What an app is given. */
export interface AppContext<D extends AppSettings, M extends MetricDefinitions> {
  /** Name and version of the definition. */
  readonly name: string;
  readonly version: string;
  readonly settings: SettingsOf<D>;
  readonly log: Logger;
  readonly metrics: Metrics<M>;
  /** Spans of the app's own work; does nothing unless it is switched on. */
  readonly tracing: Tracing;
  /** Of this process alone: the app's name, `-`, and letters and digits. Good as a client id. */
  readonly instanceId: string;
  /** Unix time, milliseconds. */
  readonly clockMs: () => number;
}

/** An app that works. */
export interface RunningApp {
  /** Rejects when it cannot go on: it is stopped then, and the process ends with 1. Does not resolve before `stop()`. */
  readonly ended: Promise<void>;
  /** Problems that a restart would mend, one line each; empty when live. Cheap: called for every probe. */
  readonly liveProblems: () => readonly string[];
  /** Reasons not to count on this instance, one line each; empty when ready. As cheap. */
  readonly readyProblems: () => readonly string[];
  /** Drains: stops taking, finishes or gives back what is in hand, commits, leaves. Called once, also when `ended` rejected. */
  stop(): Promise<void>;
}
