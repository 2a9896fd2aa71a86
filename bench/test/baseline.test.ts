import { expect, it } from 'vitest';
import { baselineOf, compare, TOLERANCE } from '../report/baseline.ts';
import { aResult } from './a-result.ts';

const speed = (value: number) => aResult({ ratios: [{ name: 'speed', values: [value], better: 'higher' }] });
const cost = (value: number) => aResult({ ratios: [{ name: 'cost', values: [value], better: 'lower' }] });

it('lets a ratio be worse by the tolerance, in its own direction', () => {
  const baseline = { typical: { speed: 1, cost: 1 } };
  const holds = (result: ReturnType<typeof aResult>) => compare([result], baseline).compared.map((each) => each.holds);
  expect(holds(speed(1.001 / TOLERANCE))).toEqual([true]);
  expect(holds(speed(0.999 / TOLERANCE))).toEqual([false]);
  expect(holds(cost(0.999 * TOLERANCE))).toEqual([true]);
  expect(holds(cost(1.001 * TOLERANCE))).toEqual([false]);
});

it('never minds a ratio that is better', () => {
  const { compared } = compare([speed(100), cost(0.01)], { typical: { speed: 1, cost: 1 } });
  expect(compared.map(({ holds }) => holds)).toEqual([true, true]);
});

it('compares medians, so that one slow run of several is no failure', () => {
  const result = aResult({ ratios: [{ name: 'speed', values: [0.1, 1, 1.1], better: 'higher' }] });
  expect(compare([result], { typical: { speed: 1 } }).compared[0]?.holds).toBe(true);
});

it('says what it did not compare: small sizes, and what the baseline does not know', () => {
  const results = [aResult({ size: 0.1 }), aResult({ case: 'other' }), speed(1)];
  const { compared, skipped } = compare(results, { typical: { 'process / SET': 1 } });
  expect(compared).toEqual([]);
  expect(skipped).toEqual([
    'typical: measured at size 0.1',
    'other: not in the baseline',
    'typical: speed: not in the baseline',
  ]);
});

it('makes a baseline of medians, and keeps what was not measured', () => {
  const before = { decode: { ratio: 1.2 }, typical: { gone: 1 } };
  expect(baselineOf([aResult(), aResult({ case: 'small', size: 0.5 })], before)).toEqual({
    decode: { ratio: 1.2 },
    typical: { 'process / SET': 1 },
  });
});
