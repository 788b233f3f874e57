// What the client does, as a state machine: a step and the time in, effects out. No WebSocket,
// clock or randomness in here, so that a simulation can drive it through anything.

import {
  type ClientMessage,
  type NodeMessage,
  type NodeMessageOf,
  nodeMessage,
} from "../wire/client-messages.ts";
import { CLOSES, shouldReconnect } from "../wire/codes.ts";
import type { Position } from "../wire/position.ts";
import { Malformed } from "../wire/shape.ts";
import { Connection, type ConnectionState } from "./connection.ts";
import { FAULTS, type Fault } from "./error.ts";
import { Outbox } from "./outbox.ts";
import { Requests } from "./requests.ts";
import type { ClientEvent, Command, Effect, Step } from "./steps.ts";
import { Subscriptions } from "./subscriptions.ts";

const CONNECT_ID = "connect";

export class Core {
  readonly #producer: string;
  readonly #random: () => number;
  readonly #connection = new Connection();
  readonly #outbox: Outbox;
  readonly #requests: Requests;
  readonly #subscriptions: Subscriptions;
  #now = 0;
  #wakeAt = Number.POSITIVE_INFINITY;
  #closeAt: number | undefined;
  #effects: Effect[] = [];

  /**
   * `producer`: 16 random bytes as hex, by which every node knows that it is us again. `random`:
   * from 0 up to 1.
   */
  constructor(producer: string, random: () => number) {
    this.#producer = producer;
    this.#random = random;
    const emit = (effect: Effect) => this.#emit(effect);
    this.#outbox = new Outbox(emit);
    this.#requests = new Requests(emit);
    this.#subscriptions = new Subscriptions(emit);
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  get isEnded(): boolean {
    return this.#connection.isEnded;
  }

  /**
   * The node that serves us, and what it calls our session; undefined while we are not connected.
   */
  get node(): string | undefined {
    return this.#connection.welcome?.node;
  }

  get session(): string | undefined {
    return this.#connection.welcome?.session;
  }

  positionOf(channel: string): Position | undefined {
    return this.#subscriptions.positionOf(channel);
  }

  step(step: Step, now: number): readonly Effect[] {
    this.#now = now;
    this.#effects = [];
    if (step.type === "text") {
      // A message makes nothing else due: the hot path ends here.
      if (this.#textReceived(step.text)) return this.#effects;
    } else if ("ticket" in step) this.#startCommand(step);
    else if (!this.isEnded) this.#applyStep(step);
    this.#runDue();
    return this.#effects;
  }

  #applyStep(step: Exclude<Step, Command | { type: "text" }>): void {
    switch (step.type) {
      case "start":
        return this.#dial();
      case "opened":
        this.#connection.socketOpened(this.#now);
        return this.#send({
          type: "connect",
          id: CONNECT_ID,
          producer: this.#producer,
          token: step.token,
        });
      case "closed":
        return this.#socketClosed(step.code, step.reason);
      case "wake":
        this.#wakeAt = Number.POSITIVE_INFINITY;
        return this.#requests.failExpired(this.#now);
      case "online":
        return this.#connection.retryNow(this.#now);
      case "close":
        this.#closeAt ??= this.#now + step.withinMs;
        return undefined;
      case "unsubscribe":
        if (
          this.#subscriptions.unsubscribe(step.channel, FAULTS.unsubscribed) &&
          this.#connection.welcome !== undefined
        )
          this.#send({ type: "unsubscribe", channel: step.channel });
        return undefined;
      case "pause":
        return this.#subscriptions.pause(step.channel);
      case "resume":
        return this.#subscriptions.resume(step.channel);
      default:
        return step satisfies never;
    }
  }

  #startCommand(command: Command): void {
    const { ticket } = command;
    if (this.#closeAt !== undefined || this.isEnded)
      return this.#emit({ type: "failed", ticket, fault: FAULTS.closed });
    if (command.type === "publish")
      return this.#outbox.enqueuePublication(ticket, command.channel, command.json, command.key);
    if (command.type === "request")
      return this.#requests.enqueueRequest(ticket, command.frame, this.#now + command.timeoutMs);
    return this.#subscriptions.subscribe(ticket, command.channel, command.start);
  }

  /** Takes a frame in. True for a message, which is what most of them are. */
  #textReceived(text: string): boolean {
    this.#connection.frameReceived(this.#now);
    let message: NodeMessage | undefined;
    try {
      message = nodeMessage(JSON.parse(text));
    } catch (error) {
      if (!(error instanceof Malformed || error instanceof SyntaxError)) throw error;
      this.#unreadableFrame(error.message);
      return false;
    }
    if (message?.type === "message") {
      this.#subscriptions.messageArrived(message, text.length);
      return true;
    }
    if (message !== undefined) this.#messageReceived(message);
    return false;
  }

  #messageReceived(message: Exclude<NodeMessage, { type: "message" }>): void {
    switch (message.type) {
      case "welcome":
        return this.#handshakeReceived(message);
      case "ok":
        return this.#okReceived(message);
      case "error":
        return this.#errorReceived(message);
      case "gap":
      case "join":
      case "leave":
        return this.#subscriptions.channelEventArrived(message);
      case "goodbye":
        this.#connection.goodbyeReceived(message.reconnectAfterMs, this.#now);
        return this.#emitEvent(message);
      case "pong":
        return undefined;
      default:
        return message satisfies never;
    }
  }

  #handshakeReceived(greeting: NodeMessageOf<"welcome"> | "let_in"): void {
    if (!this.#connection.handshakeReceived(greeting, this.#now)) return;
    const { welcome } = this.#connection;
    if (welcome !== undefined)
      this.#emitEvent({ type: "connected", node: welcome.node, session: welcome.session });
  }

  /** Replies carry our ids: "p" and a seq, "r" and a ticket, "s" and the number of a subscribe. */
  #okReceived(ok: NodeMessageOf<"ok">): void {
    const id = String(ok.id);
    const number = Number(id.slice(1));
    if (id === CONNECT_ID) this.#handshakeReceived("let_in");
    else if (id.startsWith("p")) this.#outbox.publicationAccepted(number, ok);
    else if (id.startsWith("r")) this.#requests.requestAnswered(number, ok);
    else if (!this.#subscriptions.subscribeAccepted(number, ok))
      this.#unreadableFrame("a subscribe is answered without a position");
  }

  #errorReceived({ id, code, message, retry }: NodeMessageOf<"error">): void {
    const fault: Fault = { code, message, retry };
    if (id === undefined) return this.#emitEvent({ type: "error", fault });
    const name = String(id);
    const number = Number(name.slice(1));
    if (name.startsWith("p"))
      return this.#outbox.publicationRefused(number, fault, this.#now, this.#random());
    if (name.startsWith("r")) return this.#requests.requestRefused(number, fault);
    if (name.startsWith("s"))
      return this.#subscriptions.subscribeRefused(number, fault, this.#now, this.#random());
    if (retry) return this.#closeAndReconnect(CLOSES.normal.code, message);
    return this.#end(fault, CLOSES.refused.code, message);
  }

  /** It may have been a message: coming back by position is the way to miss none. */
  #unreadableFrame(message: string): void {
    this.#emitEvent({ type: "error", fault: { code: "bad_frame", message, retry: true } });
    this.#closeAndReconnect(CLOSES.bad_frames.code, "a frame could not be read");
  }

  /** Does what is due, and asks to be woken for the rest. */
  #runDue(): void {
    if (this.isEnded) return;
    const due = this.#connection.dueAction(this.#now);
    if (due === "dial") this.#dial();
    else if (due === "ping") this.#send({ type: "ping" });
    else if (due === "cut") this.#closeAndReconnect(CLOSES.silent.code, "no answer");
    const { welcome } = this.#connection;
    if (welcome !== undefined) this.#sendPending(welcome);
    if (this.#connection.isLeaveDue(this.#now) && !this.#requests.isAwaitingReply) {
      this.#closeAndReconnect(CLOSES.normal.code, "leaving");
      this.#dial();
    }
    if (
      this.#closeAt !== undefined &&
      (this.#closeAt <= this.#now || this.#outbox.size + this.#requests.size === 0)
    )
      this.#end(FAULTS.closed, CLOSES.normal.code, CLOSES.normal.reason);
    else this.#scheduleWake();
  }

  /** Subscriptions first: what is published or asked after them may be answered through them. */
  #sendPending({ limits }: NodeMessageOf<"welcome">): void {
    this.#subscriptions.sendSubscribes(this.#now);
    this.#outbox.sendPublications(this.#now, limits.unacknowledged, limits.frameBytes);
    // A node that has said goodbye may not live to answer: what cannot be asked twice waits for the
    // next.
    if (!this.#connection.hasGoodbye) this.#requests.sendRequests(limits.frameBytes);
  }

  #scheduleWake(): void {
    const isConnected = this.#connection.welcome !== undefined;
    const at = Math.min(
      this.#connection.wakeAt(this.#now),
      this.#requests.wakeAt(),
      this.#closeAt ?? Number.POSITIVE_INFINITY,
      isConnected ? this.#outbox.wakeAt(this.#now) : Number.POSITIVE_INFINITY,
      isConnected ? this.#subscriptions.wakeAt(this.#now) : Number.POSITIVE_INFINITY,
    );
    if (at >= this.#wakeAt) return;
    this.#wakeAt = at;
    this.#emit({ type: "wake", at });
  }

  #dial(): void {
    this.#connection.dialStarted(this.#now);
    this.#emit({ type: "open" });
  }

  #socketClosed(code: number, reason: string): void {
    if (shouldReconnect(code)) this.#connectionLost(code, reason);
    else if (code === CLOSES.refused.code)
      this.#end({ ...FAULTS.refused, message: reason }, code, reason);
    else this.#end(FAULTS.closed, code, reason);
  }

  /** Gives the connection up from this side. */
  #closeAndReconnect(code: number, reason: string): void {
    this.#emit({ type: "close", code, reason });
    this.#connectionLost(code, reason);
  }

  #connectionLost(code: number, reason: string): void {
    const wasConnected = this.#connection.welcome !== undefined;
    const reconnectInMs = this.#connection.connectionLost(this.#now, this.#random());
    this.#outbox.connectionLost();
    this.#requests.connectionLost();
    this.#subscriptions.connectionLost();
    this.#emitEvent({ type: "disconnected", code, reason, wasConnected, reconnectInMs });
  }

  #end(fault: Fault, code: number, reason: string): void {
    const wasConnected = this.#connection.welcome !== undefined;
    this.#connection.end(fault.code === "refused");
    this.#emit({ type: "close", code: CLOSES.normal.code, reason: "" });
    this.#emitEvent({ type: "disconnected", code, reason, wasConnected, reconnectInMs: undefined });
    this.#outbox.failAll(fault);
    this.#requests.failAll(fault);
    this.#subscriptions.endAll(fault);
    this.#emit({ type: "ended" });
  }

  #send(frame: ClientMessage): void {
    this.#emit({ type: "send", text: JSON.stringify(frame) });
  }

  #emitEvent(event: ClientEvent): void {
    this.#emit({ type: "tell", event });
  }

  #emit(effect: Effect): void {
    if (effect.type === "send") this.#connection.frameSent(this.#now);
    this.#effects.push(effect);
  }
}
