import { StoreUnavailableError } from '@spanbuf/store';
import { printable } from '../reporter.ts';

/** A frame of a live screen; while Redis is away one that says so. */
export async function orOutage(frame: () => Promise<string[]>): Promise<string[]> {
  try {
    return await frame();
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return ['Redis does not answer, and is asked again:', `  ${printable(error.message)}`];
  }
}
