/**
 * Notices when Redis loses what it had acknowledged: a node that was emptied, restarted, or replaced by its replica. Each loss
 * begins another *epoch*, a number that only rises. What is held from an epoch before counts as lost, all of it: what of it survived is
 * not worth finding out, as everything without a receipt is read from the input again.
 *
 * Epochs are for those who can do that. Nobody else need watch.
 * @throws {@link StoreUnavailableError} when Redis does not answer in time. Retriable; every call may be repeated.
 */
export interface LossWatch {
  /** The epoch as Redis knows it, from 1; `undefined` where nobody watches, or where it was lost. One read. */
  readEpoch(): Promise<number | undefined>;

  /**
   * Looks for signs of a loss, and begins another epoch where there are any.
   * @param known - The epoch that the caller works in; 0: none yet.
   * @remarks Cost: 64 reads and as many renewals, INFO of every master, in three round trips. A master that does not answer is judged once it does, or is replaced.
   */
  check(known: number): Promise<Verdict>;

  /**
   * Whether nothing has been lost in an epoch up to now: to be asked after something was read, and before it is made use of. False also
   * while a master does not answer. Cost: 64 reads, INFO of every master, in two round trips.
   */
  isWhole(known: number): Promise<boolean>;

  /** Tells those who check that something was missing. Without effect in another epoch. */
  suspect(epoch: number, sign: string): Promise<void>;
}

export interface Verdict {
  /** The caller's own, or the one that is to be worked in from now on. */
  readonly epoch: number;
  /** What was seen to be lost; `undefined` where nothing was, or somebody else saw it. */
  readonly sign: string | undefined;
}
