/**
 * Loaded into an app before its own code (`node --import`): its clock is wrong by as many seconds as CHAOS_CLOCK_FILE says,
 * read again while it runs. As with a real jump, timers and `performance.now()` are not touched.
 */
import { readFileSync } from 'node:fs';

const READ_AGAIN_MS = 100;
const file = process.env['CHAOS_CLOCK_FILE'] ?? '';
const RealDate = Date;
let shiftMs = 0;
let readMs = Number.NEGATIVE_INFINITY;

function shiftedNowMs(): number {
  if (performance.now() - readMs >= READ_AGAIN_MS) {
    readMs = performance.now();
    shiftMs = 1_000 * Number(readFileSync(file, 'utf8'));
  }
  return RealDate.now() + shiftMs;
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [shiftedNowMs()] : args, newTarget),
  get: (target, name, receiver) => (name === 'now' ? shiftedNowMs : Reflect.get(target, name, receiver)),
});
