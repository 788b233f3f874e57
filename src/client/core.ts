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
import { Outbox } from "./outbox.ts";
import { Requests } from "./requests.ts";
import {
  type ClientEvent,
  type Command,
  type Effect,
  FAULTS,
  type Fault,
  type Step,
} from "./steps.ts";
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
      if (this.#receive(step.text)) return this.#effects;
    } else if ("ticket" in step) this.#begin(step);
    else if (!this.isEnded) this.#apply(step);
    this.#advance();
    return this.#effects;
  }

  #apply(step: Exclude<Step, Command | { type: "text" }>): void {
    switch (step.type) {
      case "start":
        return this.#dial();
      case "opened":
        this.#connection.opened(this.#now);
        return this.#send({
          type: "connect",
          id: CONNECT_ID,
          producer: this.#producer,
          token: step.token,
        });
      case "closed":
        return this.#closed(step.code, step.reason);
      case "wake":
        this.#wakeAt = Number.POSITIVE_INFINITY;
        return this.#requests.expire(this.#now);
      case "online":
        return this.#connection.hurry(this.#now);
      case "close":
        this.#closeAt ??= this.#now + step.withinMs;
        return undefined;
      case "unsubscribe":
        if (
          this.#subscriptions.remove(step.channel, FAULTS.unsubscribed) &&
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

  #begin(command: Command): void {
    const { ticket } = command;
    if (this.#closeAt !== undefined || this.isEnded)
      return this.#emit({ type: "failed", ticket, fault: FAULTS.closed });
    if (command.type === "publish")
      return this.#outbox.add(ticket, command.channel, command.json, command.key);
    if (command.type === "request")
      return this.#requests.add(ticket, command.frame, this.#now + command.timeoutMs);
    return this.#subscriptions.add(ticket, command.channel, command.start);
  }

  /** Takes a frame in. True for a message, which is what most of them are. */
  #receive(text: string): boolean {
    this.#connection.heard(this.#now);
    let message: NodeMessage | undefined;
    try {
      message = nodeMessage(JSON.parse(text));
    } catch (error) {
      if (!(error instanceof Malformed || error instanceof SyntaxError)) throw error;
      this.#unreadable(error.message);
      return false;
    }
    if (message?.type === "message") {
      this.#subscriptions.message(message, text.length);
      return true;
    }
    if (message !== undefined) this.#hear(message);
    return false;
  }

  #hear(message: Exclude<NodeMessage, { type: "message" }>): void {
    switch (message.type) {
      case "welcome":
        return this.#greet(message);
      case "ok":
        return this.#accepted(message);
      case "error":
        return this.#refused(message);
      case "gap":
      case "join":
      case "leave":
        return this.#subscriptions.told(message);
      case "goodbye":
        this.#connection.saidGoodbye(message.reconnectAfterMs, this.#now);
        return this.#tell(message);
      case "pong":
        return undefined;
      default:
        return message satisfies never;
    }
  }

  #greet(greeting: NodeMessageOf<"welcome"> | "let_in"): void {
    if (!this.#connection.greeted(greeting, this.#now)) return;
    const { welcome } = this.#connection;
    if (welcome !== undefined)
      this.#tell({ type: "connected", node: welcome.node, session: welcome.session });
  }

  /** Replies carry our ids: "p" and a seq, "r" and a ticket, "s" and the number of a subscribe. */
  #accepted(ok: NodeMessageOf<"ok">): void {
    const id = String(ok.id);
    const number = Number(id.slice(1));
    if (id === CONNECT_ID) this.#greet("let_in");
    else if (id.startsWith("p")) this.#outbox.accepted(number, ok);
    else if (id.startsWith("r")) this.#requests.accepted(number, ok);
    else if (!this.#subscriptions.accepted(number, ok))
      this.#unreadable("a subscribe is answered without a position");
  }

  #refused({ id, code, message, retry }: NodeMessageOf<"error">): void {
    const fault: Fault = { code, message, retry };
    if (id === undefined) return this.#tell({ type: "error", fault });
    const name = String(id);
    const number = Number(name.slice(1));
    if (name.startsWith("p")) return this.#outbox.refused(number, fault, this.#now, this.#random());
    if (name.startsWith("r")) return this.#requests.refused(number, fault);
    if (name.startsWith("s"))
      return this.#subscriptions.refused(number, fault, this.#now, this.#random());
    if (retry) return this.#cut(CLOSES.normal.code, message);
    return this.#end(fault, CLOSES.refused.code, message);
  }

  /** It may have been a message: coming back by position is the way to miss none. */
  #unreadable(message: string): void {
    this.#tell({ type: "error", fault: { code: "bad_frame", message, retry: true } });
    this.#cut(CLOSES.bad_frames.code, "a frame could not be read");
  }

  /** Does what is due, and asks to be woken for the rest. */
  #advance(): void {
    if (this.isEnded) return;
    const due = this.#connection.due(this.#now);
    if (due === "dial") this.#dial();
    else if (due === "ping") this.#send({ type: "ping" });
    else if (due === "cut") this.#cut(CLOSES.silent.code, "no answer");
    const { welcome } = this.#connection;
    if (welcome !== undefined) this.#flush(welcome);
    if (this.#connection.isOverdue(this.#now) && !this.#requests.isAwaitingReply) {
      this.#cut(CLOSES.normal.code, "leaving");
      this.#dial();
    }
    if (
      this.#closeAt !== undefined &&
      (this.#closeAt <= this.#now || this.#outbox.size + this.#requests.size === 0)
    )
      this.#end(FAULTS.closed, CLOSES.normal.code, CLOSES.normal.reason);
    else this.#arm();
  }

  /** Subscriptions first: what is published or asked after them may be answered through them. */
  #flush({ limits }: NodeMessageOf<"welcome">): void {
    this.#subscriptions.flush(this.#now);
    this.#outbox.flush(this.#now, limits.unacknowledged, limits.frameBytes);
    // A node that has said goodbye may not live to answer: what cannot be asked twice waits for the
    // next.
    if (!this.#connection.isLeaving) this.#requests.flush(limits.frameBytes);
  }

  #arm(): void {
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
    this.#connection.dialed(this.#now);
    this.#emit({ type: "open" });
  }

  #closed(code: number, reason: string): void {
    if (shouldReconnect(code)) this.#lost(code, reason);
    else if (code === CLOSES.refused.code)
      this.#end({ ...FAULTS.refused, message: reason }, code, reason);
    else this.#end(FAULTS.closed, code, reason);
  }

  /** Gives the connection up from this side. */
  #cut(code: number, reason: string): void {
    this.#emit({ type: "close", code, reason });
    this.#lost(code, reason);
  }

  #lost(code: number, reason: string): void {
    const wasConnected = this.#connection.welcome !== undefined;
    const reconnectInMs = this.#connection.lost(this.#now, this.#random());
    this.#outbox.disconnected();
    this.#requests.disconnected();
    this.#subscriptions.disconnected();
    this.#tell({ type: "disconnected", code, reason, wasConnected, reconnectInMs });
  }

  #end(fault: Fault, code: number, reason: string): void {
    const wasConnected = this.#connection.welcome !== undefined;
    this.#connection.ended(fault.code === "refused");
    this.#emit({ type: "close", code: CLOSES.normal.code, reason: "" });
    this.#tell({ type: "disconnected", code, reason, wasConnected, reconnectInMs: undefined });
    this.#outbox.clear(fault);
    this.#requests.clear(fault);
    this.#subscriptions.clear(fault);
    this.#emit({ type: "ended" });
  }

  #send(frame: ClientMessage): void {
    this.#emit({ type: "send", text: JSON.stringify(frame) });
  }

  #tell(event: ClientEvent): void {
    this.#emit({ type: "tell", event });
  }

  #emit(effect: Effect): void {
    if (effect.type === "send") this.#connection.said(this.#now);
    this.#effects.push(effect);
  }
}
