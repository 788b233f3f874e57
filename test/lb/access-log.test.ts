// The line of an access log from its record, by value, and the letters of an end.

import { expect, test } from "bun:test";
import { HttpFault } from "../../src/lb/http/faults.ts";
import { terminationState } from "../../src/lb/http/termination.ts";
import { type AccessRecord, accessLine, pathOf } from "../../src/lb/telemetry/access-log.ts";
import { AccessLogEntry, recordRefusal } from "../../src/lb/telemetry/access-log-entry.ts";
import { Counters, Counts } from "../../src/lb/telemetry/counters.ts";

const record: AccessRecord = {
  ...{
    timeMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    client: "203.0.113.7",
    method: "GET",
    target: "/chat?t=1",
  },
  ...{
    version: "1.1",
    status: 101,
    node: "node-2",
    bytesIn: 18,
    bytesOut: 94,
    headMs: 0.249,
    queueMs: 0,
  },
  ...{ connectMs: undefined, responseMs: 1.96, totalMs: 90_231.44, retries: 0, end: "--NI" },
  ...{ closeClient: 1000, closeNode: undefined },
};

test("a line is JSON and ends with a line feed; what did not come about is null", () => {
  expect(accessLine("lb-1", record)).toBe(
    '{"time":"2026-01-02T03:04:05.678Z","lb":"lb-1","client":"203.0.113.7","method":"GET","target":"/chat","version":"1.1",' +
      '"status":101,"node":"node-2","bytesIn":18,"bytesOut":94,"headMs":0.2,"queueMs":0,"connectMs":null,"responseMs":2,' +
      '"totalMs":90231.4,"retries":0,"end":"--NI","closeClient":1000,"closeNode":null}\n',
  );
  const nothing = {
    client: undefined,
    method: undefined,
    target: undefined,
    version: undefined,
    node: undefined,
  };
  expect(JSON.parse(accessLine("lb-1", { ...record, ...nothing, status: 0 }))).toMatchObject({
    ...{ client: null, method: null, target: null, version: null, status: null, node: null },
  });
});

test("no byte begins a new line or reaches a terminal", () => {
  const evil = `${Array.from({ length: 0x100 }, (_, code) => String.fromCharCode(code)).join("")}\u2028\u2029`;
  const line = accessLine("lb-1", {
    ...record,
    method: evil,
    node: evil,
    target: evil.replaceAll(/[?#]/g, ""),
  });
  expect(line.slice(0, -1)).toMatch(/^[\x20-\x7e\xa0-\xff]+$/);
  expect(JSON.parse(line)).toMatchObject({ method: evil, node: evil });
});

test("of a target only the path is kept, and not too much of it", () => {
  expect(pathOf("/a/b?token=x")).toBe("/a/b");
  expect(pathOf("/a?b?c#d")).toBe("/a");
  expect(pathOf("/a#token")).toBe("/a");
  expect(pathOf("http://user:password@a:1/b?c")).toBe("/b");
  expect(pathOf("HTTP://user:password@a?c")).toBe("");
  expect(pathOf("?a")).toBe("");
  expect(pathOf("*")).toBe("*");
  expect(pathOf(`/${"a".repeat(5000)}`)).toBe(`/${"a".repeat(2047)}…`);
});

test("an entry adds up what it is told", () => {
  let nowMs = 1000;
  const written: AccessRecord[] = [];
  const log = {
    now: () => nowMs,
    time: () => 5000 + nowMs,
    write: (one: AccessRecord) => written.push(one),
  };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  const entry = new AccessLogEntry(
    { ...log, lines: 0, dropped: 0 },
    "a",
    { method: "GET", target: "/", minor: 0 },
    990,
  );
  pass(1);
  entry.assigned("n1");
  pass(20);
  entry.again();
  pass(2);
  entry.assigned("n2");
  pass(3);
  entry.connected();
  pass(4);
  entry.answered(200);
  pass(5);
  entry.cookie = "D";
  entry.isCookieGiven = true;
  entry.end("clientAborted", "D");
  expect(written).toEqual([
    {
      ...{
        timeMs: 5990,
        client: "a",
        method: "GET",
        target: "/",
        version: "1.0",
        status: 200,
        node: "n2",
      },
      ...{
        bytesIn: 0,
        bytesOut: 0,
        headMs: 10,
        queueMs: 3,
        connectMs: 3,
        responseMs: 4,
        totalMs: 45,
      },
      ...{ retries: 1, end: "CDDI", closeClient: undefined, closeNode: undefined },
    },
  ]);
  recordRefusal(
    { ...log, lines: 0, dropped: 0 },
    undefined,
    undefined,
    nowMs,
    new HttpFault(431, "too large"),
    7,
  );
  expect(written[1]).toMatchObject({ status: 431, bytesOut: 7, headMs: undefined, end: "PR--" });
});

test("the letters of an end", () => {
  expect(terminationState(undefined, "D")).toBe("--");
  expect(terminationState("clientAborted", "Q")).toBe("CQ");
  expect(terminationState("connectRefused", "Q")).toBe("SC");
  expect(terminationState("queueFull", "Q")).toBe("RQ");
  expect(terminationState("earlyClose", "Q")).toBe("SH");
  expect(terminationState("responseTimeout", "D")).toBe("sD");
  expect(terminationState("limited", "H")).toBe("RR");
});

test("faults say what they are counted as", () => {
  const kinds = [400, 408, 413, 429, 502, 504, 508].map(
    (status) => new HttpFault(status, "").cause,
  );
  expect(kinds).toEqual([
    ...([
      "badRequest",
      "clientTimeout",
      "badRequest",
      "limited",
      "badAnswer",
      "responseTimeout",
      "badRequest",
    ] as const),
  ]);
});

test("counts add up, and those of nodes that left are never lost", () => {
  const counters = new Counters();
  const there = new Set<string>();
  const isKnown = (id: string) => there.has(id);
  for (let n = 0; n < 600; n++) {
    const id = `node-${n}`;
    if (n === 0 || n > 500) there.add(id);
    counters
      .of(id, isKnown)
      .exchangeEnded(n % 2 === 0 ? undefined : "earlyClose", n % 2 === 0 ? 200 : 502, n % 2 !== 0);
  }
  expect(counters.of("node-0", isKnown).requests).toBe(1);
  expect(counters.of("node-1", isKnown).requests).toBe(0);
  expect(counters.nowhere.requests).toBeGreaterThan(80);
  expect(counters.named).toMatchObject({
    requests: 600,
    answers2xx: 300,
    refusals5xx: 300,
    earlyClose: 300,
  });
  expect(counters.of("node-0", isKnown)).toBe(counters.of("node-0", isKnown));
});

test("an end without an answer is no answer", () => {
  const counts = new Counts();
  counts.exchangeEnded("clientAborted", 0, false);
  expect(counts.named).toMatchObject({
    requests: 1,
    clientAborted: 1,
    answers1xx: 0,
    answers2xx: 0,
    answers5xx: 0,
  });
  expect(Object.keys(counts.named).length).toBeLessThan(80);
});

test("sticky cookies, by what they name", () => {
  const counters = new Counters();
  const node = {};
  const letters = [
    counters.cookie(undefined, undefined, undefined),
    counters.cookie("x", undefined, undefined),
    counters.cookie("x", node, undefined),
    counters.cookie("x", node, node),
  ];
  expect(letters).toEqual(["N", "I", "D", "V"]);
  expect(counters).toMatchObject({
    cookiesNone: 1,
    cookiesInvalid: 1,
    cookiesDown: 1,
    cookiesValid: 1,
  });
});
