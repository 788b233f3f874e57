// How many connections to a node may still lie unaccepted in its listen backlog. A unix socket with
// a full backlog refuses at once, exactly as a dead server does; who never fills it can take a
// refusal for what it says.

/**
 * A server accepts in the order of arrival, so an answer on one connection proves every earlier one
 * accepted: a slow answer holds nobody up, and a connection given up before it was accepted counts
 * until a later one is answered.
 */
export class Backlog {
  /** Dials allowed without a proof that they were accepted; 0: no limit. */
  max = 0;
  #dialing = 0;
  #opened = 0;
  #accepted = 0;

  get hasRoom(): boolean {
    return this.max === 0 || this.unaccepted < this.max;
  }

  /** Dials that nothing proves accepted yet. */
  get unaccepted(): number {
    return this.#dialing + this.#opened - this.#accepted;
  }

  dial(): void {
    this.#dialing++;
  }

  dialFailed(): void {
    this.#dialing--;
  }

  /** Returns the connection's place in the order of arrival. */
  dialOpened(): number {
    this.#dialing--;
    return ++this.#opened;
  }

  /** The server said something on the connection at `place`. */
  answered(place: number): void {
    if (place > this.#accepted) this.#accepted = place;
  }

  /** The server is gone, and its backlog with it. */
  emptied(): void {
    this.#accepted = this.#opened;
  }
}
