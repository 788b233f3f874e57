// Parses what a NATS server sends, over TCP or inside WebSocket messages.

const LINE_FEED = 10;
const M = "M".charCodeAt(0);
const P = "P".charCodeAt(0);
const O = "O".charCodeAt(0);
const MINUS = "-".charCodeAt(0);
const ZERO = "0".charCodeAt(0);
const SPACE = " ".charCodeAt(0);
const EMPTY = Buffer.alloc(0);

export type NatsEvents = {
  /** A message with its payload from `start` to `end`; `bytes` may hold only part of it. */
  message?(bytes: Buffer, start: number, end: number): void;
  ping(): void;
  pong(): void;
};

export class NatsStream {
  /** Messages received. */
  total = 0;
  readonly #events: NatsEvents;
  #kept: Buffer = EMPTY;
  /** Bytes of the current payload that have not arrived. */
  #skip = 0;

  constructor(events: NatsEvents) {
    this.#events = events;
  }

  feed(chunk: Buffer): void {
    const bytes = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk]);
    this.#kept = EMPTY;
    let at = 0;
    while (at < bytes.length) {
      const skipped = Math.min(this.#skip, bytes.length - at);
      this.#skip -= skipped;
      at += skipped;
      if (at === bytes.length) return;
      const end = bytes.indexOf(LINE_FEED, at);
      if (end === -1) {
        this.#kept = Buffer.from(bytes.subarray(at));
        return;
      }
      this.#line(bytes, at, end - 1);
      at = end + 1;
    }
  }

  #line(bytes: Buffer, start: number, end: number): void {
    const first = bytes[start];
    if (first === M) {
      let length = 0;
      for (let at = end - 1, scale = 1; bytes[at] !== SPACE; at--, scale *= 10)
        length += (bytes[at] - ZERO) * scale;
      this.#skip = length + 2;
      this.total++;
      this.#events.message?.(bytes, end + 2, end + 2 + length);
    } else if (first === P) {
      if (bytes[start + 1] === O) this.#events.pong();
      else this.#events.ping();
    } else if (first === MINUS) {
      console.error(`nats-server: ${bytes.toString("latin1", start, end)}`);
    }
  }
}
