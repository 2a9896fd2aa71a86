export { InvalidMergerOptionsError, InvalidSegmentMessageError } from './errors.ts';
export type { ContentDescription } from './segment-content.ts';
export {
  type IncomingMessage,
  type MergedSegment,
  SegmentMerger,
  type SegmentMergerOptions,
} from './segment-merger.ts';
export { type HeaderValue, parseSegmentMessage, type SegmentHeaders, type SegmentPart } from './segment-message.ts';
