import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** A Lua file of this package, ready to be sent. Redis knows it by the SHA-1 of its source. */
export interface Script {
  readonly name: string;
  readonly source: string;
  readonly sha1: string;
}

const INCLUDE = /^--@include (\w+)$/m;

/** Reads `lua/<name>.lua`, with what it includes. */
export function loadScript(name: string): Script {
  const source = readLua(name).replace(INCLUDE, (_, included: string) => readLua(included));
  return { name, source, sha1: createHash('sha1').update(source).digest('hex') };
}

function readLua(name: string): string {
  return readFileSync(new URL(`../../lua/${name}.lua`, import.meta.url), 'utf8');
}
