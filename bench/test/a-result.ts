import type { CaseResult } from '../report/result.ts';

export function aResult(parts: Partial<CaseResult> = {}): CaseResult {
  return {
    case: 'typical',
    title: 'Typical',
    workload: ['some spans'],
    floor: 'SET',
    size: 1,
    machine: { cpu: 'a CPU', cores: 2, memoryGib: 8, node: 'v24', redis: '7.0.15' },
    seconds: 3,
    ratios: [{ name: 'process / SET', values: [0.9, 1, 1.2], better: 'higher' }],
    expectations: [{ acceptance: 1, what: 'process / SET', value: 1, limit: '>= 1', holds: true }],
    tables: [{ title: 'A table', header: ['', 'us'], rows: [['process', '4.2']] }],
    charts: [{ id: 'a-chart', title: 'A < B', unit: 'us', bars: [{ label: 'process', value: 1 }] }],
    notes: [],
    figures: {},
    ...parts,
  };
}
