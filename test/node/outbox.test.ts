import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Destination,
  OUTBOX_ENTRIES_MAX,
  Outbox,
  type Outgoing,
} from "../../src/node/uplink/outbox.ts";
import { afterAt, ageAt, encodePublish } from "../../src/wire/frame.ts";

const to = (id: number): Destination & { id: number } => ({
  id,
  unacknowledged: 0,
  newestOwn: undefined,
});

/** `seq` 0: of a client; else this node's own. */
function entry(destination: Destination, takenAtMs = 0, seq = 0): Outgoing {
  return {
    destination,
    frame: encodePublish(0, { high: 1, low: 2 }, seq || 1, new Uint8Array(1)),
    isRepeatable: seq === 0,
    isOwn: seq > 0,
    takenAtMs,
    ageMs: 0,
    publisher: { published: () => {} },
    wasSent: false,
    isAnswered: false,
    before: undefined,
    ordinal: 0,
  };
}

const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ type: fc.constant("add" as const), channel: fc.nat(2) }) },
    { weight: 4, arbitrary: fc.constant({ type: "send" as const }) },
    { weight: 3, arbitrary: fc.record({ type: fc.constant("answer" as const), count: fc.nat(3) }) },
    { weight: 1, arbitrary: fc.constant({ type: "disconnect" as const }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("open" as const), channel: fc.nat(2) }) },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant("refuse" as const), channel: fc.nat(2) }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("expire" as const), age: fc.nat(10) }) },
  ),
  { maxLength: 150 },
);

test("whatever happens, entries are sent in order, all again on a new connection, and each leaves once", () => {
  fc.assert(
    fc.property(steps, (happened) => {
      const outbox = new Outbox();
      const channels = [0, 1, 2].map(() => to(0));
      const added: Outgoing[] = [];
      const left = new Set<Outgoing>();
      let onWire: Outgoing[] = [];
      let nowMs = 0;
      const leave = (gone: Outgoing) => {
        expect(left.has(gone)).toBe(false);
        left.add(gone);
      };
      for (const step of happened) {
        nowMs++;
        if (step.type === "add") {
          const taken = entry(channels[step.channel], nowMs);
          expect(outbox.add(taken)).toBe(true);
          added.push(taken);
        } else if (step.type === "send") {
          for (
            let sent = outbox.takeUnsent(nowMs);
            sent !== undefined;
            sent = outbox.takeUnsent(nowMs)
          )
            onWire.push(sent);
        } else if (step.type === "answer") {
          for (let n = 0; n < step.count && onWire.length > 0; n++) {
            const answered = outbox.takeAnswered();
            expect(answered).toBe(onWire.shift());
            if (answered !== undefined) leave(answered);
          }
          if (onWire.length === 0) expect(outbox.takeAnswered()).toBeUndefined();
        } else if (step.type === "disconnect") {
          outbox.linkLost();
          onWire = [];
          for (const channel of channels) channel.id = 0;
        } else if (step.type === "open") {
          channels[step.channel].id = step.channel + 1;
        } else if (step.type === "refuse") {
          channels[step.channel].id = 0;
          for (const refused of outbox.refuse(channels[step.channel])) leave(refused);
        } else {
          for (const overdue of outbox.expire(nowMs - step.age))
            if (!overdue.wasSent) leave(overdue);
        }
        // What is on the wire is, in order, the oldest of what has not left.
        const staying = added.filter((each) => !left.has(each));
        expect(onWire).toEqual(staying.slice(0, onWire.length));
        expect(outbox.size).toBe(staying.length);
        for (const channel of channels)
          expect(channel.unacknowledged).toBe(
            staying.filter(({ destination }) => destination === channel).length,
          );
      }
    }),
    { numRuns: 500 },
  );
});

test("who has waited too long is told; what never left is given up", () => {
  const outbox = new Outbox();
  const [opened, closed] = [to(1), to(0)];
  const [own, sent, unsent, younger] = [
    entry(opened, 1, 1),
    entry(opened, 2),
    entry(closed, 3),
    entry(opened, 9),
  ];
  for (const each of [own, sent, unsent, younger]) outbox.add(each);
  for (let n = 0; n < 3; n++) outbox.takeUnsent(0);
  expect(outbox.expire(1)).toEqual([]);
  // Nobody repeats the node's own: it stays until its fate is known.
  expect(outbox.expire(3)).toEqual([sent]);
  expect(outbox.expire(4)).toEqual([sent, unsent]);
  expect(outbox.takeUnsent(0)).toBe(younger);
  expect(outbox.size).toBe(3);
  const answered = [1, 2, 3, 4].map(() => outbox.takeAnswered());
  expect(answered).toEqual([own, sent, younger, undefined]);
});

test("the node's own are sent again, behind what is unanswered, when the one before was not taken", () => {
  const outbox = new Outbox();
  const [full, other] = [to(1), to(2)];
  const own = [1, 2, 3, 4].map((seq) => entry(full, 0, seq));
  const client = entry(full);
  const elsewhere = entry(other, 0, 1);
  for (const each of [...own.slice(0, 3), client, elsewhere]) outbox.add(each);
  const sent = () => {
    const taken: [Outgoing, number, number][] = [];
    for (let each = outbox.takeUnsent(5000); each !== undefined; each = outbox.takeUnsent(5000))
      taken.push([each, afterAt(each.frame, 0), ageAt(each.frame, 0)]);
    return taken;
  };
  expect(sent()).toEqual([
    [own[0], 0, 0],
    [own[1], 1, 0],
    [own[2], 2, 0],
    [client, 0, 0],
    [elsewhere, 0, 0],
  ]);
  // The first could not be stored: that is told. The second was behind it.
  expect(outbox.takeAnswered()).toBe(own[0]);
  expect(outbox.takeAnswered(true)).toBe(own[1]);
  outbox.add(own[3]);
  expect(outbox.takeAnswered(true)).toBe(own[2]);
  expect(sent()).toEqual([
    [own[1], 0, 5000],
    [own[2], 2, 5000],
    [own[3], 3, 0],
  ]);
  // Of a client's, the client is told.
  expect(outbox.takeAnswered(true)).toBe(client);
  expect(outbox.size).toBe(4);
  expect([full.unacknowledged, other.unacknowledged, full.newestOwn]).toEqual([3, 1, own[3]]);
  outbox.linkLost();
  expect(sent().map(([each]) => each)).toEqual([own[1], own[2], elsewhere, own[3]]);
  for (let n = 0; n < 4; n++) outbox.takeAnswered();
  expect([full.unacknowledged, full.newestOwn, outbox.size]).toEqual([0, undefined, 0]);
});

test("it is bounded", () => {
  const outbox = new Outbox();
  const big = { ...entry(to(0)), frame: new Uint8Array(1024 * 1024) };
  let taken = 0;
  while (outbox.add({ ...big })) taken++;
  expect(taken).toBe(32);
  const small = new Outbox();
  for (let n = 0; n < OUTBOX_ENTRIES_MAX; n++) small.add(entry(to(0)));
  expect(small.add(entry(to(0)))).toBe(false);
});
