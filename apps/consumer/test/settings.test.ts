import { SpanBuffer } from '@spanbuf/buffer';
import { InvalidSettingsError, parseSettings } from '@spanbuf/service';
import { createMemoryStore } from '@spanbuf/store';
import { describe, expect, it } from 'vitest';
import { consumerRules, consumerSettings } from '../src/settings.ts';

const REQUIRED = { SPANBUF_REDIS_URL: 'redis://127.0.0.1:6379', SPANBUF_KAFKA_BROKERS: '127.0.0.1:9092' };

function parse(env: Record<string, string> = {}) {
  return parseSettings(consumerSettings, { ...REQUIRED, ...env }, { rules: consumerRules });
}

describe('settings of the consumer', () => {
  it('need an address of Redis and one of Kafka, and nothing else', () => {
    expect(parse()).toMatchObject({
      inputTopic: 'ingest-spans',
      deadLetterTopic: 'ingest-spans-dlq',
      layout: 'distributed',
    });
    expect(() => parseSettings(consumerSettings, {}, { rules: consumerRules })).toThrow(
      /SPANBUF_REDIS_URL.*\n.*SPANBUF_KAFKA_BROKERS/,
    );
  });

  it.each([
    [{ SPANBUF_DLQ_TOPIC: 'ingest-spans' }, 'SPANBUF_DLQ_TOPIC must not be SPANBUF_INPUT_TOPIC'],
    [{ SPANBUF_RESUME_MEMORY_SHARE: '0.9' }, 'SPANBUF_RESUME_MEMORY_SHARE must be at most'],
    [{ SPANBUF_RESUME_OVERDUE_SECONDS: '500' }, 'SPANBUF_RESUME_OVERDUE_SECONDS must be at most'],
    [{ SPANBUF_QUEUE_BYTES: '1000' }, 'SPANBUF_QUEUE_BYTES must be at least'],
    [{ SPANBUF_CLOCK_GRACE_SECONDS: '10' }, 'SPANBUF_CLOCK_GRACE_SECONDS must be at least'],
    [{ SPANBUF_TIMEOUT_SECONDS: '1000' }, 'SPANBUF_TIMEOUT_SECONDS must not be above'],
  ])('refuse the contradiction %j', (env, problem) => {
    expect(() => parse(env)).toThrow(InvalidSettingsError);
    expect(() => parse(env)).toThrow(problem);
  });

  it('have defaults and ranges that the buffer takes', () => {
    const { rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes } = parse();
    expect({ rootTimeoutSeconds, timeoutSeconds, maxAgeSeconds, maxSegmentBytes }).toEqual({
      rootTimeoutSeconds: 10,
      timeoutSeconds: 60,
      maxAgeSeconds: 600,
      maxSegmentBytes: 10 * 1_048_576,
    });
    const most = parse({
      SPANBUF_ROOT_TIMEOUT_SECONDS: '2592000',
      SPANBUF_TIMEOUT_SECONDS: '2592000',
      SPANBUF_MAX_AGE_SECONDS: '2592000',
    });
    new SpanBuffer(createMemoryStore(), {
      rootTimeoutSeconds: most.rootTimeoutSeconds,
      maxAgeSeconds: most.maxAgeSeconds,
    });
  });
});
