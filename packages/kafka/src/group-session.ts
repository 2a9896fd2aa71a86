import { setMaxListeners } from 'node:events';
import { type GroupMember, isStaleMembership, type Membership } from './group-member.ts';
import { isPassing } from './kafka-error.ts';
import { sleep } from './waiting.ts';

export interface SessionOptions {
  readonly member: GroupMember;
  readonly membership: Membership;
  readonly sessionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  /** A heartbeat was acknowledged. */
  readonly onHeartbeat: () => void;
}

/** A heartbeat that got no answer is repeated so soon. */
const RETRY_MS = 500;

/** One generation of the group, from the join to its end: sends heartbeats and knows when the membership is over. */
export class GroupSession {
  readonly membership: Membership;
  readonly #options: SessionOptions;
  readonly #controller = new AbortController();
  /** By `performance.now()`: when the last heartbeat that was acknowledged was sent. */
  #heardMs = performance.now();
  #lapse: NodeJS.Timeout | undefined;

  /** Begins with the heartbeats. */
  constructor(options: SessionOptions) {
    this.membership = options.membership;
    this.#options = options;
    // Each partition may wait for it, here and in the handlers: no sign of a leak.
    setMaxListeners(0, this.signal);
    this.#heard(this.#heardMs);
    this.#sendHeartbeats();
  }

  /** Aborted when the membership is over, with the reason. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** By the clock too: a process that was frozen must not act before its timers have run. */
  get isAlive(): boolean {
    const { sessionTimeoutMs } = this.#options;
    if (performance.now() - this.#heardMs > sessionTimeoutMs) {
      this.end(new Error(`no heartbeat was acknowledged for ${sessionTimeoutMs} ms`));
    }
    return !this.signal.aborted;
  }

  end(reason: unknown): void {
    clearTimeout(this.#lapse);
    this.#controller.abort(reason);
  }

  async #sendHeartbeats(): Promise<void> {
    const { member, heartbeatIntervalMs, onHeartbeat } = this.#options;
    let waitMs = heartbeatIntervalMs;
    for (;;) {
      await sleep(waitMs, this.signal);
      if (this.signal.aborted) return;
      try {
        const sentMs = performance.now();
        await member.heartbeat(this.membership);
        if (!this.isAlive) return;
        this.#heard(sentMs);
        onHeartbeat();
        waitMs = heartbeatIntervalMs;
      } catch (error) {
        // Without an answer the member may still be one: it goes on until its session has run out.
        if (isStaleMembership(error) || !isPassing(error)) return this.end(error);
        waitMs = Math.min(RETRY_MS, heartbeatIntervalMs);
      }
    }
  }

  #heard(sentMs: number): void {
    this.#heardMs = sentMs;
    clearTimeout(this.#lapse);
    this.#awaitLapse();
  }

  /** A timer may run a moment early: then it waits again. */
  #awaitLapse(): void {
    const leftMs = this.#heardMs + this.#options.sessionTimeoutMs - performance.now();
    this.#lapse = setTimeout(() => {
      if (this.isAlive) this.#awaitLapse();
    }, leftMs + 1);
  }
}
