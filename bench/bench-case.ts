import type { CaseHead, Recording } from './report/recording.ts';

/** One thing that is measured. */
export interface BenchCase extends CaseHead {
  /** Of the command line: letters and dashes. */
  readonly name: string;
  /** What is compared with; where a case has no floor, what stands in its place. */
  readonly floor: string;
  /**
   * @param size - Part of the full size, above 0, 1 at most. Numbers of spans shrink with it, so that a run takes seconds and says
   * nothing but that it works.
   */
  run(recording: Recording, size: number): Promise<void>;
}
