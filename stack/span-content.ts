import { hash } from 'node:crypto';
import { isAt, skipSpace, visitMembers } from './json-members.ts';

/** What a span says, apart from the two things that spanbuf changes. */
export interface SpanContent {
  /** Equal for spans whose other members are written the same, in the same order. */
  readonly digest: string;
  /** JSON of `attributes["sentry.segment.id"]`; undefined where there is none, or null. */
  readonly segmentEntry: string | undefined;
}

/**
 * Of the text of a span, as received or as produced. `is_segment` and the segment's id are left out of the digest, and
 * attributes when nothing else is in them, as they may not have been there. Everything else has to be as it was to the
 * byte: numbers with all their digits, unknown members, their order.
 */
export function contentOf(text: string): SpanContent {
  const span = new KeptMembers(text);
  let segmentEntry: string | undefined;
  visitMembers(text, skipSpace(text, 0), (keyStart, keyEnd, valueStart, valueEnd) => {
    if (isAt(text, keyStart, keyEnd, 'is_segment')) return;
    if (!isAt(text, keyStart, keyEnd, 'attributes')) {
      span.keep(keyStart, valueEnd);
      return;
    }
    const attributes = new KeptMembers(text);
    visitMembers(text, valueStart, (nameStart, nameEnd, start, end) => {
      if (!isAt(text, nameStart, nameEnd, 'sentry.segment.id')) attributes.keep(nameStart, end);
      else if (!isAt(text, start, end, 'null')) segmentEntry = text.slice(start, end);
    });
    if (!attributes.isEmpty) span.add(`attributes":{"${attributes.text}}`);
  });
  return { digest: hash('sha1', span.text, 'base64'), segmentEntry };
}

/** Members of an object without those that are left out, always with the same between two of them. */
class KeptMembers {
  readonly #source: string;
  #text = '';
  /** Of the members that are kept and stand side by side, which go into the text as one piece. */
  #start = -1;
  #end = -1;

  constructor(source: string) {
    this.#source = source;
  }

  get isEmpty(): boolean {
    return this.text === '';
  }

  get text(): string {
    this.#take();
    return this.#text;
  }

  /** Members begin behind the quote before their key. */
  keep(start: number, end: number): void {
    // Nothing but a comma and that quote in between.
    if (start !== this.#end + 2) {
      this.#take();
      this.#start = start;
    }
    this.#end = end;
  }

  add(member: string): void {
    this.#take();
    this.#append(member);
  }

  #take(): void {
    if (this.#start >= 0) this.#append(this.#source.slice(this.#start, this.#end));
    this.#start = this.#end = -1;
  }

  #append(text: string): void {
    this.#text += this.#text === '' ? text : `,"${text}`;
  }
}
