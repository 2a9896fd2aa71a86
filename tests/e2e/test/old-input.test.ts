import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it } from 'vitest';
import { System, sumOf } from '../system.ts';

const RATE = 20;

describeWithKafka('input from the past, into a system that has nothing left to read', () => {
  it.each([
    ['five minutes', 300],
    ['an hour', 3_600],
  ])('of %s ago comes out whole, and is not taken for overdue segments', async (_, agoSeconds) => {
    const system = await System.open({
      env: {
        SPANBUF_PAUSE_OVERDUE_SECONDS: '15',
        SPANBUF_RESUME_OVERDUE_SECONDS: '8',
        SPANBUF_CLOCK_GRACE_SECONDS: '8',
      },
    });
    const consumer = await system.consumer({ SPANBUF_BATCH_SPANS: '20', SPANBUF_SESSION_TIMEOUT_SECONDS: '6' });
    await system.flusher();
    await system.generate({ spans: 300, seed: 81 });
    await system.drained();
    const start = Math.floor(Date.now() / 1_000) - agoSeconds;
    const args = ['--start', String(start)];
    await system.generate({
      spans: Math.min((agoSeconds - 60) * RATE, 12_000),
      rate: RATE,
      seed: 82,
      args,
    });
    await system.drained(120_000);
    expect(consumer.findLog('reading is paused')).toBeUndefined();
    expect(await sumOf(consumer, 'spanbuf_consumer_paused')).toBe(0);
    const { output } = await system.verified();
    expect(output.splitSegments).toBe(0);
  });
});
