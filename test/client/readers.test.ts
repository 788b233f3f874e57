// Several readers of one channel, over one subscription: whatever the node, the connection and the
// others do, each is given all that follows its own place, once and in order.

import { expect, test } from "bun:test";
import { Core } from "../../src/client/core.ts";
import type { Start } from "../../src/client/reader.ts";
import type { Effect, Step } from "../../src/client/steps.ts";
import { isRecord } from "../../src/wire/shape.ts";

const LIMITS = { frameBytes: 65_536, dataBytes: 64_000, subscriptions: 100, unacknowledged: 256 };
const CHANNEL = "news";

/** Numbers from 0 up to 1 that a seed decides. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A node with one channel: frames wait on both ways until they are passed on. */
class Node {
  top = 0;
  /** Older publications are gone. */
  first = 1;
  /** How far the one subscription was sent; undefined: there is none. */
  sentTo: number | undefined;
  subscribes = 0;
  toClient: object[] = [];

  frameArrived(text: string, fails: boolean): void {
    const frame: unknown = JSON.parse(text);
    if (!isRecord(frame)) throw new Error(text);
    if (frame.type === "unsubscribe") this.sentTo = undefined;
    if (frame.type !== "subscribe") return;
    this.subscribes++;
    if (fails) {
      this.sentTo = undefined;
      const error = { code: "busy", message: "later", retry: true };
      this.toClient.push({ type: "error", id: frame.id, ...error });
      return;
    }
    const wanted = isRecord(frame.since)
      ? Number(frame.since.offset)
      : this.top - Number(frame.last ?? 0);
    const at = Math.min(Math.max(wanted, this.first - 1), this.top);
    this.sentTo = at;
    const isLost = isRecord(frame.since) && wanted < at;
    const gap = isLost ? { gap: { reason: "expired", from: wanted + 1, to: at } } : {};
    const position = { epoch: "e", offset: at };
    this.toClient.push({ type: "ok", id: frame.id, position, recovered: !isLost, ...gap });
  }

  /** Sends what the subscription has not been sent, up to `count`. */
  flush(count: number): void {
    for (let i = 0; i < count && this.sentTo !== undefined && this.sentTo < this.top; i++) {
      const offset = ++this.sentTo;
      const data = offset;
      this.toClient.push({ type: "message", channel: CHANNEL, offset, time: 1, data });
    }
  }
}

/** What one reader was told. `at`: where it stands by its own account. */
type Told = { at: number | undefined; offsets: number[]; missed: number };

class World {
  readonly node = new Node();
  readonly told = new Map<number, Told>();
  readonly random: () => number;
  now = 0;
  #toNode: string[] = [];
  #wakeAt = Number.POSITIVE_INFINITY;
  #tickets = 0;
  readonly #core: Core;

  constructor(random: () => number) {
    this.random = random;
    this.#core = new Core("0123456789abcdef", random);
    this.step({ type: "start" });
  }

  step(step: Step): void {
    for (const effect of this.#core.step(step, this.now)) this.#apply(effect);
  }

  subscribe(reader: number, start: Start | undefined): void {
    const known = this.told.get(reader);
    if (known === undefined || start !== undefined)
      this.told.set(reader, { at: undefined, offsets: [], missed: 0 });
    this.step({ type: "subscribe", ticket: ++this.#tickets, reader, channel: CHANNEL, start });
  }

  unsubscribe(reader: number): void {
    this.step({ type: "unsubscribe", reader });
    this.told.delete(reader);
  }

  lose(): void {
    this.#toNode = [];
    this.node.toClient = [];
    this.node.sentTo = undefined;
    this.step({ type: "closed", code: 1006, reason: "" });
  }

  /** Passes on what waits for one side. */
  pass(isToNode: boolean, count: number, failing = 0): void {
    if (isToNode)
      for (const text of this.#toNode.splice(0, count))
        this.node.frameArrived(text, this.random() < failing);
    else
      for (const frame of this.node.toClient.splice(0, count))
        this.step({ type: "text", text: JSON.stringify(frame) });
  }

  wake(): void {
    if (this.#wakeAt === Number.POSITIVE_INFINITY) return;
    this.now = Math.max(this.now, this.#wakeAt);
    this.#wakeAt = Number.POSITIVE_INFINITY;
    this.step({ type: "wake" });
  }

  /** Until nothing is on its way any more. */
  settle(): void {
    for (let round = 0; round < 200; round++) {
      this.pass(true, Number.POSITIVE_INFINITY);
      this.node.flush(Number.POSITIVE_INFINITY);
      this.pass(false, Number.POSITIVE_INFINITY);
      if (this.#wakeAt < this.now + 20_000) this.wake();
    }
  }

  #apply(effect: Effect): void {
    if (effect.type === "open") this.#opened();
    else if (effect.type === "send") this.#toNode.push(effect.text);
    else if (effect.type === "wake") this.#wakeAt = effect.at;
    else if (effect.type === "tell_reader") this.#tell(effect);
  }

  #opened(): void {
    this.#toNode = [];
    this.node.sentTo = undefined;
    const hello = { session: "s", node: "n", pingMs: 3_600_000, limits: LIMITS };
    this.node.toClient = [
      { type: "welcome", ...hello },
      { type: "ok", id: "connect" },
    ];
    this.step({ type: "opened", token: undefined });
  }

  #tell({ reader, event }: Extract<Effect, { type: "tell_reader" }>): void {
    const told = this.told.get(reader);
    if (told === undefined) return;
    if (event.type === "message") {
      if (event.offset !== (told.at ?? Number.NaN) + 1)
        throw new Error(`reader ${reader} at ${told.at} is given ${event.offset}`);
      told.offsets.push(event.offset);
      told.at = event.offset;
    } else if (event.type === "gap") {
      if (told.at !== undefined && event.gap.from !== told.at + 1)
        throw new Error(`reader ${reader} at ${told.at} is told that ${event.gap.from} is gone`);
      told.missed += event.gap.to - event.gap.from + 1;
      told.at = event.position.offset;
    } else if (event.type === "subscribed") {
      const { offset } = event.subscribed.position;
      if (told.at !== undefined && told.at !== offset)
        throw new Error(`reader ${reader} at ${told.at} is told that it stands at ${offset}`);
      told.at = offset;
    }
  }
}

function connectedWorld(): World {
  const world = new World(randomOf(1));
  world.settle();
  return world;
}

/** Two readers that stand at the newest. */
function worldOfTwo(): World {
  const world = connectedWorld();
  world.subscribe(1, undefined);
  world.subscribe(2, undefined);
  world.settle();
  return world;
}

const offsetsOf = (world: World, reader: number) => world.told.get(reader)?.offsets;

test("one who begins in the past is given it alone, whatever waits for the others", () => {
  const world = connectedWorld();
  world.subscribe(1, undefined);
  world.settle();
  world.node.top = 10;
  world.node.flush(4);
  world.pass(false, 4);
  // Six are in the node's batch, and are lost with the subscription that is begun anew.
  world.subscribe(2, { last: 3 });
  world.settle();
  world.node.top = 11;
  world.settle();
  expect(offsetsOf(world, 1)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(offsetsOf(world, 2)).toEqual([8, 9, 10, 11]);
});

test("one who wants what comes next is given nothing of what another looks back at", () => {
  const world = connectedWorld();
  world.node.top = 10;
  world.subscribe(1, { last: 5 });
  world.subscribe(2, undefined);
  world.settle();
  world.node.top = 11;
  world.settle();
  expect(offsetsOf(world, 1)).toEqual([6, 7, 8, 9, 10, 11]);
  expect(offsetsOf(world, 2)).toEqual([11]);
});

test("one who joins a subscription that stands needs no question", () => {
  const world = connectedWorld();
  world.subscribe(1, undefined);
  world.settle();
  world.subscribe(2, undefined);
  world.subscribe(3, { last: 0 });
  expect([world.told.get(2)?.at, world.told.get(3)?.at]).toEqual([0, 0]);
  world.settle();
  expect(world.node.subscribes).toBe(1);
});

test("the node is told when the last has left, and no earlier", () => {
  const world = worldOfTwo();
  world.unsubscribe(1);
  world.node.top = 1;
  world.settle();
  expect(offsetsOf(world, 2)).toEqual([1]);
  world.unsubscribe(2);
  world.settle();
  expect(world.node.sentTo).toBeUndefined();
});

test("a reader that pauses holds nobody up, and catches up", () => {
  const world = worldOfTwo();
  world.step({ type: "pause", reader: 1 });
  world.node.top = 3;
  world.settle();
  expect([offsetsOf(world, 1), offsetsOf(world, 2)]).toEqual([[], [1, 2, 3]]);
  world.step({ type: "resume", reader: 1 });
  world.settle();
  expect([offsetsOf(world, 1), offsetsOf(world, 2)]).toEqual([
    [1, 2, 3],
    [1, 2, 3],
  ]);
});

test("after a lost connection each goes on at its own place, and is told of its own gap", () => {
  const world = worldOfTwo();
  world.step({ type: "pause", reader: 1 });
  world.node.top = 5;
  world.settle();
  world.lose();
  world.step({ type: "resume", reader: 1 });
  world.node.top = 20;
  world.node.first = 10;
  world.settle();
  expect(world.told.get(1)).toMatchObject({ missed: 9, at: 20 });
  expect(world.told.get(2)).toMatchObject({ missed: 4, at: 20 });
});

test("through anything, in any order, each reader ends at the newest and has missed nothing", () => {
  const seeds = Array.from({ length: 400 }, (_, index) => index + 1);
  for (const seed of seeds) {
    const random = randomOf(seed * 7919);
    const below = (count: number) => Math.floor(random() * count);
    const world = new World(random);
    const paused = new Set<number>();
    try {
      for (let turn = 0; turn < 120; turn++) {
        const reader = 1 + below(4);
        const told = world.told.get(reader);
        const kind = below(14);
        if (kind < 3) world.node.top += below(4);
        else if (kind < 5) world.node.flush(below(6));
        else if (kind < 7) world.pass(true, 1 + below(3), 0.1);
        else if (kind < 9) world.pass(false, 1 + below(6));
        else if (kind === 9) world.wake();
        else if (kind === 10) world.subscribe(reader, [undefined, { last: below(5) }][below(2)]);
        else if (kind === 11 && told?.at !== undefined)
          world.subscribe(reader, { since: { epoch: "e", offset: told.at } });
        else if (kind === 12 && below(4) === 0) {
          world.unsubscribe(reader);
          paused.delete(reader);
        } else if (kind === 12) {
          world.step({ type: paused.has(reader) ? "resume" : "pause", reader });
          if (!paused.delete(reader) && told !== undefined) paused.add(reader);
        } else if (kind === 13 && below(3) === 0) world.lose();
      }
      for (const reader of paused) world.step({ type: "resume", reader });
      world.settle();
      for (const [reader, { at }] of world.told)
        expect(`${reader} at ${at}`).toBe(`${reader} at ${world.node.top}`);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});
