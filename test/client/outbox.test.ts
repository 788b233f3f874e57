import { expect, test } from "bun:test";
import type { Fault } from "../../src/client/error.ts";
import { Outbox } from "../../src/client/outbox.ts";
import type { Effect } from "../../src/client/steps.ts";
import { isRecord } from "../../src/wire/shape.ts";

const BUSY: Fault = { code: "busy", message: "later", retry: true };
const REFUSED: Fault = { code: "refused", message: "no", retry: false };
const HALF = 0.5;

/** An outbox and what it has told since it was last asked. */
function outbox(unacknowledgedMax = 256, frameBytesMax = 1000) {
  const effects: Effect[] = [];
  const box = new Outbox((effect) => effects.push(effect));
  const told = () => effects.splice(0);
  const sent = (now: number): number[] => {
    box.sendPublications(now, unacknowledgedMax, frameBytesMax);
    return told().flatMap((effect) =>
      effect.type === "send" ? [Number(JSON.parse(effect.text).id.slice(1))] : [],
    );
  };
  const add = (count: number, channel = "a") => {
    for (let i = 0; i < count; i++)
      box.enqueuePublication(1000 + box.size, channel, '"x"', undefined);
  };
  return { box, told, sent, add };
}

test("a publication goes out once, numbered, and ends with its acknowledgement", () => {
  const { box, told } = outbox();
  box.enqueuePublication(7, "news", '{"title":"a"}', undefined);
  box.sendPublications(0, 256, 1000);
  const [effect] = told();
  const text = effect.type === "send" ? effect.text : "";
  expect(JSON.parse(text)).toEqual({
    type: "publish",
    id: "p1",
    channel: "news",
    seq: 1,
    data: { title: "a" },
  });
  box.sendPublications(0, 256, 1000);
  expect(told()).toEqual([]);
  box.publicationAccepted(1, { type: "ok", id: "p1", position: { epoch: "e", offset: 9 } });
  box.publicationAccepted(1, { type: "ok", id: "p1", position: { epoch: "e", offset: 9 } });
  expect(told()).toEqual([{ type: "published", ticket: 7, position: { epoch: "e", offset: 9 } }]);
  expect(box.size).toBe(0);
});

test("a key stands in the frame instead of a seq", () => {
  const { box, told } = outbox();
  box.enqueuePublication(1, "news", "1", 'order "7"');
  box.sendPublications(0, 256, 1000);
  const [effect] = told();
  const frame: unknown = effect.type === "send" && JSON.parse(effect.text);
  expect(frame).toEqual({ type: "publish", id: "p1", channel: "news", key: 'order "7"', data: 1 });
  expect(isRecord(frame) && "seq" in frame).toBe(false);
});

test("at most the window is unacknowledged, counted from the oldest", () => {
  const { box, sent, add } = outbox(3);
  add(5);
  expect(sent(0)).toEqual([1, 2, 3]);
  box.publicationAccepted(2, { type: "ok", id: "p2" });
  expect(sent(0)).toEqual([]);
  box.publicationAccepted(1, { type: "ok", id: "p1" });
  expect(sent(0)).toEqual([4, 5]);
});

test("everything unanswered is sent again, in order, on a new connection", () => {
  const { box, sent, add } = outbox();
  add(4);
  expect(sent(0)).toEqual([1, 2, 3, 4]);
  box.publicationAccepted(2, { type: "ok", id: "p2" });
  box.connectionLost();
  expect(sent(0)).toEqual([1, 3, 4]);
});

test("one that is refused for now holds back its channel, and no other, until one has gone through", () => {
  const { box, sent, add } = outbox();
  add(3, "a");
  add(1, "b");
  expect(sent(0)).toEqual([1, 2, 3, 4]);
  for (const seq of [1, 2, 3]) box.publicationRefused(seq, BUSY, 0, HALF);
  add(1, "a");
  add(1, "b");
  expect(sent(0)).toEqual([6]);
  const until = box.wakeAt(0);
  expect(until).toBe(150);
  expect(sent(until - 1)).toEqual([]);
  expect(sent(until)).toEqual([1]);
  expect(sent(until)).toEqual([]);
  expect(box.wakeAt(until)).toBe(Number.POSITIVE_INFINITY);
  box.publicationRefused(1, BUSY, until, HALF);
  expect(box.wakeAt(until)).toBe(until + 300);
  expect(sent(until + 300)).toEqual([1]);
  box.publicationAccepted(1, { type: "ok", id: "p1" });
  expect(sent(until + 300)).toEqual([2, 3, 5]);
});

test("the one that is tried alone is tried again on a new connection, still alone", () => {
  const { box, sent, add } = outbox();
  add(2);
  sent(0);
  box.publicationRefused(1, BUSY, 0, HALF);
  box.publicationRefused(2, BUSY, 0, HALF);
  expect(sent(150)).toEqual([1]);
  box.connectionLost();
  expect(sent(200)).toEqual([1]);
});

test("one that is refused for good fails alone", () => {
  const { box, told, sent, add } = outbox();
  add(2);
  expect(sent(0)).toEqual([1, 2]);
  box.publicationRefused(1, REFUSED, 0, HALF);
  expect(told()).toEqual([{ type: "failed", ticket: 1000, fault: REFUSED }]);
  box.publicationRefused(9, REFUSED, 0, HALF);
  expect(told()).toEqual([]);
  expect(box.size).toBe(1);
});

test("a frame over the node's limit fails instead of costing the connection; bytes count, not characters", () => {
  const { box, told } = outbox();
  box.enqueuePublication(1, "a", JSON.stringify("x".repeat(950)), undefined);
  box.enqueuePublication(2, "a", JSON.stringify("€".repeat(320)), undefined);
  box.enqueuePublication(3, "a", JSON.stringify("€".repeat(200)), undefined);
  box.sendPublications(0, 256, 1000);
  const effects = told();
  const failed = effects.flatMap((effect) =>
    effect.type === "failed" ? [effect.ticket, effect.fault.code] : [],
  );
  expect(failed).toEqual([1, "too_large", 2, "too_large"]);
  expect(effects.filter(({ type }) => type === "send")).toHaveLength(1);
  expect(box.size).toBe(1);
});

test("what waits is bounded by count and by characters", () => {
  const { box, told } = outbox();
  for (let i = 0; i < 256 + 4096; i++) box.enqueuePublication(i, "a", "1", undefined);
  expect(told()).toEqual([]);
  box.enqueuePublication(5000, "a", "1", undefined);
  expect(told()).toMatchObject([
    { type: "failed", ticket: 5000, fault: { code: "queue_full", retry: true } },
  ]);

  const heavy = outbox();
  const megabyte = JSON.stringify("x".repeat(1024 * 1024));
  for (let i = 0; i < 16; i++) heavy.box.enqueuePublication(i, "a", megabyte, undefined);
  expect(heavy.told()).toMatchObject([
    { type: "failed", ticket: 15, fault: { code: "queue_full" } },
  ]);
});

test("giving up fails each that is open, once", () => {
  const { box, told, sent, add } = outbox(2);
  add(3);
  sent(0);
  box.failAll(REFUSED);
  expect(told().map((effect) => (effect.type === "failed" ? effect.ticket : effect.type))).toEqual([
    1000, 1001, 1002,
  ]);
  expect(box.size).toBe(0);
});
