// One client that asks for more than its share, as fast as it can. It is told to slow down or is
// closed; the others go on.

import { Attacker, type Message } from "./attacker.ts";
import { add } from "./report.ts";
import { type Attack, NODES, type Target } from "./stage.ts";

const BATCH = 200;
/** What may wait in the attacker's own socket: it is as fast as it is read. */
const BUFFERED_MAX = 1024 * 1024;
const FRAMES_MAX = 1_000_000;
const LARGE = "x".repeat(62_000);
const READERS = 100;
/** What `history` answers, and what of it one client may have a second, and once at the start. */
const HISTORY_BYTES = 1_000_000;
const REMEMBERED_BYTES = 4000;
const HISTORY_MB_MAX = 20;
/**
 * What is taken of one client a second; as much again for what it saved up before, and for the
 * second in which it waits for answers.
 */
const INTAKE_MB_MAX = 1.1;
const WAIT_MS = 2;
const DRAIN_MS = 1000;

type Flood = {
  /** The n-th request, from 1. */
  readonly request: (n: number) => Message;
  /** Requests sent at once before it looks again. */
  readonly batch?: number;
  /** What it sends whenever it has connected. */
  readonly first?: readonly Message[];
};

/** Sends without a look at the answers, and comes back when it is closed. Resolves to how many. */
async function flood(
  target: Target,
  { request, batch = BATCH, first = [] }: Flood,
): Promise<number> {
  const deadline = performance.now() + target.seconds * 1000;
  let sent = 0;
  while (performance.now() < deadline && sent < FRAMES_MAX) {
    using attacker = await Attacker.open(target.address, target.told);
    for (const message of first) attacker.send(message);
    while (attacker.isOpen && performance.now() < deadline && sent < FRAMES_MAX) {
      for (let i = 0; i < batch && attacker.bufferedBytes < BUFFERED_MAX; i++)
        attacker.send({ ...request(++sent), id: sent });
      await Bun.sleep(WAIT_MS);
    }
    if (attacker.isOpen) await Promise.race([attacker.closed, Bun.sleep(DRAIN_MS)]);
  }
  return sent;
}

/** The attacker was held back: told so, closed, or served at a pace below what it sent. */
function wasHeldBack({ told, wrong }: Target, sent: number): void {
  if ((told.ok ?? 0) < sent / 2) return;
  const ways = ["error rate", "error limit", "error busy", "closed 4429", "closed 4410"];
  if (!ways.some((way) => told[way] !== undefined)) wrong.push("the attacker was not held back");
}

const simple = (name: string, what: string, request: Flood["request"]): Attack => ({
  name,
  seconds: 1,
  run: async (target) => {
    const sent = await flood(target, { request });
    wasHeldBack(target, sent);
    return `${sent} ${what}`;
  },
});

/** A publication that was taken before the flood is not taken again after it. */
async function keys(target: Target): Promise<string> {
  const producer = `payer-${crypto.randomUUID()}`;
  const pay: Message & { id: number } = {
    type: "publish",
    id: 2,
    channel: "room:pay",
    seq: 1,
    data: "pay 100",
  };
  const keyed: Message & { id: number } = {
    type: "publish",
    id: 3,
    channel: "room:pay",
    key: "invoice 7",
    data: "pay 200",
  };
  const payments = async () => {
    using payer = await Attacker.open(target.address);
    await payer.ask({ type: "connect", id: 1, producer });
    await payer.ask(pay);
    await payer.ask(keyed);
    await payer.ask({ type: "subscribe", id: 4, channel: "room:pay" });
    const history = await payer.ask({ type: "history", id: 5, channel: "room:pay" });
    return Array.isArray(history?.data) ? history.data.length : -1;
  };
  const before = await payments();
  const sent = await flood(target, {
    request: (n) => ({ type: "publish", channel: "room:keys", data: 1, key: `key ${n}` }),
  });
  wasHeldBack(target, sent);
  const after = await payments();
  if (before !== after || before < 2)
    target.wrong.push(`another user's repeats were taken again: ${before}, now ${after}`);
  return `${sent} publications with keys of their own, and the repeats of another user`;
}

/** Many read what one publishes in large messages; a reader is no attacker. */
async function large(target: Target): Promise<string> {
  const seen = {};
  const readers = await Promise.all(
    Array.from({ length: READERS }, () => Attacker.open(target.address, seen)),
  );
  try {
    await Promise.all(
      readers.map((reader) => reader.ask({ type: "subscribe", id: 1, channel: "wide:large" })),
    );
    const sent = await flood(target, {
      request: () => ({ type: "publish", channel: "wide:large", data: LARGE }),
      batch: 20,
    });
    const closed = readers.filter(({ isOpen }) => !isOpen).length;
    add(target.told, "readers closed", closed);
    if (closed > 0) target.wrong.push(`${closed} of ${READERS} good readers were closed`);
    const mb = ((target.told.ok ?? 0) * LARGE.length) / 1e6;
    // Each node has a budget for it.
    if (mb > NODES * INTAKE_MB_MAX * (2 + target.seconds))
      target.wrong.push(`${mb.toFixed(1)} MB taken of one client in ${target.seconds} s`);
    return `${sent} publications of ${LARGE.length} bytes to ${READERS} readers`;
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
}

async function history(target: Target): Promise<string> {
  const channel = "old:1";
  using writer = await Attacker.open(target.address);
  const count = HISTORY_BYTES / REMEMBERED_BYTES;
  const data = LARGE.slice(0, REMEMBERED_BYTES);
  for (let n = 1; n <= count; n++) await writer.ask({ type: "publish", id: n, channel, data });
  const sent = await flood(target, {
    first: [{ type: "subscribe", channel }],
    request: () => ({ type: "history", channel, limit: 1000 }),
  });
  const mb = ((target.told.ok ?? 0) * HISTORY_BYTES) / 1e6;
  if (mb > HISTORY_MB_MAX * (1 + target.seconds))
    target.wrong.push(`${mb.toFixed(0)} MB of history in ${target.seconds} s for one client`);
  return `${sent} times \`history\` with the limit 1000, 1 MB each`;
}

/** Who is there changes at most at a pace: most of who came and went is never told. */
async function presence(target: Target): Promise<string> {
  const channel = "present:1";
  const heard: Record<string, number> = {};
  using watcher = await Attacker.open(target.address, heard);
  await watcher.ask({ type: "subscribe", id: 1, channel });
  const sent = await flood(target, {
    request: (n) => ({ type: n % 2 === 1 ? "subscribe" : "unsubscribe", channel }),
  });
  const events = (heard.join ?? 0) + (heard.leave ?? 0);
  const toggles = target.told.ok ?? 0;
  add(target.told, "join and leave told to others", events);
  if (events > Math.max(100, toggles / 2))
    target.wrong.push(`${toggles} changes of presence were told ${events} times`);
  if (watcher.closeCode !== undefined) target.wrong.push("the watcher was closed");
  return `${sent} times subscribed or unsubscribed where presence shows`;
}

export const floods: readonly Attack[] = [
  simple("new-channels", "publications to channels that were never seen", (n) => ({
    type: "publish",
    channel: `room:new-${n}`,
    data: n,
  })),
  simple("new-subscriptions", "subscriptions to channels that were never seen", (n) => ({
    type: "subscribe",
    channel: `room:sub-${n}`,
  })),
  { name: "keys", seconds: 1, run: keys },
  { name: "large-messages", seconds: 1, run: large },
  { name: "history", seconds: 1, run: history },
  { name: "presence", seconds: 1, run: presence },
];
