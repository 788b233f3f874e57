// What goes out to one client: encoded, corked where several frames go at once, and within its
// budget: a client that reads too slowly is sent nothing more and is closed. No Bun API in here:
// the socket is a port.

import { CLOSES, type CloseName } from "../../wire/codes.ts";
import { type Encoding, type Frame, frameOf } from "../codec/encoding.ts";
import type { Backlog, Receiving } from "./backlog.ts";

/** The methods of Bun's ServerWebSocket that are used here. */
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

/** How long a slow client may take to read what it was sent, and so why it is closed, ms. */
const SLOW_MS = 5000;

export type ClientWriterOptions = {
  readonly bufferedBytesMax: number;
  /** What waits for all clients of the node. */
  readonly backlog: Backlog;
  /** The client reads too slowly; it must leave all native topics. */
  onSlow(): void;
  /** The client is being closed, not by itself. */
  onClose(name: CloseName): void;
};

export class ClientWriter implements Receiving {
  readonly encoding: Encoding;
  readonly #socket: Socket;
  readonly #options: ClientWriterOptions;
  /** `slow`: it is closed when it has read the rest, or at the deadline. */
  #state: { name: "open" } | { name: "slow"; deadlineMs: number } | { name: "closed" } = {
    name: "open",
  };
  /** Bytes that the client requested and has not read yet: they do not make it slow. */
  #requestedBytes = 0;
  /** Whether the client has read all that waited since somebody last looked. */
  #hasRead = true;
  /** Sent at the end of the turn. */
  #replies: string[] = [];

  constructor(socket: Socket, encoding: Encoding, options: ClientWriterOptions) {
    this.#socket = socket;
    this.encoding = encoding;
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#state.name === "open";
  }

  /** Whether a long series of frames may go on. */
  get hasRoom(): boolean {
    return (
      this.#state.name === "open" &&
      this.#socket.getBufferedAmount() < this.#options.bufferedBytesMax / 4
    );
  }

  send(json: string): void {
    if (this.#state.name !== "open") return;
    this.#options.backlog.given(json.length);
    // A dropped frame must not be followed by another: the client comes back and resumes by
    // position.
    if (this.#socket.send(frameOf(this.encoding, json)) === 0) this.terminate();
  }

  /** Sends what the client requested: it may be long. */
  sendRequested(json: string): void {
    this.send(json);
    if (this.isOpen)
      this.#requestedBytes = Math.min(
        this.#requestedBytes + json.length,
        this.#socket.getBufferedAmount(),
      );
  }

  /** Sends with the others of this turn, so that what is sent after it may arrive before it. */
  sendLater(json: string): void {
    if (this.#replies.push(json) === 1) queueMicrotask(() => this.#flush());
  }

  /** Runs `work`; what it sends goes out together. */
  cork(work: () => void): void {
    if (this.#state.name === "closed") work();
    else this.#socket.cork(work);
  }

  joinTopic(topic: string): void {
    if (this.#state.name === "open") this.#socket.subscribe(topic);
  }

  leaveTopic(topic: string): void {
    if (this.#state.name !== "closed") this.#socket.unsubscribe(topic);
  }

  ping(): void {
    if (this.#state.name === "open") this.#socket.ping();
  }

  /** The client has read something. */
  socketDrained(): void {
    const bytes = this.#socket.getBufferedAmount();
    this.#hasRead = true;
    this.#requestedBytes = Math.min(this.#requestedBytes, bytes);
    if (this.#state.name === "slow" && bytes === 0) this.close("slow");
  }

  /** Ends a client that reads too slowly. */
  checkBacklog(nowMs: number): void {
    if (this.#state.name === "slow") {
      if (nowMs >= this.#state.deadlineMs) this.close("slow");
    } else if (this.#state.name === "open") {
      const bytes = this.#socket.getBufferedAmount();
      // There is no event for what the socket has taken at once.
      this.#requestedBytes = Math.min(this.#requestedBytes, bytes);
      if (bytes <= this.#options.bufferedBytesMax + this.#requestedBytes) return;
      this.#state = { name: "slow", deadlineMs: nowMs + SLOW_MS };
      this.#options.onSlow();
    }
  }

  lookAtUnsent(): { bytes: number; hasRead: boolean } {
    if (this.#state.name === "closed") return { bytes: 0, hasRead: true };
    const bytes = this.#socket.getBufferedAmount();
    const hasRead = this.#hasRead;
    this.#hasRead = bytes === 0;
    return { bytes, hasRead };
  }

  /** The close frame would have to wait behind all that is unread. */
  cutOff(): void {
    if (this.#state.name === "open") this.#options.onSlow();
    this.terminate();
  }

  close(name: CloseName): void {
    if (this.#state.name === "closed") return;
    this.#state = { name: "closed" };
    this.#options.onClose(name);
    this.#socket.close(CLOSES[name].code, CLOSES[name].reason);
  }

  /** Ends it without a close frame: it has not read what was sent. */
  terminate(): void {
    if (this.#state.name === "closed") return;
    this.#state = { name: "closed" };
    this.#options.onClose("slow");
    this.#socket.terminate();
  }

  /** The socket is gone. */
  socketClosed(): void {
    this.#state = { name: "closed" };
  }

  #flush(): void {
    const replies = this.#replies;
    this.#replies = [];
    if (replies.length === 1) return this.send(replies[0]);
    this.cork(() => {
      for (const json of replies) this.send(json);
    });
  }
}
