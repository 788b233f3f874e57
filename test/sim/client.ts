// A simulated client process: the SDK's core on simulated connections and timers. It records all
// that it publishes and reads.

import type { Publication, ReadEvent, Reading } from "../../src/chaos/history.ts";
import { Core } from "../../src/client/core.ts";
import type { Start } from "../../src/client/reader.ts";
import type { ChannelEvent, Effect, Step } from "../../src/client/steps.ts";
import type { Position } from "../../src/wire/position.ts";
import { isRecord } from "../../src/wire/shape.ts";
import type { Cable, End, Network } from "./cable.ts";
import { PING, PONG, UPGRADED } from "./node.ts";
import { Process } from "./process.ts";

/** Dials some lb; `dialed` is told of the connection when there is one. */
export type Dial = (end: End<string>, dialed: (cable: Cable<string>) => void) => void;

type OpenReading = Reading & { readonly events: ReadEvent[]; isOver: boolean };

export class SimClient {
  readonly process: Process;
  readonly publications: Publication[] = [];
  readonly readings: OpenReading[] = [];
  cable: Cable<string> | undefined;
  readonly #network: Network;
  readonly #dialLb: Dial;
  readonly #core: Core;
  readonly #open = new Map<string, OpenReading>();
  /** Channels by their reader's number less one: one reader a channel. */
  readonly #readers: string[] = [];
  readonly #tickets = new Map<number, Publication>();
  readonly #padding: string;
  #dial = 0;
  #wakes = 0;
  #ticket = 0;

  constructor(name: string, network: Network, dial: Dial, padding: string) {
    this.#network = network;
    this.#dialLb = dial;
    this.#padding = padding;
    this.process = new Process(name, network.clock);
    this.#core = new Core(`producer-${name}`, network.random);
    this.process.after(0, () => this.step({ type: "start" }));
  }

  get name(): string {
    return this.process.name;
  }

  get isConnected(): boolean {
    return this.#core.state === "connected";
  }

  get channels(): string[] {
    return [...this.#open.keys()];
  }

  /** Publications that have no answer yet. */
  get pending(): number {
    return this.#tickets.size;
  }

  positionOf(channel: string): Position | undefined {
    return this.#core.positionOf(this.#readerOf(channel));
  }

  /** A step of the app in the client's process. */
  step(step: Step): void {
    this.process.run(() => {
      for (const effect of this.#core.step(step, this.#network.clock.now)) this.#apply(effect);
    });
  }

  /** `isKeyed`: with a key of its own, besides its place. */
  publish(channel: string, { isKeyed = false } = {}): void {
    this.process.run(() => {
      const ticket = ++this.#ticket;
      const value = `${this.name}.${ticket}`;
      const publication: Publication = { channel, publisher: this.name, value, outcome: "pending" };
      this.publications.push(publication);
      this.#tickets.set(ticket, publication);
      const json = JSON.stringify({ value, padding: this.#padding });
      this.step({ type: "publish", ticket, channel, json, key: isKeyed ? value : undefined });
    });
  }

  /** Subscribes, or begins the subscription anew from `start`. */
  subscribe(channel: string, start?: Start): void {
    this.process.run(() => {
      this.#giveUp(channel);
      const reading: OpenReading = { reader: this.name, channel, events: [], isOver: false };
      if (start?.since !== undefined)
        reading.events.push({ type: "stands", position: start.since });
      this.#open.set(channel, reading);
      this.readings.push(reading);
      const [ticket, reader] = [++this.#ticket, this.#readerOf(channel)];
      this.step({ type: "subscribe", ticket, reader, channel, start: start ?? {} });
    });
  }

  unsubscribe(channel: string): void {
    this.process.run(() => {
      this.#giveUp(channel);
      this.step({ type: "unsubscribe", reader: this.#readerOf(channel) });
    });
  }

  pause(channel: string): void {
    this.step({ type: "pause", reader: this.#readerOf(channel) });
  }

  resume(channel: string): void {
    this.step({ type: "resume", reader: this.#readerOf(channel) });
  }

  /** The process dies, with the publications that it has not sent. */
  kill(): void {
    this.process.kill();
    this.cable?.died(0);
    for (const channel of this.channels) this.#giveUp(channel);
    for (const publication of this.#tickets.values()) publication.outcome = "unknown";
    this.#tickets.clear();
  }

  #readerOf(channel: string): number {
    if (!this.#readers.includes(channel)) this.#readers.push(channel);
    return this.#readers.indexOf(channel) + 1;
  }

  #giveUp(channel: string): void {
    const reading = this.#open.get(channel);
    if (reading !== undefined) reading.isOver = true;
    this.#open.delete(channel);
  }

  #apply(effect: Effect): void {
    switch (effect.type) {
      case "open":
        return this.#connect();
      case "send":
        return this.cable?.send(0, effect.text);
      case "close":
        this.#dial++;
        return this.cable?.close(0, effect.code);
      case "wake":
        return this.#wakeAt(effect.at);
      case "published":
        return this.#answered(effect.ticket, "ok", effect.position);
      case "failed":
        return this.#answered(
          effect.ticket,
          effect.fault.code === "closed" || effect.fault.code === "unknown" ? "unknown" : "failed",
          undefined,
        );
      case "tell_reader":
        return this.#told(this.#readers[effect.reader - 1], effect.event);
      default:
        return undefined;
    }
  }

  #connect(): void {
    const dial = ++this.#dial;
    const hear = (step: Step) => {
      if (dial === this.#dial) this.step(step);
    };
    const end: End<string> = {
      process: this.process,
      receive: (text) => {
        if (dial !== this.#dial) return;
        if (text === PING) this.cable?.send(0, PONG);
        else
          hear(text === UPGRADED ? { type: "opened", token: undefined } : { type: "text", text });
      },
      closed: (code) => hear({ type: "closed", code, reason: "" }),
    };
    this.#dialLb(end, (cable) => {
      if (dial === this.#dial && this.process.isAlive) this.cable = cable;
      else cable.close(0, 1000);
    });
  }

  #wakeAt(at: number): void {
    const wake = ++this.#wakes;
    this.#network.clock.at(at, () => {
      if (wake === this.#wakes) this.step({ type: "wake" });
    });
  }

  #answered(ticket: number, outcome: Publication["outcome"], position: Position | undefined): void {
    const publication = this.#tickets.get(ticket);
    if (publication === undefined) return;
    this.#tickets.delete(ticket);
    publication.outcome = outcome;
    publication.position = position;
  }

  #told(channel: string, event: ChannelEvent): void {
    const events = this.#open.get(channel)?.events;
    if (event.type === "message") {
      const { epoch, offset, data } = event;
      events?.push({
        type: "message",
        epoch,
        offset,
        value: isRecord(data) ? String(data.value) : String(data),
      });
    } else if (event.type === "gap") {
      events?.push({ type: "stands", position: event.position, gap: event.gap });
    } else if (event.type === "subscribed") {
      events?.push({ type: "stands", position: event.subscribed.position });
    }
  }
}
