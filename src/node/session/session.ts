// One client connection's conversation: who it is, what it asks in which order, and how it ends.
// What a request does is in requests.ts, what goes out is in line.ts. No Bun API in here.

import { TokenBucket } from "../../runtime/token-bucket.ts";
import { EVERYONE } from "../../wire/channel-name.ts";
import {
  type ClientMessage,
  clientMessage,
  type RequestId,
  requestIdOf,
} from "../../wire/client-messages.ts";
import { type CloseName, ERRORS, type ErrorCode } from "../../wire/codes.ts";
import type { Producer } from "../../wire/frame.ts";
import { Malformed } from "../../wire/shape.ts";
import { type Admitted, ANYONE } from "../app/authentication.ts";
import type { AppOptions, Cluster, Session } from "../app/index.ts";
import {
  BAD_FRAMES_MAX,
  type NodeLimits,
  PINGS_PER_SECOND,
  RATE_REFUSALS_MAX,
} from "../app/limits.ts";
import { DEFAULT_ROUTE } from "../app/rules.ts";
import type { Channels } from "../channels/channels.ts";
import type { Subscriber } from "../channels/subscriber.ts";
import type { Subscription } from "../channels/subscription.ts";
import { decodeFrame, type Encoding } from "../codec/encoding.ts";
import { ClientWriter, type Socket } from "./client-writer.ts";
import { PublishWindow } from "./publish-window.ts";
import { postponed } from "./publishing.ts";
import { RequestQueue } from "./request-queue.ts";
import { answer } from "./requests.ts";

/** What sessions need of the node around them. */
export type SessionContext = {
  readonly node: string;
  readonly pingMs: number;
  /** How long a client may take to connect with its token, ms. */
  readonly connectMs: number;
  readonly app: AppOptions<string>;
  readonly limits: NodeLimits;
  readonly hub: Channels;
  readonly cluster: Cluster;
  /** The producer that stands for this text from this user, on every node alike. */
  identify(kind: "producer" | "key", user: string | undefined, text: string): Producer;
  /** Calls the session's `resume` a little later. */
  resumeLater(session: ClientSession): void;
  /** For the log: the app, or we, threw. */
  failed(what: string, error: unknown, session: string): void;
};

type Received = { readonly message: ClientMessage; readonly bytes: number };

export class ClientSession implements Subscriber {
  readonly id: string;
  readonly encoding: Encoding;
  readonly address: string;
  readonly desk: SessionContext;
  readonly subscriptions = new Map<string, Subscription>();
  /** The upgrade request, while the app waits for the token that goes with it. */
  request: Request | undefined;
  isConnected = false;
  producer: Producer | undefined;
  hasSaidConnect = false;
  openCalls = 0;
  /**
   * Set by whatever the client sends; the liveness check clears it, and counts the checks that
   * found it silent.
   */
  isHeard = true;
  silences = 0;
  /** Where Sessions keeps it. */
  group = 0;

  #client: Admitted;
  #line: ClientWriter | undefined;
  /** It has to have connected by then; once it has, its leave runs out then. */
  #deadlineMs = Number.POSITIVE_INFINITY;
  #hearsEveryone = false;
  #badFrames = 0;
  #rateRefusals = 0;
  #intake: RequestQueue<Received> | undefined;
  #pings: TokenBucket | undefined;
  #window: PublishWindow | undefined;
  #view: Session | undefined;

  /**
   * `admitted`: who the client is; or, where it has to connect with a token first, the request that
   * it came with.
   */
  constructor(
    desk: SessionContext,
    id: string,
    encoding: Encoding,
    address: string,
    admitted: Admitted | Request,
  ) {
    this.desk = desk;
    this.id = id;
    this.encoding = encoding;
    this.address = address;
    if (admitted instanceof Request) this.request = admitted;
    this.#client = admitted instanceof Request ? ANYONE : admitted;
  }

  get infoBytes(): Uint8Array {
    return this.#client.infoBytes;
  }

  get user(): string | undefined {
    return this.#client.user;
  }

  get isOpen(): boolean {
    return this.#line?.isOpen === true;
  }

  get hasRoom(): boolean {
    return this.#line?.hasRoom === true;
  }

  /** Whether a publication of its own is not answered yet. */
  get isBusy(): boolean {
    return this.#window !== undefined && this.#window.inFlight > 0;
  }

  get window(): PublishWindow {
    this.#window ??= new PublishWindow();
    return this.#window;
  }

  /** The session as the app's functions see it. */
  get view(): Session {
    const { node, cluster } = this.desk;
    const { user, info, data } = this.#client;
    this.#view ??= Object.freeze({
      id: this.id,
      node,
      user,
      info,
      data,
      address: this.address,
      cluster,
    });
    return this.#view;
  }

  opened(socket: Socket): void {
    this.#line = new ClientWriter(socket, this.encoding, this.desk.limits.bufferedBytes, () =>
      this.#letGo(),
    );
    if (this.request === undefined) this.connected(this.#client);
    else this.#deadlineMs = this.desk.hub.nowMs() + this.desk.connectMs;
  }

  /** The app has let the client in. */
  connected(client: Admitted): void {
    this.request = undefined;
    this.#client = client;
    this.#deadlineMs = client.expiresAtMs;
    this.isConnected = true;
    const { node, pingMs, limits } = this.desk;
    this.send(
      JSON.stringify({ type: "welcome", session: this.id, node, pingMs, limits: limits.told }),
    );
    this.hearEveryone(true);
  }

  /** Takes a frame in. */
  received(frame: string | Uint8Array): void {
    this.isHeard = true;
    if (!this.isOpen) return;
    let value: unknown;
    try {
      value = decodeFrame(this.encoding, frame);
      this.#requested(clientMessage(value), frame.length);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.refuseFrame(requestIdOf(value), error.message);
    }
  }

  /** The client is alive. */
  heard(): void {
    this.isHeard = true;
  }

  /** Answers a frame that is not one of the protocol. */
  refuseFrame(id: RequestId | undefined, message: string): undefined {
    this.sendError(id, "bad_frame", message);
    if (++this.#badFrames > BAD_FRAMES_MAX) this.close("bad_frames");
  }

  /** Every ping interval: old misdeeds are forgiven. */
  forgive(): void {
    this.#badFrames = Math.max(0, this.#badFrames - 1);
    this.#rateRefusals = 0;
  }

  /** Goes on with requests that had to wait. */
  resume(): void {
    this.#intake?.resume();
    if (this.#intake?.isPaced === true) this.desk.resumeLater(this);
  }

  /** The client has read something. */
  drained(): void {
    this.#line?.drained();
    for (const subscription of this.subscriptions.values())
      if (subscription.stage === "behind") subscription.channel.drained(subscription);
  }

  /** The socket is gone. */
  closed(): void {
    this.#line?.closed();
    this.#letGo();
  }

  send(json: string): void {
    this.#line?.send(json);
  }

  /** Sends an answer that may be long, because the client asked for it. */
  sendAsked(json: string): void {
    this.#line?.sendAsked(json);
  }

  /** Sends together with the other replies of this turn. */
  sendLater(json: string): void {
    this.#line?.sendLater(json);
  }

  /** Answers a request that has an id; `fields`: JSON text of what else the answer holds. */
  sendOk(id: RequestId | undefined, fields = ""): undefined {
    if (id !== undefined) this.send(`{"type":"ok","id":${JSON.stringify(id)}${fields}}`);
  }

  sendError(
    id: RequestId | undefined,
    code: ErrorCode,
    message: string = ERRORS[code].message,
  ): undefined {
    this.send(
      JSON.stringify({
        type: "error",
        id,
        code,
        message: message.slice(0, 1000),
        retry: ERRORS[code].retry,
      }),
    );
  }

  gather(work: () => void): void {
    if (this.#line === undefined) work();
    else this.#line.gather(work);
  }

  join(topic: string): void {
    this.#line?.join(topic);
  }

  leave(topic: string): void {
    this.#line?.leave(topic);
  }

  dropped(channel: string, subscription: object): void {
    if (this.subscriptions.get(channel) !== subscription) return;
    this.subscriptions.delete(channel);
    if (channel === EVERYONE) this.hearEveryone(true);
  }

  /** Whether the session hears the channel of everyone without a subscription. */
  hearEveryone(hears: boolean): void {
    if (hears === this.#hearsEveryone || (hears && !this.isOpen)) return;
    const channel = this.desk.hub.open(EVERYONE, DEFAULT_ROUTE, true);
    this.#hearsEveryone = hears;
    if (hears) channel?.join(this);
    else channel?.leave(this);
  }

  /** Every so often: ends what has taken too long. */
  check(nowMs: number): void {
    this.#line?.check(nowMs);
    if (nowMs >= this.#deadlineMs) this.close(this.isConnected ? "expired" : "connect_timeout");
  }

  ping(): void {
    this.#line?.ping();
  }

  goodbye(reason: string, reconnectAfterMs: number): void {
    this.send(JSON.stringify({ type: "goodbye", reason, reconnectAfterMs }));
  }

  close(name: CloseName): void {
    this.#line?.close(name);
  }

  #requested(message: ClientMessage, bytes: number): void {
    if (message.type === "ping") return this.#pong(message.id);
    this.#intake ??= this.#openIntake();
    if (!this.#intake.offer({ message, bytes })) {
      if (message.type === "publish") postponed(this, message.channel, message.seq);
      this.#refuseRate(message.id);
    }
    if (this.#intake.isPaced) this.desk.resumeLater(this);
  }

  /** Never waits for its turn: it asks whether we are alive. */
  #pong(id: RequestId | undefined): void {
    this.#pings ??= new TokenBucket(PINGS_PER_SECOND, this.desk.hub.nowMs());
    if (this.#pings.take(this.desk.hub.nowMs())) this.send(JSON.stringify({ type: "pong", id }));
    else this.#refuseRate(id);
  }

  #refuseRate(id: RequestId | undefined): void {
    this.sendError(id, "rate");
    if (++this.#rateRefusals > RATE_REFUSALS_MAX) this.close("rate");
  }

  #openIntake(): RequestQueue<Received> {
    const { limits, hub } = this.desk;
    return new RequestQueue({
      answer: ({ message }) => this.#answer(message),
      isReady: ({ message }) =>
        message.type !== "publish" || this.window.inFlight < limits.told.unacknowledged,
      nowMs: hub.nowMs,
      requestsPerSecond: limits.requestsPerSecond,
      bytesMax: limits.bufferedBytes,
    });
  }

  #answer(message: ClientMessage): Promise<void> | undefined {
    try {
      return answer(this, message);
    } catch (error) {
      // A bug of ours, and not the other sessions' fault.
      this.desk.failed(message.type, error, this.id);
      this.close("internal");
      return undefined;
    }
  }

  /** Leaves everything: nothing more can be sent. */
  #letGo(): void {
    this.#intake?.clear();
    this.hearEveryone(false);
    for (const subscription of this.subscriptions.values()) subscription.cancel();
    this.subscriptions.clear();
  }
}
