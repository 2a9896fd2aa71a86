/** Which script of @spanbuf/store a SHA-1 stands for. Only to print it: SLOWLOG knows no names. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

const FOLDER = new URL('../lua/', import.meta.resolve('@spanbuf/store'));

const names = new Map(
  readdirSync(FOLDER)
    .filter((file) => file.endsWith('.lua'))
    .map((file) => [sha1(source(file)), file]),
);

/** For example `link.lua` or `set`. */
export function commandName(args: readonly string[]): string {
  const [name = '', sha = ''] = args;
  if (!/^evalsha$/i.test(name)) return name.toLowerCase();
  return names.get(sha) ?? `script ${sha.slice(0, 8)}`;
}

function source(file: string): string {
  const text = readFileSync(new URL(file, FOLDER), 'utf8');
  return text.replace(/^--@include (\w+)$/m, (_, included: string) => source(`${included}.lua`));
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}
