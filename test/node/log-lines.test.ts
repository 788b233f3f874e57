// What a node logs of the clients that it closes or refuses.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import pino from "pino";
import { Refused } from "../../src/node/app/index.ts";
import { isRecord } from "../../src/wire/shape.ts";
import { eventually } from "../eventually.ts";
import { type Message, TestCluster } from "./harness.ts";

setDefaultTimeout(30_000);

const cluster = new TestCluster();
afterAll(() => cluster[Symbol.asyncDispose]());

test("every close by the node and every refusal is one line that names code, reason and client", async () => {
  const lines: Message[] = [];
  const write = (text: string) => {
    const line: unknown = JSON.parse(text);
    if (isRecord(line)) lines.push(line);
  };
  const node = await cluster.node(
    [await cluster.relay()],
    {
      connect: ({ request }) => {
        const user = new URL(request.url).searchParams.get("user");
        if (user === null) throw new Refused("Who\nare you?");
        return { user };
      },
      channels: { read: { publish: false } },
    },
    { log: pino({ level: "debug" }, { write }) },
  );
  const line = (msg: string, code: unknown) =>
    eventually(
      () => lines.filter((each) => each.msg === msg && each.code === code),
      (found) => found.length > 0,
    );

  await expect(cluster.client(node)).rejects.toThrow();
  expect(await line("refused", 401)).toMatchObject([{ reason: "Who\\nare you?", session: "" }]);

  const client = await cluster.client(node, { path: "/?user=ann%0A" });
  const { session } = client.welcome;
  await client.publish("read", "a secret");
  expect(await line("refused", "refused")).toMatchObject([{ session, user: "ann\\n" }]);
  while (client.socket.readyState === WebSocket.OPEN) {
    client.socket.send("{");
    await Promise.race([client.closed, client.next("error").catch(() => {})]);
  }
  expect(await line("client closed", 4400)).toMatchObject([
    { reason: "too many bad frames", session, user: "ann\\n", durationMs: expect.any(Number) },
  ]);

  const large = await cluster.client(node, { path: "/?user=ben" });
  large.socket.send("x".repeat(100_000));
  await large.closed;
  expect(await line("client closed", 1009)).toMatchObject([{ user: "ben" }]);

  const leaver = await cluster.client(node, { path: "/?user=cai" });
  leaver.close();
  await leaver.closed;
  await eventually(() => node.node.status.connections === 0);
  await cluster.client(node, { path: "/?user=dan" });
  await node.stop();
  expect(await line("client closed", 1012)).toMatchObject([{ user: "dan" }]);
  expect(lines.filter(({ msg }) => msg === "client closed")).toHaveLength(3);
  expect(JSON.stringify(lines)).not.toContain("a secret");
});
