// One client's connection: its state, its requests in their order, its liveness and its end. What a
// request does is in requests.ts and publishing.ts, what goes out in client-writer.ts. Pure.

import { TokenBucket } from "../../runtime/token-bucket.ts";
import { EVERYONE } from "../../wire/channel-name.ts";
import {
  type ClientMessage,
  clientMessage,
  encodeNodeMessage,
  type OutgoingMessage,
  type RequestId,
} from "../../wire/client-messages.ts";
import { CLOSES, type CloseName, ERRORS, type ErrorCode } from "../../wire/codes.ts";
import { Malformed } from "../../wire/shape.ts";
import { type Admitted, ANYONE } from "../app/authentication.ts";
import { type Hook, HookTimeout } from "../app/hooks.ts";
import type { Session } from "../app/index.ts";
import { BAD_FRAMES_MAX, PINGS_PER_SECOND, RATE_REFUSALS_MAX } from "../app/limits.ts";
import { DEFAULT_ROUTE } from "../app/rules.ts";
import type { Subscription } from "../channels/readers.ts";
import { decodeFrame, type Encoding, requestIdIn } from "../codec/encoding.ts";
import type { Receiving } from "./backlog.ts";
import type { Budget } from "./budget.ts";
import { ClientWriter, type Socket } from "./client-writer.ts";
import { PublishWindow } from "./publish-window.ts";
import { RequestQueue } from "./request-queue.ts";
import { answerRequest } from "./requests.ts";
import type {
  NotAdmitted,
  RequestingSession,
  SessionContext,
  SessionState,
} from "./session-context.ts";

/** Liveness checks in a row, each a ping interval apart, that may find a client silent. */
const SILENCES_MAX = 2;
const ERROR_MESSAGE_LENGTH_MAX = 1000;
/** What a WebSocket's close frame holds. */
const CLOSE_REASON_BYTES_MAX = 123;

/** `impliedAfter`: see PublishWindow. */
type Received = {
  readonly message: ClientMessage;
  readonly bytes: number;
  readonly impliedAfter: number | undefined;
};

export class ClientSession implements RequestingSession, Receiving {
  readonly id: string;
  readonly encoding: Encoding;
  readonly address: string;
  readonly context: SessionContext;
  readonly subscriptions = new Map<string, Readonly<Subscription>>();
  openCalls = 0;

  #state: SessionState;
  #writer: ClientWriter | undefined;
  #listensToEveryone = false;
  /** Whether something has arrived since the last liveness check. */
  #isHeard = true;
  #silences = 0;
  #badFrames = 0;
  #rateRefusals = 0;
  #queue: RequestQueue<Received> | undefined;
  #pings: TokenBucket | undefined;
  #window: PublishWindow | undefined;
  #budget: Budget | undefined;
  #view: Session | undefined;
  /** The hook that was awaited last: the requests behind it wait, so there is only one. */
  #hook: { readonly deadlineMs: number; readonly expire: () => void } | undefined;
  readonly #openedAtMs: number;
  /** Who it was, once it is closed. */
  #lastUser: string | undefined;

  /**
   * `admitted`: who the client is; or the upgrade request, where it has to connect with a token;
   * or why it is not let in.
   */
  constructor(
    context: SessionContext,
    id: string,
    encoding: Encoding,
    address: string,
    admitted: Admitted | Request | NotAdmitted,
  ) {
    this.context = context;
    this.id = id;
    this.encoding = encoding;
    this.address = address;
    this.#openedAtMs = context.monotonicMs();
    if (!(admitted instanceof Request) && "user" in admitted) this.#lastUser = admitted.user;
    this.#state = this.#stateOf(admitted);
  }

  get state(): SessionState {
    return this.#state;
  }

  get infoBytes(): Uint8Array {
    return this.#client.infoBytes;
  }

  get user(): string | undefined {
    return this.#client.user;
  }

  get producer(): string | undefined {
    return this.#state.name === "connected" ? this.#state.producer : undefined;
  }

  get isOpen(): boolean {
    return this.#writer?.isOpen === true;
  }

  get hasRoom(): boolean {
    return this.#writer?.hasRoom === true;
  }

  /** Whether a publication of its own is not answered yet. */
  get isBusy(): boolean {
    return this.#window !== undefined && this.#window.inFlight > 0;
  }

  get publishWindow(): PublishWindow {
    this.#window ??= new PublishWindow(this.context, this.context.limits.told.unacknowledged);
    return this.#window;
  }

  get budget(): Budget {
    const { budgets, channels } = this.context;
    this.#budget ??= budgets.open(this.user, this.address, channels.nowMs());
    return this.#budget;
  }

  get view(): Session {
    const { node, cluster } = this.context;
    const { id, address } = this;
    const { user, info, data } = this.#client;
    this.#view ??= Object.freeze({ id, node, user, info, data, address, cluster });
    return this.#view;
  }

  // From the socket.

  socketOpened(socket: Socket): void {
    if (this.#state.name === "refused")
      return socket.close(CLOSES.refused.code, closeReason(this.#state.message));
    const { limits, backlog } = this.context;
    this.#writer = new ClientWriter(socket, this.encoding, {
      bufferedBytesMax: limits.bufferedBytes,
      backlog,
      onSlow: () => this.#release(),
      onClose: (name) => this.#closing(CLOSES[name].code, CLOSES[name].reason),
    });
    if (this.#state.name === "connected") this.#welcome();
  }

  frameReceived(frame: string | Uint8Array): void {
    this.#isHeard = true;
    if (!this.isOpen) return;
    try {
      this.#messageReceived(clientMessage(decodeFrame(this.encoding, frame)), frame.length);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.refuseFrame(requestIdIn(this.encoding, frame), error.message);
    }
    this.context.relieve();
  }

  /** A WebSocket ping or pong has arrived. */
  heard(): void {
    this.#isHeard = true;
  }

  /** The client has read something. */
  socketDrained(): void {
    this.#writer?.socketDrained();
    for (const subscription of this.subscriptions.values())
      if (subscription.state.name === "behind") subscription.channel.clientDrained(subscription);
  }

  /** `code`: the WebSocket close code; `too_large`: the socket has closed it for a long message. */
  socketClosed(code: number | "too_large" = 1006): void {
    if (this.isOpen && code === "too_large")
      this.#closing(CLOSES.too_large.code, CLOSES.too_large.reason);
    this.#writer?.socketClosed();
    this.#release();
  }

  // From the schedule of all sessions.

  /** Once per ping interval. `isLate`: the process may have slept, and frames wait to be read. */
  checkLiveness(isLate: boolean): void {
    this.#silences = this.#isHeard || isLate ? 0 : this.#silences + 1;
    this.#isHeard = false;
    this.#badFrames = Math.max(0, this.#badFrames - 1);
    this.#rateRefusals = 0;
    if (this.#silences >= SILENCES_MAX) this.close("silent");
    else this.#writer?.ping();
  }

  /** Every so often: ends what has taken too long. */
  checkDeadlines(nowMs: number, wallMs: number): void {
    this.#writer?.checkBacklog(nowMs);
    const state = this.#state;
    if (state.name === "awaitingToken" && !state.isAuthenticating && nowMs >= state.deadlineMs)
      this.close("connect_timeout");
    else if (state.name === "connected" && wallMs >= state.client.expiresAtMs)
      this.close("expired");
    if (this.#hook !== undefined && nowMs >= this.#hook.deadlineMs) this.#hook.expire();
  }

  lookAtUnsent(): { bytes: number; hasRead: boolean } {
    return this.#writer?.lookAtUnsent() ?? { bytes: 0, hasRead: true };
  }

  cutOff(): void {
    this.#writer?.cutOff();
  }

  /** Continues with requests that had to wait. */
  resume(): void {
    this.#queue?.resume();
    if (this.#queue?.isPaced === true) this.context.resumeLater(this);
  }

  sendGoodbye(reason: string, reconnectAfterMs: number): void {
    this.sendMessage({ type: "goodbye", reason, reconnectAfterMs });
  }

  close(name: CloseName): void {
    this.#writer?.close(name);
  }

  // From requests.

  awaitHook<T>(hook: Hook, result: PromiseLike<T>): Promise<T> {
    const { limits, channels } = this.context;
    return new Promise((resolve, reject) => {
      const expire = () => {
        this.#hook = undefined;
        reject(new HookTimeout(hook));
      };
      this.#hook = { deadlineMs: channels.nowMs() + limits.hookTimeoutMs, expire };
      result.then(resolve, reject);
    });
  }

  authenticationStarted(): void {
    if (this.#state.name === "awaitingToken")
      this.#state = { ...this.#state, isAuthenticating: true };
  }

  authenticated(client: Admitted): void {
    if (this.#state.name !== "awaitingToken") return;
    this.#leaveBudget();
    this.#lastUser = client.user;
    this.#state = { name: "connected", client, hasSaidConnect: true, producer: undefined };
    this.#welcome();
  }

  connectReceived(producer: string | undefined): void {
    if (this.#state.name !== "connected") return;
    this.#state = { ...this.#state, hasSaidConnect: true, producer };
  }

  listenToEveryone(listens: boolean): void {
    if (listens === this.#listensToEveryone || (listens && !this.isOpen)) return;
    const channel = this.context.channels.open(EVERYONE, DEFAULT_ROUTE, true);
    this.#listensToEveryone = listens;
    if (listens) channel?.addListener(this);
    else channel?.removeListener(this);
  }

  refuseFrame(id: RequestId | undefined, message: string): undefined {
    this.sendError(id, "bad_frame", message);
    if (++this.#badFrames > BAD_FRAMES_MAX) this.close("bad_frames");
  }

  // To the client.

  sendMessage(message: OutgoingMessage): void {
    this.#writer?.send(encodeNodeMessage(message));
  }

  sendText(json: string): void {
    this.#writer?.send(json);
  }

  sendRequested(json: string): void {
    this.budget.answered(json.length);
    this.#writer?.sendRequested(json);
  }

  sendAnswer(json: string): void {
    this.#writer?.sendRequested(json);
  }

  sendLater(json: string): void {
    this.#writer?.sendLater(json);
  }

  sendOk(id: RequestId | undefined): undefined {
    if (id !== undefined) this.sendMessage({ type: "ok", id });
  }

  sendError(
    id: RequestId | undefined,
    code: ErrorCode,
    message: string = ERRORS[code].message,
    retry: boolean = ERRORS[code].retry,
  ): undefined {
    const words = message.slice(0, ERROR_MESSAGE_LENGTH_MAX);
    this.context.refused({ code, reason: words, session: this.id, user: this.#lastUser });
    this.sendMessage({ type: "error", id, code, message: words, retry });
  }

  cork(work: () => void): void {
    if (this.#writer === undefined) work();
    else this.#writer.cork(work);
  }

  joinTopic(topic: string): void {
    this.#writer?.joinTopic(topic);
  }

  leaveTopic(topic: string): void {
    this.#writer?.leaveTopic(topic);
  }

  subscriptionFailed(channel: string, subscription: object): void {
    if (this.subscriptions.get(channel) !== subscription) return;
    this.subscriptions.delete(channel);
    if (channel === EVERYONE) this.listenToEveryone(true);
  }

  #stateOf(admitted: Admitted | Request | NotAdmitted): SessionState {
    const { channels, connectMs } = this.context;
    if (admitted instanceof Request) {
      const deadlineMs = channels.nowMs() + connectMs;
      return { name: "awaitingToken", request: admitted, deadlineMs, isAuthenticating: false };
    }
    if ("refusal" in admitted) return { name: "refused", message: admitted.refusal };
    return { name: "connected", client: admitted, hasSaidConnect: false, producer: undefined };
  }

  get #client(): Admitted {
    return this.#state.name === "connected" ? this.#state.client : ANYONE;
  }

  #welcome(): void {
    const { node, pingMs, limits } = this.context;
    this.sendMessage({ type: "welcome", session: this.id, node, pingMs, limits: limits.told });
    this.listenToEveryone(true);
  }

  #messageReceived(message: ClientMessage, bytes: number): void {
    if (message.type === "ping") return this.#answerPing(message.id);
    this.#queue ??= this.#createQueue();
    const impliedAfter =
      message.type === "publish" ? this.publishWindow.publicationArrived(message) : undefined;
    if (!this.#queue.offer({ message, bytes, impliedAfter })) this.#refuseRate(message.id);
    if (this.#queue.isPaced) this.context.resumeLater(this);
  }

  /** Never queued: it asks whether the node is alive. */
  #answerPing(id: RequestId | undefined): void {
    this.#pings ??= new TokenBucket(PINGS_PER_SECOND, this.context.channels.nowMs());
    if (this.#pings.take(this.context.channels.nowMs())) this.sendMessage({ type: "pong", id });
    else this.#refuseRate(id);
  }

  #refuseRate(id: RequestId | undefined): void {
    this.sendError(id, "rate");
    if (++this.#rateRefusals > RATE_REFUSALS_MAX) this.close("rate");
  }

  #createQueue(): RequestQueue<Received> {
    const { limits, channels } = this.context;
    return new RequestQueue({
      answer: ({ message, impliedAfter }) => this.#answer(message, impliedAfter),
      isReady: ({ message }) =>
        message.type !== "publish" || !this.publishWindow.mustWait(message.channel),
      take: ({ message, bytes }) => this.budget.take(message, bytes, channels.nowMs()),
      bytesMax: limits.bufferedBytes,
    });
  }

  /** The client is being closed, not by itself. */
  #closing(code: number, reason: string): void {
    const durationMs = this.context.monotonicMs() - this.#openedAtMs;
    this.context.closing({ code, reason, session: this.id, user: this.#lastUser, durationMs });
  }

  /** What it has spent is remembered, of this user or address. */
  #leaveBudget(): void {
    const { budgets, channels } = this.context;
    if (this.#budget !== undefined)
      budgets.close(this.user, this.address, this.#budget, channels.nowMs());
    this.#budget = undefined;
  }

  #answer(message: ClientMessage, impliedAfter: number | undefined): Promise<void> | undefined {
    try {
      return answerRequest(this, message, impliedAfter);
    } catch (error) {
      // A bug of ours: it must not touch other sessions.
      this.context.failed(message.type, error, this.id);
      this.close("internal");
      return undefined;
    }
  }

  /** Leaves everything: nothing more can be sent. */
  #release(): void {
    this.#queue?.clear();
    this.listenToEveryone(false);
    for (const subscription of this.subscriptions.values())
      subscription.channel.unsubscribe(subscription);
    this.subscriptions.clear();
    this.#leaveBudget();
    this.#state = { name: "closed" };
  }
}

/** The message as far as a close frame holds it. */
function closeReason(message: string): string {
  const { read } = new TextEncoder().encodeInto(message, new Uint8Array(CLOSE_REASON_BYTES_MAX));
  return message.slice(0, read);
}
