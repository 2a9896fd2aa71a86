import type { SystemSettings } from './doctor-settings.ts';
import type { Finding } from './finding.ts';

/** From the first span of a segment to its backstop, in maximal ages. */
const BACKSTOP = 3;

/** How long a segment may be held, with everything that may go wrong while flushers run. */
export function longestHeldSeconds({ maxAgeSeconds, timeoutSeconds, leaseSeconds }: SystemSettings): number {
  return Math.ceil(BACKSTOP * maxAgeSeconds + timeoutSeconds + 2 * leaseSeconds);
}

/** The time to live of keys against the ages of segments. */
export function checkTtl(settings: SystemSettings): Finding[] {
  const { redisTtlSeconds } = settings;
  const heldSeconds = longestHeldSeconds(settings);
  const at = { check: 'redis-ttl', subject: 'SPANBUF_REDIS_TTL_SECONDS' } as const;
  if (redisTtlSeconds >= 2 * heldSeconds)
    return [{ ...at, level: 'ok', detail: `${redisTtlSeconds} s, and a segment is held for ${heldSeconds} s at most` }];
  return [
    {
      ...at,
      level: 'warning',
      detail: `${redisTtlSeconds} s, and a segment may be held for ${heldSeconds} s: what is stored lives for ${Math.max(redisTtlSeconds, heldSeconds)} s`,
      why: 'an outage of all flushers, or of the output topic, that takes longer loses what is held',
      remedy: `set it to ${2 * heldSeconds} or more; the default is 86400`,
    },
  ];
}
