// The tutorial server, used through plain WebSockets: no SDK, no subscribe.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { isRecord } from "../../src/wire/shape.ts";
import { type Cluster, startCluster } from "../cluster/start.ts";

const USERS = [{ id: 1, firstname: "John", lastname: "Doe" }];
const NODES = 3;
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    nodes: NODES,
    app: join(import.meta.dir, "../../examples/article/app.ts"),
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** A plain WebSocket, and the frames after its welcome. */
class Plain {
  readonly socket: WebSocket;
  readonly frames: Record<string, unknown>[] = [];
  node: unknown;
  #waiting: (() => void)[] = [];

  constructor() {
    this.socket = new WebSocket(`ws://${cluster.address}`);
    this.socket.addEventListener("message", ({ data }) => {
      const frame: unknown = JSON.parse(String(data));
      if (!isRecord(frame)) throw new Error(`not a frame: ${data}`);
      if (frame.type === "welcome") this.node = frame.node;
      else this.frames.push(frame);
      for (const look of this.#waiting.splice(0)) look();
    });
  }

  async until(isThere: () => boolean): Promise<void> {
    while (!isThere()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

async function open(count: number): Promise<Plain[]> {
  const sockets = Array.from({ length: count }, () => new Plain());
  await Promise.all(sockets.map((plain) => plain.until(() => plain.node !== undefined)));
  return sockets;
}

test("get-users is answered only to its sender", async () => {
  const [asker, other] = await open(2);
  asker.socket.send('{"type":"get-users"}');
  await asker.until(() => asker.frames.length > 0);
  expect(asker.frames).toEqual([{ type: "ok", data: USERS }]);
  other.socket.send('{"type":"ping"}');
  await other.until(() => other.frames.length > 0);
  expect(other.frames).toEqual([{ type: "pong" }]);
  for (const { socket } of [asker, other]) socket.close();
});

test("broadcast reaches every client on every node", async () => {
  const everyone = await open(2 * NODES);
  expect(new Set(everyone.map(({ node }) => node)).size).toBe(NODES);
  everyone[0].socket.send('{"type":"broadcast"}');
  for (const plain of everyone) {
    await plain.until(() => plain.frames.length > 0);
    const time = expect.any(Number);
    expect(plain.frames).toEqual([
      { type: "message", channel: "$everyone", offset: 1, time, data: USERS },
    ]);
    plain.socket.close();
  }
});
