import { type AuditFinding, createAuditor, type FindingKind } from '@spanbuf/store';
import { LineWriter } from '../line-writer.ts';
import { parseAuditSettings, type RawAuditSettings } from './audit-settings.ts';
import { findingJson, formatFinding, formatReport, reportJson } from './audit-text.ts';
import type { OperateHost } from './operate-host.ts';
import { openSystemRedis } from './redis-connection.ts';

/** How long Redis may stay away while it is worked with. */
const DEADLINE_SECONDS = 10;
/** Findings of each kind that are printed; after them only counts. */
const PRINTED_FINDINGS = 20;

/**
 * `spanbuf audit`.
 * @returns Whether the books balance, and nothing was found or everything was mended.
 * @throws UsageError, FileError, or what the auditor throws when Redis cannot be used.
 */
export async function runAudit(raw: RawAuditSettings, { env, stdout }: OperateHost): Promise<boolean> {
  const { isJson, minAgeSeconds, maxLeaseSeconds, ...call } = parseAuditSettings(raw);
  const output = new LineWriter(stdout, 'stdout');
  const { client, close, sliceId, redisTtlSeconds } = await openSystemRedis(raw, env, 'audit');
  const printed = new Map<FindingKind, number>();
  const linesOf = (finding: AuditFinding): Buffer[] => {
    if (isJson) return [findingJson(finding)];
    const count = (printed.get(finding.kind) ?? 0) + 1;
    printed.set(finding.kind, count);
    if (count === PRINTED_FINDINGS + 1)
      return [Buffer.from(`${finding.kind}: the others are only counted, --json names all`)];
    return count > PRINTED_FINDINGS ? [] : formatFinding(finding).map((line) => Buffer.from(line));
  };
  try {
    const auditor = createAuditor(client, {
      sliceId,
      redisTtlSeconds,
      minAgeSeconds,
      maxLeaseSeconds,
      deadlineSeconds: DEADLINE_SECONDS,
    });
    const report = await auditor.audit({
      ...call,
      onFinding: async (finding) => {
        for (const line of linesOf(finding)) await output.write(line);
      },
    });
    for (const line of isJson ? [reportJson(report)] : formatReport(report).map((text) => Buffer.from(text)))
      await output.write(line);
    await output.flush();
    return report.isClean;
  } finally {
    close();
  }
}
