// What a node says to a relay that will not open a channel, or cannot store.

import { expect, test } from "bun:test";
import type { ChannelPort } from "../../src/node/uplink/broker.ts";
import { type LinkPort, Uplink } from "../../src/node/uplink/uplink.ts";
import type { LinkEvents } from "../../src/runtime/link-core.ts";
import { afterAt, encodePublish, seqAt } from "../../src/wire/frame.ts";
import {
  type InvalidRelayMessage,
  OUTCOME_ORDER,
  OUTCOME_STORAGE,
  type RelayMessage,
} from "../../src/wire/relay-messages.ts";

const NEWS: ChannelPort = {
  name: "news",
  policy: { size: 0, ttlMs: 0, bytes: 0 },
  presence: false,
  isFollowed: true,
  position: null,
  channelOpened() {},
  publicationArrived() {},
  memberEntered() {},
  memberLeft() {},
  openRefused() {},
};

/** An uplink with a link that is up, and what it has said. */
function uplink() {
  const said: RelayMessage[] = [];
  const changes: string[] = [];
  const frames: [number, number][] = [];
  const link: LinkPort = {
    isUp: true,
    send: (frame) => void frames.push([seqAt(frame, 0), afterAt(frame, 0)]),
    sendMessage: (message) => void said.push(message),
    close() {},
  };
  let events: LinkEvents | undefined;
  const made = new Uplink(
    "relay-1",
    (heard) => {
      events = heard;
      return link;
    },
    () => 1,
    (change) => void changes.push(change),
  );
  return {
    uplink: made,
    /** The seqs of what it has published, each with what it names before it. */
    published: () => frames.splice(0),
    take: () => said.splice(0).map(({ type }) => type),
    hear: (message: RelayMessage) => events?.message(message),
    misread: (readable: InvalidRelayMessage["readable"]) =>
      events?.invalidMessage({ type: "invalid", readable, reason: "a field is wrong" }),
    publication: (payload: string) => {
      const frame = encodePublish(7, { high: 1, low: 1 }, 1, new TextEncoder().encode(payload));
      events?.publication(frame, 0, frame.length);
    },
    changes,
    refuse: () => events?.message({ type: "open_refused", channel: "news", reason: "limit" }),
  };
}

test("a channel that was refused is asked for again with the next tick, once", () => {
  const { uplink: node, take, refuse } = uplink();
  node.openChannel(NEWS);
  expect(take()).toEqual(["open"]);
  node.tick(1000);
  expect(take()).toEqual([]);
  refuse();
  node.tick(2000);
  node.tick(3000);
  expect(take()).toEqual(["open"]);
  refuse();
  node.tick(4000);
  expect(take()).toEqual(["open"]);
});

test("a channel that was refused and closed is not asked for again", () => {
  const { uplink: node, take, refuse } = uplink();
  const opening = node.openChannel(NEWS);
  refuse();
  expect(node.closeChannel(opening)).toBe(true);
  take();
  node.tick(1000);
  expect(take()).toEqual([]);
});

test("one that could not be stored is told; the node's own behind it go again, and then in order", () => {
  const { uplink: node, hear, published } = uplink();
  const readable = { epoch: "e", first: 1, top: 0, trimmed: "expired" as const };
  const opened = { type: "opened" as const, channel: "news", id: 7, ...readable };
  const opening = node.openChannel(NEWS);
  hear({ ...opened, gap: null, missed: 0, members: 0 });
  const results: unknown[] = [];
  const publish = (name: string) =>
    node.publish(opening, undefined, new Uint8Array(1), 0, {
      published: (result) => void results.push([name, result]),
    });
  for (const name of ["a", "b", "c"]) publish(name);
  expect(published()).toEqual([
    [1, 0],
    [2, 1],
    [3, 2],
  ]);
  hear({ type: "ack", outcomes: [OUTCOME_STORAGE, OUTCOME_ORDER, OUTCOME_ORDER] });
  expect(results).toEqual([["a", "storage"]]);
  expect(published()).toEqual([
    [2, 0],
    [3, 2],
  ]);
  hear({ type: "ack", outcomes: [1, 2] });
  expect(results.slice(1)).toEqual([
    ["b", 1],
    ["c", 2],
  ]);
});

const OPENED = {
  type: "opened",
  ...{ channel: "news", id: 7, epoch: "e", first: 1, top: 0, trimmed: "expired" as const },
  ...{ gap: null, missed: 0, members: 0 },
} as const;

test("a malformed page fails its question alone, and its publications are not taken for live ones", () => {
  const { uplink: node, hear, misread, publication, changes } = uplink();
  const arrived: string[] = [];
  const opening = node.openChannel({
    ...NEWS,
    publicationArrived: (_, __, payload) => void arrived.push(payload),
  });
  hear(OPENED);
  const pages: unknown[] = [];
  const question = { since: null, limit: 10, reverse: false };
  for (let n = 0; n < 2; n++) node.requestHistory(opening, question, (page) => pages.push(page));
  misread({ type: "page", request: 1, count: 2 });
  expect(pages).toEqual([undefined]);
  for (const payload of ["1", "2", "3"]) publication(payload);
  expect(arrived).toEqual(["3"]);
  hear({ ...OPENED, type: "page", request: 2, found: true, count: 0 });
  expect(pages).toHaveLength(2);
  expect(changes).toEqual(["malformed answer"]);
});

test("a malformed opening is closed, and asked for again with the next tick", () => {
  const { uplink: node, take, misread, changes } = uplink();
  node.openChannel(NEWS);
  misread({ type: "opened", channel: "news", id: 7 });
  node.tick(1000);
  expect(take()).toEqual(["open", "close", "open"]);
  expect(changes).toEqual(["malformed answer"]);
});

test("where it is not known what a malformed answer was for, the link is dialed again", () => {
  const { uplink: node, misread, changes } = uplink();
  node.openChannel(NEWS);
  misread({ type: "ack" });
  misread({ type: "page", request: 1 });
  misread({ type: "entered", id: 7 });
  expect(changes).toEqual([
    ...["malformed answer", "link lost", "malformed answer", "link lost"],
    "malformed answer",
  ]);
});
