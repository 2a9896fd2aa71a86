import { textSchema } from '@spanbuf/service';

/** Ids as they stand on the command line. */
export const projectId = textSchema('1 to 64 of 0-9 A-Z a-z _ -', (text) =>
  /^[\w-]{1,64}$/.test(text) ? text : undefined,
);

/** With or without dashes, in either case. */
export const traceId = textSchema('32 hex digits', (text) => {
  const digits = text.replaceAll('-', '').toLowerCase();
  return /^[0-9a-f]{32}$/.test(digits) ? digits : undefined;
});
