// The lb as the end of TLS: certificates, what nodes are told, and that a TLS connection is in all
// else like any other.

import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import { answering, fieldOf, Lb, OK, type RawPeer, ScriptedServer, statusOf } from "./harness.ts";
import { nextHead, opening, SWITCHED, switching } from "./messages.ts";
import { selfSigned } from "./self-signed.ts";
import { CertificateFolder, TlsPeer } from "./tls-harness.ts";

setDefaultTimeout(60_000);

const folder = new CertificateFolder();
let server: ScriptedServer;
let lb: Lb;
const started: Lb[] = [];

const start = async (...flags: string[]): Promise<Lb> => {
  const fresh = await Lb.inFrontOf(server, ...flags);
  started.push(fresh);
  return fresh;
};

beforeAll(async () => {
  server = await ScriptedServer.listen();
  const flags = [
    ...folder.make("a", "a.example", "localhost"),
    ...folder.make("b", "b.example", "*.b.example"),
  ];
  lb = await Lb.inFrontOf(server, ...flags);
});
beforeEach(() => server.play(answering(OK)));
afterEach(async () => {
  for (const each of [lb, ...started]) await nobodyIsLeft(each);
  await Promise.all(started.splice(0).map((each) => each.stop()));
});
afterAll(async () => {
  await Promise.all([lb.stop(), server.stop()]);
  folder.dispose();
});

/** Whatever way its connections ended, nothing of them is counted any more. */
async function nobodyIsLeft(of: Lb): Promise<void> {
  server.play(() => {});
  await of.countsWhen(
    ({ connections, live, upstreams, nodes }) =>
      connections === 0 &&
      live === 0 &&
      upstreams === 0 &&
      Object.values(nodes).every((node) => node.connections === 0),
  );
}

const get = (fields = "") => `GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const last = get("Connection: close\r\n");

async function ask(of: Lb, bytes: string, options = {}): Promise<string> {
  const client = await TlsPeer.connect(of, options);
  client.send(bytes);
  const text = await client.untilEnd();
  client.socket.destroy();
  return text;
}

async function tunnel(
  through: { readonly port: number } = lb,
): Promise<{ client: TlsPeer; upstream: RawPeer }> {
  const { promise, resolve } = Promise.withResolvers<RawPeer>();
  server.play(async (peer) => {
    await switching(peer);
    peer.forget();
    resolve(peer);
  });
  const client = await TlsPeer.connect(through);
  client.send(opening());
  await client.head();
  client.forget();
  return { client, upstream: await promise };
}

describe("HTTP over TLS", () => {
  test("nodes are told https, the sticky cookie is Secure, ALPN says http/1.1", async () => {
    const next = nextHead(server);
    const client = await TlsPeer.connect(lb, { ALPNProtocols: ["h2", "http/1.1"] });
    expect(client.secured.alpnProtocol).toBe("http/1.1");
    expect(client.secured.getProtocol()).toBe("TLSv1.3");
    client.send(get("X-Forwarded-Proto: http\r\n"));
    const head = await client.head();
    expect(statusOf(head)).toBe(200);
    expect(fieldOf(head, "Set-Cookie")).toEndWith("; Secure");
    const told = await next;
    expect(fieldOf(told, "X-Forwarded-Proto")).toBe("https");
    expect(fieldOf(told, "X-Forwarded-For")).toBe("127.0.0.1");
    client.finish();
    await client.untilEnd();
    client.socket.destroy();
  });
  test("a client need not speak of ALPN; one that speaks no HTTP/1.1 is refused", async () => {
    expect(statusOf(await ask(lb, last, { ALPNProtocols: undefined }))).toBe(200);
    expect(TlsPeer.connect(lb, { ALPNProtocols: ["h2"] })).rejects.toThrow();
  });
  test("TLS 1.2 is served", async () => {
    const client = await TlsPeer.connect(lb, { maxVersion: "TLSv1.2" });
    expect(client.secured.getProtocol()).toBe("TLSv1.2");
    client.send(last);
    expect(statusOf(await client.untilEnd())).toBe(200);
    client.socket.destroy();
  });
  test("a proxy that is trusted may say that its client came without", async () => {
    const trusting = await start(...folder.flags("a"), "--trust", "127.0.0.1");
    const next = nextHead(server);
    await ask(
      trusting,
      get("X-Forwarded-Proto: http\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n"),
    );
    const told = await next;
    expect(fieldOf(told, "X-Forwarded-Proto")).toBe("http");
    expect(fieldOf(told, "X-Forwarded-For")).toBe("10.0.0.1, 127.0.0.1");
  });
});

describe("certificates", () => {
  test("are chosen by name, else the first", async () => {
    for (const [servername, shown] of [
      ["a.example", "a.example"],
      ["B.EXAMPLE", "b.example"],
      ["x.b.example", "b.example"],
      ["x.y.b.example", "a.example"],
      ["c.example", "a.example"],
      [undefined, "a.example"],
    ]) {
      const client = await TlsPeer.connect(lb, { servername });
      expect([servername, client.shown]).toEqual([servername, shown ?? ""]);
      client.send(last);
      expect(statusOf(await client.untilEnd())).toBe(200);
      client.socket.destroy();
    }
  });

  test("that change on disk are shown to new connections, and broken ones to nobody; nobody is cut off", async () => {
    const flags = folder.make("changing", "changing.example");
    const changing = await start(...flags);
    const { client, upstream } = await tunnel(changing);
    const before = client.fingerprint;
    const shownNow = async () => {
      const fresh = await TlsPeer.connect(changing);
      const { fingerprint } = fresh;
      fresh.socket.destroy();
      return fingerprint;
    };
    const logged = (what: string, from: number) =>
      eventually(() => changing.log.slice(from).includes(what));
    expect(await shownNow()).toBe(before);

    let from = changing.log.length;
    folder.write("changing", selfSigned("changed.example"));
    await logged("certificate replaced", from);
    const after = await shownNow();
    expect(after).not.toBe(before);

    const good = selfSigned("third.example");
    for (const [pair, why] of [
      [{ ...good, cert: good.cert.slice(0, 300) }, "holds no whole certificate in PEM form"],
      [
        { ...good, cert: `${good.cert}${good.cert.slice(0, 300)}` },
        "holds no whole certificate in PEM form",
      ],
      [{ ...good, key: good.key.slice(0, 100) }, "holds no whole private key in PEM form"],
      [{ ...good, key: selfSigned("other.example").key }, "does not belong to the certificate"],
      [{ cert: "", key: "" }, "holds no whole certificate in PEM form"],
    ] as const) {
      from = changing.log.length;
      folder.write("changing", pair);
      await logged(why, from);
      expect(await shownNow()).toBe(after);
    }
    from = changing.log.length;
    folder.write("changing", good);
    await logged("certificate replaced", from);
    expect(await shownNow()).not.toBe(after);

    client.send("still here");
    await upstream.until("still here");
    upstream.send("me too");
    await client.until("me too");
    client.socket.destroy();
  });

  test("that cannot be used: one sentence, and exit code 1", async () => {
    const good = selfSigned("good.example");
    folder.write("good", good);
    folder.write("garbage", { cert: "garbage", key: "garbage" });
    folder.write("other", selfSigned("other.example"));
    writeFileSync(join(folder.path, "secret.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    const at = (name: string) => join(folder.path, name);
    for (const [cert, key, sentence] of [
      ["none.crt", "good.key", `--tls-cert ${at("none.crt")} cannot be read: ENOENT`],
      ["good.crt", "none.key", `--tls-key ${at("none.key")} cannot be read: ENOENT`],
      [
        "garbage.crt",
        "good.key",
        `--tls-cert ${at("garbage.crt")} holds no whole certificate in PEM form`,
      ],
      [
        "good.crt",
        "garbage.key",
        `--tls-key ${at("garbage.key")} holds no whole private key in PEM form`,
      ],
      [
        "good.crt",
        "good.crt",
        `--tls-key ${at("good.crt")} holds no whole private key in PEM form`,
      ],
      ["good.crt", "secret.key", `--tls-key ${at("secret.key")} is encrypted`],
      [
        "good.crt",
        "other.key",
        `The key in ${at("other.key")} does not belong to the certificate in ${at("good.crt")}.`,
      ],
      ["good.crt", undefined, "--tls-cert and --tls-key go in pairs"],
    ]) {
      const flags = [
        "--tls-cert",
        at(cert ?? ""),
        ...(key === undefined ? [] : ["--tls-key", at(key)]),
      ];
      const command = [
        process.execPath,
        "src/lb/main.ts",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "127.0.0.1:1",
      ];
      const cwd = join(import.meta.dir, "../..");
      const child = Bun.spawn([...command, ...flags], { cwd, stdio: ["ignore", "ignore", "pipe"] });
      const err = await new Response(child.stderr).text();
      expect([
        err.includes(sentence ?? "?"),
        err.trim().split("\n").length,
        await child.exited,
        err,
      ]).toEqual([true, 1, 1, err]);
    }
  });
});

describe("a tunnel over TLS", () => {
  test("passes the end of either side on, and nothing before it is lost", async () => {
    const first = await tunnel();
    first.client.send("x".repeat(300_000));
    first.client.finish();
    expect((await first.upstream.untilEnd()).length).toBe(300_000);
    first.upstream.send("y".repeat(300_000));
    first.upstream.finish();
    expect(await first.client.untilEnd()).toBe("y".repeat(300_000));
    await nobodyIsLeft(lb);

    const second = await tunnel();
    second.upstream.send("y".repeat(300_000));
    second.upstream.finish();
    expect((await second.client.untilEnd()).length).toBe(300_000);
    second.client.send("x".repeat(300_000));
    second.client.finish();
    expect(await second.upstream.untilEnd()).toBe("x".repeat(300_000));
  });

  test("an RST of either side destroys both", async () => {
    const first = await tunnel();
    first.client.reset();
    await first.upstream.untilClosed();
    expect(first.upstream.wasReset).toBe(true);
    await nobodyIsLeft(lb);
    const second = await tunnel();
    second.upstream.reset();
    await second.client.untilClosed();
  });

  test("frames sent ahead arrive after the 101, and those in its segment too", async () => {
    server.play(async (peer) => {
      await peer.head();
      peer.send(`${SWITCHED}hello`);
    });
    const client = await TlsPeer.connect(lb);
    client.send(`${opening()}early`);
    expect(await client.until("hello")).toEndWith("\r\n\r\nhello");
    await (await server.connection()).until("\r\n\r\nearly");
    client.socket.destroy();
  });

  const rssMb = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lb.pid}/status`, "utf8"))?.[1]) / 1024;
  const MB = 1024 * 1024;
  for (const from of ["client", "upstream"] as const) {
    test(`64 MB from the ${from} to a reader that stops: bounded memory, and all of it arrives`, async () => {
      const ends = await tunnel();
      const reader = from === "client" ? ends.upstream : ends.client;
      const data = Buffer.alloc(64 * MB);
      for (let at = 0; at < data.length; at += 4)
        data.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
      reader.socket.pause();
      const before = rssMb();
      for (let at = 0; at < data.length; at += MB)
        ends[from].socket.write(data.subarray(at, at + MB));
      await lb.stalled(ends[from]);
      expect(rssMb() - before).toBeLessThan(32);
      let received = 0;
      let isSame = true;
      reader.socket.removeAllListeners("data");
      await new Promise<void>((resolve) => {
        reader.socket.on("data", (bytes: Buffer) => {
          isSame &&= bytes.equals(data.subarray(received, received + bytes.length));
          received += bytes.length;
          if (received >= data.length) resolve();
        });
        reader.socket.resume();
      });
      expect([received, isSame]).toEqual([data.length, true]);
      expect(rssMb() - before).toBeLessThan(64);
      ends.client.socket.destroy();
    });
  }
});

describe("connections that are no TLS", () => {
  test("end alone, whatever they send", async () => {
    const { client, upstream } = await tunnel();
    for (const bytes of [
      get(),
      "\x16\x03\x01\xff\xff",
      "\x16\x03\x01\x00\x04\x01\x00\x00\x00",
      "\0".repeat(100),
      "\xff".repeat(70_000),
      "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    ]) {
      const peer = await lb.connect();
      peer.send(bytes);
      if (bytes.startsWith("\x16\x03\x01\xff")) peer.finish();
      await peer.untilClosedOr("never");
      peer.socket.destroy();
    }
    const cut = await lb.connect();
    cut.send("\x16\x03\x01");
    cut.reset();
    client.send("still here");
    await upstream.until("still here");
    client.socket.destroy();
    expect(lb.log).not.toContain("an error of the lb");
    server.script = answering(OK);
    expect(statusOf(await ask(lb, last))).toBe(200);
  });

  test("a record that was tampered with ends its connection, and is no error of ours", async () => {
    // What goes through here may be followed by other bytes than the client's.
    const { promise, resolve } = Promise.withResolvers<net.Socket>();
    const between = net.createServer((near) => {
      const far = net.connect({ host: "127.0.0.1", port: lb.port });
      near.pipe(far).pipe(near);
      for (const socket of [near, far]) socket.on("error", () => near.destroy());
      resolve(far);
    });
    await new Promise<void>((listening) => between.listen(0, "127.0.0.1", listening));
    const address = between.address();
    try {
      const { client, upstream } = await tunnel({
        port: address !== null && typeof address === "object" ? address.port : 0,
      });
      (await promise).write(Buffer.concat([Buffer.from("1703030020", "hex"), Buffer.alloc(32)]));
      await upstream.untilClosed();
      expect(upstream.wasReset).toBe(true);
      await client.untilEnd();
      client.socket.destroy();
      expect(lb.log).not.toContain("an error of the lb");
    } finally {
      between.close();
    }
  });

  test("a handshake that does not finish is ended by the deadline of a head", async () => {
    const hasty = await start(...folder.flags("a"), "--head-timeout-ms", "300");
    const peers = [await hasty.connect(), await hasty.connect()];
    peers[1].send("\x16\x03\x01");
    for (const peer of peers) await peer.untilEnd();
    expect((await hasty.counts()).arrivalsFailed).toBe(2);
  });

  test("a handshake takes a seat; who gets none is told so over TLS", async () => {
    const narrow = await start(...folder.flags("a"), "--connections-max", "1");
    const silent = await narrow.connect();
    await narrow.countsWhen(({ connections }) => connections === 1);
    expect(statusOf(await ask(narrow, last))).toBe(503);
    silent.reset();
    await narrow.countsWhen(({ connections }) => connections === 0);
    expect(statusOf(await ask(narrow, last))).toBe(200);
  });

  test("many at once that never finish hold no one else up, and are gone when they leave", async () => {
    const peers = await Promise.all(Array.from({ length: 100 }, () => lb.connect()));
    for (const [index, peer] of peers.entries()) if (index % 2 === 0) peer.send("\x16\x03\x01\x02");
    expect(statusOf(await ask(lb, last))).toBe(200);
    for (const [index, peer] of peers.entries()) index % 3 === 0 ? peer.reset() : peer.finish();
    for (const peer of peers) if (!peer.isClosed) await peer.untilEnd();
  });

  test("a stopping lb does not wait for them", async () => {
    const stopping = await start(...folder.flags("a"));
    await stopping.connect();
    await stopping.countsWhen(({ connections }) => connections === 1);
    started.splice(started.indexOf(stopping), 1);
    expect(await stopping.stop()).toBe(0);
  });
});
