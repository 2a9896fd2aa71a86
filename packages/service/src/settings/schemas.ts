/** Schemas that read the text of one setting. Their messages complete the sentence that begins with its name. */
import { z } from 'zod';
import { quote } from '../printable.ts';
import { type InvalidRedisUrlError, parseRedisUrl, REDIS_URL_FORMS } from '../redis/redis-url.ts';

/** A schema that reads text, and says in words what is allowed. */
export type TextSchema<T> = z.ZodType<T, string>;

/**
 * @param allowed - Completes "must be …".
 * @param parse - Returns undefined for text that is not allowed.
 */
export function textSchema<T>(allowed: string, parse: (text: string) => T | undefined): TextSchema<T> {
  return z
    .string()
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', message: `must be ${allowed}`, input: text });
      return z.NEVER;
    })
    .meta({ description: allowed });
}

/** Decimal number of seconds, both ends included. */
export function seconds(min: number, max: number): TextSchema<number> {
  return decimal(`a number from ${min} to ${max}`, (value) => value >= min && value <= max);
}

/** Decimal number of seconds above 0. */
export function positiveSeconds(max: number): TextSchema<number> {
  return decimal(`a number above 0, up to ${max}`, (value) => value > 0 && value <= max);
}

/** Both ends included. */
export function integer(min: number, max: number): TextSchema<number> {
  return textSchema(`an integer from ${min} to ${max}`, (text) => {
    const value = Number(text);
    return /^\d+$/.test(text) && value >= min && value <= max ? value : undefined;
  });
}

const GIB = 2 ** 30;

/** 1 byte to 1 GiB, unless told. */
export function bytes(min = 1, max = GIB): TextSchema<number> {
  return integer(min, max);
}

/** Part of a whole, 0 to 1. */
export function share(): TextSchema<number> {
  return decimal('a number from 0 to 1', (value) => value <= 1);
}

export function flag(): TextSchema<boolean> {
  return textSchema('true or false', (text) => (text === 'true' ? true : text === 'false' ? false : undefined));
}

export function oneOf<const T extends readonly string[]>(values: T): TextSchema<T[number]> {
  return textSchema(`one of ${values.join(', ')}`, (text) => values.find((value) => value === text));
}

/** Text of printable characters, at most 1,024 of them. */
export function text(allowed = 'text without control characters'): TextSchema<string> {
  return textSchema(allowed, (value) => (/^\P{Cc}{1,1024}$/u.test(value) ? value : undefined));
}

/** Password or the like: any characters, at most 1,024 of them. */
export function secretText(): TextSchema<string> {
  return textSchema('at most 1024 characters', (value) => (value.length <= 1024 ? value : undefined));
}

export function filePath(): TextSchema<string> {
  return text('the path of a file');
}

/** Name of a Kafka topic. */
export function topicName(): TextSchema<string> {
  return textSchema('1 to 249 of a-z A-Z 0-9 . _ -', (name) =>
    /^[\w.-]{1,249}$/.test(name) && name !== '.' && name !== '..' ? name : undefined,
  );
}

/** `host:port` */
export function address(): TextSchema<string> {
  return textSchema('host:port', (value) => {
    const port = /^(?:\[[0-9a-f:.%]+\]|[\w.-]+):(\d{1,5})$/i.exec(value)?.[1];
    return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535 ? value : undefined;
  });
}

/** Text that `parseRedisUrl` reads. It stays text, so that it can be shown; `readRedisConnection` makes a location of it. */
export function redisUrl(): TextSchema<string> {
  return z
    .string()
    .superRefine((url, context) => {
      try {
        parseRedisUrl(url);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as InvalidRedisUrlError).message });
      }
    })
    .meta({ description: REDIS_URL_FORMS });
}

/** At least one item, separated by commas; blanks around items do not count. */
export function listOf<T>(item: TextSchema<T>): TextSchema<readonly T[]> {
  return textSchema(`${allowedBy(item)}, several separated by commas`, (list) => {
    const items = list.split(',').map((part) => item.safeParse(part.trim()));
    return items.every(({ success }) => success) ? items.map(({ data }) => data as T) : undefined;
  });
}

/** What a schema takes, in words; '' when it does not say. */
export function allowedBy(schema: z.ZodType): string {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) return allowedBy(schema.unwrap() as z.ZodType);
  return schema.description ?? '';
}

/**
 * Reads one value, from wherever it comes.
 * @throws Error that completes the sentence that begins with its name: `must be …, got "x"`.
 */
export function parseText<S extends z.ZodType>(schema: S, value: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Error(`${parsed.error.issues[0]?.message}, got ${quote(value)}`);
}

function decimal(allowed: string, isAllowed: (value: number) => boolean): TextSchema<number> {
  return textSchema(allowed, (value) =>
    /^\d+(\.\d+)?$/.test(value) && isAllowed(Number(value)) ? Number(value) : undefined,
  );
}
