// A workload client without the SDK: it does what PROTOCOL.md requires of a client and no more. It
// resumes by position, publishes unanswered messages again, and reconnects after any unexpected
// error.

import {
  type NodeMessage,
  type NodeMessageOf,
  nodeMessage,
  UNACKNOWLEDGED_MAX,
} from "../wire/client-messages.ts";
import type { Position } from "../wire/position.ts";
import type { ReadEvent } from "./history.ts";
import type { Ledger } from "./ledger.ts";

const RECONNECT_MS = 50;
const RECONNECT_SPREAD_MS = 200;
const CONNECT_MS = 5000;
const PING_MS = 4000;
const PONG_MS = 3000;

/** `requestId`: of its latest subscribe, whose `ok` makes it live. */
type Subscription = {
  readonly channel: string;
  readonly events: ReadEvent[];
  position: Position | undefined;
  requestId: number;
  isLive: boolean;
};
type Pending = {
  readonly seq: number;
  readonly channel: string;
  readonly value: string;
  isSent: boolean;
};

export class PlainClient {
  readonly #name: string;
  readonly #url: string;
  readonly #ledger: Ledger;
  readonly #random: () => number;
  readonly #subscriptions: readonly Subscription[];
  readonly #pending = new Map<number, Pending>();
  readonly #producer = `plain-${crypto.randomUUID()}`;
  readonly #deadlineTimer: ReturnType<typeof setInterval>;
  #socket: WebSocket | undefined;
  /** If nothing arrives before this time, the client reconnects. */
  #deadlineMs = 0;
  #pingAtMs = Number.POSITIVE_INFINITY;
  #isReady = false;
  #isClosed = false;
  #reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  #seq = 0;
  #requests = 0;

  constructor(
    name: string,
    url: string,
    channels: readonly string[],
    ledger: Ledger,
    random: () => number,
  ) {
    this.#name = name;
    this.#url = url;
    this.#ledger = ledger;
    this.#random = random;
    this.#subscriptions = channels.map((channel) => {
      return {
        channel,
        events: ledger.subscriptionStarted(name, channel),
        position: undefined,
        requestId: 0,
        isLive: false,
      };
    });
    this.#deadlineTimer = setInterval(() => this.#checkDeadlines(), 500);
    this.#connect();
  }

  publish(channel: string): void {
    const value = this.#ledger.publicationStarted(this.#name, channel, performance.now());
    const seq = ++this.#seq;
    this.#pending.set(seq, { seq, channel, value, isSent: false });
    this.#sendPending();
  }

  reconnect(): void {
    if (this.#isReady) this.#reconnectAfterDelay();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#deadlineTimer);
    clearTimeout(this.#reconnectTimer);
    this.#socket?.close();
  }

  #connect(): void {
    const socket = new WebSocket(this.#url, ["tutti.v1.json"]);
    this.#socket = socket;
    this.#deadlineMs = performance.now() + CONNECT_MS;
    this.#pingAtMs = Number.POSITIVE_INFINITY;
    socket.onopen = () => this.#send({ type: "connect", id: "connect", producer: this.#producer });
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#frameArrived(String(data));
    };
    socket.onerror = () => {};
    socket.onclose = () => {
      if (socket === this.#socket) this.#reconnectAfterDelay();
    };
  }

  /** Abandons the connection and connects again after a delay. */
  #reconnectAfterDelay(delayMs = RECONNECT_MS + this.#random() * RECONNECT_SPREAD_MS): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#isReady = false;
    for (const subscription of this.#subscriptions) subscription.isLive = false;
    for (const pending of this.#pending.values()) pending.isSent = false;
    clearTimeout(this.#reconnectTimer);
    if (!this.#isClosed) this.#reconnectTimer = setTimeout(() => this.#connect(), delayMs);
  }

  #checkDeadlines(): void {
    const now = performance.now();
    if (this.#socket === undefined) return;
    if (now >= this.#deadlineMs) this.#reconnectAfterDelay();
    else if (now >= this.#pingAtMs) {
      this.#send({ type: "ping" });
      this.#pingAtMs = Number.POSITIVE_INFINITY;
      this.#deadlineMs = now + PONG_MS;
    }
  }

  #frameArrived(text: string): void {
    const message = nodeMessage(JSON.parse(text));
    if (this.#isReady) {
      this.#pingAtMs = performance.now() + PING_MS;
      this.#deadlineMs = Number.POSITIVE_INFINITY;
    }
    if (message !== undefined) this.#messageArrived(message);
  }

  #messageArrived(message: NodeMessage): void {
    switch (message.type) {
      case "message":
        return this.#publicationArrived(message);
      case "ok":
        return this.#okArrived(message);
      case "error":
        return this.#errorArrived(message);
      case "gap": {
        const subscription = this.#subscriptionTo(message.channel);
        if (subscription?.isLive) this.#positionReceived(subscription, message.position, message);
        return undefined;
      }
      case "goodbye":
        return this.#reconnectAfterDelay(message.reconnectAfterMs);
      default:
        return undefined;
    }
  }

  #okArrived({ id, position, gap }: NodeMessageOf<"ok">): void {
    const name = String(id);
    const number = Number(name.slice(1));
    if (name === "connect") return this.#connected();
    const pending = this.#pending.get(number);
    if (name.startsWith("p") && pending !== undefined) {
      this.#pending.delete(number);
      this.#ledger.publicationAcknowledged(pending.value, position, performance.now());
      return this.#sendPending();
    }
    const subscription = this.#subscriptions.find(({ requestId }) => name === `s${requestId}`);
    if (subscription === undefined || position === undefined) return undefined;
    subscription.isLive = true;
    return this.#positionReceived(subscription, position, gap);
  }

  /** A publication that may succeed later is sent again, in order, on another connection. */
  #errorArrived({ id, retry }: NodeMessageOf<"error">): void {
    const number = Number(String(id).slice(1));
    const pending = String(id).startsWith("p") ? this.#pending.get(number) : undefined;
    if (pending === undefined || retry) return this.#reconnectAfterDelay();
    this.#pending.delete(number);
    return this.#ledger.publicationFailed(pending.value);
  }

  #connected(): void {
    this.#isReady = true;
    for (const subscription of this.#subscriptions) {
      const { channel, position: since } = subscription;
      subscription.requestId = ++this.#requests;
      this.#send({ type: "subscribe", id: `s${subscription.requestId}`, channel, since });
    }
    this.#sendPending();
  }

  #publicationArrived({ channel, offset, data }: NodeMessageOf<"message">): void {
    const subscription = this.#subscriptionTo(channel);
    // Messages between a subscribe and its `ok` belong to the previous subscription.
    if (subscription?.isLive !== true || subscription.position === undefined) return;
    const position = { epoch: subscription.position.epoch, offset };
    subscription.position = position;
    this.#ledger.messageReceived(
      subscription.events,
      channel,
      position,
      String(data),
      performance.now(),
    );
  }

  #positionReceived(
    subscription: Subscription,
    position: Position,
    gap: NodeMessageOf<"ok">["gap"],
  ): void {
    subscription.position = position;
    this.#ledger.positionReceived(subscription.events, position, gap);
  }

  #subscriptionTo(channel: string): Subscription | undefined {
    return this.#subscriptions.find((subscription) => subscription.channel === channel);
  }

  /** Sends, in order and within the window, what has not been sent on this connection. */
  #sendPending(): void {
    if (!this.#isReady) return;
    let oldest: number | undefined;
    for (const pending of this.#pending.values()) {
      oldest ??= pending.seq;
      if (pending.seq >= oldest + UNACKNOWLEDGED_MAX) return;
      if (pending.isSent) continue;
      pending.isSent = true;
      const { seq, channel, value } = pending;
      this.#send({ type: "publish", id: `p${seq}`, channel, seq, data: value });
    }
  }

  #send(message: Record<string, unknown>): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
