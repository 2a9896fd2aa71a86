/** What has a time, earliest first; of the same time in the order in which it was added. A binary heap. */
export class EventQueue<T> {
  readonly #times: number[] = [];
  readonly #numbers: number[] = [];
  readonly #items: T[] = [];
  #added = 0;

  get size(): number {
    return this.#items.length;
  }

  /** Of the earliest; Infinity when there is none. */
  get nextTime(): number {
    return this.#times[0] ?? Number.POSITIVE_INFINITY;
  }

  add(time: number, item: T): void {
    const number = this.#added++;
    let at = this.#items.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      // What was added before comes first, so an equal time does not pass.
      if ((this.#times[parent] as number) <= time) break;
      this.#copy(parent, at);
      at = parent;
    }
    this.#set(at, time, number, item);
  }

  /** Removes the earliest. Undefined when there is none. */
  take(): T | undefined {
    const first = this.#items[0];
    const time = this.#times.pop();
    const number = this.#numbers.pop();
    const item = this.#items.pop();
    const { length } = this.#items;
    if (time === undefined || number === undefined || item === undefined || length === 0) return first;
    let at = 0;
    for (let child = 1; child < length; child = 2 * at + 1) {
      if (child + 1 < length && this.#isBefore(child + 1, child)) child++;
      const childTime = this.#times[child] as number;
      if (childTime > time || (childTime === time && (this.#numbers[child] as number) > number)) break;
      this.#copy(child, at);
      at = child;
    }
    this.#set(at, time, number, item);
    return first;
  }

  #isBefore(a: number, b: number): boolean {
    const byTime = (this.#times[a] as number) - (this.#times[b] as number);
    return byTime !== 0 ? byTime < 0 : (this.#numbers[a] as number) < (this.#numbers[b] as number);
  }

  #copy(from: number, to: number): void {
    this.#set(to, this.#times[from] as number, this.#numbers[from] as number, this.#items[from] as T);
  }

  #set(at: number, time: number, number: number, item: T): void {
    this.#times[at] = time;
    this.#numbers[at] = number;
    this.#items[at] = item;
  }
}
