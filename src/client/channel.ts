// A channel as the app sees it: subscribe, listen, iterate, publish, look back, see who is there.

import { type Present, presentList, rememberedList } from "../wire/client-messages.ts";
import type { Gap, Position } from "../wire/position.ts";
import { Emitter } from "./emitter.ts";
import { TuttiError } from "./error.ts";
import { Inbox } from "./inbox.ts";
import { assertFrame, jsonText } from "./outgoing.ts";
import type { Start, Subscribed } from "./reader.ts";
import type { Shell } from "./shell.ts";
import type { ChannelEvent } from "./steps.ts";

const LOOK_TIMEOUT_MS = 30_000;

/**
 * A publication. It is its own position: `subscribe({ since: message })` goes on after it. `time`:
 * ms since the Unix epoch. `data` is one value for all readers of this client: do not change it.
 */
export type Message<T> = Position & {
  readonly channel: string;
  readonly time: number;
  readonly data: T;
};

export type ChannelEvents<T> = {
  message: Message<T>;
  /** Publications `from`…`to` cannot be had any more; reading goes on after `position`. */
  gap: Gap & { readonly position: Position };
  join: Present;
  leave: Present;
  /** A node has taken the subscription up, at first and again after every lost connection. */
  subscribed: Subscribed;
  /**
   * The app has ended the subscription: it does not let this client read the channel (any more).
   */
  refused: TuttiError;
};

/**
 * Oldest first. `more`: what lies beyond, in the direction asked for. `gap`: what was asked for and
 * is gone.
 */
export type History<T> = {
  readonly messages: readonly Message<T>[];
  readonly position: Position;
  readonly more: boolean;
  readonly gap?: Gap | undefined;
};

export class Channel<T, P = T> {
  readonly name: string;
  readonly #shell: Shell;
  readonly #reader: number;
  readonly #emitter = new Emitter<ChannelEvents<T>>();
  readonly #readers = new Set<Inbox<Message<T>>>();
  /** What comes before anybody reads: kept for the first who does. */
  #unread = new Inbox<Message<T>>();
  #isPaused = false;

  /** Made by `client.channel(name)`. */
  constructor(name: string, shell: Shell) {
    this.name = name;
    this.#shell = shell;
    this.#reader = shell.nextReader();
  }

  /**
   * The last publication that was taken in; undefined until subscribed. (One that waits in a loop's
   * buffer counts as taken in.)
   */
  get position(): Position | undefined {
    return this.#shell.core.positionOf(this.#reader);
  }

  /**
   * Resolves when a node has taken the subscription up; from then on it is taken up again after
   * every lost connection, at the position where it was lost. `since`: go on after this position.
   * `last`: begin that many publications back. With neither, what is subscribed already stays as it
   * is. Messages that come before anyone listens or iterates are kept for whoever does first.
   */
  async subscribe(start?: Start): Promise<Subscribed> {
    const since = start?.since && { epoch: start.since.epoch, offset: start.since.offset };
    assertFrame({ type: "subscribe", channel: this.name, since, last: start?.last });
    if (start !== undefined) this.#unread = new Inbox();
    this.#resumeIfLow();
    return this.#shell.subscribe(this.#reader, this.name, start, (event) =>
      this.#channelEvent(event),
    );
  }

  /** Ends this subscription; others to the same channel go on. */
  unsubscribe(): void {
    this.#shell.step({ type: "unsubscribe", reader: this.#reader });
  }

  /** Returns what takes the listener away again. Listening does not subscribe. */
  on<K extends keyof ChannelEvents<T>>(
    type: K,
    listener: (event: ChannelEvents<T>[K]) => void,
  ): () => void {
    const off = this.#emitter.on(type, listener);
    if (type === "message") queueMicrotask(() => this.#deliverUnread());
    return off;
  }

  /**
   * Resolves with the publication's place when the cluster has it for good, however often the
   * connection is lost meanwhile; with undefined when an earlier publication with this `key` is too
   * old for its place to be known. Rejects when the app refuses it, and with `bad_frame` where the
   * data is nothing that JSON can say (undefined, functions, bigints, half surrogate pairs) or is
   * nested over 63 deep. Whole numbers beyond 2⁵³ keep their value only as text. `key`: 1 to 128
   * characters. Publications of one client to one channel keep their order.
   */
  async publish(data: P, options: { readonly key?: string } = {}): Promise<Position | undefined> {
    const { key } = options;
    const json = jsonText(data);
    assertFrame({ type: "publish", channel: this.name, key, data: null });
    return this.#shell.publish(this.name, json, key);
  }

  /**
   * Publications after `since` (or the oldest that are remembered); with `reverse` the last ones
   * before it. At most `limit`, which is 100 where it is not given and 1000 at most. Only of a
   * channel that is subscribed.
   */
  async history(
    options: { since?: Position; limit?: number; reverse?: boolean } = {},
  ): Promise<History<T>> {
    const { since, ...rest } = options;
    const from = since === undefined ? undefined : { epoch: since.epoch, offset: since.offset };
    const frame = { type: "history", channel: this.name, since: from, ...rest } as const;
    assertFrame(frame);
    const { position, more = false, gap, data } = await this.#shell.request(frame, LOOK_TIMEOUT_MS);
    const messages = rememberedList(data, "data").map(({ offset, time, data }) =>
      this.#typedMessage(position?.epoch ?? "", offset, time, data),
    );
    return { messages, position: position ?? { epoch: "", offset: 0 }, more, gap };
  }

  /**
   * The clients that are subscribed right now, where the app has presence on for this channel and
   * it is subscribed.
   */
  async presence(): Promise<readonly Present[]> {
    const frame = { type: "presence", channel: this.name } as const;
    assertFrame(frame);
    const { data } = await this.#shell.request(frame, LOOK_TIMEOUT_MS);
    return presentList(data, "data");
  }

  /**
   * Subscribes where that has not been done, then gives every message in order. A loop that is
   * slower than the channel loses nothing: over a bound the channel is left unread (for listeners
   * too), and taken up again by position when the loop has caught up. Ends on `unsubscribe` and
   * `close`; throws when the app refuses.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message<T>, undefined> {
    const inbox = this.#openReader();
    this.subscribe().catch((error: Error) => inbox.endWith(error));
    const iterator: AsyncIterableIterator<Message<T>, undefined> = {
      next: () => {
        const next = inbox.nextResult();
        this.#resumeIfLow();
        return next;
      },
      return: () => {
        this.#closeReader(inbox);
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  #channelEvent(event: ChannelEvent): void {
    switch (event.type) {
      case "message": {
        const { epoch, offset, time, data, characters } = event;
        return this.#messageArrived(this.#typedMessage(epoch, offset, time, data), characters);
      }
      case "gap":
        return this.#emitter.emit("gap", { ...event.gap, position: event.position });
      case "subscribed":
        return this.#emitter.emit("subscribed", event.subscribed);
      case "ended":
        return this.#subscriptionEnded(new TuttiError(event.fault));
      default: {
        const { type, client, info } = event;
        return this.#emitter.emit(type, info === undefined ? { client } : { client, info });
      }
    }
  }

  get #isRead(): boolean {
    return this.#readers.size > 0 || this.#emitter.has("message");
  }

  /**
   * The one place where what came over the wire gets the type that the app has promised for this
   * channel.
   */
  #typedMessage(epoch: string, offset: number, time: number, data: unknown): Message<T> {
    return { channel: this.name, epoch, offset, time, data: data as T };
  }

  #messageArrived(message: Message<T>, characters: number): void {
    if (this.#isRead && this.#unread.size === 0) this.#deliver(message, characters);
    else this.#unread.pushMessage(message, characters);
    if (this.#isPaused || !this.#inboxes().some((inbox) => inbox.isFull)) return;
    this.#isPaused = true;
    this.#shell.step({ type: "pause", reader: this.#reader });
  }

  #deliver(message: Message<T>, characters: number): void {
    this.#emitter.emit("message", message);
    for (const inbox of this.#readers) inbox.pushMessage(message, characters);
  }

  #resumeIfLow(): void {
    if (!this.#isPaused || !this.#inboxes().every((inbox) => inbox.isLow)) return;
    this.#isPaused = false;
    this.#shell.step({ type: "resume", reader: this.#reader });
  }

  #inboxes(): Inbox<Message<T>>[] {
    return [this.#unread, ...this.#readers];
  }

  /** Hands what has come before there was a listener to the listeners there are now. */
  #deliverUnread(): void {
    if (!this.#isRead) return;
    for (
      let next = this.#unread.takeMessage();
      next !== undefined;
      next = this.#unread.takeMessage()
    )
      this.#deliver(next.value, next.characters);
    this.#resumeIfLow();
  }

  #openReader(): Inbox<Message<T>> {
    const inbox = this.#isRead ? new Inbox<Message<T>>() : this.#unread;
    if (inbox === this.#unread) this.#unread = new Inbox();
    this.#readers.add(inbox);
    return inbox;
  }

  /** What a loop that was left has not read is there for the next one. */
  #closeReader(inbox: Inbox<Message<T>>): void {
    if (!this.#readers.delete(inbox)) return;
    if (!this.#isRead) this.#unread = inbox;
    this.#resumeIfLow();
  }

  #subscriptionEnded(error: TuttiError): void {
    const isRefused = error.code !== "closed";
    for (const inbox of this.#readers) inbox.endWith(isRefused ? error : undefined);
    this.#readers.clear();
    this.#unread = new Inbox();
    this.#isPaused = false;
    if (isRefused) this.#emitter.emit("refused", error);
  }
}
