import { describe, expect, test } from "bun:test";
import { app, appOptions } from "../../src/node/app/index.ts";
import { compilePattern, matchPattern } from "../../src/node/app/patterns.ts";
import { parseDurationMs, policyOf } from "../../src/node/app/policy.ts";
import { Rules } from "../../src/node/app/rules.ts";

const match = (pattern: string, channel: string) => matchPattern(compilePattern(pattern), channel);

describe("patterns", () => {
  test("a placeholder stands for anything but : and /, and at least one character", () => {
    expect(match("chat:{room}", "chat:lobby")).toEqual({ room: "lobby" });
    expect(match("chat:{room}", "chat:")).toBeUndefined();
    expect(match("chat:{room}", "chat:a:b")).toBeUndefined();
    expect(match("chat:{room}", "xchat:a")).toBeUndefined();
    expect(match("{a}/{b}", "x/y")).toEqual({ a: "x", b: "y" });
    expect(match("news", "news")).toEqual({});
    expect(match("news", "newsx")).toBeUndefined();
    expect(match("räume:{n}", "räume:ü")).toEqual({ n: "ü" });
    expect(match("{a}-{b}", "x-y-z")).toEqual({ a: "x", b: "y-z" });
    expect(match("{a}-{b}", "--z")).toEqual({ a: "-", b: "z" });
    expect(match("{a}-end", "x-end-end")).toEqual({ a: "x-end" });
    expect(match("a{b}a", "a")).toBeUndefined();
    expect(match("a{b}a", "aa")).toBeUndefined();
    expect(match("a{b}a", "aba")).toEqual({ b: "b" });
    expect(match("{a}-{b}-{c}", "x-y")).toBeUndefined();
  });

  test("the other characters stand for themselves", () => {
    for (const pattern of ["a.b", "a*b", "a+b(c)[d]|e^f$g", "a\\b?"]) {
      expect(match(pattern, pattern)).toEqual({});
      expect(match(pattern, pattern.replace(/[.*+?]/, "x"))).toBeUndefined();
    }
  });

  test("a placeholder's name may be one that objects have", () => {
    expect(Object.entries(match("{__proto__}:{constructor}", "a:b") ?? {})).toEqual([
      ["__proto__", "a"],
      ["constructor", "b"],
    ]);
  });

  test("what cannot be a pattern is refused with a sentence that names it", () => {
    for (const pattern of [
      "a{b",
      "a}b",
      "{}",
      "{a b}",
      "{a}{b}",
      "{a}:{a}",
      "a b",
      "",
      "$a",
      "{a}\n",
    ])
      expect(() => compilePattern(pattern)).toThrow(`The channel pattern "${pattern}"`);
  });

  test("many placeholders do not make matching slow", () => {
    const pattern = compilePattern("{a}-{b}-{c}-{d}-{e}-{f}-{g}-{h}!");
    const begunAt = performance.now();
    for (let n = 0; n < 100; n++) expect(matchPattern(pattern, "-".repeat(199))).toBeUndefined();
    expect(performance.now() - begunAt).toBeLessThan(5000);
  });
});

describe("history policies", () => {
  test("times are read with their unit", () => {
    expect(["500ms", "10s", "10m", "2h", "1d", "0s"].map(parseDurationMs)).toEqual([
      500, 10_000, 600_000, 7_200_000, 86_400_000, 0,
    ]);
    for (const wrong of ["", "10", "10 m", "m", "-1s", "1.5h", "1w", "9999999999s"])
      expect(parseDurationMs(wrong)).toBeUndefined();
  });

  test("what is not said has a default; what is wrong is refused", () => {
    expect(policyOf(undefined, "a")).toEqual({ size: 1000, ttlMs: 600_000, bytes: 1_048_576 });
    expect(policyOf({ size: 0, ttl: "1s" }, "a")).toEqual({
      size: 0,
      ttlMs: 1000,
      bytes: 1_048_576,
    });
    expect(() => policyOf({ ttl: "soon" }, "a:{b}")).toThrow('history.ttl of "a:{b}" is "soon"');
    expect(policyOf({ ttl: "104249991d" }, "a").ttlMs).toBeLessThan(Number.MAX_SAFE_INTEGER);
    for (const ttl of ["104249992d", "999999999d"])
      expect(() => policyOf({ ttl }, "a:{b}")).toThrow(
        `history.ttl of "a:{b}" is "${ttl}": it must be at most "104249991d".`,
      );
    expect(() => policyOf({ size: -1 }, "a")).toThrow("history.size");
    expect(() => policyOf({ size: 1.5 }, "a")).toThrow("history.size");
    expect(() => policyOf({ bytes: -1 }, "a")).toThrow("history.bytes");
  });
});

describe("rules", () => {
  test("the first pattern that matches is used; without patterns every channel has the default", () => {
    const rules = new Rules({
      channels: { "a:x": { presence: true }, "a:{b}": { history: { size: 1 } } },
    });
    expect(rules.routeOf("a:x")?.rule.presence).toBe(true);
    expect(rules.routeOf("a:y")).toMatchObject({
      params: { b: "y" },
      rule: { policy: { size: 1 } },
    });
    expect(rules.routeOf("b")).toBeUndefined();
    expect(new Rules({}).routeOf("anything")?.rule.policy.size).toBe(1000);
  });

  test("limits and names are checked together at start", () => {
    expect(() => new Rules({ limits: { frameBytes: 10 } })).toThrow("limits.frameBytes is 10");
    expect(() => new Rules({ limits: { requestsPerSecond: 0 } })).toThrow(
      "limits.requestsPerSecond",
    );
    for (const name of ["connect", "subscribe", "publish", "ping", "call", "x".repeat(101)])
      expect(() => new Rules({ methods: { [name]: () => 1 } })).toThrow(
        "A method cannot be called",
      );
    expect(() => new Rules({ methods: { "get-users": () => 1, message: () => 1 } })).not.toThrow();
    expect(() => new Rules({ auth: "token" })).toThrow("no connect");
  });
});

test("the types of an app's functions follow its patterns", () => {
  const defined = app({
    connect: ({ request, token }) => ({ user: request.url + token, info: { name: "x" } }),
    channels: {
      "chat:{room}": {
        presence: true,
        subscribe: (session, { room }) => room === session.user,
        publish: (session, data, { room }) => ({ data, room, by: session.user }),
      },
      "user:{id}:{kind}": { subscribe: async (_session, { id, kind }) => id === kind },
      news: { publish: false, subscribe: () => {} },
    },
    methods: { add: ({ cluster }, params) => cluster.publish("news", params) },
    fetch: (request, { node }) => new Response(request.url + node),
  });
  app({
    channels: {
      "a:{b}": {
        // @ts-expect-error: the pattern has no such placeholder
        subscribe: (_session, { c }) => c === "",
      },
    },
  });
  expect(appOptions(defined)?.channels).toBeDefined();
  expect(appOptions({})).toBeUndefined();
  expect(appOptions(null)).toBeUndefined();
});
