// What goes out to one client: in its encoding, gathered where several frames go at once, and never
// more than its budget: who reads too slowly is sent nothing more and is closed. No Bun API in
// here: the socket is a port.

import { CLOSES, type CloseName } from "../../wire/codes.ts";
import { type Encoding, type Frame, frameOf } from "../codec/encoding.ts";

/** What is needed of a WebSocket: Bun's ServerWebSocket has it. */
export interface Socket {
  /** Returns 0 when the frame was dropped. */
  send(frame: Frame): number;
  cork(work: () => void): unknown;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  ping(): unknown;
  close(code: number, reason: string): void;
  terminate(): void;
  getBufferedAmount(): number;
}

/**
 * How long a slow client may take to read what it was sent already, and so to learn why it is
 * closed, ms.
 */
const SLOW_MS = 5000;

export class ClientWriter {
  readonly encoding: Encoding;
  readonly #socket: Socket;
  readonly #bufferedBytesMax: number;
  readonly #onSlow: () => void;
  /** `slow`: it is closed when it has read the rest, or at the deadline. */
  #state: "open" | "slow" | "closed" = "open";
  #deadlineMs = 0;
  /** Bytes that the client asked for, and has not read yet: they do not make it slow. */
  #askedBytes = 0;
  /** What is to be sent at the end of the turn. */
  #replies: string[] = [];

  /** `onSlow`: the client reads too slowly; it must leave all native topics. */
  constructor(socket: Socket, encoding: Encoding, bufferedBytesMax: number, onSlow: () => void) {
    this.#socket = socket;
    this.encoding = encoding;
    this.#bufferedBytesMax = bufferedBytesMax;
    this.#onSlow = onSlow;
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Whether a long series of frames may go on. */
  get hasRoom(): boolean {
    return this.#state === "open" && this.#socket.getBufferedAmount() < this.#bufferedBytesMax / 4;
  }

  send(json: string): void {
    if (this.#state !== "open") return;
    // A dropped frame must not be followed by another: the client comes back and resumes by
    // position.
    if (this.#socket.send(frameOf(this.encoding, json)) === 0) this.terminate();
  }

  /** Sends an answer that may be long. */
  sendAsked(json: string): void {
    this.send(json);
    if (this.isOpen)
      this.#askedBytes = Math.min(this.#askedBytes + json.length, this.#socket.getBufferedAmount());
  }

  /**
   * Sends with the others of this turn. Only for what may come later than what is sent after it.
   */
  sendLater(json: string): void {
    if (this.#replies.push(json) === 1) queueMicrotask(() => this.#flush());
  }

  /** Does the work; what it sends goes out together. */
  gather(work: () => void): void {
    if (this.#state === "closed") work();
    else this.#socket.cork(work);
  }

  join(topic: string): void {
    if (this.#state === "open") this.#socket.subscribe(topic);
  }

  leave(topic: string): void {
    if (this.#state !== "closed") this.#socket.unsubscribe(topic);
  }

  ping(): void {
    if (this.#state === "open") this.#socket.ping();
  }

  /** The client has read something. */
  drained(): void {
    const bytes = this.#socket.getBufferedAmount();
    this.#askedBytes = Math.min(this.#askedBytes, bytes);
    if (this.#state === "slow" && bytes === 0) this.close("slow");
  }

  /** Ends a client that reads too slowly. */
  check(nowMs: number): void {
    if (this.#state === "slow") {
      if (nowMs >= this.#deadlineMs) this.close("slow");
    } else if (this.#state === "open") {
      const bytes = this.#socket.getBufferedAmount();
      // Of what the socket has taken at once nobody tells us.
      this.#askedBytes = Math.min(this.#askedBytes, bytes);
      if (bytes <= this.#bufferedBytesMax + this.#askedBytes) return;
      this.#state = "slow";
      this.#deadlineMs = nowMs + SLOW_MS;
      this.#onSlow();
    }
  }

  close(name: CloseName): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#socket.close(CLOSES[name].code, CLOSES[name].reason);
  }

  terminate(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#socket.terminate();
  }

  /** The socket is gone. */
  closed(): void {
    this.#state = "closed";
  }

  #flush(): void {
    const replies = this.#replies;
    this.#replies = [];
    if (replies.length === 1) return this.send(replies[0]);
    this.gather(() => {
      for (const json of replies) this.send(json);
    });
  }
}
