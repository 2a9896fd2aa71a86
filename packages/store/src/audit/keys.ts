import type { RedisReply } from '../redis/redis-runner.ts';
import type { AuditScope } from './audit-scope.ts';
import { type KnownKey, kindOf } from './key-kinds.ts';
import type { Suspicion } from './suspicion.ts';

/** As long as anything in Redis is kept for: what a key without one belongs to may be parked. */
const LONGEST_TTL_SECONDS = 30 * 86_400;
const NO_TTL = -1;
const NO_KEY = -2;

export interface InspectedKey {
  readonly suspicions: readonly Suspicion[];
  /** What it is, when it is there and is what its name says. */
  readonly known: KnownKey | undefined;
}

/** Whether keys are what their names say, and have a time to live. */
export async function inspectKeys(scope: AuditScope, keys: readonly string[]): Promise<InspectedKey[]> {
  const kinds = keys.map(kindOf);
  const asked = [...keys.keys()].filter((at) => kinds[at] !== 'foreign' && isPlain(keys[at] as string));
  const replies = await scope.runner.run(
    asked.flatMap((at) => {
      const key = keys[at] as string;
      return [
        { key, name: 'ttl', args: [key] },
        { key, name: 'type', args: [key] },
      ];
    }),
  );
  const inspected: InspectedKey[] = keys.map((key, at) => {
    const isUnknown = kinds[at] === undefined && !isPlain(key);
    return { suspicions: isUnknown ? [unknown(key, 'no format has such a name')] : [], known: undefined };
  });
  for (const [i, at] of asked.entries()) {
    const key = keys[at] as string;
    const kind = kinds[at] as KnownKey | undefined;
    inspected[at] = inspectKey(scope, key, kind, replies[2 * i] as number, String(replies[2 * i + 1] as RedisReply));
  }
  return inspected;
}

/** ASCII: what no client of spanbuf ever writes otherwise, and has another slot as text than as bytes. */
function isPlain(key: string): boolean {
  return /^[ -~]*$/.test(key);
}

function inspectKey(
  scope: AuditScope,
  key: string,
  kind: KnownKey | undefined,
  ttlSeconds: number,
  type: string,
): InspectedKey {
  if (ttlSeconds === NO_KEY || type === 'none') return { suspicions: [], known: undefined };
  const suspicions: Suspicion[] = [];
  const isOfType = kind !== undefined && kind.type === type;
  if (kind === undefined) suspicions.push(unknown(key, 'no format has such a name'));
  else if (!isOfType) suspicions.push(unknown(key, `a ${type} where a ${kind.type} belongs`));
  if (ttlSeconds === NO_TTL && kind !== undefined) suspicions.push(withoutTtl(scope, key));
  return { suspicions, known: isOfType ? kind : undefined };
}

function unknown(key: string, detail: string): Suspicion {
  return {
    finding: { kind: 'unknown-key', key, detail },
    fingerprint: `unknown ${key} ${detail}`,
    repair: 'what nothing is known of is left alone',
  };
}

function withoutTtl({ runner, settings }: AuditScope, key: string): Suspicion {
  return {
    finding: { kind: 'key-without-ttl', key, detail: 'it would stay for ever' },
    fingerprint: `ttl ${key}`,
    repair: async () => {
      const ttlSeconds = Math.max(settings.redisTtlSeconds, LONGEST_TTL_SECONDS);
      await runner.run([{ key, name: 'expire', args: [key, ttlSeconds, 'NX'] }]);
      return `expires in ${ttlSeconds} seconds`;
    },
  };
}
