// Connections that begin with a PROXY header: whose they are held to be, and that every bad
// beginning ends its connection.

import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import net from "node:net";
import { turn } from "../eventually.ts";
import { fieldOf, Lb, ScriptedServer, statusOf } from "./harness.ts";
import { nextHead } from "./messages.ts";
import { proxyV2, tlv } from "./proxy-headers.ts";
import { CertificateFolder, TlsPeer } from "./tls-harness.ts";

setDefaultTimeout(60_000);

const folder = new CertificateFolder();
let server: ScriptedServer;
/** With and without TLS. */
let plain: Lb;
let secure: Lb;
const started: Lb[] = [];

const start = (...flags: string[]): Promise<Lb> => Lb.inFrontOf(server, ...flags);

beforeAll(async () => {
  server = await ScriptedServer.listen();
  const proxied = ["--proxy-protocol", "--trust", "127.0.0.1", "--head-timeout-ms", "500"];
  plain = await start(...proxied, "--address-connections-max", "3");
  secure = await start(...proxied, ...folder.make("a", "a.example"));
});
afterEach(async () => {
  const isEmpty = ({
    connections,
    live,
    upstreams,
  }: Record<"connections" | "live" | "upstreams", number>) =>
    connections === 0 && live === 0 && upstreams === 0;
  for (const each of [plain, secure, ...started]) await each.countsWhen(isEmpty);
  await Promise.all(started.splice(0).map((each) => each.stop()));
});
afterAll(async () => {
  await Promise.all([plain.stop(), secure.stop(), server.stop()]);
  folder.dispose();
});

const get = (fields = "") => `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`;
const v1 = "PROXY TCP4 10.1.2.3 192.168.0.1 12345 80\r\n";
const v2Addresses = Buffer.from([10, 1, 2, 4, 192, 168, 0, 1, 0x30, 0x39, 0, 80]);
const v2 = proxyV2(0x21, 0x11, v2Addresses);
const v2Tls = proxyV2(
  0x21,
  0x11,
  Buffer.concat([v2Addresses, tlv(0x20, Buffer.from([1, 0, 0, 0, 0]))]),
);

/** Sends these pieces, each when the one before has gone; resolves with what a node is told. */
async function told(...pieces: (string | Uint8Array)[]): Promise<string> {
  const next = nextHead(server);
  const client = await plain.connect();
  for (const piece of pieces) {
    client.send(piece);
    await turn();
  }
  expect(statusOf(await client.untilEnd())).toBe(200);
  client.socket.destroy();
  return await next;
}

const forwarded = (head: string) => [
  fieldOf(head, "X-Forwarded-For"),
  fieldOf(head, "X-Forwarded-Proto"),
];

describe("a header from a trusted peer", () => {
  test("names the client", async () => {
    expect(forwarded(await told(v1 + get()))).toEqual(["10.1.2.3", "http"]);
    expect(forwarded(await told(v2, get()))).toEqual(["10.1.2.4", "http"]);
    expect(forwarded(await told(Buffer.concat([v2, Buffer.from(get())])))).toEqual([
      "10.1.2.4",
      "http",
    ]);
    expect(forwarded(await told("PROXY TCP6 2001:DB8::0:1 ::1 1 2\r\n", get()))).toEqual([
      "2001:db8::1",
      "http",
    ]);
  });
  test("may come a byte at a time", async () => {
    expect(forwarded(await told(...v1, get()))).toEqual(["10.1.2.3", "http"]);
    expect(forwarded(await told(...[...v2].map((byte) => Uint8Array.of(byte)), get()))).toEqual([
      "10.1.2.4",
      "http",
    ]);
  });
  test("may say that the client came over TLS", async () => {
    const next = nextHead(server);
    const client = await plain.connect();
    client.send(v2Tls);
    client.send(get());
    expect(fieldOf(await client.untilEnd(), "Set-Cookie")).toEndWith("; Secure");
    expect(forwarded(await next)).toEqual(["10.1.2.4", "https"]);
    client.socket.destroy();
  });
  test("that names nobody leaves the peer's own address, and nothing is believed of what comes", async () => {
    const claims = get("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n");
    for (const header of [
      "PROXY UNKNOWN\r\n",
      proxyV2(0x20, 0, Buffer.alloc(0)),
      proxyV2(0x21, 0, Buffer.alloc(0)),
    ])
      expect(forwarded(await told(header, claims))).toEqual(["127.0.0.1", "http"]);
  });
  test("the client it names is believed as any other, that is by its own address", async () => {
    const claims = get("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n");
    expect(forwarded(await told(v1, claims))).toEqual(["10.1.2.3", "http"]);
    const trusted = v1.replace("10.1.2.3", "127.0.0.1");
    expect(forwarded(await told(trusted, claims))).toEqual(["6.6.6.6, 127.0.0.1", "https"]);
  });
  test("goes before TLS", async () => {
    for (const [header, address] of [
      [v1, "10.1.2.3"],
      [v2, "10.1.2.4"],
    ] as const) {
      const next = nextHead(server);
      const client = await TlsPeer.connect(secure, {}, header);
      client.send(get());
      expect(statusOf(await client.untilEnd())).toBe(200);
      expect(forwarded(await next)).toEqual([address, "https"]);
      client.socket.destroy();
    }
  });
  test("goes before TLS in one segment with it, and with a part of it", async () => {
    for (const cutAt of [0, 1, 100, 10_000]) {
      const between = net.createServer((near) => {
        const far = net.connect({ host: "127.0.0.1", port: secure.port, noDelay: true });
        near.once("data", (hello: Buffer) => {
          far.write(Buffer.concat([v2Tls, hello.subarray(0, cutAt)]));
          setImmediate(() => {
            far.write(hello.subarray(cutAt));
            near.pipe(far).pipe(near);
          });
        });
        for (const socket of [near, far]) socket.on("error", () => near.destroy());
      });
      await new Promise<void>((listening) => between.listen(0, "127.0.0.1", listening));
      const address = between.address();
      const next = nextHead(server);
      const client = await TlsPeer.connect({
        port: address !== null && typeof address === "object" ? address.port : 0,
      });
      client.send(get());
      expect(statusOf(await client.untilEnd())).toBe(200);
      expect(forwarded(await next)).toEqual(["10.1.2.4", "https"]);
      client.socket.destroy();
      between.close();
    }
  });
  test("its client is the one that limits for an address count", async () => {
    const open = async (header: string) => {
      const peer = await plain.connect();
      peer.send(header);
      return peer;
    };
    const ask = async (header: string) => {
      const peer = await open(header + get());
      const text = await peer.untilEnd();
      peer.socket.destroy();
      return statusOf(text);
    };
    nextHead(server);
    const peers = await Promise.all([open(v1), open(v1), open(v1)]);
    await plain.countsWhen(({ connections }) => connections === 3);
    expect(await ask(v1)).toBe(429);
    expect(await ask(v1.replace("10.1.2.3", "10.1.2.9"))).toBe(200);
    expect(await ask("PROXY TCP6 ::ffff:a01:203 ::1 1 2\r\n")).toBe(429);
    peers[0].reset();
    await plain.countsWhen(({ connections }) => connections === 2);
    expect(await ask(v1)).toBe(200);
    for (const peer of peers) peer.socket.destroy();
  });
});

describe("a bad beginning ends its connection", () => {
  for (const [what, bytes] of [
    ["HTTP", get()],
    ["half a signature and then HTTP", `PROXY ${get()}`],
    ["a header of a port that is none", "PROXY TCP4 10.1.2.3 10.1.2.4 1 65536\r\n"],
    ["a line that is too long", `PROXY UNKNOWN ${"x".repeat(200)}`],
    ["a header of version 3", proxyV2(0x31, 0x11, v2Addresses)],
    ["a header that is too long", proxyV2(0x21, 0x11, Buffer.alloc(5000))],
    [
      "values that lie about their length",
      proxyV2(0x21, 0x11, Buffer.concat([v2Addresses, Buffer.from([4, 9, 9])])),
    ],
  ] as const)
    test(what, async () => {
      for (const lb of [plain, secure]) {
        const failedBefore = (await lb.counts()).arrivalsFailed;
        expect(await lb.ask(bytes instanceof Uint8Array ? bytes.toString("latin1") : bytes)).toBe(
          "",
        );
        expect((await lb.counts()).arrivalsFailed).toBe(failedBefore + 1);
      }
    });
  test("half a header, and then the end, a reset or nothing", async () => {
    for (const lb of [plain, secure]) {
      for (const half of ["", v1.slice(0, 20), v2.subarray(0, 20).toString("latin1")]) {
        const [silent, finished, reset] = [
          await lb.connect(),
          await lb.connect(),
          await lb.connect(),
        ];
        for (const peer of [silent, finished, reset]) peer.send(half);
        finished.finish();
        await finished.untilEnd();
        reset.reset();
        await silent.untilEnd();
        for (const peer of [silent, finished]) peer.socket.destroy();
      }
    }
  });
});

test("no header is read of a peer that is not trusted", async () => {
  const lb = await start("--proxy-protocol", "--trust", "10.0.0.0/8");
  started.push(lb);
  const next = nextHead(server);
  expect(statusOf(await lb.ask(v1 + get()))).toBe(400);
  expect(statusOf(await lb.ask(get()))).toBe(200);
  expect(forwarded(await next)).toEqual(["127.0.0.1", "http"]);
});

test("without --trust there is nobody to read one of: one sentence, and exit code 1", async () => {
  const command = [
    process.execPath,
    "src/lb/main.ts",
    "--upstream",
    "127.0.0.1:1",
    "--proxy-protocol",
  ];
  const child = Bun.spawn(command, {
    cwd: new URL("../..", import.meta.url).pathname,
    stdio: ["ignore", "ignore", "pipe"],
  });
  expect(await new Response(child.stderr).text()).toContain("--proxy-protocol needs --trust");
  expect(await child.exited).toBe(1);
});
