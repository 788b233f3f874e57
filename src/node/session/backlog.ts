// The bytes that wait for all clients of a node together. They are counted as they are given to
// sockets; the sockets are only looked at once so many were given that it may be too much. Pure.

/** A client, as the one who looks at what waits for it sees it. */
export interface Receiving {
  /** Bytes that wait for it, and whether it has read anything since the last look. */
  lookAtUnsent(): { readonly bytes: number; readonly hasRead: boolean };
  /** Ends it, and what waits for it is freed at once. */
  cutOff(): void;
}

/** The part of the budget that may be given before the sockets are looked at. */
const STEP = 1 / 8;
/** What is left of the budget by those who are cut off: else the next look would find more. */
const LEFT = 1 / 2;

export class Backlog {
  readonly #bytesMax: number;
  readonly #stepBytes: number;
  #givenBytes = 0;

  /** `bytesMax`: what may wait for all clients together. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#stepBytes = bytesMax * STEP;
  }

  /** So many bytes were given to sockets, whether they have taken them or not. */
  given(bytes: number): void {
    this.#givenBytes += bytes;
  }

  /** Whether `relieve` should be called. */
  get isDue(): boolean {
    return this.#givenBytes >= this.#stepBytes;
  }

  /**
   * Where too much waits, ends the slowest: those first that have read nothing since the last look,
   * and of them those for whom most waits.
   */
  relieve(clients: Iterable<Receiving>): void {
    this.#givenBytes = 0;
    let total = 0;
    const waiting: { client: Receiving; bytes: number; hasRead: boolean }[] = [];
    for (const client of clients) {
      const { bytes, hasRead } = client.lookAtUnsent();
      if (bytes === 0) continue;
      total += bytes;
      waiting.push({ client, bytes, hasRead });
    }
    if (total <= this.#bytesMax) return;
    waiting.sort((a, b) => Number(a.hasRead) - Number(b.hasRead) || b.bytes - a.bytes);
    for (const { client, bytes } of waiting) {
      if (total <= this.#bytesMax * LEFT) return;
      total -= bytes;
      client.cutOff();
    }
  }
}
