// What one client may ask for: requests, their bytes, the bytes of what it asks to be sent, and
// channels that it has not used before, each a second. Pure.

import { TokenBucket } from "../../runtime/token-bucket.ts";
import type { ClientMessage } from "../../wire/client-messages.ts";
import type { NodeLimits } from "../app/limits.ts";

/** Names of channels that a client is known to use, at least. */
const NAMES_MIN = 256;
/** What an answer is taken for until the client's first one has come, bytes. */
const EXPECTED_BYTES = 256 * 1024;
/** Clients whose spent budget is remembered. */
const LEFT_MAX = 10_000;

export class Budget {
  readonly #requests: TokenBucket;
  readonly #requestBytes: TokenBucket;
  readonly #answerBytes: TokenBucket;
  readonly #newChannels: TokenBucket;
  readonly #buckets: readonly TokenBucket[];
  /** The channels that the client has used, the longest unused first. */
  readonly #names = new Set<string>();
  readonly #namesMax: number;
  #lastName = "";
  #expectedBytes = EXPECTED_BYTES;

  constructor(limits: NodeLimits, nowMs: number) {
    const { requestsPerSecond, requestBytesPerSecond, answerBytesPerSecond } = limits;
    // A client that comes back may subscribe to all that it had at once.
    const channels = 2 * limits.told.subscriptions;
    const newPerSecond = limits.newChannelsPerSecond;
    this.#requests = new TokenBucket(requestsPerSecond, nowMs);
    this.#requestBytes = new TokenBucket(requestBytesPerSecond, nowMs);
    this.#answerBytes = new TokenBucket(answerBytesPerSecond, nowMs);
    this.#newChannels = new TokenBucket(newPerSecond, nowMs, Math.max(channels, newPerSecond));
    this.#buckets = [this.#requests, this.#requestBytes, this.#answerBytes, this.#newChannels];
    this.#namesMax = Math.max(channels, NAMES_MIN);
  }

  /** Takes what the request costs. False: it has to wait. */
  take(message: ClientMessage, bytes: number, nowMs: number): boolean {
    if (this.#requests.isEmpty(nowMs) || this.#requestBytes.isEmpty(nowMs)) return false;
    if (isAnsweredWithMore(message) && this.#answerBytes.isEmpty(nowMs)) return false;
    if (message.type === "subscribe" || message.type === "publish")
      if (!this.#mayUse(message.channel, nowMs)) return false;
    this.#requests.charge(1);
    this.#requestBytes.charge(bytes);
    return true;
  }

  /** The client is sent what it asked for. */
  answered(bytes: number): void {
    this.#answerBytes.charge(bytes);
  }

  /** Returns what is set aside for an answer whose length nobody knows yet, in bytes. */
  reserveAnswer(): number {
    this.#answerBytes.charge(this.#expectedBytes);
    return this.#expectedBytes;
  }

  /** The answer has so many bytes; without one, 0. */
  answerArrived(reservedBytes: number, bytes: number): void {
    this.#answerBytes.charge(bytes - reservedBytes);
    if (bytes > 0) this.#expectedBytes = bytes;
  }

  isSpent(nowMs: number): boolean {
    return this.#buckets.some((bucket) => bucket.isEmpty(nowMs));
  }

  isWhole(nowMs: number): boolean {
    return this.#buckets.every((bucket) => bucket.isFull(nowMs));
  }

  lowerTo(other: Budget): void {
    for (const [index, bucket] of this.#buckets.entries()) bucket.lowerTo(other.#buckets[index]);
  }

  #mayUse(channel: string, nowMs: number): boolean {
    if (channel === this.#lastName) return true;
    if (!this.#names.delete(channel) && !this.#newChannels.take(nowMs)) return false;
    this.#lastName = channel;
    this.#names.add(channel);
    if (this.#names.size <= this.#namesMax) return true;
    for (const oldest of this.#names) {
      this.#names.delete(oldest);
      break;
    }
    return true;
  }
}

/**
 * The budgets of a node's clients: a client that has spent its own and comes back has no other. By
 * its user, or else its address.
 */
export class Budgets {
  readonly #limits: NodeLimits;
  readonly #spent = new Map<string, Budget>();

  constructor(limits: NodeLimits) {
    this.#limits = limits;
  }

  open(user: string | undefined, address: string, nowMs: number): Budget {
    const budget = new Budget(this.#limits, nowMs);
    const key = keyOf(user, address);
    const spent = this.#spent.get(key);
    if (spent === undefined) return budget;
    if (spent.isWhole(nowMs)) this.#spent.delete(key);
    else budget.lowerTo(spent);
    return budget;
  }

  /** The client is gone. */
  close(user: string | undefined, address: string, budget: Budget, nowMs: number): void {
    if (!budget.isSpent(nowMs)) return;
    const key = keyOf(user, address);
    const before = this.#spent.get(key);
    if (before !== undefined && !before.isWhole(nowMs)) budget.lowerTo(before);
    this.#spent.delete(key);
    this.#spent.set(key, budget);
    if (this.#spent.size <= LEFT_MAX) return;
    for (const oldest of this.#spent.keys()) {
      this.#spent.delete(oldest);
      break;
    }
  }
}

const keyOf = (user: string | undefined, address: string) =>
  user === undefined ? `address ${address}` : `user ${user}`;

/** Whether the client may be sent far more than it has sent. */
function isAnsweredWithMore({ type }: ClientMessage): boolean {
  return type === "history" || type === "presence" || type === "subscribe" || type === "call";
}
