import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { LAYOUTS, type LayoutName } from '@spanbuf/store';
import { MODES, type Mode } from './scenario.ts';
import { TOPOLOGIES, type Topology } from './servers.ts';

export const USAGE = `npm run simulate [-- options]

  --seeds N        how many seeds to run; default 1000
  --seed S         the first of them; default 1
  --layout NAME    ${LAYOUTS.join(', ')}; default: all in turn
  --topology NAME  node (one node), cluster (three nodes); default: both in turn
  --mode NAME      buffered (committed once stored), flushed (once produced; Redis loses data); default: both in turn
  --workers N      processes that run seeds at once; default: as many as there are cores

A seed that fails is made as small as possible and printed, one line a round trip; the exit code is 1 then.`;

export interface Options {
  readonly seeds: number;
  readonly seed: number;
  readonly layouts: readonly LayoutName[];
  readonly topologies: readonly Topology[];
  readonly modes: readonly Mode[];
  readonly workers: number;
}

/** What is wrong with the command line. */
export class UsageError extends Error {}

/** @throws {@link UsageError} Answers `help` when that was asked for. */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const string = { type: 'string' } as const;
  let values: Partial<Record<'seeds' | 'seed' | 'layout' | 'topology' | 'mode' | 'workers', string>> & {
    help?: boolean;
  };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        seeds: string,
        seed: string,
        layout: string,
        topology: string,
        mode: string,
        workers: string,
        help: { type: 'boolean' },
      },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  if (values.help) return 'help';
  return {
    seeds: integer('seeds', values.seeds ?? '1000', 1),
    seed: integer('seed', values.seed ?? '1', 0),
    layouts: oneOf('layout', values.layout, LAYOUTS),
    topologies: oneOf('topology', values.topology, TOPOLOGIES),
    modes: oneOf('mode', values.mode, MODES),
    workers: integer('workers', values.workers ?? String(availableParallelism()), 1),
  };
}

function integer(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new UsageError(`--${name} must be an integer from ${least}, is ${text}`);
  return value;
}

function oneOf<T extends string>(name: string, text: string | undefined, known: readonly T[]): readonly T[] {
  if (text === undefined) return known;
  if (!(known as readonly string[]).includes(text))
    throw new UsageError(`--${name} must be one of ${known.join(', ')}, is ${text}`);
  return [text as T];
}
