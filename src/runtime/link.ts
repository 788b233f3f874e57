// The connecting end of a relay link: dials, proves the secret, keeps the link alive, gathers what
// is sent into one write a turn, and dials again when the link is lost. What the frames mean is its
// owner's business.

import type { Socket } from "bun";
import {
  FRAME_BYTES_MAX,
  FrameDecoder,
  isPublicationLayout,
  opcodeOf,
  PUBLICATION,
} from "../wire/frame.ts";
import { linkProof, NONCE_BYTES, relayProof, sameProof } from "../wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  RELAY_PROTOCOL_VERSION,
  type RelayMessage,
  type RelayMessageOf,
  type Role,
} from "../wire/relay-messages.ts";
import { Malformed } from "../wire/shape.ts";

const DIAL_TIMEOUT_MS = 2000;
/**
 * A relay that was killed is back in some 200 ms and is dialed often at first; the longer it is
 * away, the more seldom.
 */
const REDIAL_MIN_MS = 20;
const REDIAL_MAX_MS = 250;
const REDIAL_SHARE_OF_ABSENCE = 1 / 40;
const SILENT_PINGS = 3;
/** Why a link was lost whose two ends were given different secrets: no dial will help. */
export const WRONG_SECRET = "the relay does not know the cluster secret";

/**
 * How long to wait before the next dial, when there has been no relay for so long. `random`: from 0
 * up to 1.
 */
export function redialMs(awayMs: number, random: number): number {
  return (
    Math.min(Math.max(REDIAL_MIN_MS, awayMs * REDIAL_SHARE_OF_ABSENCE), REDIAL_MAX_MS) *
    (0.5 + random)
  );
}

export type RelayAddress = { readonly host: string; readonly port: number };
export type LinkOptions = {
  readonly address: RelayAddress;
  readonly secret: string;
  readonly role: Role;
  readonly id: string;
};

/** What a link tells its owner. The callbacks run inside socket callbacks: they must not throw. */
export type LinkEvents = {
  /** The relay knows us. Nothing sent on an earlier connection is pending any more. */
  welcome(welcome: RelayMessageOf<"welcome">): void;
  /** One PUBLICATION frame; the bytes are only lent for the call. */
  publication(bytes: Uint8Array, start: number, end: number): void;
  message(message: RelayMessage): void;
  /** The link is lost (or a dial failed, then `wasUp` is false); another dial follows by itself. */
  lost(reason: string, wasUp: boolean): void;
};

type State = "idle" | "dialing" | "greeting" | "up" | "closed";

export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  #state: State = "idle";
  #socket: Socket<undefined> | undefined;
  #decoder = new FrameDecoder(FRAME_BYTES_MAX);
  #nonce = new Uint8Array(NONCE_BYTES);
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #flushScheduled = false;
  #dialNumber = 0;
  /** Since when there is no relay. */
  #awaySinceMs: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pingMs = 1000;
  #heardAt = 0;

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
    this.#dial();
  }

  /** Whether what is sent now reaches the relay (unless the link is lost first). */
  get isUp(): boolean {
    return this.#state === "up";
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
    if (this.#state === "up") this.#enqueue(frame);
  }

  sendMessage(message: RelayMessage): void {
    this.send(encodeRelayMessage(message));
  }

  /** Ends the link for good; what is pending is sent first. */
  close(): void {
    if (this.#state === "closed") return;
    this.#flush();
    this.#state = "closed";
    clearTimeout(this.#timer);
    this.#socket?.end();
    this.#socket = undefined;
  }

  #dial(): void {
    this.#state = "dialing";
    const number = ++this.#dialNumber;
    const { host, port } = this.#options.address;
    this.#timer = setTimeout(() => this.#lose("dial_timeout"), DIAL_TIMEOUT_MS);
    const current = () => number === this.#dialNumber && this.#state !== "closed";
    Bun.connect({
      hostname: host,
      port,
      socket: {
        open: (socket) => (current() ? this.#greet(socket) : socket.terminate()),
        data: (_, chunk) => {
          if (current()) this.#receive(chunk);
        },
        drain: () => {
          if (current()) this.#flush();
        },
        close: () => {
          if (current()) this.#lose("closed");
        },
        error: (_, error) => {
          if (current()) this.#lose(error.message);
        },
        connectError: () => {
          if (current()) this.#lose("unreachable");
        },
      },
    }).catch(() => {
      if (current() && this.#state === "dialing") this.#lose("unreachable");
    });
  }

  #greet(socket: Socket<undefined>): void {
    this.#socket = socket;
    this.#state = "greeting";
    this.#decoder = new FrameDecoder(FRAME_BYTES_MAX);
    this.#nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const { role, id } = this.#options;
    this.#enqueue(
      encodeRelayMessage({
        type: "hello",
        version: RELAY_PROTOCOL_VERSION,
        role,
        id,
        nonce: this.#nonce,
      }),
    );
  }

  #receive(chunk: Uint8Array): void {
    this.#heardAt = performance.now();
    try {
      const fault = this.#decoder.feed(chunk, (bytes, start, end) =>
        this.#frame(bytes, start, end),
      );
      if (fault !== undefined) this.#lose(fault);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#lose(error.message);
    }
  }

  #frame(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#state === "up" && opcodeOf(bytes, start) === PUBLICATION) {
      if (!isPublicationLayout(bytes, start, end))
        throw new Malformed("a publication is not of the fixed layout");
      this.#events.publication(bytes, start, end);
    } else {
      this.#message(decodeRelayMessage(bytes, start, end));
    }
    return this.#state === "up" || this.#state === "greeting";
  }

  #message(message: RelayMessage): void {
    if (message.type === "bye") {
      this.#lose(`${message.reason}: ${message.message}`);
    } else if (this.#state === "greeting") {
      this.#handshake(message);
    } else if (message.type === "ping") {
      this.sendMessage({ type: "pong" });
    } else if (message.type !== "pong") {
      this.#events.message(message);
    }
  }

  #handshake(message: RelayMessage): void {
    const { secret, role, id } = this.#options;
    if (message.type === "challenge") {
      if (sameProof(message.proof, relayProof(secret, this.#nonce, message.nonce))) {
        const proof = linkProof(secret, this.#nonce, message.nonce, role, id);
        this.#enqueue(encodeRelayMessage({ type: "prove", proof }));
      } else {
        this.#lose(WRONG_SECRET);
      }
    } else if (message.type === "welcome") {
      clearTimeout(this.#timer);
      this.#state = "up";
      this.#awaySinceMs = undefined;
      this.#pingMs = message.pingMs;
      this.#watchSilence(performance.now());
      this.#events.welcome(message);
    } else {
      this.#lose(`${message.type} before welcome`);
    }
  }

  /**
   * Pings, and cuts a link on which nothing was heard. A tick that comes late says that we slept,
   * not that the relay did.
   */
  #watchSilence(tickedAt: number): void {
    this.#timer = setTimeout(() => {
      const now = performance.now();
      const overslept = now - tickedAt > 2 * this.#pingMs;
      if (!overslept && now - this.#heardAt > SILENT_PINGS * this.#pingMs)
        return this.#lose("silent");
      this.sendMessage({ type: "ping" });
      this.#watchSilence(now);
    }, this.#pingMs);
  }

  #lose(reason: string): void {
    const wasUp = this.#state === "up";
    this.#dialNumber++;
    clearTimeout(this.#timer);
    this.#socket?.terminate();
    this.#socket = undefined;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#state = "idle";
    const nowMs = performance.now();
    this.#awaySinceMs ??= nowMs;
    this.#timer = setTimeout(
      () => this.#dial(),
      redialMs(nowMs - this.#awaySinceMs, Math.random()),
    );
    this.#events.lost(reason, wasUp);
  }

  #enqueue(frame: Uint8Array): void {
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#socket === undefined || this.#pending.length === 0) return;
    const bytes = this.#pending.length === 1 ? this.#pending[0] : Buffer.concat(this.#pending);
    const taken = Math.max(0, this.#socket.write(bytes));
    this.#pendingBytes = bytes.length - taken;
    this.#pending = this.#pendingBytes === 0 ? [] : [bytes.subarray(taken)];
  }
}
