const QUOTE = 0x22;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** Depth of what is directly in the message, and of what is directly in its `spans`. */
const IN_MESSAGE = 1;
const IN_SPANS = 2;

/**
 * The texts of the objects in `spans` of a message, as they are written: parsing and writing them again would round big
 * integers. `json` must be valid, and every element of `spans` an object.
 */
export function spanTexts(json: string): string[] {
  const texts: string[] = [];
  let depth = 0;
  let lastString = '';
  let isInSpans = false;
  let start = 0;
  for (let i = 0; i < json.length; i += 1) {
    const unit = json.charCodeAt(i);
    if (unit === QUOTE) {
      const end = endOfString(json, i);
      if (depth === IN_MESSAGE) lastString = json.slice(i + 1, end);
      i = end;
    } else if (unit === OPEN_BRACE || unit === OPEN_BRACKET) {
      // Before a value stands its name.
      if (depth === IN_MESSAGE) isInSpans = unit === OPEN_BRACKET && lastString === 'spans';
      if (depth === IN_SPANS) start = i;
      depth += 1;
    } else if (unit === CLOSE_BRACE || unit === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === IN_SPANS && isInSpans) texts.push(json.slice(start, i + 1));
    }
  }
  return texts;
}

/** Where the quote is that ends the string which begins at `start`. */
function endOfString(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); ; end = json.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (json.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
}
