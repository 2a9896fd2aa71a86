import { printable } from '../printable.ts';
import { maskRedisUrl } from '../redis/redis-url.ts';
import { allowedBy } from './schemas.ts';
import type { Setting, SettingDefinitions, SettingsOf } from './setting.ts';

const MASK = '******';

/** `NAME=value` lines of what is in force, defaults included, secrets masked; nothing after `=` where nothing is set. */
export function formatSettings<D extends SettingDefinitions>(definitions: D, settings: SettingsOf<D>): string {
  return Object.entries(definitions)
    .map(([property, definition]) => `${definition.name}=${shown(definition, settings[property])}\n`)
    .join('');
}

/** A Markdown table of settings: name, default, what is allowed, meaning. */
export function settingsReference(definitions: SettingDefinitions): string {
  const rows = Object.values(definitions).map((definition) => {
    const cells = [
      `\`${definition.name}\``,
      defaultOf(definition),
      allowedBy(definition.schema),
      definition.description,
    ];
    return `| ${cells.map(cell).join(' | ')} |\n`;
  });
  return `| setting | default | allowed | meaning |\n|---|---|---|---|\n${rows.join('')}`;
}

function defaultOf({ schema }: Setting): string {
  const parsed = schema.safeParse(undefined);
  if (!parsed.success) return '*required*';
  const value = asText(parsed.data);
  return value === '' ? '' : `\`${value}\``;
}

function shown({ secret }: Setting, value: unknown): string {
  const text = printable(asText(value));
  if (secret === undefined || text === '') return text;
  return secret === 'whole' ? MASK : maskRedisUrl(text, MASK);
}

function asText(value: unknown): string {
  return Array.isArray(value) ? value.map(asText).join(',') : value === undefined ? '' : String(value);
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
