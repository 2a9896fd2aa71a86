/** What a run of a case leaves behind, as JSON: all that the report, and the check against the baseline, are made of. */

export interface CaseResult {
  readonly case: string;
  readonly title: string;
  /** Sentences. */
  readonly workload: readonly string[];
  readonly floor: string;
  /** 1 is the full size; a smaller one is for trying out, and is neither reported nor checked. */
  readonly size: number;
  readonly machine: Machine;
  readonly seconds: number;
  readonly ratios: readonly Ratio[];
  readonly expectations: readonly Expectation[];
  readonly tables: readonly Table[];
  readonly charts: readonly Chart[];
  readonly notes: readonly string[];
  /** For the extrapolation, by name. */
  readonly figures: Readonly<Record<string, number>>;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly node: string;
  readonly redis: string;
}

/** A figure that has no unit, so that it can be compared between machines. */
export interface Ratio {
  readonly name: string;
  /** One of each run. */
  readonly values: readonly number[];
  readonly better: 'higher' | 'lower';
}

export interface Expectation {
  /** Number of the item in the list of what spanbuf is to reach. */
  readonly acceptance: number;
  readonly what: string;
  readonly value: number;
  readonly limit: string;
  readonly holds: boolean;
}

export interface Table {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Bars beside each other, one a line. */
export interface Chart {
  /** Of the file. */
  readonly id: string;
  readonly title: string;
  /** What the length of a bar means. */
  readonly unit: string;
  readonly bars: readonly Bar[];
  /** Drawn as a line across. */
  readonly limit?: { readonly value: number; readonly label: string };
}

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** Of several runs. */
  readonly least?: number;
  readonly most?: number;
}
