// The load of question "restart": fills a relay with history as a node does, then publishes through
// the cluster continuously, and reports how long after a given time a newer publication arrived.

import { connect } from "../../src/client/index.ts";
import { Link } from "../../src/runtime/link.ts";
import { encodePublish } from "../../src/wire/frame.ts";
import { PAYLOAD } from "./broker-driver.ts";
import { serveTasks } from "./serve.ts";

const CHANNELS_FILLED = 100;
const CHANNELS_USED = 20;
const PUBLISH_EVERY_MS = 10;
/** Publications in flight while it fills the relay. */
const WINDOW = 2000;

type Sent = { readonly n: number; readonly atMs: number };

const wallMs = () => performance.timeOrigin + performance.now();

/** Publishes `publications` to channels with a history of `remembered` each. */
function fill(
  port: number,
  secret: string,
  publications: number,
  remembered: number,
): Promise<void> {
  const policy = { size: remembered, ttlMs: 3_600_000, bytes: 64 * 1024 * 1024 };
  const payload = new TextEncoder().encode(PAYLOAD);
  const ids: number[] = [];
  let sent = 0;
  let acknowledged = 0;
  return new Promise((done, fail) => {
    const publish = () => {
      for (; sent < Math.min(publications, acknowledged + WINDOW); sent++)
        link.send(
          encodePublish(ids[sent % CHANNELS_FILLED], { high: 1, low: 2 }, sent + 1, payload),
        );
      if (acknowledged < publications) return;
      link.close();
      done();
    };
    const link = new Link(
      { address: { host: "127.0.0.1", port }, secret, role: "node", id: "filler" },
      {
        welcome() {
          for (let i = 0; i < CHANNELS_FILLED; i++)
            link.sendMessage({
              type: "open",
              channel: `filled-${i}`,
              live: false,
              presence: false,
              policy,
              since: null,
            });
        },
        publication() {},
        invalidMessage() {},
        message(message) {
          if (message.type === "opened" && ids.push(message.id) < CHANNELS_FILLED) return;
          if (message.type === "ack") acknowledged += message.outcomes.length;
          publish();
        },
        lost: (reason) => fail(new Error(`the filler's link is lost: ${reason}`)),
      },
    );
  });
}

/** The pending wait, and its start. */
let awaited: { sinceMs: number; arrived(afterMs: number): void } | undefined;
let wrong = 0;

async function follow(port: number): Promise<void> {
  const names = Array.from({ length: CHANNELS_USED }, (_, i) => `used-${i}`);
  const reader = connect(`ws://127.0.0.1:${port}`);
  const publisher = connect(`ws://127.0.0.1:${port}`);
  const disconnected = () => wrong++;
  reader.on("disconnected", disconnected);
  publisher.on("disconnected", disconnected);
  await Promise.all(
    names.map(async (name) => {
      const channel = reader.channel<Sent>(name);
      let next = 0;
      channel.on("message", ({ data }) => {
        if (data.n !== next) wrong++;
        next = data.n + 1;
        if (awaited === undefined || data.atMs < awaited.sinceMs) return;
        awaited.arrived(wallMs() - awaited.sinceMs);
        awaited = undefined;
      });
      channel.on("gap", () => wrong++);
      await channel.subscribe();
    }),
  );
  let turn = 0;
  setInterval(() => {
    const name = names[turn % CHANNELS_USED];
    const sent = { n: Math.floor(turn / CHANNELS_USED), atMs: wallMs() };
    turn++;
    publisher.channel<Sent>(name).publish(sent).catch(disconnected);
  }, PUBLISH_EVERY_MS);
}

serveTasks(async ({ kind, port, secret, publications, remembered, sinceMs }) => {
  if (kind === "fill")
    await fill(Number(port), String(secret), Number(publications), Number(remembered));
  else if (kind === "follow") await follow(Number(port));
  else if (kind === "wrong") return { wrong };
  else
    return {
      arrivedMs: await new Promise<number>((arrived) => {
        awaited = { sinceMs: Number(sinceMs), arrived };
      }),
    };
  return {};
});
