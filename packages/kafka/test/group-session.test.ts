/** When a membership ends by itself: the clock and the timers are the test's. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { GroupMember } from '../src/group-member.ts';
import { GroupSession } from '../src/group-session.ts';

const SESSION_MS = 3_000;
let nowMs = 0;

beforeEach(() => {
  nowMs = 1_000.25;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** The coordinator never answers it. */
function unanswered(): GroupSession {
  return new GroupSession({
    member: { heartbeat: () => new Promise(() => {}) } as unknown as GroupMember,
    membership: { memberId: 'm', generationId: 1, isLeader: true, partitions: [0], partitionCount: 1 },
    sessionTimeoutMs: SESSION_MS,
    heartbeatIntervalMs: 100,
    onHeartbeat: () => {},
  });
}

async function pass(timerMs: number, clockMs = timerMs): Promise<void> {
  nowMs += clockMs;
  await vi.advanceTimersByTimeAsync(timerMs);
}

it('ends when its time is over, and not before', async () => {
  const { signal } = unanswered();
  await pass(SESSION_MS - 1);
  expect(signal.aborted).toBe(false);
  await pass(3);
  expect(signal.aborted).toBe(true);
  expect(signal.reason).toMatchObject({ message: 'no heartbeat was acknowledged for 3000 ms' });
});

it('ends though its timer has run a moment early', async () => {
  const { signal } = unanswered();
  // Timers count from the time of the event loop, which may be behind the clock's.
  await pass(SESSION_MS + 2, SESSION_MS - 0.75);
  expect(signal.aborted).toBe(false);
  await pass(3);
  expect(signal.aborted).toBe(true);
});
