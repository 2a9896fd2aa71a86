import type { FlushedSegment } from '@spanbuf/buffer';

/** What went in and what came out. */
export class Summary {
  /** Lines with something on them. */
  spansIn = 0;
  /** Of them, those that are not spans. */
  refused = 0;
  /** Spans in the messages written. */
  spansOut = 0;
  /** Messages written. */
  messages = 0;
  /** Segments written, each generation for itself. */
  segments = 0;
  /** Of them, those that continue a segment written before. */
  laterGenerations = 0;
  readonly #segmentsByReason = new Map<string, number>();

  addSegment({ reason, generation }: Pick<FlushedSegment, 'reason' | 'generation'>): void {
    this.segments += 1;
    if (generation > 1) this.laterGenerations += 1;
    this.#segmentsByReason.set(reason, (this.#segmentsByReason.get(reason) ?? 0) + 1);
  }

  /** Spans that went in, and neither were refused nor came out. After the end anything but 0 is a loss. */
  get unaccounted(): number {
    return this.spansIn - this.refused - this.spansOut;
  }

  get isClean(): boolean {
    return this.refused === 0 && this.unaccounted === 0;
  }

  /** A few lines for people, without a line end after the last. */
  format(durationSeconds: number): string {
    const reasons = [...this.#segmentsByReason].sort().map(([reason, count]) => `${reason} ${grouped(count)}`);
    const generations = this.laterGenerations > 0 ? `, generations > 1: ${grouped(this.laterGenerations)}` : '';
    const rate = Math.round(this.spansIn / Math.max(durationSeconds, 0.001));
    return [
      `spans in: ${grouped(this.spansIn)}, refused: ${grouped(this.refused)}, spans out: ${grouped(this.spansOut)}, unaccounted: ${grouped(this.unaccounted)}`,
      `segments: ${grouped(this.segments)}${reasons.length > 0 ? ` (${reasons.join(', ')})` : ''}${generations}, messages: ${grouped(this.messages)}`,
      `time: ${durationSeconds.toFixed(2)} s, ${grouped(rate)} spans/s`,
    ].join('\n');
  }
}

/** `1,234,567` */
export function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
