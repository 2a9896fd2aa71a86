/** All that is measured, in the order in which it is measured. */
import type { BenchCase } from './bench-case.ts';
import { balance } from './cases/balance.ts';
import { chain } from './cases/chain.ts';
import { decode } from './cases/decode.ts';
import { e2e } from './cases/e2e.ts';
import { flat } from './cases/flat.ts';
import { late } from './cases/late.ts';
import { longestCommand } from './cases/longest-command.ts';
import { memory } from './cases/memory.ts';
import { replay } from './cases/replay.ts';
import { rss } from './cases/rss.ts';
import { scale } from './cases/scale.ts';
import { small } from './cases/small.ts';
import { typical } from './cases/typical.ts';

export const CASES: readonly BenchCase[] = [
  typical,
  small,
  late,
  replay,
  flat,
  chain,
  longestCommand,
  balance,
  memory,
  decode,
  scale,
  e2e,
  rss,
];
