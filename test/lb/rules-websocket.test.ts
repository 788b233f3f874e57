// WebSocket, rules 44–51: black box, raw peers on both sides of the running lb.

import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  answering,
  fieldOf,
  namesIn,
  OK,
  type RawPeer,
  serverBehindLb,
  statusOf,
} from "./harness.ts";

setDefaultTimeout(60_000);

const { server, lb } = await serverBehindLb("--half-closed-timeout-ms", "800");
beforeEach(() => server.play(switching()));

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const HANDSHAKE = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Key": KEY,
  "Sec-WebSocket-Version": "13",
};

/** An opening handshake, with some fields changed, or left out as undefined. */
function opening(
  changes: Record<string, string | undefined> = {},
  start = "GET /ws HTTP/1.1",
): string {
  const lines = Object.entries({ Host: "a", ...HANDSHAKE, ...changes }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}\r\n`],
  );
  return `${start}\r\n${lines.join("")}\r\n`;
}

const switched = (accept = ACCEPT, more = "") =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${more}\r\n`;

/** A script that grants the handshake, and says more in the same segment. */
const switching =
  (more = "") =>
  async (peer: RawPeer): Promise<void> => {
    const key = fieldOf(await peer.head(), "Sec-WebSocket-Key");
    const accept = createHash("sha1")
      .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    peer.send(switched(accept) + more);
  };

/** A tunnel: the client's end and the server's, each with nothing received yet. */
async function tunnel(): Promise<{ client: RawPeer; upstream: RawPeer }> {
  server.play(switching());
  const client = await lb.connect();
  client.send(opening());
  expect(statusOf(await client.head())).toBe(101);
  const upstream = await server.connection();
  client.forget();
  upstream.forget();
  return { client, upstream };
}

const gone = () =>
  lb.countsWhen(({ connections, live, upstreams }) => connections + live + upstreams === 0);

describe("rule 44: which requests become a tunnel", () => {
  test("a proper handshake, in whatever case and with other tokens around", async () => {
    for (const changes of [
      {},
      { Connection: "keep-alive, uPGRADE", Upgrade: "WebSocket" },
      { Upgrade: "h2c, websocket" },
    ]) {
      server.play(switching());
      const client = await lb.connect();
      client.send(opening(changes));
      const head = await client.head();
      expect(statusOf(head)).toBe(101);
      expect(fieldOf(head, "Sec-WebSocket-Accept")).toBe(ACCEPT);
      const received = server.connections[0].text;
      expect(fieldOf(received, "Connection")).toBe("Upgrade");
      expect(fieldOf(received, "Upgrade")).toBe("websocket");
      client.send("from the client");
      await server.connections[0].until("from the client");
      server.connections[0].send("from the server");
      await client.until("from the server");
    }
  });
  const keys = [
    "",
    "abc",
    "dGhlIHNhbXBsZSBub25jZQ",
    "dGhlIHNhbXBsZSBub25jZR==",
    `${KEY}x`,
    "dGhlIHNhbXBsZSBub25jZSE=",
    "*".repeat(24),
  ];
  for (const key of [...keys, undefined]) {
    test(`the key ${JSON.stringify(key)} is a 400`, async () => {
      expect(statusOf(await lb.ask(opening({ "Sec-WebSocket-Key": key })))).toBe(400);
      expect(server.connections).toHaveLength(0);
    });
  }
  test("two keys are a 400", async () =>
    expect(
      statusOf(
        await lb.ask(opening({ "Sec-WebSocket-Key": `${KEY}\r\nSec-WebSocket-Key: ${KEY}` })),
      ),
    ).toBe(400));
  for (const version of ["8", "14", "", "13, 8", undefined]) {
    test(`the version ${JSON.stringify(version)} is a 426 that names 13`, async () => {
      const answer = await lb.ask(opening({ "Sec-WebSocket-Version": version }));
      expect(statusOf(answer)).toBe(426);
      expect(fieldOf(answer, "Sec-WebSocket-Version")).toBe("13");
      expect(fieldOf(answer, "Upgrade")).toBe("websocket");
      expect(fieldOf(answer, "Connection")).toBe("close, Upgrade");
      expect(server.connections).toHaveLength(0);
    });
  }
});

describe("rules 44 and 45: what is no handshake is plain HTTP, the Upgrade taken out", () => {
  for (const [name, request] of [
    ["no Connection token", opening({ Connection: "close" })],
    ["HTTP/1.0", opening({}, "GET /ws HTTP/1.0")],
    [
      "h2c",
      opening({
        Upgrade: "h2c",
        Connection: "Upgrade, HTTP2-Settings, close",
        "HTTP2-Settings": "AAMAAABkAAQ",
      }),
    ],
    ["POST", opening({ Connection: "Upgrade, close" }, "POST /ws HTTP/1.1")],
    ["a body", `${opening({ "Content-Length": "2", Connection: "Upgrade, close" })}ab`],
    [
      "a chunked body",
      `${opening({ "Transfer-Encoding": "chunked", Connection: "Upgrade, close" })}0\r\n\r\n`,
    ],
  ]) {
    test(name, async () => {
      server.play(async (peer) => {
        await peer.until(/\r\n\r\n(?:ab|0\r\n\r\n)?$/);
        peer.send(OK);
      });
      expect(statusOf(await lb.ask(request))).toBe(200);
      const names = namesIn(server.connections[0].text);
      for (const dropped of ["upgrade", "connection", "http2-settings"])
        expect(names).not.toContain(dropped);
    });
  }
});

describe("rule 46: nothing past the head goes to the server before a valid 101", () => {
  test("early frames are held, then flushed in order", async () => {
    const early = Array.from({ length: 20_000 }, (_, at) => `${at},`).join("");
    server.play(() => {});
    const client = await lb.connect();
    client.send(opening() + early.slice(0, 1000));
    const upstream = await server.connection();
    const head = await upstream.head();
    client.send(early.slice(1000));
    await lb.stalled(client);
    expect(upstream.text).toBe(head);
    upstream.send(switched());
    await client.head();
    client.send("last");
    const received = await upstream.until("last");
    expect(received.slice(received.indexOf("\r\n\r\n") + 4)).toBe(`${early}last`);
  });
  test("what is held is bounded: the client has to wait", async () => {
    server.play(() => {});
    const client = await lb.connect();
    const chunk = Buffer.alloc(1024 * 1024);
    client.send(opening());
    await (await server.connection()).head();
    for (let sent = 0; sent < 24; sent++) client.socket.write(chunk);
    await lb.stalled(client);
    expect(client.socket.writableLength).toBeGreaterThan(8 * 1024 * 1024);
    server.connections[0].send(switched());
    await client.head();
    await server.connections[0].untilBytes(24 * 1024 * 1024);
  }, 20_000);
});

describe("rule 47: another answer than 101 is an ordinary answer, then the connection closes", () => {
  test("and what the client sent ahead is thrown away", async () => {
    server.play(async (peer) => {
      await peer.head();
      await lb.caughtUp();
      peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nno");
    });
    const answer = await lb.ask(`${opening()}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(statusOf(answer)).toBe(403);
    expect(fieldOf(answer, "Connection")).toBe("close");
    expect(answer).toEndWith("\r\n\r\nno");
    await server.connections[0].untilEnd();
    expect(server.connections).toHaveLength(1);
    expect(server.connections[0].text).not.toContain("smuggled");
    await gone();
  });
});

describe("rule 48: a 101 that was not asked for, or is not true, is a 502", () => {
  const lies: [string, string][] = [
    ["a wrong hash", switched("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
    ["a hash of the wrong case", switched(ACCEPT.toLowerCase())],
    ["two hashes", switched(ACCEPT, `Sec-WebSocket-Accept: ${ACCEPT}\r\n`)],
    ["no hash", switched().replace(/Sec-WebSocket-Accept: .*\r\n/, "")],
    ["no Upgrade", switched().replace("Upgrade: websocket\r\n", "")],
    ["another Upgrade", switched().replace("websocket", "h2c")],
    ["no Connection", switched().replace("Connection: Upgrade\r\n", "")],
  ];
  for (const [name, lie] of lies) {
    test(name, async () => {
      server.play(async (peer) => {
        await peer.head();
        peer.send(`${lie}after`);
      });
      const answer = await lb.ask(`${opening()}early`);
      expect(statusOf(answer)).toBe(502);
      expect(answer).not.toContain("after");
      await server.connections[0].untilClosed();
      expect(server.connections[0].text).not.toContain("early");
      await gone();
    });
  }
  test("not asked for", async () => {
    server.play(async (peer) => {
      await peer.head();
      peer.send(switched());
    });
    expect(statusOf(await lb.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))).toBe(502);
  });
});

describe("rule 49: bytes in one segment with the 101 reach the client right after it", () => {
  test("all of them", async () => {
    server.play(switching("first frame"));
    const client = await lb.connect();
    client.send(opening());
    expect(await client.until("first frame")).toMatch(
      /^HTTP\/1\.1 101 [\s\S]*\r\n\r\nfirst frame$/,
    );
  });
  test("a 101 in pieces, too", async () => {
    server.play(async (peer) => {
      await peer.head();
      for (const byte of `${switched()}first`) {
        peer.send(byte);
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    const client = await lb.connect();
    client.send(opening());
    await client.until(/\r\n\r\nfirst$/);
  });
  test("the sticky cookie is set on the 101", async () => {
    const client = await lb.connect();
    client.send(opening());
    expect(fieldOf(await client.head(), "Set-Cookie")).toMatch(
      /^TUTTI=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/,
    );
  });
});

describe("rule 50: how a tunnel ends", () => {
  test("a FIN from the client is passed on after what it sent; the server may still speak, then all ends", async () => {
    const { client, upstream } = await tunnel();
    client.send("x".repeat(300_000));
    client.finish();
    expect((await upstream.untilEnd()).length).toBe(300_000);
    upstream.send("still here");
    await client.until("still here");
    upstream.finish();
    await client.untilClosed();
    expect(client.wasReset).toBe(false);
    await gone();
  });
  test("a FIN from the server, likewise", async () => {
    const { client, upstream } = await tunnel();
    upstream.send("x".repeat(300_000));
    upstream.finish();
    expect((await client.untilEnd()).length).toBe(300_000);
    client.send("still here");
    await upstream.until("still here");
    client.finish();
    await upstream.untilClosed();
    await gone();
  });
  test("a side that never ends is destroyed by the half-closed timer", async () => {
    for (const from of ["client", "upstream"] as const) {
      const ends = await tunnel();
      const other = from === "client" ? ends.upstream : ends.client;
      const chatter = setInterval(() => other.send("x"), 50);
      ends[from].finish();
      try {
        await other.untilClosed();
      } finally {
        clearInterval(chatter);
      }
      await gone();
    }
  });
  test("an RST destroys both, at once", async () => {
    for (const from of ["client", "upstream"] as const) {
      const ends = await tunnel();
      const other = from === "client" ? ends.upstream : ends.client;
      ends[from].reset();
      await other.untilClosed();
      expect(other.wasReset).toBe(true);
      await gone();
    }
  });
  test("a client that half-closed before the 101 still gets its tunnel", async () => {
    server.play(async (peer) => {
      await peer.head();
      // It has seen the FIN by then.
      await lb.caughtUp();
      peer.send(`${switched()}hello`);
      peer.finish();
    });
    const client = await lb.connect();
    client.send(`${opening()}early`);
    client.finish();
    expect(await client.untilEnd()).toEndWith("hello");
    expect(await server.connections[0].untilEnd()).toEndWith("\r\n\r\nearly");
    await gone();
  });
});

describe("rule 51: a peer that stops reading while the other pushes 256 MB costs bounded memory", () => {
  const rssMb = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lb.pid}/status`, "utf8"))?.[1]) / 1024;
  for (const from of ["client", "upstream"] as const) {
    test(`pushed by the ${from}`, async () => {
      const ends = await tunnel();
      const reader = from === "client" ? ends.upstream : ends.client;
      reader.socket.pause();
      const before = rssMb();
      const chunk = Buffer.alloc(1024 * 1024, "x");
      for (let sent = 0; sent < 256; sent++) ends[from].socket.write(chunk);
      await lb.stalled(ends[from]);
      expect(rssMb() - before).toBeLessThan(32);
      expect(ends[from].socket.writableLength).toBeGreaterThan(200 * 1024 * 1024);
      // Others are served meanwhile, and once it reads again all of it arrives.
      server.script = answering(OK);
      expect(statusOf(await lb.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))).toBe(
        200,
      );
      let received = 0;
      reader.socket.removeAllListeners("data");
      await new Promise<void>((resolve) => {
        reader.socket.on("data", (bytes: Buffer) => {
          received += bytes.length;
          if (received === 256 * 1024 * 1024) resolve();
        });
        reader.socket.resume();
      });
      expect(rssMb() - before).toBeLessThan(64);
    }, 30_000);
  }
});
