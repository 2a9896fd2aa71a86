/** For simulations: stores, ledgers and loss watches whose time and chance are the caller's, and the scripts that it sends. Needs no test runner. */
import { readdirSync, readFileSync } from 'node:fs';
import { loadScript, type Script } from '../redis/script.ts';

export { createLedgerIn } from '../create-ledger.ts';
export { createLossWatchIn } from '../create-loss-watch.ts';
export { createRedisStoreIn, type StoreSurroundings } from '../create-redis-store.ts';
export type { RunnerClock } from '../redis/redis-runner.ts';
export type { Script } from '../redis/script.ts';

const LUA = new URL('../../lua/', import.meta.url);

/** All scripts of this package, as they are sent. */
export function loadScripts(): Script[] {
  return readdirSync(LUA)
    .filter((file) => readFileSync(new URL(file, LUA), 'utf8').startsWith('#!lua'))
    .sort()
    .map((file) => loadScript(file.replace('.lua', '')));
}
