import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Extractor, ExtractorConfig, ExtractorLogLevel, type ExtractorMessage } from '@microsoft/api-extractor';
import { ROOT } from '../toolchain.mjs';
import { COMPILER_OPTIONS } from './compiler-options.ts';
import type { EntryPoint } from './entry-points.ts';

/** What an entry point exports. */
export interface ApiReport {
  readonly text: string;
  /** Types that the surface needs and that nobody can name, because the entry point does not export them. */
  readonly unexported: readonly string[];
}

const FORGOTTEN = /^The symbol "(.+)" needs to be exported/;

/**
 * Reads the built declarations of an entry point. The same declarations give the same text.
 * @throws Error when they are not there, or are wrong: build first.
 */
export function apiReport(entryPoint: EntryPoint): ApiReport {
  const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-api-'));
  try {
    return extract(entryPoint, scratch);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function extract({ declarations, folder }: EntryPoint, scratch: string): ApiReport {
  for (const name of ['report', 'temp']) mkdirSync(join(scratch, name));
  const silent = { default: { logLevel: ExtractorLogLevel.None, addToApiReportFile: false } };
  const config = ExtractorConfig.prepare({
    configObject: {
      projectFolder: join(ROOT, folder),
      mainEntryPointFilePath: declarations,
      newlineKind: 'lf',
      compiler: { overrideTsconfig: { compilerOptions: COMPILER_OPTIONS, files: [declarations] } },
      apiReport: {
        enabled: true,
        reportFileName: 'entry-point',
        reportFolder: join(scratch, 'report'),
        reportTempFolder: join(scratch, 'temp'),
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      // Everything that is exported is public, unmarked. Links are looked at where the documentation is made.
      messages: { extractorMessageReporting: silent, tsdocMessageReporting: silent },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath: join(ROOT, folder, 'package.json'),
  });
  const unexported: string[] = [];
  const errors: string[] = [];
  const messageCallback = (message: ExtractorMessage): void => {
    if (message.messageId === 'ae-forgotten-export') unexported.push(FORGOTTEN.exec(message.text)?.[1] ?? message.text);
    if (message.logLevel === ExtractorLogLevel.Error) errors.push(message.text);
    message.logLevel = ExtractorLogLevel.None;
  };
  Extractor.invoke(config, { localBuild: true, messageCallback });
  if (errors.length > 0) throw new Error(`${declarations}: ${errors.join('; ')}`);
  return { text: readFileSync(join(scratch, 'report', 'entry-point.api.md'), 'utf8'), unexported };
}
