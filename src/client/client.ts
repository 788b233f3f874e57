// The client as the app sees it: its channels, its calls, and how its connection is.

import { EVERYONE } from "../wire/channel-name.ts";
import { Channel, type Message } from "./channel.ts";
import type { ConnectionState } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { TuttiError } from "./error.ts";
import { assertFrame, assertParams } from "./outgoing.ts";
import { Shell, type ShellOptions } from "./shell.ts";
import type { ClientEvent, Disconnected } from "./steps.ts";

const CALL_TIMEOUT_MS = 30_000;
const CLOSE_WITHIN_MS = 5000;

export type ClientEvents = {
  /**
   * A node has let us in; subscriptions are on their way. `node`: its id. `session`: what it calls
   * this connection.
   */
  connected: { readonly node: string; readonly session: string };
  disconnected: Disconnected;
  /**
   * The node is going away: the client leaves it after `reconnectAfterMs` and connects to another.
   */
  goodbye: { readonly reason: string; readonly reconnectAfterMs: number };
  /** What the app sends to everyone. Listening to it subscribes. */
  broadcast: Message<unknown>;
  /**
   * Something went wrong that no promise stands for; the client goes on by itself. `unreachable`:
   * no WebSocket has opened in five attempts, with what is known of why. `internal`: the app failed
   * to let this client in or to take a subscription up, which is tried again. Without a listener it
   * is printed.
   */
  error: TuttiError;
};

export class Client {
  readonly #shell: Shell;
  readonly #emitter = new Emitter<ClientEvents>();
  #isSubscribedToBroadcasts = false;

  /** Clients are made by `connect`. */
  constructor(options: ShellOptions) {
    this.#shell = new Shell(options, (event) => this.#clientEvent(event));
  }

  get state(): ConnectionState {
    return this.#shell.core.state;
  }

  /** The id of the node that serves us; undefined while we are not connected. */
  get node(): string | undefined {
    return this.#shell.core.node;
  }

  /**
   * What the node calls this connection (and presence, this client); undefined while we are not
   * connected.
   */
  get session(): string | undefined {
    return this.#shell.core.session;
  }

  /** What the app sends to every client on every node: a reader of its own with each call. */
  get broadcasts(): Channel<unknown> {
    return this.channel(EVERYONE);
  }

  /**
   * A reader and writer of the channel of this name: each call makes another, with a subscription,
   * a position and listeners of its own. However many there are, the node sends each message once,
   * and is told to stop when the last has unsubscribed. `T`: what messages hold. `P`: what is
   * published, where the app's `publish` function makes something else of it.
   */
  channel<T = unknown, P = T>(name: string): Channel<T, P> {
    return new Channel<T, P>(name, this.#shell);
  }

  /**
   * Calls a method of the app; `T` is what it answers. Rejects with what the app refused, with
   * `timeout`, or with `disconnected` when the connection was lost before the answer: a call is
   * never made twice. Without a connection it waits for one. `method`: 1 to 100 characters.
   * `params`: what JSON can say, as in `publish`.
   */
  async call<T = unknown>(
    method: string,
    params?: unknown,
    options: { timeoutMs?: number } = {},
  ): Promise<T> {
    assertFrame({ type: "call", method });
    assertParams(params);
    const ok = await this.#shell.request(
      { type: "call", method, params },
      options.timeoutMs ?? CALL_TIMEOUT_MS,
    );
    return ok.data as T;
  }

  /** Returns what takes the listener away again. */
  on<K extends keyof ClientEvents>(
    type: K,
    listener: (event: ClientEvents[K]) => void,
  ): () => void {
    if (type === "broadcast") this.#subscribeToBroadcasts();
    return this.#emitter.on(type, listener);
  }

  /**
   * Ends the client. Publications and calls that are pending get `withinMs` to be answered; what is
   * not then, or is begun after this, is rejected with `closed`.
   */
  close(options: { withinMs?: number } = {}): Promise<void> {
    return this.#shell.close(options.withinMs ?? CLOSE_WITHIN_MS);
  }

  #clientEvent(event: ClientEvent): void {
    switch (event.type) {
      case "connected":
        return this.#emitter.emit("connected", { node: event.node, session: event.session });
      case "disconnected": {
        const { code, reason, wasConnected, reconnectInMs } = event;
        return this.#emitter.emit("disconnected", { code, reason, wasConnected, reconnectInMs });
      }
      case "goodbye":
        return this.#emitter.emit("goodbye", {
          reason: event.reason,
          reconnectAfterMs: event.reconnectAfterMs,
        });
      case "error":
        return this.#errorEvent(new TuttiError(event.fault));
      default:
        return event satisfies never;
    }
  }

  #subscribeToBroadcasts(): void {
    if (this.#isSubscribedToBroadcasts) return;
    this.#isSubscribedToBroadcasts = true;
    const { broadcasts } = this;
    broadcasts.on("message", (message) => this.#emitter.emit("broadcast", message));
    broadcasts.subscribe().catch((error: TuttiError) => {
      if (error.code !== "closed") this.#errorEvent(error);
    });
  }

  #errorEvent(error: TuttiError): void {
    if (this.#emitter.has("error")) this.#emitter.emit("error", error);
    else console.warn(`tutti: ${error.message} (${error.code})`);
  }
}
