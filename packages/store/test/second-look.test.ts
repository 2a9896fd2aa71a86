import { expect, it } from 'vitest';
import { SecondLook } from '../src/audit/second-look.ts';
import type { Suspicion } from '../src/audit/suspicion.ts';

function suspicion(fingerprint: string, detail = ''): Suspicion {
  return { finding: { kind: 'stale-entry', key: 'key', detail }, fingerprint, repair: 'left alone' };
}

async function certainOf(
  minAgeSeconds: number,
  found: ConstructorParameters<typeof Map<string, readonly Suspicion[]>>[0],
) {
  const certain: string[] = [];
  const looks: number[] = [];
  const beganMs = performance.now();
  const room = new SecondLook(minAgeSeconds, async ({ finding }) => void certain.push(finding.detail));
  await room.add(
    [...(found ?? [])].map(([fingerprint, again]) => ({
      suspicions: [suspicion(fingerprint, 'first')],
      again: async () => {
        looks.push(performance.now() - beganMs);
        return again;
      },
    })),
  );
  await room.end();
  return { certain, looks };
}

it('takes as certain what is still there and as it was, as it is seen then', async () => {
  const { certain } = await certainOf(0, [
    ['gone', []],
    ['changed', [suspicion('changed, other count', 'changed')]],
    ['same', [suspicion('new', 'new'), suspicion('same', 'second')]],
  ]);
  expect(certain).toEqual(['second']);
});

it('looks again no earlier than it is told to', async () => {
  const { looks } = await certainOf(0.2, [['same', [suspicion('same')]]]);
  expect(looks).toHaveLength(1);
  expect(looks[0]).toBeGreaterThanOrEqual(200);
});

it('gets through more than it keeps in memory at once', async () => {
  const again = [suspicion('same', 'second')];
  const { certain } = await certainOf(
    0.05,
    Array.from({ length: 25_000 }, () => ['same', again] as const),
  );
  expect(certain).toHaveLength(25_000);
});
