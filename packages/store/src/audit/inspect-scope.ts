import type { RedisRunner } from '../redis/redis-runner.ts';

/** What the parts of an inspector share. */
export interface InspectScope {
  readonly runner: RedisRunner;
  readonly settings: InspectSettings;
}

/** Options of an inspector, checked. */
export interface InspectSettings {
  readonly sliceId: number | undefined;
  readonly clockGraceSeconds: number;
  /** `host:port` of the node that has a key; `undefined` while none has its slot. */
  readonly nodeOf: (key: string) => string | undefined;
  /** At least 0, less than 1. */
  readonly random: () => number;
}

/** Prefix of the keys of one deployment. */
export function sliceOf({ sliceId }: Pick<InspectSettings, 'sliceId'>): { readonly sliceId?: number } {
  return sliceId === undefined ? {} : { sliceId };
}
