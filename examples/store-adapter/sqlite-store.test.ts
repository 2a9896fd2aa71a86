import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { segmentStoreContract } from '@spanbuf/store/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SqliteStore, type SqliteStoreOptions } from './sqlite-store.ts';

/** In a file of its own, that goes with the test. */
function open(options?: SqliteStoreOptions): { store: SqliteStore; path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sqlite-store-'));
  const path = join(folder, 'spans.db');
  const store = new SqliteStore(path, options);
  onTestFinished(() => {
    store.close();
    rmSync(folder, { recursive: true });
  });
  return { store, path };
}

describe('SqliteStore as a SegmentStore', () => {
  segmentStoreContract((options) => open(options).store);
});

describe('SqliteStore', () => {
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const root = { spanId: 'b7ad6b7169203331', parentId: 'b7ad6b7169203331', partition: 0, payload: Buffer.from('{}') };
  const policy = { rootTimeoutSeconds: 10, timeoutSeconds: 60, maxAgeSeconds: 600, maxSegmentBytes: 1_000 };
  const addition = { projectId: '7', traceId, subsegments: [{ topId: root.spanId, hasRoot: true, spans: [root] }] };

  it('has what another process has left in its file, and leases nothing that the other one has', async () => {
    const { store, path } = open();
    await store.add([addition], policy, { now: 1_700_000_000 });
    const second = new SqliteStore(path);
    onTestFinished(() => second.close());
    const claimed = await second.claim({ now: 1_700_000_010, limit: 10 });
    expect(claimed).toMatchObject([{ projectId: '7', segmentId: root.spanId, spanCount: 1 }]);
    expect(await store.claim({ now: 1_700_000_010, limit: 10 })).toEqual([]);
    await second.complete(claimed);
    expect(await store.read(claimed)).toEqual([undefined]);
  });
});
