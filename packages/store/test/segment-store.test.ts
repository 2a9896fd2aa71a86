import { connect } from '@spanbuf/tooling/redis-clients';
import { describe } from 'vitest';
import { createMemoryStore } from '../src/index.ts';
import { segmentStoreContract } from '../src/testing/index.ts';
import { openStore, REDIS_KINDS } from './stores.ts';

describe('SegmentStore in memory', () => segmentStoreContract((options) => createMemoryStore(options)));

describe.each(REDIS_KINDS)('SegmentStore, $layout on $topology', async ({ layout, topology }) => {
  const client = await connect(topology);
  segmentStoreContract((options) => openStore(client, { layout, ...options }));
});
