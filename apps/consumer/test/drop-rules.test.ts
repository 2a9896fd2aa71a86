import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Span } from '@spanbuf/buffer';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  DropRulesFile,
  findPartitionRule,
  findRule,
  InvalidDropRulesError,
  parseDropRules,
} from '../src/drop-rules.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';

function aSpan(fields: Partial<Span> = {}): Span {
  const ids = { projectId: '7', traceId: TRACE, spanId: 'b7ad6b7169203331', parentSpanId: null, segmentId: null };
  return { ...ids, isSegmentSpan: true, payload: Buffer.from('{}'), partition: 3, organizationId: '1', ...fields };
}

function rulesOf(...rules: readonly object[]) {
  return parseDropRules(JSON.stringify({ rules }));
}

describe('drop rules', () => {
  it.each([
    ['organization', { organization: 1 }, { organizationId: '2' }],
    ['project', { project: '7' }, { projectId: '8' }],
    ['trace', { trace: '0AF76519-16cd-43dd-8448-eb211c80319c' }, { traceId: TRACE.replace('0', '1') }],
    ['partition', { partition: 3 }, { partition: 4 }],
  ])('match by %s', (_, rule, other) => {
    const rules = rulesOf({ name: 'r', ...rule });
    expect(findRule(rules, aSpan())).toBe('r');
    expect(findRule(rules, aSpan(other))).toBeUndefined();
  });

  it('need everything that they name', () => {
    const rules = rulesOf({ name: 'r', organization: 1, project: 7, partition: 3 });
    expect(findRule(rules, aSpan())).toBe('r');
    for (const other of [{ organizationId: '2' }, { projectId: '2' }, { partition: 2 }]) {
      expect(findRule(rules, aSpan(other))).toBeUndefined();
    }
  });

  it('do not match a span that does not say its organization', () => {
    const { organizationId: _, ...span } = aSpan();
    expect(findRule(rulesOf({ name: 'r', organization: 1 }), span)).toBeUndefined();
  });

  it('drop a whole partition only when they name nothing else', () => {
    expect(findPartitionRule(rulesOf({ name: 'r', partition: 3 }), 3)).toBe('r');
    expect(findPartitionRule(rulesOf({ name: 'r', partition: 3 }), 2)).toBeUndefined();
    expect(findPartitionRule(rulesOf({ name: 'r', partition: 3, project: 7 }), 3)).toBeUndefined();
  });

  it.each([
    ['{', 'not JSON'],
    ['[]', 'rules'],
    ['{"rules":[{"name":"all"}]}', 'drop everything'],
    ['{"rules":[{"name":"a","project":1},{"name":"a","project":2}]}', 'different names'],
    ['{"rules":[{"name":"a","projet":1}]}', 'projet'],
    ['{"rules":[{"name":"a b","project":1}]}', 'name'],
    ['{"rules":[{"name":"a","trace":"xyz"}]}', '32 hex'],
  ])('are refused when they are %s', (text, problem) => {
    expect(() => parseDropRules(text)).toThrow(InvalidDropRulesError);
    expect(() => parseDropRules(text)).toThrow(problem);
  });
});

describe('DropRulesFile', () => {
  function aFile(text: string) {
    const folder = mkdtempSync(join(tmpdir(), 'spanbuf-rules-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'rules.json');
    writeFileSync(path, text);
    return { path, write: (next: string) => writeFileSync(path, next) };
  }

  it('takes over what changes in the file, and tells', async () => {
    const { path, write } = aFile('{"rules":[]}');
    const file = new DropRulesFile(path);
    expect(await file.reload()).toBe(true);
    expect(await file.reload()).toBe(false);
    write('{"rules":[{"name":"r","project":7}]}');
    expect(await file.reload()).toBe(true);
    expect(file.rules).toEqual([{ name: 'r', project: '7' }]);
  });

  it('keeps the former rules while the file is broken, and says so once', async () => {
    const { path, write } = aFile('{"rules":[{"name":"r","project":7}]}');
    const file = new DropRulesFile(path);
    await file.reload();
    write('{"rules":');
    await expect(file.reload()).rejects.toThrow(InvalidDropRulesError);
    expect(await file.reload()).toBe(false);
    expect(file.rules).toHaveLength(1);
  });

  it('names a file that is not there', async () => {
    await expect(new DropRulesFile('/nowhere/rules.json').reload()).rejects.toThrow('/nowhere/rules.json: ENOENT');
  });
});
