// Publishes to tutti's relay and reads from it, as a node does.

import { Link } from "../../src/runtime/link.ts";
import { encodePublish } from "../../src/wire/frame.ts";
import {
  CHANNELS,
  type Connect,
  channelNames,
  HISTORY,
  PAYLOAD,
  SUBSCRIBERS,
} from "./broker-driver.ts";

const policy = { size: HISTORY, ttlMs: 600_000, bytes: 1024 * 1024 };
/** Publications between two progress reports of a subscriber. */
const STEP = 50;

export const relay: Connect = async ({ port, secret }, progress) => {
  const ids = new Map<string, number>();
  let acknowledged = 0;

  const open = (id: string, live: boolean, onPublication: () => void) =>
    new Promise<Link>((ready) => {
      let opened = 0;
      const link = new Link(
        { address: { host: "127.0.0.1", port }, secret, role: "node", id },
        {
          welcome() {
            for (const channel of channelNames)
              link.sendMessage({
                type: "open",
                channel,
                live,
                presence: false,
                policy,
                since: null,
              });
          },
          publication: onPublication,
          message(message) {
            if (message.type === "opened") {
              ids.set(message.channel, message.id);
              if (++opened === CHANNELS) ready(link);
            } else if (message.type === "ack") {
              acknowledged += message.outcomes.length;
              progress.acknowledged(acknowledged);
            }
          },
          invalidMessage() {},
          lost(reason) {
            console.error(`link ${id} lost: ${reason}`);
            process.exit(1);
          },
        },
      );
    });

  await Promise.all(
    Array.from({ length: SUBSCRIBERS }, (_, i) => {
      let received = 0;
      return open(`subscriber-${i}`, true, () => {
        if (++received % STEP === 0) progress.received(i, received);
      });
    }),
  );
  const publisher = await open("publisher", false, () => {});
  const payload = new TextEncoder().encode(PAYLOAD);
  const producer = { high: 1, low: 2 };
  return {
    publish(first, count) {
      for (let number = first; number < first + count; number++) {
        const id = ids.get(channelNames[number % CHANNELS]) ?? 0;
        publisher.send(encodePublish(id, producer, number + 1, payload));
      }
    },
  };
};
