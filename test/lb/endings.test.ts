// Every way in which an exchange, a tunnel or a refused connection can end: what the access log
// says of it, what is counted, and that nothing stays counted as under way.

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
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reportIn } from "../../src/runtime/child-ipc.ts";
import { isRecord } from "../../src/wire/shape.ts";
import { eventually } from "../eventually.ts";
import { answering, fieldOf, Lb, OK, type RawPeer, ScriptedServer } from "./harness.ts";
import { opening, SWITCHED, switching } from "./messages.ts";

setDefaultTimeout(60_000);

const folder = mkdtempSync(join(tmpdir(), "tutti-"));
const file = join(folder, "access.log");
let server: ScriptedServer;
const started: { stop(): Promise<unknown> }[] = [];

beforeAll(async () => {
  server = await ScriptedServer.listen();
});
beforeEach(() => server.play(answering(OK)));
afterEach(async () => {
  await Promise.all(started.splice(0).map((each) => each.stop()));
  rmSync(file, { force: true });
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function startLb(...flags: string[]): Promise<Lb> {
  const upstream = flags.includes("--upstream") ? [] : ["--upstream", server.address];
  const lb = await Lb.start(
    ...upstream,
    "--check-interval-ms",
    "3600000",
    "--access-log",
    file,
    ...flags,
  );
  started.push(lb);
  await lb.countsWhen(({ nodes }) => Object.values(nodes).every(wasChecked));
  server.play(server.script);
  return lb;
}

const wasChecked = (node: object): boolean =>
  "counts" in node && isRecord(node.counts) && node.counts.checksGood !== node.counts.checksFailed;

/** The lines of the access log, once there are so many. */
async function lines(count: number): Promise<Record<string, unknown>[]> {
  const text = await eventually(
    () => (existsSync(file) ? readFileSync(file, "utf8") : ""),
    (seen) => seen.split("\n").length > count,
    { what: "the access log" },
  );
  return text
    .trimEnd()
    .split("\n")
    .map((line): unknown => JSON.parse(line))
    .filter(isRecord);
}

/** The only line there is. */
async function line(): Promise<Record<string, unknown>> {
  const all = await lines(1);
  expect(all).toHaveLength(1);
  return all[0];
}

/** What the lb has counted, once nothing is under way any more. */
async function settled(lb: Lb): Promise<Record<string, unknown>> {
  const counts = await lb.countsWhen(({ connections }) => connections === 0);
  expect(counts).toMatchObject({
    exchangesNow: 0,
    tunnelsNow: 0,
    waiting: 0,
    upstreams: 0,
    live: 0,
  });
  for (const node of Object.values(counts.nodes)) expect(node.connections).toBe(0);
  return { ...counts };
}

const get = (fields = "", target = "/") => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const last = (fields = "", target = "/") => get(`Connection: close\r\n${fields}`, target);
const handshake = opening("", "/ws?token=secret");
const post = (length: number, body = "") =>
  `POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n${body}`;
/** A node that ends when its client has. */
const polite = async (peer: RawPeer) => {
  peer.socket.once("end", () => peer.finish());
  await switching(peer);
};
const silent = () => {};
const saying = (text: string, then?: (peer: RawPeer) => void) => async (peer: RawPeer) => {
  await peer.head();
  peer.send(text);
  then?.(peer);
};

/** The first upstream connection, once the request is there. */
async function arrived(): Promise<RawPeer> {
  const upstream = await server.connection();
  await upstream.head();
  return upstream;
}

async function client(lb: Lb, bytes: string): Promise<RawPeer> {
  const peer = await lb.connect();
  peer.send(bytes);
  return peer;
}

test("a line says when, who, what, where, how much and how long, and of the target only the path", async () => {
  const lb = await startLb("--id", "lb-7");
  const before = Date.now();
  await lb.ask(
    "POST /in?token=secret HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
  );
  const entry = await line();
  expect(entry).toMatchObject({
    ...{
      lb: "lb-7",
      client: "127.0.0.1",
      method: "POST",
      target: "/in",
      version: "1.1",
      status: 200,
    },
    ...{ node: server.address, retries: 0, end: "--NI", bytesOut: OK.length },
  });
  expect(entry.bytesIn).toBe((await server.connection()).text.length);
  const timeMs = Date.parse(String(entry.time));
  expect(timeMs).toBeGreaterThan(before - 1000);
  expect(timeMs).toBeLessThanOrEqual(Date.now());
  for (const name of ["headMs", "queueMs", "connectMs", "responseMs", "totalMs"])
    expect(entry[name]).toBeNumber();
  expect(readFileSync(file, "utf8")).not.toContain("secret");
  expect(await settled(lb)).toMatchObject({
    requests: 1,
    answers2xx: 1,
    cookiesNone: 1,
    cookiesInserted: 1,
  });
});

test("requests of one connection each have a line, and their heads are timed by themselves", async () => {
  const lb = await startLb();
  const peer = await client(lb, get("", "/a") + get("", "/b"));
  await peer.until(/ok.*ok/s);
  peer.send("GET /c HTTP/1.1\r\n");
  await Bun.sleep(300);
  peer.send("Host: a\r\nConnection: close\r\n\r\n");
  await peer.untilEnd();
  const all = await lines(3);
  expect(all.map(({ target, connectMs }) => [target, connectMs !== null])).toEqual([
    ...[
      ["/a", true],
      ["/b", false],
      ["/c", false],
    ],
  ]);
  expect(Number(all[1].headMs)).toBeLessThan(200);
  expect(Number(all[2].headMs)).toBeGreaterThanOrEqual(290);
});

test("the lb's own health is counted and not logged", async () => {
  const lb = await startLb();
  await lb.ask(last("", "/healthz"));
  await lb.ask(last());
  expect(await line()).toMatchObject({ target: "/" });
  expect(await settled(lb)).toMatchObject({ healthAnswers: 1, requests: 1 });
});

test("of a WebSocket the codes of both close frames, also of one right behind the 101", async () => {
  const lb = await startLb();
  const close = (code: number) => Buffer.from([0x88, 0x02, code >> 8, code & 0xff]);
  const masked = Buffer.from([0x88, 0x82, 1, 2, 3, 4, (1001 >> 8) ^ 1, (1001 & 0xff) ^ 2]);
  server.play(async (peer) => {
    await peer.head();
    peer.send(`${SWITCHED}\x81\x02h`);
    peer.send(Buffer.concat([Buffer.from("i"), close(4410)]));
    peer.socket.once("end", () => peer.finish());
  });
  const peer = await client(lb, handshake);
  await peer.until("\x11\x3a");
  peer.send(masked);
  peer.finish();
  await peer.untilEnd();
  expect(await line()).toMatchObject({ end: "--NI", closeClient: 1001, closeNode: 4410 });
});

describe("cookies", () => {
  test("none and a new one; valid and none; unknown, of a node that is down, and no cookies at all", async () => {
    const other = await ScriptedServer.listen();
    other.script = answering(OK);
    const lb = await startLb(
      "--upstream",
      server.address,
      "--upstream",
      other.address,
      "--check-interval-ms",
      "50",
    );
    started.push(other);
    const cookies: string[] = [];
    for (let n = 0; n < 2; n++)
      cookies.push(String(fieldOf(await lb.ask(last()), "Set-Cookie")?.split(";")[0]));
    await lb.ask(last(`Cookie: ${cookies[0]}\r\n`));
    await lb.ask(last("Cookie: TUTTI=nonsense\r\n"));
    const [first] = await lines(4);
    const [gone, alive] = first.node === other.address ? [cookies[0], other] : [cookies[1], other];
    await alive.stop();
    started.splice(started.indexOf(other), 1);
    await lb.countsWhen(({ nodes }) => nodes[alive.address].health === "down");
    await lb.ask(last(`Cookie: ${gone}\r\n`));
    expect((await lines(5)).map(({ end }) => end)).toEqual([
      "--NI",
      "--NI",
      "--V-",
      "--II",
      "--DI",
    ]);
    expect(await settled(lb)).toMatchObject({
      ...{ cookiesNone: 2, cookiesValid: 1, cookiesInvalid: 1, cookiesDown: 1, cookiesInserted: 4 },
    });
  });

  test("where there are none", async () => {
    const lb = await startLb("--no-cookie");
    await lb.ask(last());
    expect(await line()).toMatchObject({ end: "----" });
    expect(await settled(lb)).toMatchObject({ cookiesNone: 0 });
  });
});

/** One way to end: what the node does, what the client does, and what is said of it. */
type Way = {
  readonly flags?: readonly string[];
  readonly script?: (peer: RawPeer) => void | Promise<void>;
  readonly act: (lb: Lb) => Promise<unknown>;
  readonly end: string;
  readonly failure: string;
  readonly line?: Record<string, unknown>;
  readonly counts?: Record<string, unknown>;
};

const begun = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
const big = 32 * 1024 * 1024;
const ask = (bytes: string) => (lb: Lb) => lb.ask(bytes);
const askAndReset = (bytes: string) => async (lb: Lb) => {
  const peer = await client(lb, bytes);
  await arrived();
  peer.reset();
};

/** With the only place on the node taken by a tunnel. */
const behindATunnel = (act: (lb: Lb) => Promise<unknown>) => async (lb: Lb) => {
  await (await client(lb, handshake)).head();
  await act(lb);
};
/** In an open tunnel through which a byte has gone each way. */
const tunnelled = (act: (client: RawPeer, node: RawPeer) => void) => async (lb: Lb) => {
  const peer = await client(lb, handshake);
  await peer.head();
  const node = await server.connection();
  peer.socket.once("end", () => peer.finish());
  node.socket.once("end", () => node.finish());
  peer.send("to the node");
  await node.until("to the node");
  act(peer, node);
  await Promise.race([peer.untilClosed(), node.untilClosed()]);
};
const closing = {
  end: "--NI",
  failure: "",
  line: { status: 101, target: "/ws" },
  counts: { tunnels: 1, answers1xx: 1 },
};
/** A client that has asked and takes nothing more. */
const stalling = (act: (lb: Lb, peer: RawPeer) => Promise<unknown>) => async (lb: Lb) => {
  const peer = await client(lb, last());
  await peer.head();
  peer.socket.pause();
  const reader = setTimeout(() => peer.socket.resume(), 2000);
  await act(lb, peer);
  clearTimeout(reader);
};

const WAYS: Record<string, Way> = {
  "the client resets in the middle of a head": {
    act: async (lb) => {
      const peer = await client(lb, "GET / HT");
      await lb.countsWhen(({ connections }) => connections === 1);
      peer.reset();
    },
    end: "CR--",
    failure: "clientAborted",
    line: { client: "127.0.0.1", method: null, target: null, status: null, node: null },
  },
  "the client ends in the middle of a head": {
    act: async (lb) => {
      const peer = await client(lb, "GET / HT");
      peer.finish();
      await peer.untilEnd();
    },
    end: "CR--",
    failure: "clientAborted",
  },
  "the head does not come in time": {
    flags: ["--head-timeout-ms", "100"],
    act: ask("GET / HT"),
    end: "cR--",
    failure: "clientTimeout",
    line: { status: 408 },
    counts: { refusals4xx: 1 },
  },
  "the head is malformed": {
    act: ask("nonsense\r\n\r\n"),
    end: "PR--",
    failure: "badRequest",
    line: { status: 400 },
  },
  "the head is too large": {
    act: ask(get(`x: ${"y".repeat(40_000)}\r\n`)),
    end: "PR--",
    failure: "badRequest",
    line: { status: 431 },
  },
  "the method is not served": {
    act: ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    end: "PR--",
    failure: "badRequest",
    line: { method: "CONNECT", status: 405 },
  },
  "the target holds a user and a password": {
    act: ask("GET http://user:secret@a/x?token=secret HTTP/1.1\r\nHost: a\r\n\r\n"),
    end: "PR--",
    failure: "badRequest",
    line: { target: "/x", status: 400 },
  },
  "the body is too large": {
    flags: ["--body-bytes-max", "10"],
    act: ask(post(11)),
    end: "PR--",
    failure: "badRequest",
    line: { status: 413, method: "POST", target: "/p" },
  },
  "a chunk is malformed": {
    script: silent,
    act: ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
    end: "PDN-",
    failure: "badRequest",
    line: { status: 400 },
    counts: { refusals4xx: 1 },
  },
  "no more clients are let in": {
    flags: ["--connections-max", "1"],
    act: async (lb) => {
      const first = await lb.connect();
      await lb.countsWhen(({ connections }) => connections === 1);
      await lb.ask("");
      first.socket.destroy();
    },
    end: "RR--",
    failure: "",
    line: { status: 503, client: "127.0.0.1", method: null },
    counts: { connectionsRefused: 1, connectionsEver: 1 },
  },
  "no node is up": {
    flags: ["--upstream", "127.0.0.1:1"],
    act: ask(last()),
    end: "SQN-",
    failure: "noNode",
    line: { status: 503, node: null },
    counts: { refusals5xx: 1 },
  },
  "the queue's time is over": {
    flags: ["--node-connections-max", "1", "--queue-timeout-ms", "100"],
    script: polite,
    act: behindATunnel((lb) => lb.ask(last())),
    end: "sQN-",
    failure: "queueTimeout",
    line: { status: 503, node: null, queueMs: null },
    counts: { waitingMost: 1 },
  },
  "the queue is full": {
    flags: ["--node-connections-max", "1", "--queue-max", "0"],
    script: polite,
    act: behindATunnel((lb) => lb.ask(last())),
    end: "RQN-",
    failure: "queueFull",
    line: { status: 503 },
  },
  "the client leaves the queue": {
    flags: ["--node-connections-max", "1"],
    script: polite,
    act: behindATunnel(async (lb) => {
      const waiting = await client(lb, get("", "/waiting"));
      await lb.countsWhen((counts) => counts.waiting === 1);
      waiting.reset();
    }),
    end: "CQN-",
    failure: "clientAborted",
    line: { target: "/waiting", node: null, status: null },
  },
  "the node refuses the connection": {
    act: async (lb) => {
      await server.stop();
      await lb.ask(last());
      server = await ScriptedServer.listen();
    },
    end: "SCN-",
    failure: "connectRefused",
    line: { status: 503, retries: 1, connectMs: null },
    counts: { redispatches: 1, refusals5xx: 1 },
  },
  "the client leaves while the node thinks": {
    script: silent,
    act: askAndReset(get()),
    end: "CHN-",
    failure: "clientAborted",
    line: { status: null, responseMs: null },
  },
  "the node does not answer in time": {
    flags: ["--response-timeout-ms", "100"],
    script: silent,
    act: ask(get()),
    end: "sHN-",
    failure: "responseTimeout",
    line: { status: 504 },
    counts: { refusals5xx: 1 },
  },
  "the node closes without an answer": {
    script: async (peer) => {
      await peer.head();
      peer.finish();
    },
    act: ask(post(0)),
    end: "SHN-",
    failure: "earlyClose",
    line: { status: 502, retries: 0 },
  },
  "the node closes without an answer, again and again": {
    script: async (peer) => {
      await peer.head();
      peer.reset();
    },
    act: ask(get()),
    end: "SHN-",
    failure: "earlyClose",
    line: { status: 502, retries: 2 },
    counts: { retries: 2 },
  },
  "the node speaks no HTTP": {
    script: saying("220 ready\r\n"),
    act: ask(get()),
    end: "PHN-",
    failure: "badAnswer",
    line: { status: 502 },
  },
  "the node grants a WebSocket wrongly": {
    script: saying(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ),
    act: ask(handshake),
    end: "PHN-",
    failure: "badAnswer",
    line: { status: 502, target: "/ws" },
    counts: { tunnels: 0 },
  },
  "the client leaves within the answer": {
    script: saying(begun),
    act: async (lb) => {
      const peer = await client(lb, get());
      await peer.until("half");
      peer.reset();
    },
    end: "CDNI",
    failure: "clientAborted",
    line: { status: 200, bytesOut: begun.length },
    counts: { answers2xx: 1 },
  },
  "the node closes within the answer": {
    script: saying(begun, (peer) => peer.finish()),
    act: ask(get()),
    end: "SDNI",
    failure: "earlyClose",
    line: { status: 200 },
  },
  "the node goes silent within the answer": {
    flags: ["--response-timeout-ms", "100"],
    script: saying(begun),
    act: ask(get()),
    end: "sDNI",
    failure: "responseTimeout",
    line: { status: 200 },
  },
  "the node's chunks are malformed": {
    script: saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
    act: ask(get()),
    end: "PDNI",
    failure: "badAnswer",
  },
  "the client leaves within its body": {
    script: silent,
    act: askAndReset(post(10, "half")),
    end: "CDN-",
    failure: "clientAborted",
    line: { status: null },
  },
  "the client ends within its body": {
    script: silent,
    act: async (lb) => {
      const peer = await client(lb, post(10, "half"));
      await arrived();
      peer.finish();
      await peer.untilEnd();
    },
    end: "CDN-",
    failure: "clientAborted",
    line: { status: 400 },
  },
  "the client's body does not come in time": {
    flags: ["--body-timeout-ms", "100"],
    script: silent,
    act: ask(post(10, "half")),
    end: "cDN-",
    failure: "clientTimeout",
    line: { status: 408 },
  },
  "the client does not take the answer while there is more": {
    flags: ["--stall-timeout-ms", "100"],
    script: saying(`HTTP/1.1 200 OK\r\nContent-Length: ${2 * big}\r\n\r\n${"x".repeat(big)}`),
    act: stalling((_, peer) => peer.untilClosed()),
    end: "cDNI",
    failure: "clientTimeout",
  },
  "a tunnel that the client ends": {
    script: switching,
    act: tunnelled((peer) => peer.finish()),
    ...closing,
  },
  "a tunnel that the node ends": {
    script: switching,
    act: tunnelled((_, node) => node.finish()),
    ...closing,
  },
  "a tunnel that the client resets": {
    script: switching,
    act: tunnelled((peer) => peer.reset()),
    end: "CTNI",
    failure: "clientAborted",
    line: { status: 101 },
  },
  "a tunnel that the node resets": {
    script: switching,
    act: tunnelled((_, node) => node.reset()),
    end: "STNI",
    failure: "earlyClose",
  },
  "a tunnel in which nothing moves": {
    flags: ["--tunnel-timeout-ms", "100"],
    script: switching,
    act: tunnelled(() => {}),
    end: "cTNI",
    failure: "clientTimeout",
  },
  "a tunnel whose node does not end": {
    flags: ["--half-closed-timeout-ms", "100"],
    script: switching,
    act: async (lb) => {
      const peer = await client(lb, handshake);
      await peer.head();
      peer.finish();
      await peer.untilClosed();
    },
    end: "sTNI",
    failure: "responseTimeout",
  },
  "a tunnel whose client does not end": {
    flags: ["--half-closed-timeout-ms", "100"],
    script: switching,
    act: async (lb) => {
      const peer = await client(lb, handshake);
      await peer.head();
      (await server.connection()).finish();
      await peer.untilClosed();
    },
    end: "cTNI",
    failure: "clientTimeout",
  },
  "a tunnel whose node does not read": {
    flags: ["--stall-timeout-ms", "100"],
    script: switching,
    act: async (lb) => {
      const peer = await client(lb, handshake);
      await peer.head();
      (await server.connection()).socket.pause();
      peer.send(new Uint8Array(big));
      await peer.untilClosed();
    },
    end: "sTNI",
    failure: "responseTimeout",
  },
};

describe("ways to end", () => {
  for (const [name, way] of Object.entries(WAYS)) {
    test(`${name}: ${way.end}`, async () => {
      if (way.script !== undefined) server.play(way.script);
      const lb = await startLb(...(way.flags ?? []));
      await way.act(lb);
      expect(await line()).toMatchObject({ end: way.end, ...way.line });
      lb.hangUp();
      const counts = await settled(lb);
      expect(counts).toMatchObject({
        ...(way.failure === "" ? {} : { [way.failure]: 1 }),
        ...way.counts,
      });
    });
  }
});

describe("the last of an answer, which only the client has yet to take", () => {
  /**
   * A client that asks and asks and takes nothing, until an answer that the node has given cannot
   * be written.
   */
  async function stuck(lb: Lb): Promise<RawPeer> {
    server.play(answering(`HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n${"x".repeat(60_000)}`));
    const peer = await lb.connect();
    peer.socket.pause();
    peer.send(get().repeat(500));
    let before = -1;
    await lb.countsWhen((counts) => {
      const { exchangesNow, requests } = { exchangesNow: 0, requests: 0, ...counts };
      const isStuck = exchangesNow === 1 && requests === before;
      before = requests;
      return isStuck;
    });
    return peer;
  }
  const lastOf = async (lb: Lb, failure: string): Promise<unknown> => {
    const { requests } = await settled(lb);
    expect(await lb.counts()).toMatchObject({ [failure]: 1, answers2xx: requests });
    const all = await lines(Number(requests));
    expect(all.slice(0, -1).every(({ end }) => end === "--NI")).toBe(true);
    return all.at(-1)?.end;
  };

  test("the client leaves: CL", async () => {
    const lb = await startLb();
    (await stuck(lb)).reset();
    expect(await lastOf(lb, "clientAborted")).toBe("CLNI");
  });

  test("the client is too slow: cL", async () => {
    const lb = await startLb("--stall-timeout-ms", "300", "--keep-alive-timeout-ms", "300");
    await stuck(lb);
    expect(await lastOf(lb, "clientTimeout")).toBe("cLNI");
  });
});

test("a request that has come through here already: PR", async () => {
  server.play(async (peer) => {
    const head = await peer.head();
    peer.send(`HTTP/1.1 200 OK\r\nX-Via: ${fieldOf(head, "Via")}\r\nContent-Length: 2\r\n\r\nok`);
  });
  const lb = await startLb();
  const via = fieldOf(await lb.ask(last()), "X-Via");
  await lb.ask(last(`Via: ${via}\r\n`));
  const [, entry] = await lines(2);
  expect(entry).toMatchObject({ status: 508, method: "GET", target: "/", node: null, end: "PR--" });
  expect(await settled(lb)).toMatchObject({ badRequest: 1, refusals5xx: 1 });
});

describe("connecting", () => {
  test("a client that leaves, and a node that does not accept: CC, sC", async () => {
    const full = await FullServer.start();
    started.push(full);
    const flags = [
      "--upstream",
      full.address,
      "--connect-timeout-ms",
      "300",
      "--check-timeout-ms",
      "60000",
    ];
    const lb = await Lb.start(...flags, "--access-log", file);
    started.push(lb);
    const leaving = await client(lb, get());
    await lb.countsWhen(({ nodes }) => nodes[full.address].connections === 1);
    leaving.reset();
    expect(await line()).toMatchObject({
      status: null,
      node: full.address,
      connectMs: null,
      end: "CCN-",
    });
    await lb.ask(get());
    expect((await lines(2))[1]).toMatchObject({ status: 504, end: "sCN-" });
    const counts = await lb.countsWhen(({ connections }) => connections === 0);
    expect(counts).toMatchObject({
      clientAborted: 1,
      connectTimeout: 1,
      refusals5xx: 1,
      exchangesNow: 0,
    });
  });
});

test("what a stopping lb ends: PT, PH", async () => {
  server.play(async (peer) =>
    (await peer.head()).includes("Upgrade") ? await switching(peer) : undefined,
  );
  const lb = await startLb();
  const tunnel = await client(lb, handshake);
  await tunnel.head();
  const waiting = await client(lb, get("", "/waiting"));
  await lb.countsWhen(({ upstreams }) => upstreams === 2);
  lb.child.kill("SIGTERM");
  expect(await lb.child.exited).toBe(0);
  expect(await waiting.untilEnd()).toStartWith("HTTP/1.1 503 ");
  expect((await lines(2)).map(({ target, status, end }) => [target, status, end]).sort()).toEqual([
    ...[
      ["/waiting", 503, "PHN-"],
      ["/ws", 101, "PTNI"],
    ],
  ]);
});

describe("the file", () => {
  test("is opened again when it was moved away, and at once on SIGHUP", async () => {
    const lb = await startLb();
    const moved = (n: number) => join(folder, `access.log.${n}`);
    const turn = async (n: number) => {
      await lb.ask(last("", `/${n}`));
      expect(await line()).toMatchObject({ target: `/${n}` });
      renameSync(file, moved(n));
    };
    await turn(1);
    lb.child.kill("SIGHUP");
    await eventually(() => existsSync(file));
    await turn(2);
    while (!existsSync(file)) await lb.ask(last("", "/3"));
    const kept = [1, 2].map((n) => readFileSync(moved(n), "utf8").split("\n").length - 1);
    expect(kept[0]).toBe(1);
    expect(kept[1]).toBeGreaterThanOrEqual(1);
  });

  test("on a full disk lines are dropped and counted, and requests served", async () => {
    const lb = await startLb("--access-log", "/dev/full");
    for (let n = 0; n < 5; n++) expect(await lb.ask(last())).toEndWith("ok");
    const isCounted = (counts: object) =>
      "accessLogDropped" in counts && counts.accessLogDropped === 5;
    expect(await lb.countsWhen(isCounted)).toMatchObject({ accessLogLines: 0 });
    expect(lb.log).toContain("lines are dropped");
    expect(lb.log.match(/lines are dropped/g)).toHaveLength(1);
  });

  const DATE_BYTES = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".length;

  test("a reader that takes nothing holds nothing up, and the lb stops all the same", async () => {
    const pipe = join(folder, "pipe");
    expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
    const reader = Bun.spawn(["sh", "-c", `exec sleep 1000 < ${pipe}`]);
    started.push({ stop: async () => reader.kill() });
    const lb = await startLb("--access-log", pipe, "--no-cookie");
    const peer = await lb.connect();
    const lots = 1500;
    for (let n = 0; n < lots; n += 100) {
      peer.forget();
      peer.send(get("", "/a".repeat(600)).repeat(100));
      await peer.untilBytes(100 * (OK.length + DATE_BYTES));
    }
    const counts: Record<string, unknown> = { ...(await lb.counts()) };
    expect(Number(counts.accessLogDropped)).toBeGreaterThan(100);
    expect(await lb.stop()).toBe(0);
  });

  test("may be standard output", async () => {
    const args = [
      "src/lb/main.ts",
      "--listen",
      "127.0.0.1:0",
      "--upstream",
      server.address,
      "--access-log",
      "-",
    ];
    const port = Promise.withResolvers<string>();
    const lb = Bun.spawn([process.execPath, ...args], {
      cwd: new URL("../..", import.meta.url).pathname,
      stdio: ["ignore", "pipe", "ignore"],
      ipc: (message) => {
        const report = reportIn(message);
        if (report?.type === "ready") port.resolve(report.address);
      },
    });
    expect((await fetch(`http://${await port.promise}/x?y`)).status).toBe(200);
    lb.kill();
    expect(JSON.parse(await new Response(lb.stdout).text())).toMatchObject({
      target: "/x",
      status: 200,
    });
  });

  test("that cannot be opened: one sentence, exit code 1", async () => {
    const path = join(folder, "no", "such");
    await expect(Lb.start("--upstream", server.address, "--access-log", path)).rejects.toThrow(
      `--access-log ${path} cannot be opened (ENOENT): choose a file that can be written.`,
    );
  });
});

/** What a backlog that is not full needs at most for as many connections as are tried at once. */
const TAKEN_MS = 500;

/** A server whose backlog is full, so that no connection to it is ever made. */
class FullServer {
  readonly address: string;
  readonly #child: Bun.Subprocess;
  readonly #port: number;
  readonly #fillers: net.Socket[] = [];

  private constructor(child: Bun.Subprocess, port: number) {
    this.#child = child;
    this.#port = port;
    this.address = `127.0.0.1:${port}`;
  }

  static async start(): Promise<FullServer> {
    const script = `const { port } = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }); console.log(port);`;
    const child = Bun.spawn([process.execPath, "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const { value } = await child.stdout.getReader().read();
    const port = Number(new TextDecoder().decode(value));
    child.kill("SIGSTOP");
    const full = new FullServer(child, port);
    while (full.#fillers.length < 6000 && (await full.#takes(300)));
    return full;
  }

  /** Whether it takes so many connections more. */
  async #takes(count: number): Promise<boolean> {
    const to = { host: "127.0.0.1", port: this.#port };
    const fillers = Array.from({ length: count }, () => net.connect(to));
    this.#fillers.push(...fillers);
    const taken = fillers.map(
      (filler) =>
        new Promise<void>((resolve) => {
          filler.on("connect", resolve).on("error", () => {});
        }),
    );
    return await Promise.race([
      Promise.all(taken).then(() => true),
      Bun.sleep(TAKEN_MS).then(() => false),
    ]);
  }

  async stop(): Promise<void> {
    for (const filler of this.#fillers) filler.destroy();
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}
