// A client that speaks the protocol by itself, without the SDK: what PROTOCOL.md asks of a client
// and not more. It resumes by position and repeats what was not answered; whatever it does not
// understand, it comes back for.

import {
  type NodeMessage,
  type NodeMessageOf,
  nodeMessage,
  UNACKNOWLEDGED_MAX,
} from "../wire/client-messages.ts";
import type { Position } from "../wire/position.ts";
import type { ChaosClient } from "./client.ts";
import type { ReadEvent } from "./history.ts";
import type { Ledger } from "./ledger.ts";

const RECONNECT_MS = 50;
const RECONNECT_SPREAD_MS = 200;
const CONNECT_MS = 5000;
const PING_MS = 4000;
const PONG_MS = 3000;

/**
 * One channel as this client reads it. `ask`: the number of its latest subscribe, whose answer
 * makes it live.
 */
type Subscription = {
  readonly channel: string;
  readonly events: ReadEvent[];
  position: Position | undefined;
  ask: number;
  isLive: boolean;
};
type Pending = {
  readonly seq: number;
  readonly channel: string;
  readonly value: string;
  isSent: boolean;
};

export class PlainClient implements ChaosClient {
  readonly #name: string;
  readonly #url: string;
  readonly #ledger: Ledger;
  readonly #random: () => number;
  readonly #subscriptions: readonly Subscription[];
  readonly #pending = new Map<number, Pending>();
  readonly #producer = `plain-${crypto.randomUUID()}`;
  readonly #ticker: ReturnType<typeof setInterval>;
  #socket: WebSocket | undefined;
  /** When something has to have been heard, or the connection counts as dead. */
  #deadlineMs = 0;
  #pingAtMs = Number.POSITIVE_INFINITY;
  #isReady = false;
  #isClosed = false;
  #reconnecting: ReturnType<typeof setTimeout> | undefined;
  #seq = 0;
  #asks = 0;

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
        events: ledger.read(name, channel),
        position: undefined,
        ask: 0,
        isLive: false,
      };
    });
    this.#ticker = setInterval(() => this.#tick(), 500);
    this.#connect();
  }

  publish(channel: string): void {
    const value = this.#ledger.publish(this.#name, channel, performance.now());
    const seq = ++this.#seq;
    this.#pending.set(seq, { seq, channel, value, isSent: false });
    this.#flush();
  }

  reconnect(): void {
    if (this.#isReady) this.#lost();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#ticker);
    clearTimeout(this.#reconnecting);
    this.#socket?.close();
  }

  #connect(): void {
    const socket = new WebSocket(this.#url, ["tutti.v1.json"]);
    this.#socket = socket;
    this.#deadlineMs = performance.now() + CONNECT_MS;
    this.#pingAtMs = Number.POSITIVE_INFINITY;
    socket.onopen = () => this.#send({ type: "connect", id: "connect", producer: this.#producer });
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#receive(String(data));
    };
    socket.onerror = () => {};
    socket.onclose = () => {
      if (socket === this.#socket) this.#lost();
    };
  }

  /** Gives the connection up, and comes back. */
  #lost(afterMs = RECONNECT_MS + this.#random() * RECONNECT_SPREAD_MS): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#isReady = false;
    for (const subscription of this.#subscriptions) subscription.isLive = false;
    for (const pending of this.#pending.values()) pending.isSent = false;
    clearTimeout(this.#reconnecting);
    if (!this.#isClosed) this.#reconnecting = setTimeout(() => this.#connect(), afterMs);
  }

  #tick(): void {
    const now = performance.now();
    if (this.#socket === undefined) return;
    if (now >= this.#deadlineMs) this.#lost();
    else if (now >= this.#pingAtMs) {
      this.#send({ type: "ping" });
      this.#pingAtMs = Number.POSITIVE_INFINITY;
      this.#deadlineMs = now + PONG_MS;
    }
  }

  #receive(text: string): void {
    const message = nodeMessage(JSON.parse(text));
    if (this.#isReady) {
      this.#pingAtMs = performance.now() + PING_MS;
      this.#deadlineMs = Number.POSITIVE_INFINITY;
    }
    if (message !== undefined) this.#hear(message);
  }

  #hear(message: NodeMessage): void {
    switch (message.type) {
      case "message":
        return this.#read(message);
      case "ok":
        return this.#accepted(message);
      case "error":
        return this.#refused(message);
      case "gap": {
        const subscription = this.#subscribed(message.channel);
        if (subscription?.isLive) this.#stand(subscription, message.position, message);
        return undefined;
      }
      case "goodbye":
        return this.#lost(message.reconnectAfterMs);
      default:
        return undefined;
    }
  }

  #accepted({ id, position, gap }: NodeMessageOf<"ok">): void {
    const name = String(id);
    const number = Number(name.slice(1));
    if (name === "connect") return this.#ready();
    const pending = this.#pending.get(number);
    if (name.startsWith("p") && pending !== undefined) {
      this.#pending.delete(number);
      this.#ledger.answered(pending.value, position, performance.now());
      return this.#flush();
    }
    const subscription = this.#subscriptions.find(({ ask }) => name === `s${ask}`);
    if (subscription === undefined || position === undefined) return undefined;
    subscription.isLive = true;
    return this.#stand(subscription, position, gap);
  }

  /** What may succeed later is tried again on another connection, in order with everything else. */
  #refused({ id, retry }: NodeMessageOf<"error">): void {
    const number = Number(String(id).slice(1));
    const pending = String(id).startsWith("p") ? this.#pending.get(number) : undefined;
    if (pending === undefined || retry) return this.#lost();
    this.#pending.delete(number);
    return this.#ledger.refused(pending.value);
  }

  #ready(): void {
    this.#isReady = true;
    for (const subscription of this.#subscriptions) {
      const { channel, position: since } = subscription;
      subscription.ask = ++this.#asks;
      this.#send({ type: "subscribe", id: `s${subscription.ask}`, channel, since });
    }
    this.#flush();
  }

  #read({ channel, offset, data }: NodeMessageOf<"message">): void {
    const subscription = this.#subscribed(channel);
    // What comes between the question and its answer belongs to the subscription before.
    if (subscription?.isLive !== true || subscription.position === undefined) return;
    const position = { epoch: subscription.position.epoch, offset };
    subscription.position = position;
    this.#ledger.received(subscription.events, channel, position, String(data), performance.now());
  }

  #stand(subscription: Subscription, position: Position, gap: NodeMessageOf<"ok">["gap"]): void {
    subscription.position = position;
    this.#ledger.stands(subscription.events, position, gap);
  }

  #subscribed(channel: string): Subscription | undefined {
    return this.#subscriptions.find((subscription) => subscription.channel === channel);
  }

  /** Sends what has not been sent on this connection, in order, as far as the window reaches. */
  #flush(): void {
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
