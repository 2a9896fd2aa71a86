import { quote } from '@spanbuf/service';
import type { ParkedGeneration } from '@spanbuf/store';

/** What names a parked segment on the command line: its ids, and which generation of it. */
export type ParkedName = Pick<ParkedGeneration, 'projectId' | 'traceId' | 'segmentId' | 'generation'>;

const NAME =
  /^(?<projectId>[\w-]{1,64}):(?<traceId>[0-9a-f]{32}):(?<segmentId>[0-9a-f]{16})\.(?<generation>[1-9]\d{0,9})$/;

/** `<project>:<trace>:<segment>.<generation>` */
export function formatParkedName({ projectId, traceId, segmentId, generation }: ParkedName): string {
  return `${projectId}:${traceId}:${segmentId}.${generation}`;
}

/** Inverse of {@link formatParkedName}. @throws Error that says what is wrong. */
export function parseParkedName(text: string): ParkedName {
  const parts = NAME.exec(text)?.groups;
  if (parts === undefined)
    throw new Error(`a name is <project>:<trace>:<segment>.<generation>, as list shows it, got ${quote(text)}`);
  const { projectId = '', traceId = '', segmentId = '', generation } = parts;
  return { projectId, traceId, segmentId, generation: Number(generation) };
}
