// Messages between their arrival and the loop that reads them: bounded, in order, none dropped.
// When it is full its owner stops taking messages in, which costs nothing but time: a channel goes
// on by position.

/** Messages, and characters of their frames, at which an inbox is full. */
export const INBOX_MESSAGES_MAX = 1000;
export const INBOX_CHARACTERS_MAX = 4 * 1024 * 1024;

type Slot<T> = { readonly value: T; readonly characters: number };
type Waiter<T> = {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: Error): void;
};

export class Inbox<T> {
  #slots: Slot<T>[] = [];
  #next = 0;
  #characters = 0;
  #waiters: Waiter<T>[] = [];
  #end: { error: Error | undefined } | undefined;

  get size(): number {
    return this.#slots.length - this.#next;
  }

  get isFull(): boolean {
    return this.size >= INBOX_MESSAGES_MAX || this.#characters >= INBOX_CHARACTERS_MAX;
  }

  /** Whether there is so much room again that reading on is worth the question. */
  get isLow(): boolean {
    return this.size <= INBOX_MESSAGES_MAX / 2 && this.#characters <= INBOX_CHARACTERS_MAX / 2;
  }

  pushMessage(value: T, characters: number): void {
    if (this.#end !== undefined) return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) return waiter.resolve({ done: false, value });
    this.#slots.push({ value, characters });
    this.#characters += characters;
  }

  takeMessage(): Slot<T> | undefined {
    const slot = this.#slots[this.#next];
    if (slot === undefined) return undefined;
    this.#next++;
    this.#characters -= slot.characters;
    if (this.#next === this.#slots.length || this.#next > INBOX_MESSAGES_MAX) {
      this.#slots = this.#slots.slice(this.#next);
      this.#next = 0;
    }
    return slot;
  }

  /** The next message, as an async iterator's `next` answers. */
  nextResult(): Promise<IteratorResult<T, undefined>> {
    const slot = this.takeMessage();
    if (slot !== undefined) return Promise.resolve({ done: false, value: slot.value });
    if (this.#end === undefined)
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    const { error } = this.#end;
    this.#end = { error: undefined };
    return error === undefined
      ? Promise.resolve({ done: true, value: undefined })
      : Promise.reject(error);
  }

  /** Nothing more comes: whoever waits is told, after what is here has been read. */
  endWith(error: Error | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    for (const [index, waiter] of this.#waiters.splice(0).entries()) {
      if (error !== undefined && index === 0) waiter.reject(error);
      else waiter.resolve({ done: true, value: undefined });
    }
  }
}
