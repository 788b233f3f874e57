// The connecting end of a relay link: dials, proves the cluster secret, notices silence, gathers
// what is sent into one write per turn, and dials again when the link is lost. Pure: sockets,
// timers and randomness are ports. The owner interprets the frames.

import {
  FRAME_BYTES_MAX,
  FrameDecoder,
  isPublicationLayout,
  opcodeOf,
  PUBLICATION,
} from "../wire/frame.ts";
import { linkProof, relayProof, sameProof } from "../wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type InvalidRelayMessage,
  RELAY_PROTOCOL_VERSION,
  type RelayMessage,
  type RelayMessageOf,
  type Role,
  readRelayMessage,
} from "../wire/relay-messages.ts";
import { Malformed } from "../wire/shape.ts";
import type { Cancel, Clock } from "./clock.ts";

const DIAL_TIMEOUT_MS = 2000;
/** A relay that was killed is back in some 200 ms: dials are frequent at first, then rarer. */
const REDIAL_MIN_MS = 20;
const REDIAL_MAX_MS = 250;
const REDIAL_SHARE_OF_ABSENCE = 1 / 40;
const SILENT_PINGS = 3;
/** Why a link is lost whose two ends have different secrets: dialing again does not help. */
export const WRONG_SECRET = "the relay does not know the cluster secret";

/** The delay before the next dial, after an absence of `awayMs`. `random`: from 0 up to 1. */
export function redialMs(awayMs: number, random: number): number {
  const delayMs = Math.max(REDIAL_MIN_MS, awayMs * REDIAL_SHARE_OF_ABSENCE);
  return Math.min(delayMs, REDIAL_MAX_MS) * (0.5 + random);
}

export type LinkIdentity = { readonly secret: string; readonly role: Role; readonly id: string };

/** What a link tells its owner. The callbacks run inside socket callbacks: they must not throw. */
export type LinkEvents = {
  /** The relay knows us. Nothing sent on an earlier connection is pending any more. */
  welcome(welcome: RelayMessageOf<"welcome">): void;
  /** One PUBLICATION frame; the bytes are only valid during the call. */
  publication(bytes: Uint8Array, start: number, end: number): void;
  message(message: RelayMessage): void;
  /** A message with a field that is wrong: what it answers has failed, and the link stays up. */
  invalidMessage(message: InvalidRelayMessage): void;
  /** The link is lost (or a dial failed, then `wasUp` is false); the link dials again by itself. */
  lost(reason: string, wasUp: boolean): void;
};

/** An open connection to a relay: a Bun socket has these. */
export interface LinkConnection {
  /** Returns how many bytes were taken, −1 when it is closed. */
  write(bytes: Uint8Array): number;
  end(): void;
  terminate(): void;
}

export type LinkPorts = {
  readonly clock: Clock;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** NONCE_BYTES that nobody can foretell. */
  createNonce(): Uint8Array;
  /**
   * Begins to connect; what becomes of it is told to `opened`, `received`, `drained` and
   * `disconnected` of the link, with this attempt.
   */
  dial(link: LinkCore, attempt: number): void;
};

type State =
  /** Until the next dial. */
  | { readonly type: "waiting" }
  | { readonly type: "dialing" }
  /** HELLO is sent: the relay must prove that it knows the secret. */
  | {
      readonly type: "challenging";
      readonly connection: LinkConnection;
      readonly nonce: Uint8Array;
    }
  /** Our proof is sent. */
  | { readonly type: "proving"; readonly connection: LinkConnection }
  | { readonly type: "up"; readonly connection: LinkConnection; readonly pingMs: number }
  | { readonly type: "closed" };

const WAITING: State = { type: "waiting" };
const DIALING: State = { type: "dialing" };
const CLOSED: State = { type: "closed" };
const NO_TIMER: Cancel = () => {};

export class LinkCore {
  readonly #identity: LinkIdentity;
  readonly #events: LinkEvents;
  readonly #ports: LinkPorts;
  #state: State = WAITING;
  /** Counts dials and their ends: what is told of an earlier one is stale. */
  #attempt = 0;
  #decoder = new FrameDecoder(FRAME_BYTES_MAX);
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #isFlushScheduled = false;
  /** Since when there has been no relay. */
  #awaySinceMs: number | undefined;
  /** The dial's deadline, the next ping, or the next dial. */
  #cancelTimer = NO_TIMER;
  #heardAtMs = 0;

  constructor(identity: LinkIdentity, events: LinkEvents, ports: LinkPorts) {
    this.#identity = identity;
    this.#events = events;
    this.#ports = ports;
    this.#dial();
  }

  /** Whether what is sent now reaches the relay (unless the link is lost first). */
  get isUp(): boolean {
    return this.#state.type === "up";
  }

  /** Bytes given to `send` that the socket has not taken yet. */
  get backlogBytes(): number {
    return this.#pendingBytes;
  }

  /**
   * Sends a whole frame with the others of this turn. The frame must not be changed afterwards.
   * No-op while the link is not up.
   */
  send(frame: Uint8Array): void {
    if (this.#state.type === "up") this.#enqueue(frame);
  }

  sendMessage(message: RelayMessage): void {
    this.send(encodeRelayMessage(message));
  }

  /** Ends the link for good; what is pending is sent first. */
  close(): void {
    if (this.#state.type === "closed") return;
    this.#flush();
    const connection = this.#connection;
    this.#attempt++;
    this.#state = CLOSED;
    this.#cancelTimer();
    connection?.end();
  }

  /** A dial has succeeded. A connection that comes too late is terminated. */
  opened(attempt: number, connection: LinkConnection): void {
    if (attempt !== this.#attempt) return connection.terminate();
    const nonce = this.#ports.createNonce();
    this.#state = { type: "challenging", connection, nonce };
    this.#decoder = new FrameDecoder(FRAME_BYTES_MAX);
    const { role, id } = this.#identity;
    const version = RELAY_PROTOCOL_VERSION;
    this.#enqueue(encodeRelayMessage({ type: "hello", version, role, id, nonce }));
  }

  received(attempt: number, chunk: Uint8Array): void {
    if (attempt !== this.#attempt) return;
    this.#heardAtMs = this.#ports.clock.monotonicMs();
    try {
      const fault = this.#decoder.feed(chunk, this.#onFrame);
      if (fault !== undefined) this.#lose(fault);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#lose(error.message);
    }
  }

  /** The socket takes bytes again. */
  drained(attempt: number): void {
    if (attempt === this.#attempt) this.#flush();
  }

  /** The connection is gone, or the dial has failed. */
  disconnected(attempt: number, reason: string): void {
    if (attempt === this.#attempt) this.#lose(reason);
  }

  get #connection(): LinkConnection | undefined {
    return "connection" in this.#state ? this.#state.connection : undefined;
  }

  #dial(): void {
    const { clock } = this.#ports;
    this.#state = DIALING;
    const attempt = ++this.#attempt;
    this.#cancelTimer = clock.after(DIAL_TIMEOUT_MS, () => this.#lose("dial_timeout"));
    this.#ports.dial(this, attempt);
  }

  readonly #onFrame = (bytes: Uint8Array, start: number, end: number): boolean => {
    if (this.#state.type === "up" && opcodeOf(bytes, start) === PUBLICATION) {
      if (!isPublicationLayout(bytes, start, end))
        throw new Malformed("a publication is not of the fixed layout");
      this.#events.publication(bytes, start, end);
    } else if (this.#state.type === "up") {
      const message = readRelayMessage(bytes, start, end);
      if (message.type === "invalid") this.#events.invalidMessage(message);
      else this.#message(message);
    } else {
      this.#message(decodeRelayMessage(bytes, start, end));
    }
    return this.#connection !== undefined;
  };

  #message(message: RelayMessage): void {
    if (message.type === "bye") this.#lose(`${message.reason}: ${message.message}`);
    else if (this.#state.type !== "up") this.#handshake(message);
    else if (message.type === "ping") this.sendMessage({ type: "pong" });
    else if (message.type !== "pong") this.#events.message(message);
  }

  #handshake(message: RelayMessage): void {
    const state = this.#state;
    if (message.type === "challenge" && state.type === "challenging") {
      this.#prove(message, state.connection, state.nonce);
    } else if (message.type === "welcome" && state.type === "proving") {
      this.#cancelTimer();
      this.#state = { type: "up", connection: state.connection, pingMs: message.pingMs };
      this.#awaySinceMs = undefined;
      this.#pingAfter(message.pingMs, this.#ports.clock.monotonicMs());
      this.#events.welcome(message);
    } else {
      this.#lose(`${message.type} before ${state.type === "proving" ? "welcome" : "challenge"}`);
    }
  }

  #prove(
    { nonce: relayNonce, proof }: RelayMessageOf<"challenge">,
    connection: LinkConnection,
    nonce: Uint8Array,
  ): void {
    const { secret, role, id } = this.#identity;
    if (!sameProof(proof, relayProof(secret, nonce, relayNonce))) return this.#lose(WRONG_SECRET);
    this.#state = { type: "proving", connection };
    const ours = linkProof(secret, nonce, relayNonce, role, id);
    this.#enqueue(encodeRelayMessage({ type: "prove", proof: ours }));
  }

  /**
   * Pings every interval, and loses a link that has been silent. A late timer means that this
   * process slept, not that the relay did.
   */
  #pingAfter(pingMs: number, tickedAtMs: number): void {
    const { clock } = this.#ports;
    this.#cancelTimer = clock.after(pingMs, () => {
      const nowMs = clock.monotonicMs();
      const hasSlept = nowMs - tickedAtMs > 2 * pingMs;
      if (!hasSlept && nowMs - this.#heardAtMs > SILENT_PINGS * pingMs) return this.#lose("silent");
      this.sendMessage({ type: "ping" });
      this.#pingAfter(pingMs, nowMs);
    });
  }

  #lose(reason: string): void {
    const { clock, random } = this.#ports;
    const wasUp = this.#state.type === "up";
    const connection = this.#connection;
    this.#attempt++;
    this.#cancelTimer();
    this.#state = WAITING;
    this.#pending = [];
    this.#pendingBytes = 0;
    connection?.terminate();
    const nowMs = clock.monotonicMs();
    this.#awaySinceMs ??= nowMs;
    const delayMs = redialMs(nowMs - this.#awaySinceMs, random());
    this.#cancelTimer = clock.after(delayMs, () => this.#dial());
    this.#events.lost(reason, wasUp);
  }

  #enqueue(frame: Uint8Array): void {
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    this.#ports.clock.endOfTurn(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#isFlushScheduled = false;
    this.#flush();
  };

  #flush(): void {
    const connection = this.#connection;
    if (connection === undefined || this.#pending.length === 0) return;
    const bytes = this.#pending.length === 1 ? this.#pending[0] : Buffer.concat(this.#pending);
    const taken = Math.max(0, connection.write(bytes));
    this.#pendingBytes = bytes.length - taken;
    this.#pending = this.#pendingBytes === 0 ? [] : [bytes.subarray(taken)];
  }
}
