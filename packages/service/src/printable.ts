const QUOTED_CHARACTERS = 40;

/** `text` as a short JSON string of printable ASCII, so that a hostile value can neither flood nor forge a line. */
export function quote(text: string): string {
  return printable(JSON.stringify(text.length > QUOTED_CHARACTERS ? `${text.slice(0, QUOTED_CHARACTERS)}…` : text));
}

/** `text` on one line: line ends, terminal controls, direction marks and lone surrogates as `\uXXXX`. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (unit) => {
    return `\\u${(unit.codePointAt(0) as number).toString(16).padStart(4, '0')}`;
  });
}
