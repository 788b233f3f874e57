import { expect, test } from "bun:test";
import type { Fault } from "../../src/client/error.ts";
import { Outbox } from "../../src/client/outbox.ts";
import type { Effect } from "../../src/client/steps.ts";

const BUSY: Fault = { code: "busy", message: "later", retry: true };
const ORDER: Fault = { code: "order", message: "not yet", retry: true };
const REFUSED: Fault = { code: "refused", message: "no", retry: false };
const HALF = 0.5;

/** An outbox and what it has told since it was last asked. */
function outbox(unacknowledgedMax = 256, frameBytesMax = 1000) {
  const effects: Effect[] = [];
  const box = new Outbox((effect) => effects.push(effect));
  const told = () => effects.splice(0);
  /** The seqs of what is sent, each with the one it names before it. */
  const sent = (now: number): string[] => {
    box.sendPublications(now, unacknowledgedMax, frameBytesMax);
    return told().flatMap((effect) => {
      if (effect.type !== "send") return [];
      const { seq, after, age } = JSON.parse(effect.text);
      return [`${seq}<${after}${age === undefined ? "" : ` ${age}`}`];
    });
  };
  const add = (count: number, channel = "a") => {
    for (let i = 0; i < count; i++)
      box.enqueuePublication(1000 + box.size, channel, '"x"', undefined);
  };
  const accept = (...seqs: number[]) => {
    for (const seq of seqs) box.publicationAccepted(seq, { type: "ok" });
  };
  const refuse = (fault: Fault, now: number, ...seqs: number[]) => {
    for (const seq of seqs) box.publicationRefused(seq, fault, now, HALF);
  };
  return { box, told, sent, add, accept, refuse };
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
    after: 0,
    data: { title: "a" },
  });
  box.sendPublications(0, 256, 1000);
  expect(told()).toEqual([]);
  box.publicationAccepted(1, { type: "ok", id: "p1", position: { epoch: "e", offset: 9 } });
  box.publicationAccepted(1, { type: "ok", id: "p1", position: { epoch: "e", offset: 9 } });
  expect(told()).toEqual([{ type: "published", ticket: 7, position: { epoch: "e", offset: 9 } }]);
  expect(box.size).toBe(0);
});

test("a key stands in the frame besides the place in the order", () => {
  const { box, told } = outbox();
  box.enqueuePublication(1, "news", "1", 'order "7"');
  box.enqueuePublication(2, "news", "2", undefined);
  box.sendPublications(0, 256, 1000);
  const frames = told().map((effect) => effect.type === "send" && JSON.parse(effect.text));
  const [type, channel] = ["publish", "news"];
  expect(frames).toEqual([
    { type, id: "p1", channel, seq: 1, key: 'order "7"', after: 0, data: 1 },
    { type, id: "p2", channel, seq: 2, after: 1, data: 2 },
  ]);
});

test("at most the window of a channel is unacknowledged; another channel has its own", () => {
  const { sent, add, accept } = outbox(3);
  add(5);
  add(2, "b");
  expect(sent(0)).toEqual(["1<0", "2<1", "3<2", "6<0", "7<6"]);
  accept(2);
  expect(sent(0)).toEqual(["4<3"]);
  accept(1);
  expect(sent(0)).toEqual(["5<4"]);
});

test("channels that are stuck leave room for the others", () => {
  const { sent, add, accept } = outbox();
  add(300, "stuck");
  add(200, "well");
  add(300, "stuck too");
  expect(sent(0)).toHaveLength(256 + 200 + 56);
  add(1, "well");
  expect(sent(0)).toEqual([]);
  accept(301);
  expect(sent(0)).toHaveLength(1);
});

test("everything unanswered is sent again, in order, on a new connection, and says how old it is", () => {
  const { box, sent, add, accept } = outbox();
  add(4);
  expect(sent(100)).toEqual(["1<0", "2<1", "3<2", "4<3"]);
  accept(2);
  box.connectionLost();
  add(1);
  expect(sent(100)).toEqual(["1<0 1", "3<1 1", "4<3 1", "5<4"]);
  box.connectionLost();
  expect(sent(2100)[0]).toBe("1<0 2000");
});

test("what is refused for now goes again with all behind it in its channel, after a while", () => {
  const { box, sent, add, accept, refuse } = outbox();
  add(4, "a");
  add(1, "b");
  expect(sent(0)).toEqual(["1<0", "2<1", "3<2", "4<3", "5<0"]);
  accept(1);
  refuse(BUSY, 0, 2);
  add(1, "a");
  add(1, "b");
  expect(sent(0)).toEqual(["7<5"]);
  const until = box.wakeAt(0);
  expect(until).toBe(150);
  // Those behind it are refused with it: one failure. Until they are answered nothing is sent.
  refuse(BUSY, 0, 3);
  expect(sent(until)).toEqual([]);
  refuse(ORDER, 0, 4);
  expect(sent(until - 1)).toEqual([]);
  // One by one at first, then more and more.
  expect(sent(until)).toEqual(["2<0 150"]);
  expect(box.wakeAt(until)).toBe(Number.POSITIVE_INFINITY);
  refuse(BUSY, until, 2);
  expect(box.wakeAt(until)).toBe(until + 300);
  expect(sent(until + 300)).toEqual(["2<0 450"]);
  accept(2);
  expect(sent(500)).toEqual(["3<0 500", "4<3 500"]);
  accept(3);
  expect(sent(500)).toEqual(["6<4"]);
});

test("a lost connection ends the wait for answers, not the wait after a refusal", () => {
  const { box, sent, add, refuse } = outbox();
  add(3);
  sent(0);
  refuse(BUSY, 0, 1);
  box.connectionLost();
  expect(sent(149)).toEqual([]);
  expect(sent(150)).toEqual(["1<0 150"]);
});

test("one that is refused for good fails alone; what named it is sent again at once, and names another", () => {
  const { box, told, sent, add, refuse, accept } = outbox();
  add(5);
  expect(sent(0)).toEqual(["1<0", "2<1", "3<2", "4<3", "5<4"]);
  refuse(REFUSED, 0, 2);
  expect(told()).toEqual([{ type: "failed", ticket: 1001, fault: REFUSED }]);
  expect(sent(5)).toEqual([]);
  refuse(ORDER, 5, 3);
  expect(sent(5)).toEqual([]);
  // One that was taken all the same was taken; one that is refused for good fails.
  accept(4);
  refuse(REFUSED, 5, 5);
  expect(told().map(({ type }) => type)).toEqual(["published", "failed"]);
  expect(sent(6)).toEqual(["3<1 6"]);
  accept(1, 3);
  expect(box.size).toBe(0);
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
