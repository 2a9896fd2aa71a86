import { LineWriter } from '../line-writer.ts';
import type { OperateHost } from '../operate/operate-host.ts';
import { checkKafka } from './check-kafka.ts';
import { checkRedis } from './check-redis.ts';
import { checkTtl } from './check-ttl.ts';
import { parseDoctorSettings, type RawDoctorSettings } from './doctor-settings.ts';
import { findingJson, formatFindings, formatVerdict, inOrder, verdictJson } from './doctor-text.ts';

export interface DoctorHost extends OperateHost {
  /** Unix milliseconds: the clock that is compared with those of Redis. */
  readonly clockMs: () => number;
}

/** What it comes to. `unknown`: there is no fault, and something that may be one could not be looked at. */
export type Diagnosis = 'healthy' | 'fault' | 'unknown';

/**
 * `spanbuf doctor`.
 * @throws UsageError for wrong options or settings, FileError.
 */
export async function runDoctor(raw: RawDoctorSettings, { env, stdout, clockMs }: DoctorHost): Promise<Diagnosis> {
  const { system: settings, apps, isJson } = parseDoctorSettings(raw, env);
  const output = new LineWriter(stdout, 'stdout');
  const patient = { settings, apps, clockMs };
  const looks = await Promise.all([checkRedis(patient), checkKafka(patient)]);
  const findings = inOrder([...looks.flat(), ...checkTtl(settings)]);
  const lines = isJson
    ? [...findings.map(findingJson), verdictJson(findings)]
    : [...formatFindings(findings), formatVerdict(findings)];
  for (const line of lines) await output.write(Buffer.from(line));
  await output.flush();
  const isAny = (level: string): boolean => findings.some((finding) => finding.level === level);
  return isAny('fault') ? 'fault' : isAny('unknown') ? 'unknown' : 'healthy';
}
