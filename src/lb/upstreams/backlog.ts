// Limits the connections that may be unaccepted in a node's listen backlog. A unix socket with a
// full backlog refuses at once, exactly like a dead server; if the backlog is never filled, a
// refusal means a dead server.

/**
 * A server accepts connections in order, so an answer on one proves that every earlier one was
 * accepted. A slow answer blocks nothing, and a connection that is closed before it was accepted
 * counts until a later one is answered.
 */
export class Backlog {
  /** The maximum number of unaccepted dials; 0: no limit. */
  max = 0;
  #dialing = 0;
  #opened = 0;
  #accepted = 0;

  get hasRoom(): boolean {
    return this.max === 0 || this.unaccepted < this.max;
  }

  /** Dials that are not known to be accepted. */
  get unaccepted(): number {
    return this.#dialing + this.#opened - this.#accepted;
  }

  dial(): void {
    this.#dialing++;
  }

  dialFailed(): void {
    this.#dialing--;
  }

  /** Returns the connection's position in the order of arrival. */
  dialOpened(): number {
    this.#dialing--;
    return ++this.#opened;
  }

  /** The server sent something on the connection at `place`. */
  answered(place: number): void {
    if (place > this.#accepted) this.#accepted = place;
  }

  /** The server has ended, and its backlog with it. */
  emptied(): void {
    this.#accepted = this.#opened;
  }
}
