import type { Script } from '@spanbuf/store/testing/controlled';
import type { Trip } from './process.ts';
import type { Command, Result } from './servers.ts';

const LONGEST = 120;
/** Commands of one round trip that are shown. */
const MOST = 12;

/** One line: what was sent, what became of it, and what was answered. */
export function describeTrip(
  { node, commands }: Pick<Trip, 'node' | 'commands'>,
  results: readonly Result[] | undefined,
  what: string,
  scripts: readonly Script[],
): string {
  const sent = commands.map((command, i) => {
    const answer = results?.[i];
    return answer === undefined
      ? nameOf(command, scripts)
      : `${nameOf(command, scripts)} = ${textOf(answer[0]?.message ?? answer[1])}`;
  });
  const more = sent.length > MOST ? `; and ${sent.length - MOST} more` : '';
  return `n${node}${what === '' ? '' : ` [${what}]`} ${sent.slice(0, MOST).join('; ')}${more}`;
}

function nameOf({ name, args }: Command, scripts: readonly Script[]): string {
  if (name === 'script') return 'script load';
  const script = name === 'evalsha' ? scripts.find(({ sha1 }) => sha1 === args[0]) : undefined;
  if (script === undefined) return cut(`${name} ${args.map(textOf).join(' ')}`);
  const keys = Number(args[1]);
  const own = args.slice(2 + keys);
  return cut(`${script.name} ${textOf(args[2])} ${own.map(textOf).join(' ')}`);
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(' ')}]`;
  if (value === null) return 'nil';
  const text = Buffer.isBuffer(value) ? value.toString('latin1') : String(value);
  if (/[^ -~]/.test(text)) return `<${text.length} bytes>`;
  return text.replace(/span-buf:/g, '').replace(/0{8,}(?=[0-9a-f])/g, '~');
}

function cut(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
}
