// Planted faults: bugs that a relay, node or client could have, patched into the cores for the time
// of a test. The simulation must catch each of them.

import { Connection } from "../../src/client/connection.ts";
import { Outbox as ClientOutbox } from "../../src/client/outbox.ts";
import { Reader } from "../../src/client/reader.ts";
import { Subscription } from "../../src/client/subscription.ts";
import { Subscriptions } from "../../src/client/subscriptions.ts";
import { HistoryCache } from "../../src/node/channels/history-cache.ts";
import { Outbox as NodeOutbox } from "../../src/node/uplink/outbox.ts";
import { Uplink } from "../../src/node/uplink/uplink.ts";
import { Channel } from "../../src/relay/channels/channel.ts";
import { Producers } from "../../src/relay/channels/producers.ts";
import { Store } from "../../src/relay/store/store.ts";
import { LinkCore } from "../../src/runtime/link-core.ts";
import { setAfter } from "../../src/wire/frame.ts";
import type { RelayMessage } from "../../src/wire/relay-messages.ts";
import { MemoryDisk } from "../relay/memory-disk.ts";
import { SimSocket } from "./node.ts";
import type { RunOptions } from "./run.ts";
import type { World } from "./world.ts";

export type Planted = {
  readonly name: string;
  /** Applies the fault; returns what removes it. */
  readonly plant?: () => () => void;
  readonly options?: RunOptions;
};

function patch<T extends object, K extends keyof T>(
  target: T,
  name: K,
  replace: (original: T[K]) => T[K],
): () => void {
  const original = target[name];
  target[name] = replace(original);
  return () => {
    target[name] = original;
  };
}

const both = (first: () => void, second: () => void) => () => {
  first();
  second();
};

/** Changes messages from the relay to the nodes. */
const onTheWay = (change: (message: RelayMessage) => RelayMessage) => () =>
  patch(
    Uplink.prototype,
    "message",
    (original) =>
      function (this: Uplink, message) {
        return original.call(this, change(message));
      },
  );

const takeAnything = () =>
  both(
    patch(
      Subscription.prototype,
      "acceptMessage",
      (original) =>
        function (this: Subscription, offset) {
          const [reader] = this.readers.values();
          return original.call(this, offset) ?? reader?.position;
        },
    ),
    patch(
      Reader.prototype,
      "acceptMessage",
      () =>
        function (this: Reader, stream, offset) {
          if (this.position !== undefined) this.moveTo({ epoch: stream.epoch, offset });
          return true;
        },
    ),
  );

const headOf = (disk: MemoryDisk) => [...disk.files.values()].at(-1);

/** Where each disk's last write began. */
const lastWrites = new WeakMap<MemoryDisk, number>();

/** Disks are full now and then while publications are under way. */
const withFullDisks = (world: World) => {
  for (let atMs = 200; atMs < 2000; atMs += 200) {
    for (const { disk } of world.relays) {
      world.clock.after(atMs, () => {
        disk.isFull = true;
        for (const client of world.clients)
          for (let n = 0; n < 20; n++) world.clock.after(n / 2, () => client.publish("a"));
      });
      world.clock.after(atMs + 5, () => {
        disk.isFull = false;
      });
    }
  }
};

const withPowerLoss = { losesPower: true, faultEveryMs: 400 } as const;

export const PLANTED: readonly Planted[] = [
  {
    name: "the relay acknowledges before the journal has it",
    plant: () =>
      patch(
        MemoryDisk.prototype,
        "write",
        (original) =>
          function (this: MemoryDisk, segment, bytes, from, to) {
            lastWrites.set(this, from);
            return original.call(this, segment, bytes, from, to);
          },
      ),
    options: {
      hooks: {
        died: (disk) => {
          const [head, from] = [headOf(disk), lastWrites.get(disk)];
          if (head !== undefined && from !== undefined) head.length = Math.min(head.length, from);
        },
      },
    },
  },
  {
    name: "the tail of a segment is lost with the relay",
    options: {
      hooks: {
        died: (disk) => {
          const head = headOf(disk);
          if (head !== undefined) head.length = Math.floor(head.length * 0.9);
        },
      },
    },
  },
  {
    name: "a restarted relay knows no repeats",
    options: {
      hooks: { started: (store) => Object.assign(store, { producers: new Producers() }) },
    },
  },
  {
    name: "the relay knows no repeats at all",
    plant: () => patch(Producers.prototype, "isRepeat", () => () => false),
  },
  {
    name: "the relay knows no repeats of publications with a key",
    plant: () =>
      patch(
        Producers.prototype,
        "isRepeat",
        (original) =>
          function (this: Producers, high, low, seq) {
            return seq > 1 && original.call(this, high, low, seq);
          },
      ),
  },
  {
    name: "a publication that was refused for the full disk counts as seen",
    plant: () => patch(Producers.prototype, "forget", () => () => {}),
  },
  {
    name: "a restarted relay gives the newest offset again",
    plant: () =>
      patch(
        Channel.prototype,
        "settle",
        (original) =>
          function (this: Channel, top) {
            const bytes = original.call(this, top);
            if (this.remembered > 1) this.top--;
            return bytes;
          },
      ),
  },
  {
    name: "after a loss of power the epochs stay",
    options: { hooks: { ignoresPowerLoss: true }, profile: withPowerLoss },
  },
  {
    name: "a node opens its channels again without a position",
    plant: () =>
      patch(
        LinkCore.prototype,
        "sendMessage",
        (original) =>
          function (this: LinkCore, message) {
            return original.call(
              this,
              message.type === "open" ? { ...message, since: null } : message,
            );
          },
      ),
  },
  {
    name: "the relay skips the position check",
    plant: onTheWay((message) => (message.type === "opened" ? { ...message, gap: null } : message)),
    options: { profile: withPowerLoss },
  },
  {
    name: "acknowledgements are off by one",
    plant: onTheWay((message) =>
      message.type === "ack"
        ? { ...message, outcomes: message.outcomes.map((n) => (n > 0 ? n + 1 : n)) }
        : message,
    ),
  },
  {
    name: "a node forgets that it has to send again what a lost link did not answer",
    plant: () => patch(NodeOutbox.prototype, "linkLost", () => () => {}),
  },
  {
    name: "a node acknowledges before the relay has answered",
    plant: () =>
      patch(
        Uplink.prototype,
        "publish",
        (original) =>
          function (this: Uplink, opening, identity, payload, nowMs, publisher) {
            const isTaken = original.call(this, opening, identity, payload, nowMs, {
              published: () => {},
            });
            if (isTaken) queueMicrotask(() => publisher.published(0));
            return isTaken;
          },
      ),
  },
  {
    name: "a node publishes under its own number what clients may repeat",
    plant: () =>
      patch(
        Uplink.prototype,
        "publish",
        (original) =>
          function (this: Uplink, opening, _identity, payload, nowMs, publisher) {
            return original.call(this, opening, undefined, payload, nowMs, publisher);
          },
      ),
  },
  {
    name: "a reader goes live without what it has missed",
    plant: () =>
      patch(
        HistoryCache.prototype,
        "find",
        (original) =>
          function (this: HistoryCache, want, nowMs) {
            return original.call(this, want, nowMs) === undefined ? undefined : this.top;
          },
      ),
  },
  {
    name: "a page of history loses its first publication",
    plant: () =>
      patch(
        HistoryCache.prototype,
        "keepPage",
        (original) =>
          function (this: HistoryCache, question, page) {
            const [offsets, timesMs, payloads] = [
              page.offsets.slice(1),
              page.timesMs.slice(1),
              page.payloads.slice(1),
            ];
            return original.call(this, question, { ...page, offsets, timesMs, payloads });
          },
      ),
  },
  {
    name: "the relay takes publications whatever is missing before them",
    plant: () =>
      patch(
        Store.prototype,
        "publish",
        (original) =>
          function (this: Store, link, frame, start, end, nowMs) {
            setAfter(frame, start, 0);
            original.call(this, link, frame, start, end, nowMs);
          },
      ),
    options: { prepare: withFullDisks },
  },
  {
    name: "a client sends again only what was refused, and not what was behind it",
    plant: () =>
      patch(
        ClientOutbox.prototype,
        "publicationRefused",
        (original) =>
          function (this: ClientOutbox, request, fault, now, random) {
            if (fault.code !== "order") original.call(this, request, fault, now, random);
          },
      ),
  },
  {
    name: "a node sends each message twice, and the client takes both",
    plant: () =>
      both(
        takeAnything(),
        patch(
          SimSocket.prototype,
          "transmit",
          (original) =>
            function (this: SimSocket, text) {
              if (text.startsWith('{"type":"message"')) original.call(this, text);
              original.call(this, text);
            },
        ),
      ),
  },
  { name: "a client takes what comes between its question and the answer", plant: takeAnything },
  {
    name: "a client forgets that it has to publish again what a lost connection did not answer",
    plant: () => patch(ClientOutbox.prototype, "connectionLost", () => () => {}),
  },
  {
    name: "a client never asks whether its connection is alive",
    plant: () =>
      both(
        patch(
          Connection.prototype,
          "dueAction",
          (original) =>
            function (this: Connection, now) {
              return original.call(this, now) === "dial" ? "dial" : undefined;
            },
        ),
        patch(
          Connection.prototype,
          "wakeAt",
          (original) =>
            function (this: Connection, now) {
              const at = original.call(this, now);
              return at > now ? at : Number.POSITIVE_INFINITY;
            },
        ),
      ),
  },
  {
    name: "a client keeps a gap to itself",
    plant: () =>
      patch(
        Subscriptions.prototype,
        "channelEventArrived",
        (original) =>
          function (this: Subscriptions, message) {
            if (message.type !== "gap") original.call(this, message);
          },
      ),
    options: { profile: withPowerLoss },
  },
];
