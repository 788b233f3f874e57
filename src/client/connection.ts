// Where the one connection of a client stands: dialing, greeting, connected, waiting to dial again,
// ended; and whether its node is alive. Pure: it says when something is due, it does not do it.

import type { NodeMessageOf } from "../wire/client-messages.ts";
import { backoffMs } from "./backoff.ts";

const GREETING_MS = 10_000;
const PONG_MS = 5000;
/**
 * A connection that held this long was a success: the next loss is a new one, and the next dial
 * comes soon.
 */
const STABLE_MS = 1000;

type Welcome = NodeMessageOf<"welcome">;
type Phase =
  | { readonly is: "waiting"; readonly until: number }
  | { readonly is: "dialing"; readonly deadline: number }
  | { readonly is: "greeting"; readonly deadline: number }
  | { readonly is: "connected"; readonly since: number; readonly welcome: Welcome }
  | { readonly is: "ended"; readonly isRefused: boolean };

/**
 * `connecting`: dialing or greeting. `waiting`: lost, will dial again. `refused`: the app does not
 * let us in.
 */
export type ConnectionState = "connecting" | "connected" | "waiting" | "closed" | "refused";

/** `cut`: it is dead, or never came up. */
export type DueAction = "dial" | "ping" | "cut";

export class Connection {
  /** Before the first dial, which is not ours to decide, nothing is due. */
  #phase: Phase = { is: "dialing", deadline: Number.POSITIVE_INFINITY };
  #welcome: Welcome | undefined;
  #isAccepted = false;
  #attempt = 0;
  #failedDials = 0;
  #receivedAt = 0;
  #sentAt = 0;
  #pingedAt: number | undefined;
  #leaveAt: number | undefined;

  get state(): ConnectionState {
    if (this.#phase.is === "ended") return this.#phase.isRefused ? "refused" : "closed";
    return this.#phase.is === "dialing" || this.#phase.is === "greeting"
      ? "connecting"
      : this.#phase.is;
  }

  /** What the node has said of itself; undefined while we are not connected. */
  get welcome(): Welcome | undefined {
    return this.#phase.is === "connected" ? this.#phase.welcome : undefined;
  }

  get isEnded(): boolean {
    return this.#phase.is === "ended";
  }

  /** Dials in a row, up to now, that have not opened a WebSocket. */
  get failedDials(): number {
    return this.#failedDials;
  }

  /** The node has said goodbye. */
  get hasGoodbye(): boolean {
    return this.#leaveAt !== undefined;
  }

  /** The node has said goodbye, and the time to go has come. */
  isLeaveDue(now: number): boolean {
    return this.#leaveAt !== undefined && this.#leaveAt <= now;
  }

  dialStarted(now: number): void {
    this.#phase = { is: "dialing", deadline: now + GREETING_MS };
  }

  socketOpened(now: number): void {
    this.#phase = { is: "greeting", deadline: now + GREETING_MS };
    this.#failedDials = 0;
    this.#welcome = undefined;
    this.#isAccepted = false;
    this.#receivedAt = now;
    this.#sentAt = now;
    this.#pingedAt = undefined;
    this.#leaveAt = undefined;
  }

  frameReceived(now: number): void {
    this.#receivedAt = now;
  }

  frameSent(now: number): void {
    this.#sentAt = now;
  }

  /**
   * The node's welcome, or its ok to our connect; they come in either order. True when with this
   * one we are connected.
   */
  handshakeReceived(message: Welcome | "let_in", now: number): boolean {
    if (this.#phase.is !== "greeting") return false;
    if (message === "let_in") this.#isAccepted = true;
    else this.#welcome = message;
    if (!this.#isAccepted || this.#welcome === undefined) return false;
    this.#phase = { is: "connected", since: now, welcome: this.#welcome };
    return true;
  }

  goodbyeReceived(reconnectAfterMs: number, now: number): void {
    this.#leaveAt = now + reconnectAfterMs;
  }

  /** The connection is gone. Returns how long to wait before the next one. */
  connectionLost(now: number, random: number): number {
    const wasStable = this.#phase.is === "connected" && now - this.#phase.since >= STABLE_MS;
    if (wasStable) this.#attempt = 0;
    if (this.#phase.is === "dialing") this.#failedDials++;
    const waitMs =
      this.#leaveAt === undefined
        ? backoffMs(this.#attempt++, random)
        : Math.max(0, this.#leaveAt - now);
    this.#leaveAt = undefined;
    this.#phase = { is: "waiting", until: now + waitMs };
    return waitMs;
  }

  end(isRefused: boolean): void {
    this.#phase = { is: "ended", isRefused };
  }

  /**
   * The network may have come back: what waits is due now, and what seems connected is to prove it.
   */
  retryNow(now: number): void {
    if (this.#phase.is === "waiting") this.#phase = { is: "waiting", until: now };
    this.#attempt = 0;
    this.#sentAt = Number.NEGATIVE_INFINITY;
  }

  dueAction(now: number): DueAction | undefined {
    const phase = this.#phase;
    if (phase.is === "ended") return undefined;
    if (phase.is === "waiting") return phase.until <= now ? "dial" : undefined;
    if (phase.is !== "connected") return phase.deadline <= now ? "cut" : undefined;
    const lateMs = now - this.#heartbeatAt(phase.welcome.pingMs);
    if (lateMs < 0) return undefined;
    // Woken far too late, it is we who slept (a laptop's lid, a tab in the background): ask again
    // before judging.
    if (this.#isUnanswered() && lateMs < PONG_MS) return "cut";
    this.#pingedAt = now;
    this.#sentAt = now;
    return "ping";
  }

  /** When something is due. An overdue departure waits for answers, not for the time. */
  wakeAt(now: number): number {
    const phase = this.#phase;
    if (phase.is === "ended") return Number.POSITIVE_INFINITY;
    if (phase.is === "waiting") return phase.until;
    if (phase.is !== "connected") return phase.deadline;
    const leaveAt =
      this.#leaveAt === undefined || this.#leaveAt <= now
        ? Number.POSITIVE_INFINITY
        : this.#leaveAt;
    return Math.min(this.#heartbeatAt(phase.welcome.pingMs), leaveAt);
  }

  #isUnanswered(): boolean {
    return this.#pingedAt !== undefined && this.#receivedAt < this.#pingedAt;
  }

  /** When to ping (for we also die by our own silence), or to give up on the answer. */
  #heartbeatAt(pingMs: number): number {
    if (this.#pingedAt !== undefined && this.#isUnanswered()) return this.#pingedAt + PONG_MS;
    return Math.min(this.#receivedAt, this.#sentAt) + pingMs;
  }
}
