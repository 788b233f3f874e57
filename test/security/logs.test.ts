// Logs contain no secrets, whatever fails, and no peer can forge a log line.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { encodePublish } from "../../src/wire/frame.ts";
import { type Cluster, startCluster } from "../cluster/start.ts";
import { TestLink } from "../relay/process.ts";
import { clientFrame, handshake, RawWebSocket } from "./raw-web-socket.ts";

const MARK = "MARKED-SECRET";
const SECRETS = { Cookie: `session=${MARK}`, Authorization: `Bearer ${MARK}`, "X-Api-Key": MARK };

const logsOf = (cluster: Cluster): string =>
  readdirSync(join(cluster.dataDir, "logs"))
    .map((name) => readFileSync(join(cluster.dataDir, "logs", name), "utf8"))
    .join("");

const relayPort = (cluster: Cluster): number =>
  Number(/"address":"127\.0\.0\.1:(\d+)","msg":"relay is up"/.exec(logsOf(cluster))?.[1]);

/** Sends every kind of message, valid and invalid, each with the secret in it. */
async function sendEveryMessage(address: string): Promise<void> {
  using client = await RawWebSocket.open(address, `/?token=${MARK}`, SECRETS);
  for (const message of [
    { type: "connect", producer: `${MARK}-producer` },
    { type: "subscribe", channel: "room:1" },
    { type: "publish", channel: "room:1", data: { MARK }, key: MARK, seq: 1 },
    { type: "publish", channel: "checked:1", data: MARK },
    { type: "publish", channel: "room:1", data: MARK, seq: -1 },
    { type: "call", method: "throws", params: MARK },
    { type: "call", method: "rejects", params: MARK },
    { type: "call", method: "fills", params: MARK },
    { type: "call", method: MARK, params: MARK },
    { type: "publish", channel: `room ${MARK}\n`, data: MARK },
    { type: MARK },
  ])
    client.send(message);
  await client.ask({ type: "presence", id: 1, channel: "room:1" });
  for (const bad of [MARK, `{"${MARK}`, `{"type":"publish","token":"${MARK}"}`])
    client.socket.write(clientFrame(bad));
  client.socket.write(clientFrame(MARK, 0x82));
  client.socket.write(clientFrame(MARK, 0xf1));
  await client.ended();
  for (const cookie of ["wrong", "bug"]) {
    using refused = await RawWebSocket.open(address, `/?token=${MARK}`, {
      ...SECRETS,
      Cookie: `${cookie}=${MARK}`,
    });
    expect([401, 500]).toContain(refused.status);
  }
}

async function sendEveryRequest(address: string): Promise<void> {
  for (const request of [
    `POST /${MARK} HTTP/1.1\r\nHost: a\r\nCookie: ${MARK}\r\nContent-Length: 13\r\nConnection: close\r\n\r\n${MARK}`,
    `GET /?${MARK} HTTP/1.1\r\nHost: ${MARK} ${MARK}\r\n\r\n`,
    `${MARK}\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ${MARK}\r\nCookie: ${MARK}\r\n\r\n`,
    handshake("/", { "Content-Length": "5", Cookie: MARK }),
  ]) {
    using peer = RawWebSocket.dial(address, request);
    await peer.ended();
  }
}

test("no log contains secrets, cookies, tokens or payloads", async () => {
  const cluster = await startCluster({
    nodes: 2,
    app: join(import.meta.dir, "app.ts"),
    args: ["--log-level", "debug"],
  });
  const secret = readFileSync(join(cluster.dataDir, "secret"), "utf8").trim();
  await sendEveryMessage(cluster.address);
  await sendEveryRequest(cluster.address);
  using stranger = RawWebSocket.dial(
    `127.0.0.1:${relayPort(cluster)}`,
    `\0\0\0\u{20}${MARK}${MARK}${MARK}${MARK}`,
  );
  await stranger.ended();
  using spy = new TestLink(relayPort(cluster), "spy", { secret: `${MARK}-${MARK}` });
  await spy.next("lost");
  using member = new TestLink(relayPort(cluster), "evil\r\n\u001b[31m{}", { secret });
  await member.next("welcome");
  member.link.send(encodePublish(1, { high: 1, low: 1 }, 0, Buffer.from(MARK)));
  await member.next("lost");
  for (const id of ["node-1", "relay-1", "lb-1"]) {
    const pid = await cluster.kill(id);
    await cluster.until(id, (now) => now.state === "up" && now.pid !== pid);
  }
  await sendEveryMessage(cluster.address);
  expect((await cluster.run("status")).code).toBe(0);
  const { out, err } = await cluster.stop();
  const logs = logsOf(cluster);
  const all = logs + out + err;
  for (const bug of ["a bug", "another bug", "a third bug", "a fourth bug"])
    expect(all).toContain(`the app has ${bug}`);
  expect(all).toContain("evil");
  expect(all).not.toContain(MARK);
  expect(all).not.toContain(secret);
  expect(all).not.toMatch(/[\r\u001b]/);
  for (const line of logs.trim().split("\n")) expect(() => JSON.parse(line), line).not.toThrow();
}, 60_000);
