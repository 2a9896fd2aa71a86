/** What `spanbuf generate` makes, before it goes anywhere. */
import { effectiveParent, InvalidSpanError, parseIngestSpan, type Span } from '@spanbuf/buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventQueue } from '../src/generate/event-queue.ts';
import { parseGenerateSettings, type RawGenerateSettings } from '../src/generate/generate-settings.ts';
import { INVALID_KINDS } from '../src/generate/invalid-messages.ts';
import { Load, type LoadMessage, type LoadOptions } from '../src/generate/load.ts';
import { Random } from '../src/generate/random.ts';
import { TRACE_SHAPES } from '../src/generate/trace-shapes.ts';
import { UsageError } from '../src/settings.ts';

const START = 1_800_000_000;
const OPTIONS: LoadOptions = {
  seed: 1,
  startSeconds: START,
  messagesPerSecond: 10_000,
  messageCount: 20_000,
  invalidShare: 0,
  lateShare: 0,
  projectCount: 40,
  isForLines: false,
};

function messagesOf(options: Partial<LoadOptions> = {}): LoadMessage[] {
  const load = new Load({ ...OPTIONS, ...options });
  const messages: LoadMessage[] = [];
  for (let message = load.next(); message !== undefined; message = load.next()) messages.push(message);
  return messages;
}

function parse({ value }: LoadMessage): Span {
  return parseIngestSpan(value ?? Buffer.alloc(0), { partition: 0 });
}

interface Sent {
  readonly span: Span;
  readonly timeMs: number;
}

/** `project:trace` -> its spans in the order in which they were sent. */
function tracesOf(messages: readonly LoadMessage[]): Map<string, Sent[]> {
  const traces = new Map<string, Sent[]>();
  for (const message of messages) {
    const span = parse(message);
    const key = `${span.projectId}:${span.traceId}`;
    traces.set(key, [...(traces.get(key) ?? []), { span, timeMs: message.timeMs }]);
  }
  return traces;
}

/** Segments of one project's part of a trace: root id -> its spans. */
function segmentsOf(sent: readonly Sent[]): Map<string, Sent[]> {
  const parents = new Map(sent.map(({ span }) => [span.spanId, effectiveParent(span)]));
  const rootOf = (id: string): string => {
    const parent = parents.get(id);
    return parent === undefined || parent === id ? id : rootOf(parent);
  };
  const segments = new Map<string, Sent[]>();
  for (const each of sent) {
    const rootId = rootOf(each.span.spanId);
    segments.set(rootId, [...(segments.get(rootId) ?? []), each]);
  }
  return segments;
}

const messages = messagesOf();
const traces = tracesOf(messages);
const segments = [...traces.values()].flatMap((trace) => [...segmentsOf(trace)]);
const hasRoot = ([rootId, sent]: [string, Sent[]]): boolean => sent.some(({ span }) => span.spanId === rootId);

describe('the load', () => {
  it('is the same, byte for byte and in the same order, for the same seed and options', () => {
    const options = { messageCount: 3_000, invalidShare: 0.1, lateShare: 0.1 };
    expect(messagesOf(options)).toEqual(messagesOf(options));
  });

  it('does not depend on whether somebody looks at the time of the next message', () => {
    const load = new Load({ ...OPTIONS, messageCount: 2_000, invalidShare: 0.1 });
    const seen: LoadMessage[] = [];
    while (load.nextTimeMs !== Number.POSITIVE_INFINITY) {
      const timeMs = load.nextTimeMs;
      const message = load.next();
      expect(message?.timeMs).toBe(timeMs);
      if (message) seen.push(message);
    }
    expect(seen).toEqual(messagesOf({ messageCount: 2_000, invalidShare: 0.1 }));
  });

  it('has other ids for another seed', () => {
    const ids = (seed: number) => messagesOf({ seed, messageCount: 2_000 }).map(({ traceId }) => traceId);
    const known = new Set(ids(2));
    expect([...ids(3), ...ids(2 + 2 ** 32)].filter((id) => known.has(id))).toEqual([]);
  });

  it('has exactly as many messages as asked for, and no trace is cut for it', () => {
    for (const messageCount of [1, 2, 17, 1_001]) {
      const some = messagesOf({ messageCount, invalidShare: 0.05 });
      expect(some).toHaveLength(messageCount);
    }
    // In a trace that is cut, spans would lack their parents.
    const missing = segments.filter((segment) => !hasRoot(segment)).map(([, sent]) => sent.length);
    expect(missing.length / traces.size).toBeLessThan(0.04);
  });

  it('is sent in the order of time, at the rate asked for', () => {
    const times = messages.map(({ timeMs }) => timeMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(messages[0]?.timeMs).toBeGreaterThanOrEqual(START * 1_000);
    const long = messagesOf({ messagesPerSecond: 500, messageCount: 20_000 });
    const perSecond = long.filter(({ timeMs }) => timeMs >= START * 1_000 + 5_000 && timeMs < START * 1_000 + 35_000);
    expect(perSecond.length / 30).toBeCloseTo(500, -2);
  });

  it('is made of spans of about 1 KB, every one of which is valid', () => {
    const sizes = messages.map((message) => message.value?.length ?? 0);
    expect(sizes.reduce((sum, size) => sum + size, 0) / sizes.length).toBeGreaterThan(900);
    expect(sizes.reduce((sum, size) => sum + size, 0) / sizes.length).toBeLessThan(1_300);
    // Other tests need them all parsed as well.
    const wrong = messages.filter((message) => {
      const { received } = JSON.parse(String(message.value));
      return parse(message).traceId !== message.traceId || Math.abs(received * 1_000 - message.timeMs) >= 1;
    });
    expect(wrong).toEqual([]);
  });

  it('sends children before their parents, as a rule', () => {
    let [before, after] = [0, 0];
    for (const trace of traces.values()) {
      const times = new Map(trace.map(({ span }, i) => [span.spanId, i]));
      for (const [i, { span }] of trace.entries()) {
        const parent = span.parentSpanId === null ? undefined : times.get(span.parentSpanId);
        if (parent !== undefined && i < parent) before += 1;
        else if (parent !== undefined) after += 1;
      }
    }
    expect(before / (before + after)).toBeGreaterThan(0.8);
    expect(after).toBeGreaterThan(0);
  });

  it('leaves less than 10 seconds between two spans of a segment', () => {
    const gaps = segments.flatMap(([, sent]) => sent.slice(1).map(({ timeMs }, i) => timeMs - (sent[i]?.timeMs ?? 0)));
    expect(Math.max(...gaps)).toBeLessThan(10_000);
  });

  it('has late spans when asked for, which belong to a segment that had its root', () => {
    const late = [...tracesOf(messagesOf({ lateShare: 0.2 })).values()]
      .flatMap((trace) => [...segmentsOf(trace)])
      .filter(hasRoot)
      .filter(([rootId, sent]) => {
        const rootMs = sent.find(({ span }) => span.spanId === rootId)?.timeMs ?? 0;
        return (sent.at(-1)?.timeMs ?? 0) - rootMs > 2_900;
      });
    expect(late.length / segments.length).toBeGreaterThan(0.15);
    expect(late.length / segments.length).toBeLessThan(0.25);
  });

  it('has so many traces under way at a high rate', () => {
    const some = messagesOf({ messageCount: 120_000 });
    const atMs = START * 1_000 + 9_000;
    const times = new Map<string, { firstMs: number; lastMs: number }>();
    for (const { traceId, timeMs } of some) {
      const known = times.get(traceId);
      if (known === undefined) times.set(traceId, { firstMs: timeMs, lastMs: timeMs });
      else known.lastMs = timeMs;
    }
    const underway = [...times.values()].filter(({ firstMs, lastMs }) => firstMs <= atMs && lastMs > atMs);
    expect(underway.length).toBeGreaterThan(1_200);
    expect(underway.length).toBeLessThan(2_200);
  });
});

describe('its shapes', () => {
  const sizes = segments.map(([, sent]) => sent.length);
  const share = (count: number) => (100 * count) / new Set([...traces.keys()].map((key) => key.split(':')[1])).size;
  const expected = (name: string) => TRACE_SHAPES.find((shape) => shape.name === name)?.share ?? Number.NaN;
  const percentOf = (isSo: (segment: [string, Sent[]]) => boolean) => share(segments.filter(isSo).length);

  it('have shares that sum up to 100', () => {
    expect(TRACE_SHAPES.reduce((sum, shape) => sum + shape.share, 0)).toBe(100);
  });

  it.each([
    [
      'request',
      6,
      ([, sent]: [string, Sent[]]) =>
        (sent.length === 8 || sent.length === 9) &&
        sent.every(({ span }) => span.segmentId === null && (!span.isSegmentSpan || span.parentSpanId === null)),
    ],
    [
      'known-segment',
      2,
      ([rootId, sent]: [string, Sent[]]) =>
        sent.length > 1 && sent.every(({ span }) => span.isSegmentSpan || span.segmentId === rootId),
    ],
    ['single', 2, ([, sent]: [string, Sent[]]) => sent.length === 1],
    ['rootless', 1.2, (segment: [string, Sent[]]) => !hasRoot(segment)],
    [
      'chain',
      1,
      ([, sent]: [string, Sent[]]) =>
        sent.length >= 40 && new Set(sent.map(({ span }) => span.parentSpanId)).size === sent.length,
    ],
    [
      'wide',
      1,
      ([rootId, sent]: [string, Sent[]]) =>
        sent.length > 60 && sent.every(({ span }) => span.isSegmentSpan || span.parentSpanId === rootId),
    ],
    ['long', 1.5, ([, sent]: [string, Sent[]]) => (sent.at(-1)?.timeMs ?? 0) - (sent[0]?.timeMs ?? 0) > 12_000],
  ])('have %s in its share, give or take %d percent', (name, tolerance, isSo) => {
    // Segments of a request through several services may look like a request, so there are more of those.
    const most = name === 'request' ? expected(name) + 20 : expected(name);
    expect(percentOf(isSo)).toBeGreaterThan(expected(name) - tolerance);
    expect(percentOf(isSo)).toBeLessThan(most + tolerance);
  });

  it('have segments below the spans of other segments and projects', () => {
    const inner = segments.filter(([rootId, sent]) =>
      sent.some(({ span }) => span.spanId === rootId && span.parentSpanId !== null),
    );
    expect(share(inner.length)).toBeGreaterThan(20);
    // Of a trace in two projects, the key with the project occurs twice.
    expect(new Set([...traces.keys()].map((key) => key.split(':')[1])).size).toBeLessThan(traces.size);
    expect(Math.max(...sizes)).toBeGreaterThan(150);
  });
});

describe('broken messages', () => {
  const kinds = Object.keys(INVALID_KINDS);
  const broken = messagesOf({ messageCount: 10 * kinds.length, invalidShare: 1 });

  it.each(kinds)('%s: is refused, with a reason', (kind) => {
    const some = broken.filter(({ invalidKind }) => invalidKind === kind);
    expect(some).toHaveLength(10);
    for (const message of some) expect(() => parse(message)).toThrow(InvalidSpanError);
  });

  it('have the share asked for, and the others are spans', () => {
    const some = messagesOf({ invalidShare: 0.01 });
    const invalid = some.filter(({ invalidKind }) => invalidKind !== undefined);
    expect(invalid.length).toBeGreaterThan(190);
    expect(invalid.length).toBeLessThan(230);
    expect(new Set(invalid.map(({ invalidKind }) => invalidKind))).toEqual(new Set(kinds));
    expect(some.filter(({ invalidKind }) => invalidKind === undefined).map(parse)).toHaveLength(
      20_000 - invalid.length,
    );
  });

  it('make one line each in a file', () => {
    for (const { value } of messagesOf({ messageCount: 200, invalidShare: 1, isForLines: true })) {
      expect(value?.length).toBeGreaterThan(0);
      expect(value?.includes(0x0a)).toBe(false);
    }
  });
});

describe('the queue of events', () => {
  it('gives what was added by time, and in the order of adding where times are equal', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), (times) => {
        const queue = new EventQueue<readonly [number, number]>();
        for (const [i, time] of times.entries()) queue.add(time, [time, i]);
        const expected = times.map((time, i) => [time, i] as const).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        const taken = times.map(() => queue.take());
        expect(taken).toEqual(expected);
        expect(queue.take()).toBeUndefined();
        expect(queue.nextTime).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });
});

describe('random numbers', () => {
  it('make ids that are hex, not all zero, and never the same', () => {
    const random = new Random(7);
    const ids = Array.from({ length: 50_000 }, () => random.spanId());
    expect(ids.filter((id) => !/^(?!0+$)[0-9a-f]{16}$/.test(id))).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
    expect(random.traceId()).toMatch(/^[0-9a-f]{32}$/);
  });

  it('are spread evenly', () => {
    const random = new Random(0);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) {
      const value = random.below(10);
      counts[value] = (counts[value] ?? 0) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1_150);
    const dice = new Set(Array.from({ length: 1_000 }, () => random.integer(3, 5)));
    expect([...dice].sort()).toEqual([3, 4, 5]);
  });
});

describe('the settings', () => {
  const RAW: RawGenerateSettings = { seed: '1', projects: '40', invalidShare: '0', lateShare: '0' };
  const settingsOf = (raw: Partial<RawGenerateSettings>) => parseGenerateSettings({ ...RAW, ...raw }, START);

  it('are read', () => {
    expect(settingsOf({ spans: '7', rate: '2.5', start: '100.5', output: 'a' })).toEqual({
      load: {
        ...{ seed: 1, startSeconds: 100.5, messagesPerSecond: 2.5, messageCount: 7 },
        ...{ invalidShare: 0, lateShare: 0, projectCount: 40, isForLines: true },
      },
      target: { kind: 'file', path: 'a' },
    });
    expect(settingsOf({ kafka: 'a:1', rate: '5', key: 'none', partitions: '3' })).toMatchObject({
      load: { startSeconds: START, messageCount: Number.POSITIVE_INFINITY, isForLines: false },
      target: {
        kind: 'kafka',
        brokers: 'a:1',
        topic: 'ingest-spans',
        partitionCount: 3,
        compression: 'zstd',
        isKeyed: false,
        isPaced: true,
      },
    });
  });

  it('stamp messages with the time of sending when nothing else is asked for', () => {
    const target = { isKeyed: true, isPaced: false };
    const settings = { kafka: 'a:1', spans: '50000' };
    expect(settingsOf(settings).target).toMatchObject({ ...target, isStampedAtSending: true });
    expect(settingsOf({ ...settings, start: '7' }).target).toMatchObject({ ...target, isStampedAtSending: false });
    expect(settingsOf({ ...settings, rate: '7' }).target).toMatchObject({ isPaced: true, isStampedAtSending: false });
  });

  it.each<[string, Partial<RawGenerateSettings>, string | RegExp]>([
    ['no end', {}, '--spans is needed: a file has an end'],
    ['two targets', { spans: '1', output: 'a', kafka: 'b:1' }, 'give --output or --kafka, not both'],
    ['what only Kafka has', { spans: '1', topic: 'a', key: 'none' }, '--topic is for --kafka; --key is for --kafka'],
    ['no end and no rate', { kafka: 'a:1' }, '--spans or --rate is needed'],
    ['nothing', { kafka: '', topic: ' ', spans: '1' }, '--kafka must not be empty; --topic must not be empty'],
    [
      'values out of range',
      { spans: '0', rate: 'x', invalidShare: '2', seed: '-1' },
      /--seed .*; --rate .*; --spans .*; --invalid-share/,
    ],
    [
      'wrong choices',
      { kafka: 'a:1', spans: '1', compression: 'zip', key: 'span' },
      /--compression .*zstd, got "zip"; --key/,
    ],
  ])('are refused, all at once: %s', (_name, raw, message) => {
    expect(() => settingsOf(raw)).toThrow(UsageError);
    expect(() => settingsOf(raw)).toThrow(message);
  });
});
