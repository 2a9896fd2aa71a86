import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it } from 'vitest';
import { System } from '../system.ts';

const HALF_HOUR_SECONDS = 1_800;
const RATE = 10;

describeWithKafka('a backlog', () => {
  it('of half an hour of message time comes out as the segments that it would have been live', async () => {
    const system = await System.open({ env: { SPANBUF_BATCH_SPANS: '200' } });
    const start = Math.floor(Date.now() / 1_000) - HALF_HOUR_SECONDS;
    const spans = HALF_HOUR_SECONDS * RATE;
    // What lies in the past is sent at once, with time stamps as of the rate.
    await system.generate({ spans, rate: RATE, seed: 41, args: ['--start', String(start)] });
    await system.flusher();
    await system.consumer();
    await system.drained(120_000);
    const { output } = await system.verified();
    expect(output.copies).toBe(0);
    expect(output.splitSegments).toBe(0);
  });
});
