import type { SpanProblem } from './ingest-span.ts';
import type { Span } from './span.ts';
import { looksLikeJsonObject } from './span-json.ts';

export function checkPayload(span: Span): SpanProblem[] {
  if (looksLikeJsonObject(span.payload)) return [];
  return [{ path: 'payload', problem: 'must be a JSON object' }];
}
