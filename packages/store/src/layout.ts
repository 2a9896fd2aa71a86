import { colocatedPayloads } from './colocated/colocated-payloads.ts';
import { distributedPayloads } from './distributed/distributed-payloads.ts';
import type { PayloadStorage } from './redis/payload-storage.ts';

/** The layouts of a running system, in the order in which it moves through them. */
export const LAYOUTS = ['colocated', 'dual-read-colocated', 'dual-read-distributed', 'distributed'] as const;

export type LayoutName = (typeof LAYOUTS)[number];

/** Where a member's payload lies; written beside the member, so that a reader of any layout finds it. */
export type Mark = 'c' | 'd' | 'b';

/** What a layout means: where payloads are written, and where those that lie in both places are read. */
export interface Layout {
  readonly mark: Mark;
  readonly writesTo: readonly PayloadStorage[];
  readonly readsFirst: PayloadStorage;
}

const both = [colocatedPayloads, distributedPayloads];

const layouts: Record<LayoutName, Layout> = {
  colocated: { mark: 'c', writesTo: [colocatedPayloads], readsFirst: colocatedPayloads },
  'dual-read-colocated': { mark: 'b', writesTo: both, readsFirst: colocatedPayloads },
  'dual-read-distributed': { mark: 'b', writesTo: both, readsFirst: distributedPayloads },
  distributed: { mark: 'd', writesTo: [distributedPayloads], readsFirst: distributedPayloads },
};

/** A place where payloads lie. */
export type Place = 'colocated' | 'distributed';

/** Where payloads are that carry a mark. */
export function placesOf(mark: Mark): readonly Place[] {
  return { c: ['colocated'] as const, d: ['distributed'] as const, b: ['colocated', 'distributed'] as const }[mark];
}

/** Where a reader of a layout looks first. */
export function placeReadFirst(name: LayoutName): Place {
  return layouts[name].readsFirst === colocatedPayloads ? 'colocated' : 'distributed';
}

export function layoutNamed(name: LayoutName): Layout {
  return layouts[name];
}

/** Where the payload of a member lies, in the order in which a reader of `layout` tries. */
export function storagesOf(mark: Mark, layout: Layout): readonly PayloadStorage[] {
  if (mark === 'c') return [colocatedPayloads];
  if (mark === 'd') return [distributedPayloads];
  return layout.readsFirst === colocatedPayloads ? both : [distributedPayloads, colocatedPayloads];
}
