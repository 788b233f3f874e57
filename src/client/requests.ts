// Questions that one reply answers: calls of the app's methods, history and presence. Pure.

import type { NodeMessageOf } from "../wire/client-messages.ts";
import { FAULTS, type Fault } from "./error.ts";
import { type Emit, isLongerThan, type RequestFrame } from "./steps.ts";

/** Requests that may be open at once, and how many of them the node is asked at a time. */
const REQUESTS_MAX = 1024;
const AWAITED_MAX = 64;

/** `isRepeatable`: asking twice does no harm, so after a lost connection it is asked again. */
type Entry = {
  readonly ticket: number;
  readonly text: string;
  readonly isRepeatable: boolean;
  readonly deadline: number;
  isSent: boolean;
};

export class Requests {
  readonly #emit: Emit;
  readonly #entries = new Map<number, Entry>();
  #unsent = 0;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Whether this connection still owes a reply. */
  get isAwaitingReply(): boolean {
    return this.#entries.size > this.#unsent;
  }

  /** `deadline`: when it fails if nobody has answered. */
  enqueueRequest(ticket: number, frame: RequestFrame, deadline: number): void {
    if (this.#entries.size >= REQUESTS_MAX)
      return this.#emit({ type: "failed", ticket, fault: FAULTS.queueFull });
    const text = JSON.stringify({ ...frame, id: `r${ticket}` });
    this.#entries.set(ticket, {
      ticket,
      text,
      isRepeatable: frame.type !== "call",
      deadline,
      isSent: false,
    });
    this.#unsent++;
  }

  sendRequests(frameBytesMax: number): void {
    if (this.#unsent === 0) return;
    for (const entry of this.#entries.values()) {
      if (entry.isSent) continue;
      if (this.#entries.size - this.#unsent >= AWAITED_MAX) return;
      entry.isSent = true;
      this.#unsent--;
      if (isLongerThan(entry.text, frameBytesMax)) this.#failEntry(entry, FAULTS.tooLarge);
      else this.#emit({ type: "send", text: entry.text });
    }
  }

  requestAnswered(ticket: number, ok: NodeMessageOf<"ok">): void {
    if (this.#removeEntry(ticket) !== undefined) this.#emit({ type: "answered", ticket, ok });
  }

  requestRefused(ticket: number, fault: Fault): void {
    const entry = this.#entries.get(ticket);
    if (entry !== undefined) this.#failEntry(entry, fault);
  }

  /** What was sent and must not be sent twice fails; the rest is due again. */
  connectionLost(): void {
    for (const entry of this.#entries.values()) {
      if (!entry.isSent) continue;
      if (!entry.isRepeatable) {
        this.#failEntry(entry, FAULTS.disconnected);
        continue;
      }
      entry.isSent = false;
      this.#unsent++;
    }
  }

  failExpired(now: number): void {
    for (const entry of this.#entries.values())
      if (entry.deadline <= now) this.#failEntry(entry, FAULTS.timeout);
  }

  wakeAt(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const { deadline } of this.#entries.values()) if (deadline < at) at = deadline;
    return at;
  }

  /** Gives up everything. */
  failAll(fault: Fault): void {
    for (const entry of this.#entries.values()) this.#failEntry(entry, fault);
  }

  #failEntry(entry: Entry, fault: Fault): void {
    this.#removeEntry(entry.ticket);
    this.#emit({ type: "failed", ticket: entry.ticket, fault });
  }

  #removeEntry(ticket: number): Entry | undefined {
    const entry = this.#entries.get(ticket);
    if (entry === undefined) return undefined;
    this.#entries.delete(ticket);
    if (!entry.isSent) this.#unsent--;
    return entry;
  }
}
