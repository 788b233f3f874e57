import { expect, test } from "bun:test";
import fc from "fast-check";
import { OUTBOX_ENTRIES_MAX, Outbox, type Outgoing } from "../../src/node/uplink/outbox.ts";

const entry = (
  destination: { id: number; unacknowledged: number; owesRetry: boolean },
  takenAtMs = 0,
  isRepeatable = true,
): Outgoing => ({
  destination,
  frame: new Uint8Array(10),
  isRepeatable,
  takenAtMs,
  publisher: { published: () => {} },
  wasSent: false,
});

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
      const channels = [0, 1, 2].map(() => ({ id: 0, unacknowledged: 0, owesRetry: false }));
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
          for (let sent = outbox.takeUnsent(); sent !== undefined; sent = outbox.takeUnsent())
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

test("who has waited too long is told; what never left goes with all that waits behind it", () => {
  const outbox = new Outbox();
  const [open, closed] = [
    { id: 1, unacknowledged: 0, owesRetry: false },
    { id: 0, unacknowledged: 0, owesRetry: false },
  ];
  const [own, sent, unsent, younger] = [
    entry(open, 1, false),
    entry(open, 2),
    entry(closed, 3),
    entry(open, 9),
  ];
  for (const each of [own, sent, unsent, younger]) outbox.add(each);
  for (let n = 0; n < 3; n++) outbox.takeUnsent();
  expect(outbox.expire(1)).toEqual([]);
  // Nobody repeats the node's own: it stays until its fate is known.
  expect(outbox.expire(3)).toEqual([sent]);
  expect(outbox.expire(4)).toEqual([sent, unsent, younger]);
  expect(outbox.size).toBe(2);
  expect([outbox.takeAnswered(), outbox.takeAnswered(), outbox.takeAnswered()]).toEqual([
    own,
    sent,
    undefined,
  ]);
});

test("what went out behind one that could not be stored is not sent again ahead of its repeat", () => {
  const outbox = new Outbox();
  const [full, other] = [
    { id: 1, unacknowledged: 0, owesRetry: false },
    { id: 2, unacknowledged: 0, owesRetry: false },
  ];
  const [refused, behind, own, elsewhere] = [
    entry(full),
    entry(full),
    entry(full, 0, false),
    entry(other),
  ];
  const unsent = entry(full);
  for (const each of [refused, behind, own, elsewhere]) outbox.add(each);
  while (outbox.takeUnsent() !== undefined);
  outbox.add(unsent);
  expect(outbox.takeAnswered()).toBe(refused);
  expect(outbox.refused(refused)).toEqual([behind, unsent]);
  // The next refusal is the same one's.
  expect(outbox.refused(behind)).toBeUndefined();
  outbox.linkLost();
  // Nobody repeats the node's own: whatever the relay did with it, it is asked again.
  expect([outbox.takeUnsent(), outbox.takeUnsent(), outbox.takeUnsent()]).toEqual([
    own,
    elsewhere,
    undefined,
  ]);
  expect([full.unacknowledged, other.unacknowledged]).toEqual([1, 1]);
});

test("it is bounded", () => {
  const outbox = new Outbox();
  const channel = { id: 0, unacknowledged: 0, owesRetry: false };
  const big = { ...entry(channel), frame: new Uint8Array(1024 * 1024) };
  let taken = 0;
  while (outbox.add({ ...big })) taken++;
  expect(taken).toBe(32);
  const small = new Outbox();
  for (let n = 0; n < OUTBOX_ENTRIES_MAX; n++) small.add(entry(channel));
  expect(small.add(entry(channel))).toBe(false);
});
