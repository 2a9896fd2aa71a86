/** Options of an auditor, checked. */
export interface AuditSettings {
  readonly sliceId: number | undefined;
  readonly redisTtlSeconds: number;
  /** How long something must look wrong until it counts. */
  readonly minAgeSeconds: number;
  /** How long nobody must have touched a payload that nobody refers to. */
  readonly minPayloadAgeSeconds: number;
  readonly maxLeaseSeconds: number;
  /** Answers a token that no other call has had. */
  readonly nextToken: () => string;
}
