// A draining node sends its clients away kindly, and everybody who watches the registry knows.

import { expect, setDefaultTimeout, test } from "bun:test";
import { eventually } from "../eventually.ts";
import { TestLink } from "../relay/process.ts";
import { type Message, TestCluster } from "./harness.ts";

setDefaultTimeout(30_000);

test("each client is told when to come back and closed soon after; what it published is answered first", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const node = await cluster.node([relay]);
  const clients = await Promise.all(Array.from({ length: 120 }, () => cluster.client(node)));
  const published: Promise<Message>[] = [];
  for (const [n, client] of clients.entries()) published.push(client.publish("room", n));
  node.node.drain();
  expect((await Promise.all(published)).every(({ type }) => type === "ok")).toBe(true);
  const goodbyes = await Promise.all(clients.map((client) => client.next("goodbye")));
  const delays = goodbyes.map(({ reconnectAfterMs }) => Number(reconnectAfterMs));
  expect(new Set(delays).size).toBeGreaterThan(50);
  expect(Math.max(...delays)).toBeLessThanOrEqual(1000);
  for (const client of clients) expect((await client.closed).code).toBe(1012);
  expect(node.node.status).toEqual({ state: "draining", connections: 0 });
  await expect(cluster.client(node)).rejects.toThrow();
  expect((await fetch(`http://${node.address}/healthz`)).status).toBe(200);
  node.node.undrain();
  await cluster.client(node);
});

test("the registry shows a node's state and connections, on every relay, also after a relay's restart", async () => {
  await using cluster = new TestCluster();
  const relays = [await cluster.relay("relay-1"), await cluster.relay("relay-2")];
  const node = await cluster.node(relays, {}, { id: "seen" });
  const watch = async (port: number) => {
    const link = new TestLink(port, "watcher", { role: "cluster" });
    cluster.onEnd(() => link.link.close());
    await link.next("welcome");
    link.link.sendMessage({ type: "watch" });
    return link;
  };
  const until = async (link: TestLink, state: string, connections: number) => {
    for (;;) {
      const { member } = await link.next("registered");
      if (member.state === state && member.connections === connections) return member;
    }
  };
  const watchers = await Promise.all(relays.map(({ port }) => watch(port)));
  const { members } = await watchers[0].next("registry");
  expect(members).toEqual([
    { role: "node", id: "seen", address: node.address, state: "up", connections: 0, counts: {} },
  ]);
  const client = await cluster.client(node);
  for (const watcher of watchers) await until(watcher, "up", 1);
  await relays[1].kill();
  await relays[1].restart();
  const again = await watch(relays[1].port);
  const known = await again.next("registry");
  if (known.members.length === 0) await until(again, "up", 1);
  node.node.drain();
  for (const watcher of [watchers[0], again]) await until(watcher, "draining", 1);
  await client.closed;
  for (const watcher of [watchers[0], again]) await until(watcher, "draining", 0);
  await node.stop();
  expect((await watchers[0].next("departed")).id).toBe("seen");
});

test("a stopping node waits for its clients' publications, then goes", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const node = await cluster.node([relay]);
  const client = await cluster.client(node);
  await client.subscribe("room");
  relay.signal("SIGSTOP");
  const published = client.publish("room", 1);
  const stopped = node.stop();
  await client.next("goodbye");
  relay.signal("SIGCONT");
  expect(await published).toMatchObject({ type: "ok" });
  expect((await client.closed).code).toBe(1012);
  await stopped;
  await eventually(() =>
    fetch(`http://${node.address}/`).then(
      () => false,
      () => true,
    ),
  );
});
