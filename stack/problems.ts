/** What can be wrong with the output. */
export const PROBLEM_KINDS = [
  'lost',
  'twice under different flush ids',
  'not from the input',
  'changed',
  'wrong segment',
  'wrong is_segment',
  'wrong segment attribute',
  'not a segment message',
  'wrong headers',
  'flush id of other spans',
  'generation with several flush ids',
  'part missing',
  'broken message without dead letter',
  'dead letter of no broken message',
  'dead letter without reason',
  'dead letter changed',
] as const;
export type ProblemKind = (typeof PROBLEM_KINDS)[number];

const SAMPLES = 5;

/** Counts problems by kind, and keeps the first few of each. */
export class Problems {
  readonly #byKind = new Map<ProblemKind, { count: number; samples: string[] }>();

  add(kind: ProblemKind, where: string, count = 1): void {
    const known = this.#byKind.get(kind) ?? { count: 0, samples: [] };
    known.count += count;
    if (known.samples.length < SAMPLES) known.samples.push(where);
    this.#byKind.set(kind, known);
  }

  get total(): number {
    return this.kinds.reduce((sum, kind) => sum + this.countOf(kind), 0);
  }

  /** Those that there are. */
  get kinds(): ProblemKind[] {
    return PROBLEM_KINDS.filter((kind) => this.#byKind.has(kind));
  }

  countOf(kind: ProblemKind): number {
    return this.#byKind.get(kind)?.count ?? 0;
  }

  samplesOf(kind: ProblemKind): readonly string[] {
    return this.#byKind.get(kind)?.samples ?? [];
  }
}
