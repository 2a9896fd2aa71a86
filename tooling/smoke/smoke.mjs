/**
 * What somebody who installed the packages may do first. Runs in an empty project, on the oldest and the newest Node
 * that is supported; the arguments are all entry points, to be imported.
 */
import assert from 'node:assert/strict';
import { SpanBuffer } from '@spanbuf/buffer';
import { formatSegmentKey, parseSegmentKey } from '@spanbuf/keys';
import { createMemoryStore } from '@spanbuf/store';

for (const entryPoint of process.argv.slice(2)) {
  const exported = await import(entryPoint);
  assert.notEqual(Object.keys(exported).length, 0, entryPoint);
}

const traceId = '0123456789abcdef0123456789abcdef';
const ref = { projectId: '1', traceId, spanId: '00000000000000aa' };
assert.deepEqual(parseSegmentKey(formatSegmentKey(ref)), ref);
assert.throws(() => parseSegmentKey('span-buf:s:{1:not a trace}:aa'));

const buffer = new SpanBuffer(createMemoryStore());
/** @param {string} spanId @param {string | null} parentSpanId */
const span = (spanId, parentSpanId) => ({
  projectId: '1',
  traceId,
  spanId,
  parentSpanId,
  segmentId: null,
  isSegmentSpan: parentSpanId === null,
  payload: Buffer.from(JSON.stringify({ span_id: spanId })),
  partition: 0,
});
// Leaf first: the child waits for its parent.
await buffer.process([span('00000000000000cc', '00000000000000bb')], { now: 1000 });
await buffer.process([span('00000000000000bb', '00000000000000aa'), span('00000000000000aa', null)], { now: 1001 });
const segments = await buffer.flush({ now: 2000 });
assert.deepEqual(
  segments.map(({ segmentId, spanCount }) => ({ segmentId, spanCount })),
  [{ segmentId: '00000000000000aa', spanCount: 3 }],
);
await buffer.done(segments);
console.log(`Node ${process.version}: ${segments.length} segment of ${segments[0]?.spanCount} spans`);
