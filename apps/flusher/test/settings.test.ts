import { InvalidSettingsError, parseSettings } from '@spanbuf/service';
import { describe, expect, it } from 'vitest';
import { flusherRules, flusherSettings } from '../src/settings.ts';

const REQUIRED = { SPANBUF_REDIS_URL: 'redis://127.0.0.1:6379', SPANBUF_KAFKA_BROKERS: '127.0.0.1:9092' };

function parse(env: Record<string, string> = {}) {
  return parseSettings(flusherSettings, { ...REQUIRED, ...env }, { rules: flusherRules });
}

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    parse(env);
    return [];
  } catch (error) {
    if (!(error instanceof InvalidSettingsError)) throw error;
    return error.problems;
  }
}

describe('settings of the flusher', () => {
  it('need an address of Redis and one of Kafka, and nothing else', () => {
    expect(parse()).toMatchObject({ outputTopic: 'buffered-segments', layout: 'distributed', leaseSeconds: 60 });
    expect(() => parseSettings(flusherSettings, {}, { rules: flusherRules })).toThrow(
      /SPANBUF_REDIS_URL.*\n.*SPANBUF_KAFKA_BROKERS/,
    );
  });

  it('have no lease within which a segment cannot be produced', () => {
    expect(parse({ SPANBUF_LEASE_SECONDS: '5' }).leaseSeconds).toBe(5);
    expect(problemsOf({ SPANBUF_LEASE_SECONDS: '4.9' })).toEqual([
      'SPANBUF_LEASE_SECONDS must be at least 5: a segment has to be produced within it, got 4.9',
    ]);
  });

  it('name every contradiction at once', () => {
    const problems = problemsOf({ SPANBUF_LEASE_SECONDS: '1', SPANBUF_KAFKA_SASL_USERNAME: 'me' });
    expect(problems).toEqual([
      'SPANBUF_KAFKA_SASL_USERNAME needs SPANBUF_KAFKA_SASL_MECHANISM',
      expect.stringMatching(/^SPANBUF_LEASE_SECONDS must be at least 5/),
    ]);
  });
});
