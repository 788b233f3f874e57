// What a node asks of a relay that will not open a channel.

import { expect, test } from "bun:test";
import type { ChannelPort } from "../../src/node/broker.ts";
import { type LinkPort, Uplink } from "../../src/node/uplink.ts";
import type { LinkEvents } from "../../src/wire/link.ts";
import type { RelayMessage } from "../../src/wire/relay-messages.ts";

const NEWS: ChannelPort = {
  name: "news",
  policy: { size: 0, ttlMs: 0, bytes: 0 },
  presence: false,
  isFollowed: true,
  position: null,
  opened() {},
  publication() {},
  entered() {},
  left() {},
  openRefused() {},
};

/** An uplink with a link that is up, and what it has said. */
function uplink() {
  const said: RelayMessage[] = [];
  const link: LinkPort = { isUp: true, send() {}, sendMessage: (message) => void said.push(message), close() {} };
  let events: LinkEvents | undefined;
  const made = new Uplink(
    "relay-1",
    (heard) => {
      events = heard;
      return link;
    },
    () => 1,
    () => {},
  );
  return {
    uplink: made,
    take: () => said.splice(0).map(({ type }) => type),
    refuse: () => events?.message({ type: "open_refused", channel: "news", reason: "limit" }),
  };
}

test("a channel that was refused is asked for again with the next tick, once", () => {
  const { uplink: node, take, refuse } = uplink();
  node.open(NEWS);
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
  const opening = node.open(NEWS);
  refuse();
  expect(node.close(opening)).toBe(true);
  take();
  node.tick(1000);
  expect(take()).toEqual([]);
});
