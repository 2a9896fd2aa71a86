'use strict';

const os = require('node:os');

/** Throws unless the lines are a complete recording that says nothing about this machine; returns its counts. */
function check(lines, expectedSpans) {
  const problems = [];
  const spans = lines.map((line) => JSON.parse(line));
  const keyOf = (span, id) => `${span.project_id}:${span.trace_id}:${id}`;
  const inProject = new Set(spans.map((span) => keyOf(span, span.span_id)));
  const anywhere = new Set(spans.map((span) => `${span.trace_id}:${span.span_id}`));

  if (spans.length !== expectedSpans) {
    problems.push(`${expectedSpans} spans ended, ${spans.length} arrived`);
  }
  if (inProject.size !== spans.length) {
    problems.push('a span arrived twice');
  }
  for (const span of spans) {
    const parent = span.parent_span_id;
    if (!span.is_segment && !inProject.has(keyOf(span, parent))) {
      problems.push(`the parent of ${span.span_id} (${span.name}) is missing`);
    }
    // The entry of a service hangs below a span of another one, or of another task of the same.
    if (span.is_segment && parent !== undefined && !anywhere.has(`${span.trace_id}:${parent}`)) {
      problems.push(`the remote parent of ${span.span_id} (${span.name}) is missing`);
    }
  }

  const text = lines.join('\n');
  for (const secret of [os.hostname(), os.homedir(), process.cwd(), __dirname]) {
    if (secret !== 'localhost' && secret.length > 1 && text.includes(secret)) {
      problems.push(`the recording holds '${secret}'`);
    }
  }

  if (problems.length > 0) {
    throw new Error(`not a complete recording:\n  ${problems.join('\n  ')}`);
  }
  return {
    spans: spans.length,
    traces: new Set(spans.map((span) => span.trace_id)).size,
    segments: spans.filter((span) => span.is_segment).length,
    errors: spans.filter((span) => span.status === 'error').length,
    bytes: Buffer.byteLength(text) + 1,
  };
}

module.exports = { check };
