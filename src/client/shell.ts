// Binds the state machine to the world: a WebSocket, one timer, the clock, and the promises of
// those who wait.

import { type NodeMessageOf, SUBPROTOCOL_JSON } from "../wire/client-messages.ts";
import type { Position } from "../wire/position.ts";
import { Core } from "./core.ts";
import { TuttiError } from "./error.ts";
import type { Start, Subscribed } from "./reader.ts";
import type { ChannelEvent, ClientEvent, Command, Effect, RequestFrame, Step } from "./steps.ts";

/**
 * As much of a WebSocket as the client uses: the browser's, Bun's, Node's, or another that behaves
 * like them.
 */
export type WebSocketLike = {
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "error", listener: (event: object) => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(
    type: "close",
    listener: (event: { code: number; reason: string }) => void,
  ): void;
  send(text: string): void;
  close(code: number, reason: string): void;
};

export type ShellOptions = {
  readonly url: string;
  readonly token: string | (() => string | Promise<string>) | undefined;
  readonly WebSocket: new (url: string, protocols: string[]) => WebSocketLike;
};

/** Told what happens: one event after the other, never from inside each other. */
export type ClientListener = (event: ClientEvent) => void;
export type ReaderListener = (event: ChannelEvent) => void;

type Waiter<T> = { resolve(value: T): void; reject(error: Error): void };
const CLOSED_WITHOUT_A_WORD = 1006;

export class Shell {
  readonly #options: ShellOptions;
  readonly #clientListener: ClientListener;
  /** By reader, from its subscribe to its end. */
  readonly #readers = new Map<number, ReaderListener>();
  readonly #core = new Core(randomHex(16), Math.random);
  readonly #publishes = new Map<number, Waiter<Position | undefined>>();
  readonly #requests = new Map<number, Waiter<NodeMessageOf<"ok">>>();
  readonly #subscribes = new Map<number, Waiter<Subscribed>>();
  readonly #closeWaiters: (() => void)[] = [];
  readonly #online = () => this.step({ type: "online" });
  #lastTicket = 0;
  #lastReader = 0;
  #socket: WebSocketLike | undefined;
  /** Counts the dials: what an older socket still says is not heard. */
  #dialNumber = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #effects: Effect[] = [];
  #isApplying = false;

  constructor(options: ShellOptions, clientListener: ClientListener) {
    this.#options = options;
    this.#clientListener = clientListener;
    globalThis.addEventListener?.("online", this.#online);
    // Whoever made this client gets to add listeners before the first thing happens.
    queueMicrotask(() => this.step({ type: "start" }));
  }

  get core(): Pick<Core, "state" | "node" | "session" | "positionOf"> {
    return this.#core;
  }

  publish(channel: string, json: string, key: string | undefined): Promise<Position | undefined> {
    return this.#runCommand(this.#publishes, (ticket) => ({
      type: "publish",
      ticket,
      channel,
      json,
      key,
    }));
  }

  request(frame: RequestFrame, timeoutMs: number): Promise<NodeMessageOf<"ok">> {
    return this.#runCommand(this.#requests, (ticket) => ({
      type: "request",
      ticket,
      frame,
      timeoutMs,
    }));
  }

  /** A number by which one reader of a channel is known. */
  nextReader(): number {
    return ++this.#lastReader;
  }

  /** From here on `listener` is told what happens to this reader, until it has ended. */
  subscribe(
    reader: number,
    channel: string,
    start: Start | undefined,
    listener: ReaderListener,
  ): Promise<Subscribed> {
    if (!this.#core.isEnded) this.#readers.set(reader, listener);
    return this.#runCommand(this.#subscribes, (ticket) => ({
      type: "subscribe",
      ticket,
      reader,
      channel,
      start,
    }));
  }

  /** Resolves when nothing is pending any more, after `withinMs` at the latest. */
  close(withinMs: number): Promise<void> {
    if (this.#core.isEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#closeWaiters.push(resolve);
      this.step({ type: "close", withinMs });
    });
  }

  /**
   * What listeners do in answer to an effect comes after all the effects that were there before.
   */
  step(step: Step): void {
    this.#effects.push(...this.#core.step(step, performance.now()));
    if (this.#isApplying) return;
    this.#isApplying = true;
    try {
      for (let effect = this.#effects.shift(); effect !== undefined; effect = this.#effects.shift())
        this.#applyEffect(effect);
    } finally {
      this.#isApplying = false;
    }
  }

  #runCommand<T>(
    waiters: Map<number, Waiter<T>>,
    command: (ticket: number) => Command,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const ticket = ++this.#lastTicket;
      waiters.set(ticket, { resolve, reject });
      this.step(command(ticket));
    });
  }

  #applyEffect(effect: Effect): void {
    switch (effect.type) {
      case "send":
        return this.#socket?.send(effect.text);
      case "tell_reader":
        return this.#tellReader(effect.reader, effect.event);
      case "tell":
        return this.#clientListener(effect.event);
      case "published":
        return take(this.#publishes, effect.ticket)?.resolve(effect.position);
      case "answered":
        return take(this.#requests, effect.ticket)?.resolve(effect.ok);
      case "subscribed":
        return take(this.#subscribes, effect.ticket)?.resolve(effect.subscribed);
      case "failed":
        return this.#rejectTicket(effect.ticket, new TuttiError(effect.fault));
      case "open":
        return this.#dial();
      case "close":
        return this.#closeSocket(effect.code, effect.reason);
      case "wake":
        return this.#wakeAt(effect.at);
      case "ended":
        return this.#coreEnded();
      default:
        return effect satisfies never;
    }
  }

  #tellReader(reader: number, event: ChannelEvent): void {
    const listener = this.#readers.get(reader);
    if (event.type === "ended") this.#readers.delete(reader);
    listener?.(event);
  }

  #rejectTicket(ticket: number, error: TuttiError): void {
    take(this.#publishes, ticket)?.reject(error);
    take(this.#requests, ticket)?.reject(error);
    take(this.#subscribes, ticket)?.reject(error);
  }

  #dial(): void {
    const dial = ++this.#dialNumber;
    const { token } = this.#options;
    if (typeof token !== "function") return this.#connect(dial, token);
    Promise.resolve()
      .then(token)
      .then(
        (fresh) => this.#connect(dial, fresh),
        (error: unknown) => this.#dialFailed(dial, `no token: ${messageOf(error)}`),
      );
  }

  #connect(dial: number, token: string | undefined): void {
    if (dial !== this.#dialNumber) return;
    if (token !== undefined && !isToken(token))
      return this.#dialFailed(dial, "the token must be text of 1 to 8192 characters");
    const { url, WebSocket } = this.#options;
    let socket: WebSocketLike;
    try {
      socket = new WebSocket(url, [SUBPROTOCOL_JSON]);
    } catch (error) {
      // A browser does so for ws:// in a page that came by https://.
      return this.#dialFailed(dial, messageOf(error));
    }
    const hear = (step: Step) => {
      if (dial === this.#dialNumber) this.step(step);
    };
    let isOpen = false;
    let failure = "";
    this.#socket = socket;
    socket.addEventListener("open", () => {
      isOpen = true;
      hear({ type: "opened", token });
    });
    socket.addEventListener("message", ({ data }) => hear({ type: "text", text: String(data) }));
    // A close event follows. Browsers tell no more than that; Bun and Node name the status or the
    // certificate's fault.
    socket.addEventListener("error", (event) => {
      failure = failureOf(event);
    });
    socket.addEventListener("close", ({ code, reason }) =>
      hear({ type: "closed", code, reason: reason || (isOpen ? "" : failure || noWebSocket(url)) }),
    );
  }

  #dialFailed(dial: number, reason: string): void {
    if (dial === this.#dialNumber)
      this.step({ type: "closed", code: CLOSED_WITHOUT_A_WORD, reason });
  }

  #closeSocket(code: number, reason: string): void {
    this.#dialNumber++;
    this.#socket?.close(code, reason);
    this.#socket = undefined;
  }

  #wakeAt(at: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.step({ type: "wake" }),
      Math.max(0, at - performance.now()),
    );
  }

  #coreEnded(): void {
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.("online", this.#online);
    for (const resolve of this.#closeWaiters.splice(0)) resolve();
  }
}

/** A node would take it for a frame it cannot read. */
const isToken = (token: unknown): boolean =>
  typeof token === "string" && token !== "" && token.length <= 8192 && token.isWellFormed();

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** The words of a WebSocket's error event, where it has any. */
function failureOf(event: object): string {
  const error: unknown = Reflect.get(event, "error");
  const message: unknown = Reflect.get(event, "message");
  if (typeof message === "string" && message !== "") return message;
  return error instanceof Error ? error.message : "";
}

/** Without the query, which may hold secrets. */
function noWebSocket(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin === "null" ? url.split("?")[0] : origin + pathname} does not open a WebSocket`;
}

function take<T>(waiters: Map<number, Waiter<T>>, ticket: number): Waiter<T> | undefined {
  const waiter = waiters.get(ticket);
  waiters.delete(ticket);
  return waiter;
}

function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
