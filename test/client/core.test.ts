// The client's state machine by value: which frames and events each step brings.

import { describe, expect, test } from "bun:test";
import { Core } from "../../src/client/core.ts";
import type { Effect, Step } from "../../src/client/steps.ts";

const LIMITS = { frameBytes: 65_536, dataBytes: 64_000, subscriptions: 100, unacknowledged: 256 };
const PING_MS = 25_000;
const HALF = 0.5;

/** A core, the time, and what it has wanted since it was last asked. */
class Driver {
  now = 0;
  readonly core = new Core("0123456789abcdef", () => HALF);
  #effects: Effect[] = [];

  step(step: Step): this {
    this.#effects.push(...this.core.step(step, this.now));
    return this;
  }

  hear(...frames: object[]): this {
    for (const frame of frames) this.step({ type: "text", text: JSON.stringify(frame) });
    return this;
  }

  at(now: number): this {
    this.now = now;
    return this.step({ type: "wake" });
  }

  /** What came out, without the wakes. */
  out(): Effect[] {
    return this.#effects.splice(0).filter(({ type }) => type !== "wake");
  }

  /** The frames that were sent. */
  sent(): unknown[] {
    return this.out().flatMap((effect) =>
      effect.type === "send" ? [JSON.parse(effect.text)] : [],
    );
  }

  /** The names of what came out: frames by their type, events by theirs. */
  names(): string[] {
    return this.out().map((effect) => {
      if (effect.type === "send") return `send ${JSON.parse(effect.text).type}`;
      if (effect.type === "tell" || effect.type === "tell_channel")
        return `tell ${effect.event.type}`;
      return effect.type;
    });
  }

  /** When it has asked to be woken. */
  wakeAt(): number {
    return this.#effects.reduce(
      (at, effect) => (effect.type === "wake" ? effect.at : at),
      Number.NaN,
    );
  }

  connect(node = "node-1"): this {
    return this.step({ type: "opened", token: undefined }).hear(
      { type: "welcome", session: "s1", node, pingMs: PING_MS, limits: LIMITS },
      { type: "ok", id: "connect" },
    );
  }
}

const connected = () => {
  const driver = new Driver().step({ type: "start" }).connect();
  driver.out();
  return driver;
};
const subscribe = (channel = "news", ticket = 1): Step => ({
  type: "subscribe",
  ticket,
  channel,
  start: undefined,
});
const publish = (ticket: number): Step => ({
  type: "publish",
  ticket,
  channel: "news",
  json: "1",
  key: undefined,
});
const call = (ticket: number): Step => ({
  type: "request",
  ticket,
  frame: { type: "call", method: "m", params: 1 },
  timeoutMs: 1000,
});
const lose = (code = 1006): Step => ({ type: "closed", code, reason: "gone" });
const position = (offset: number, epoch = "e") => ({ epoch, offset });
const message = (offset: number) => ({
  type: "message",
  channel: "news",
  offset,
  time: 1,
  data: offset,
});
const ok = (id: string, fields: object = {}) => ({ type: "ok", id, ...fields });

describe("connecting", () => {
  test("says connect first, and is connected when welcome and ok are both there, in either order", () => {
    const driver = new Driver().step({ type: "start" });
    expect(driver.names()).toEqual(["open"]);
    expect(driver.core.state).toBe("connecting");
    driver.step({ type: "opened", token: "t" });
    expect(driver.sent()).toEqual([
      { type: "connect", id: "connect", producer: "0123456789abcdef", token: "t" },
    ]);
    driver.hear(ok("connect"));
    expect(driver.core.state).toBe("connecting");
    driver.hear({
      type: "welcome",
      session: "s1",
      node: "node-3",
      pingMs: PING_MS,
      limits: LIMITS,
    });
    expect(driver.out()).toEqual([
      { type: "tell", event: { type: "connected", node: "node-3", session: "s1" } },
    ]);
    expect([driver.core.state, driver.core.node, driver.core.session]).toEqual([
      "connected",
      "node-3",
      "s1",
    ]);
  });

  test("sends nothing else before it is connected, then subscriptions, publications and calls", () => {
    const driver = new Driver().step({ type: "start" });
    driver.step(publish(1)).step(call(2)).step(subscribe("news", 3));
    expect(driver.names()).toEqual(["open"]);
    driver.connect();
    expect(driver.names()).toEqual([
      "send connect",
      "tell connected",
      "send subscribe",
      "send publish",
      "send call",
    ]);
  });

  test("dials once, at the start, whatever is asked of it before", () => {
    const driver = new Driver().step(publish(1)).step(subscribe()).step({ type: "online" });
    expect(driver.core.state).toBe("connecting");
    expect(driver.names()).toEqual([]);
    expect(driver.step({ type: "start" }).names()).toEqual(["open"]);
  });

  test("dials again, later each time, when nobody answers", () => {
    const driver = new Driver().step({ type: "start" }).step(lose());
    const waits = [50, 150, 300, 600];
    for (const waitMs of waits) {
      const told = driver.out().find((effect) => effect.type === "tell");
      expect(told).toMatchObject({
        event: { type: "disconnected", wasConnected: false, reconnectInMs: waitMs },
      });
      expect(driver.core.state).toBe("waiting");
      driver.at(driver.now + waitMs);
      expect(driver.out()).toContainEqual({ type: "open" });
      driver.step(lose());
    }
  });

  test("gives up a greeting that takes ten seconds", () => {
    const driver = new Driver().step({ type: "start" }).step({ type: "opened", token: undefined });
    driver.out();
    expect(driver.at(9_999).names()).toEqual([]);
    expect(driver.at(10_000).names()).toEqual(["close", "tell disconnected"]);
  });

  test.each([
    [
      "an error",
      (driver: Driver) =>
        driver.hear({ type: "error", id: "connect", code: "refused", message: "no", retry: false }),
    ],
    ["a close", (driver: Driver) => driver.step(lose(4401))],
  ])("ends when the app does not let us in, by %s", (_, refuse) => {
    const driver = new Driver()
      .step({ type: "start" })
      .step(publish(1))
      .step({ type: "opened", token: "bad" });
    driver.out();
    refuse(driver);
    expect(driver.core.state).toBe("refused");
    expect(driver.names()).toEqual(["close", "tell disconnected", "failed", "ended"]);
    driver.step({ type: "online" }).step(publish(2)).at(60_000);
    expect(driver.out()).toMatchObject([{ type: "failed", ticket: 2, fault: { code: "closed" } }]);
  });

  test("tries again when the node is too busy to let us in", () => {
    const driver = new Driver().step({ type: "start" }).step({ type: "opened", token: undefined });
    driver.hear({ type: "error", id: "connect", code: "busy", message: "later", retry: true });
    expect(driver.core.state).toBe("waiting");
  });
});

describe("subscribing", () => {
  test("what arrives before the reply, or is not above the position, is ignored", () => {
    const driver = connected().step(subscribe());
    expect(driver.sent()).toEqual([{ type: "subscribe", id: "s1", channel: "news" }]);
    driver.hear(
      message(4),
      ok("s1", { channel: "news", position: position(5), recovered: true }),
      message(5),
      message(7),
    );
    driver.hear(message(7), message(6), message(8), { ...message(9), channel: "other" });
    const offsets = driver.out().flatMap((effect): (string | number)[] => {
      if (effect.type === "subscribed")
        return [`subscribed ${effect.ticket} at ${effect.subscribed.position.offset}`];
      return effect.type === "tell_channel" && effect.event.type === "message"
        ? [effect.event.offset]
        : [];
    });
    expect(offsets).toEqual(["subscribed 1 at 5", 7, 8]);
    expect(driver.core.positionOf("news")).toEqual(position(8));
  });

  test("resumes at its position after a lost connection", () => {
    const driver = connected()
      .step(subscribe())
      .hear(ok("s1", { position: position(5), recovered: true }), message(7));
    driver.step(lose()).at(50).connect();
    driver.step(lose()).at(1000).connect();
    expect(driver.sent()).toContainEqual({
      type: "subscribe",
      id: "s3",
      channel: "news",
      since: position(7),
    });
    driver.hear(message(8), ok("s2", { position: position(0) }), message(9));
    expect(driver.core.positionOf("news")).toEqual(position(7));
    driver.hear(ok("s3", { position: position(7), recovered: true }), message(8));
    expect(driver.core.positionOf("news")).toEqual(position(8));
  });

  test("begins where it is told to", () => {
    const since = { ...position(3), data: "a message is a position" };
    const driver = connected();
    driver.step({ type: "subscribe", ticket: 1, channel: "a", start: { since } });
    driver.step({ type: "subscribe", ticket: 2, channel: "b", start: { last: 10 } });
    expect(driver.sent()).toEqual([
      { type: "subscribe", id: "s1", channel: "a", since: position(3) },
      { type: "subscribe", id: "s2", channel: "b", last: 10 },
    ]);
    driver.hear(ok("s1", { position: position(3) }), { ...message(4), channel: "a" });
    driver.out();
    driver.step({ type: "subscribe", ticket: 3, channel: "a", start: undefined });
    expect(driver.out()).toMatchObject([
      { type: "subscribed", ticket: 3, subscribed: { position: position(4) } },
    ]);
    driver.step({ type: "subscribe", ticket: 4, channel: "a", start: { since } });
    expect(driver.sent()).toEqual([
      { type: "subscribe", id: "s3", channel: "a", since: position(3) },
    ]);
  });

  test("tells what is out of reach, from a reply and from a gap frame", () => {
    const driver = connected().step({
      type: "subscribe",
      ticket: 1,
      channel: "news",
      start: { since: position(3) },
    });
    const gap = { reason: "evicted", from: 4, to: 9 };
    driver.out();
    driver.hear(ok("s1", { position: position(9), recovered: false, gap }));
    expect(driver.out()).toMatchObject([
      { event: { type: "gap", gap, position: position(9) } },
      { event: { type: "subscribed", subscribed: { recovered: false, gap } } },
      { type: "subscribed", ticket: 1 },
    ]);
    driver.hear(
      {
        type: "gap",
        channel: "news",
        reason: "epoch",
        from: 10,
        to: 2,
        position: position(2, "f"),
      },
      message(3),
    );
    expect(driver.out()).toMatchObject([
      {
        event: {
          type: "gap",
          gap: { reason: "epoch", from: 10, to: 2 },
          position: position(2, "f"),
        },
      },
      { event: { type: "message", epoch: "f", offset: 3 } },
    ]);
  });

  test("a refusal for now is asked again, one for good ends it", () => {
    const driver = connected().step(subscribe());
    driver.out();
    driver.hear({ type: "error", id: "s1", code: "busy", message: "later", retry: true });
    expect(driver.names()).toEqual([]);
    expect(driver.at(150).sent()).toEqual([{ type: "subscribe", id: "s2", channel: "news" }]);
    driver.hear({ type: "error", id: "s2", code: "refused", message: "no", retry: false });
    expect(driver.names()).toEqual(["failed", "tell ended"]);
    driver.step(lose()).at(1000).connect();
    expect(driver.names()).not.toContain("send subscribe");
  });

  test("a node that cannot go on with it says so after its ok", () => {
    const driver = connected()
      .step(subscribe())
      .hear(ok("s1", { position: position(1) }), message(2));
    driver.out();
    driver.hear(
      { type: "error", id: "s1", code: "busy", message: "later", retry: true },
      message(4),
    );
    expect(driver.names()).toEqual([]);
    expect(driver.at(150).sent()).toEqual([
      { type: "subscribe", id: "s2", channel: "news", since: position(2) },
    ]);
    driver.hear(ok("s2", { position: position(2) }));
    driver.hear({ type: "error", id: "s2", code: "internal", message: "failed", retry: false });
    expect(driver.names()).toEqual(["tell subscribed", "tell ended"]);
  });

  test("an unsubscribe is said, and what still comes is ignored", () => {
    const driver = connected()
      .step(subscribe())
      .hear(ok("s1", { position: position(1) }));
    driver.out();
    driver.step({ type: "unsubscribe", channel: "news" });
    expect(driver.names()).toEqual(["tell ended", "send unsubscribe"]);
    driver
      .hear(message(2))
      .step(subscribe("news", 2))
      .hear(message(3), ok("s1", { position: position(1) }), message(4));
    expect(driver.names()).toEqual(["send subscribe"]);
  });

  test("a paused channel takes nothing and loses nothing", () => {
    const driver = connected()
      .step(subscribe())
      .hear(ok("s1", { position: position(1) }), message(2));
    driver.out();
    driver.step({ type: "pause", channel: "news" });
    driver.hear(message(3), {
      type: "gap",
      channel: "news",
      reason: "slow",
      from: 4,
      to: 5,
      position: position(5),
    });
    expect(driver.names()).toEqual([]);
    driver.step({ type: "resume", channel: "news" });
    expect(driver.sent()).toEqual([
      { type: "subscribe", id: "s2", channel: "news", since: position(2) },
    ]);
  });
});

describe("publishing and calling", () => {
  test("after a lost connection publications are sent again; calls that were sent are not, questions are", () => {
    const driver = connected().step(publish(1)).step(call(2));
    driver.step({
      type: "request",
      ticket: 3,
      frame: { type: "history", channel: "news" },
      timeoutMs: 1000,
    });
    expect(driver.names()).toEqual(["send publish", "send call", "send history"]);
    driver.step(lose());
    expect(driver.out()).toMatchObject([
      { type: "failed", ticket: 2, fault: { code: "disconnected" } },
      { event: { type: "disconnected", wasConnected: true, reconnectInMs: 50 } },
    ]);
    driver.step(call(4)).at(50).connect("node-2");
    expect(driver.names()).toEqual([
      "open",
      "send connect",
      "tell connected",
      "send publish",
      "send history",
      "send call",
    ]);
    driver.hear(ok("p1", { position: position(3) }), ok("r4", { data: 5 }), ok("r2", { data: 5 }));
    expect(driver.out()).toMatchObject([
      { type: "published", ticket: 1, position: position(3) },
      { type: "answered", ticket: 4 },
    ]);
  });

  test("a call that nobody answers fails in time", () => {
    const driver = connected().step(call(1));
    driver.out();
    expect(driver.at(999).names()).toEqual([]);
    expect(driver.at(1000).out()).toMatchObject([
      { type: "failed", ticket: 1, fault: { code: "timeout" } },
    ]);
  });

  test("a node is asked so much at a time", () => {
    const driver = connected();
    for (let ticket = 1; ticket <= 70; ticket++) driver.step(call(ticket));
    expect(driver.sent()).toHaveLength(64);
    driver.hear(ok("r1"), ok("r2"));
    expect(driver.sent()).toHaveLength(2);
  });

  test("an error without an id is told", () => {
    const driver = connected().hear({
      type: "error",
      code: "bad_frame",
      message: "what?",
      retry: false,
    });
    expect(driver.out()).toMatchObject([
      { type: "tell", event: { type: "error", fault: { code: "bad_frame" } } },
    ]);
  });
});

describe("the connection", () => {
  test("is pinged when quiet, and given up when no answer comes", () => {
    const driver = connected();
    expect(driver.at(PING_MS - 1).names()).toEqual([]);
    expect(driver.at(PING_MS).names()).toEqual(["send ping"]);
    driver.now += 100;
    driver.hear({ type: "pong" });
    expect(driver.at(2 * PING_MS).names()).toEqual(["send ping"]);
    expect(driver.at(2 * PING_MS + 4_999).names()).toEqual([]);
    expect(driver.at(2 * PING_MS + 5_000).names()).toEqual(["close", "tell disconnected"]);
  });

  test("is pinged when we only listen, for a silent client is closed", () => {
    const driver = connected()
      .step(subscribe())
      .hear(ok("s1", { position: position(0) }));
    driver.out();
    for (let offset = 1; offset <= 25; offset++) {
      driver.now += 1000;
      driver.hear(message(offset));
    }
    driver.out();
    expect(driver.at(PING_MS).names()).toEqual(["send ping"]);
  });

  test("is asked again, not given up, when it was we who slept", () => {
    const driver = connected();
    driver.at(PING_MS).out();
    expect(driver.at(PING_MS + 3_600_000).names()).toEqual(["send ping"]);
  });

  test("is tried at once when the network comes back", () => {
    const driver = new Driver().step({ type: "start" });
    for (let i = 0; i < 8; i++) driver.step(lose()).at(driver.now + 20_000);
    driver.step(lose()).out();
    expect(driver.step({ type: "online" }).names()).toEqual(["open"]);
    expect(connected().step({ type: "online" }).names()).toEqual(["send ping"]);
  });

  test("is left when the node says goodbye, at the time it says", () => {
    const driver = connected().step(call(1));
    driver.out();
    driver
      .hear({ type: "goodbye", reason: "restart", reconnectAfterMs: 300 })
      .step(publish(2))
      .step(call(3));
    expect(driver.names()).toEqual(["tell goodbye", "send publish"]);
    expect(driver.at(300).names()).toEqual([]);
    driver.hear(ok("r1"), ok("p1", { position: position(1) }));
    expect(driver.names()).toEqual(["answered", "close", "tell disconnected", "open", "published"]);
    driver.connect("node-2");
    expect(driver.names()).toEqual(["send connect", "tell connected", "send call"]);
  });

  test("comes back no earlier than the goodbye said when the node closes first", () => {
    const driver = connected().hear({ type: "goodbye", reason: "restart", reconnectAfterMs: 300 });
    driver.now = 100;
    driver.step(lose(1012)).out();
    expect(driver.at(299).names()).toEqual([]);
    expect(driver.at(300).names()).toEqual(["open"]);
  });

  test.each([1000, 1009, 4400])("does not come back after a close with code %d", (code) => {
    const driver = connected().step(lose(code));
    expect(driver.core.state).toBe("closed");
    expect(driver.names()).toEqual(["close", "tell disconnected", "ended"]);
  });

  test.each(["{", "[]", '{"type":"message","channel":"news"}'])(
    "is given up when a frame cannot be read: %s",
    (text) => {
      const driver = connected().step({ type: "text", text });
      expect(driver.names()).toEqual(["tell error", "close", "tell disconnected"]);
      expect(driver.core.state).toBe("waiting");
    },
  );

  test("frames of a later version are ignored", () => {
    expect(connected().hear({ type: "fanfare", by: "brass" }).names()).toEqual([]);
  });
});

describe("closing", () => {
  test("ends at once when nothing is pending", () => {
    const driver = connected()
      .step(subscribe())
      .hear(ok("s1", { position: position(1) }));
    driver.out();
    expect(driver.step({ type: "close", withinMs: 1000 }).names()).toEqual([
      "close",
      "tell disconnected",
      "tell ended",
      "ended",
    ]);
    expect(driver.core.state).toBe("closed");
  });

  test("waits for what is pending, over lost connections too, and takes nothing new", () => {
    const driver = connected()
      .step(publish(1))
      .step({ type: "close", withinMs: 1000 })
      .step(publish(2));
    expect(driver.names()).toEqual(["send publish", "failed"]);
    driver.step(lose()).at(50).connect();
    expect(driver.names()).toContain("send publish");
    driver.hear(ok("p1", { position: position(1) }));
    expect(driver.names()).toEqual(["published", "close", "tell disconnected", "ended"]);
  });

  test("rejects what is not answered in time", () => {
    const driver = connected().step(publish(1)).step({ type: "close", withinMs: 1000 });
    driver.out();
    expect(driver.at(999).names()).toEqual([]);
    expect(driver.at(1000).out()).toMatchObject([
      { type: "close", code: 1000 },
      { event: { type: "disconnected" } },
      { type: "failed", ticket: 1, fault: { code: "closed" } },
      { type: "ended" },
    ]);
  });
});

test("asks to be woken for what comes next, once", () => {
  const driver = new Driver().step({ type: "start" });
  expect(driver.wakeAt()).toBe(10_000);
  driver.out();
  driver.connect();
  expect(driver.wakeAt()).toBeNaN();
  driver.at(10_000);
  expect(driver.wakeAt()).toBe(PING_MS);
});
