// Hop by hop, rules 32–34, and how messages are passed on, rules 35–43: black box, raw peers on
// both sides of the running lb.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  answering,
  fieldOf,
  Lb,
  namesIn,
  OK,
  type RawPeer,
  serverBehindLb,
  statusOf,
} from "./harness.ts";

setDefaultTimeout(60_000);

const flags = ["--response-timeout-ms", "2000"];
const { server, lb } = await serverBehindLb(...flags);
const trusts = ["--trust", "127.0.0.0/8", "--trust", "10.1.2.3"];
const trusting = await Lb.inFrontOf(server, ...flags, ...trusts);
afterAll(() => trusting.stop());

const get = (fields = "", version = "1.1", method = "GET") =>
  `${method} / HTTP/${version}\r\nHost: a\r\n${fields}\r\n`;
const last = (fields = "") => get(`Connection: close\r\n${fields}`);

/** The head that the server gets. */
async function forwarded(request: string, through = lb): Promise<string> {
  expect(statusOf(await through.ask(request))).toBe(200);
  return server.connections[0].text;
}

/** A script that answers the first request with these bytes, then does what `then` says. */
const saying = (answer: string, then: (peer: RawPeer) => void = () => {}) => {
  server.play(async (peer) => {
    await peer.head();
    peer.send(answer);
    then(peer);
  });
};
const ending = (peer: RawPeer) => peer.finish();

/** What the client gets for a GET that is its last, when the server answers with these bytes. */
async function relayed(answer: string, then = ending, request = last()): Promise<string> {
  saying(answer, then);
  return await lb.ask(request);
}

describe("rule 32: fields of this hop end here", () => {
  test("those that Connection names, and the well-known ones", async () => {
    const head = await forwarded(
      get(
        "Connection: close, X-Mine, x-other\r\nX-Mine: 1\r\nX-Other: 2\r\nX-Kept: 3\r\nKeep-Alive: 5\r\n" +
          "Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
      ),
    );
    expect(namesIn(head)).toEqual([
      "host",
      "x-kept",
      "x-forwarded-for",
      "x-real-ip",
      "x-forwarded-proto",
      "x-forwarded-host",
      "via",
    ]);
  });
  test("Connection cannot take out what the lb adds", async () => {
    const head = await forwarded(
      get("Connection: close, X-Forwarded-For, X-Forwarded-Host, Via, Host, X-Forwarded-Proto\r\n"),
    );
    expect(fieldOf(head, "X-Forwarded-For")).toBe("127.0.0.1");
    expect(fieldOf(head, "X-Real-IP")).toBe("127.0.0.1");
    expect(fieldOf(head, "X-Forwarded-Proto")).toBe("http");
    expect(fieldOf(head, "X-Forwarded-Host")).toBe("a");
    expect(fieldOf(head, "Host")).toBe("a");
    expect(fieldOf(head, "Via")).toStartWith("1.1 tutti-");
  });
  test("nor the framing of a body", async () => {
    const head = await forwarded(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, content-length\r\nContent-Length: 2\r\n\r\nab",
    );
    expect(fieldOf(head, "Content-Length")).toBe("2");
  });
  test("in answers too", async () => {
    const answer = await relayed(
      "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nX-Kept: 2\r\n" +
        "Content-Length: 0\r\n\r\n",
    );
    expect(namesIn(answer)).toEqual([
      "x-kept",
      "date",
      "set-cookie",
      "cache-control",
      "content-length",
      "connection",
    ]);
    expect(fieldOf(answer, "Connection")).toBe("close");
  });
});

describe("rule 33: who the client is, only a trusted proxy may say", () => {
  const claims =
    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n" +
    "X-Forwarded-Prefix: /evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";
  test("claims of others are overwritten", async () => {
    const head = await forwarded(last(claims));
    expect(head).not.toContain("6.6.6.6");
    expect(head).not.toContain("evil");
    expect(fieldOf(head, "X-Forwarded-For")).toBe("127.0.0.1");
    expect(fieldOf(head, "X-Forwarded-Proto")).toBe("http");
    expect(fieldOf(head, "X-Forwarded-Host")).toBe("a");
    expect(namesIn(head)).not.toContain("forwarded");
    expect(namesIn(head)).not.toContain("x-forwarded-port");
  });
  test("a trusted proxy's are kept, and its own address added", async () => {
    const answer = await trusting.ask(last(claims));
    const head = server.connections[0].text;
    expect(fieldOf(head, "X-Forwarded-For")).toBe("6.6.6.6, 127.0.0.1");
    expect(head.match(/^x-real-ip: .*$/gim)).toEqual(["X-Real-IP: 6.6.6.6"]);
    expect(fieldOf(head, "X-Forwarded-Proto")).toBe("https");
    expect(fieldOf(head, "X-Forwarded-Host")).toBe("evil");
    expect(fieldOf(head, "Forwarded")).toBe("for=6.6.6.6");
    expect(fieldOf(answer, "Set-Cookie")).toContain("; Secure");
  });
});

describe("rule 55: the client's address is the last on the path that is no trusted proxy's", () => {
  for (const [path, client] of [
    ["6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"],
    ["6.6.6.6, nonsense", "127.0.0.1"],
  ])
    test(path, async () => {
      await trusting.ask(last(`X-Forwarded-For: ${path}\r\nX-Real-IP: 6.6.6.6\r\n`));
      const head = server.connections[0].text;
      expect(head.match(/^x-real-ip: .*$/gim)).toEqual([`X-Real-IP: ${client}`]);
    });
});

describe("rule 34: Via", () => {
  test("is added, with the version that the client spoke", async () => {
    expect(await forwarded(last("Via: 1.0 elsewhere\r\n"))).toMatch(
      /Via: 1\.0 elsewhere\r\n[\s\S]*Via: 1\.1 tutti-\S+\r\n/,
    );
    server.play(answering(OK));
    expect(fieldOf(await forwarded(get("", "1.0")), "Via")).toStartWith("1.0 tutti-");
  });
  test("our own name in it is a loop: 508", async () => {
    const name = fieldOf(await forwarded(last()), "Via")?.slice(4);
    server.play(answering(OK));
    expect(statusOf(await lb.ask(last(`Via: 1.1 elsewhere, 1.1 ${name} (comment)\r\n`)))).toBe(508);
    expect(server.connections).toHaveLength(0);
    expect(statusOf(await lb.ask(last(`Via: 1.1 ${name}x\r\n`)))).toBe(200);
  });
});

describe("rule 53: Date", () => {
  const DATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;
  test("an answer without one gets it; one with one keeps it", async () => {
    const answer = await relayed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect(fieldOf(answer, "Date")).toMatch(DATE);
    expect(Math.abs(Date.parse(fieldOf(answer, "Date") ?? "") - Date.now())).toBeLessThan(60_000);
    const dated = await relayed(
      "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok",
    );
    const named = await relayed(
      "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: date\r\nContent-Length: 2\r\n\r\nok",
    );
    expect(fieldOf(named, "Date")).toMatch(DATE);
    expect(dated.match(/^date: .*$/gim)).toEqual(["Date: Sun, 06 Nov 1994 08:49:37 GMT"]);
  });
  test("the lb's own answers have it: an error, its health, a refused connection", async () => {
    const crowded = await Lb.start("--upstream", server.address, "--connections-max", "1");
    try {
      const health = await crowded.ask(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      );
      await crowded.countsWhen(({ connections }) => connections === 0);
      const first = await crowded.connect();
      await crowded.countsWhen(({ connections }) => connections === 1);
      const refused = await crowded.ask("");
      first.reset();
      for (const answer of [health, refused, await lb.ask("nonsense\r\n\r\n")])
        expect(fieldOf(answer, "Date")).toMatch(DATE);
      expect(statusOf(refused)).toBe(503);
    } finally {
      await crowded.stop();
    }
  });
});

test("rule 54: a node's 426 says what to upgrade to", async () => {
  const answer = await relayed(
    "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
  );
  expect(fieldOf(answer, "Upgrade")).toBe("websocket");
  expect(fieldOf(answer, "Connection")).toBe("close, Upgrade");
  const other = await relayed(
    "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
  );
  expect(namesIn(other)).not.toContain("upgrade");
});

describe("rule 35: Expect: 100-continue", () => {
  const expecting = (version: string) =>
    `POST / HTTP/${version}\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`;
  test("the head goes to the server, its 100 to the client, then the body", async () => {
    server.play(async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 100 Continue\r\n\r\n");
      await peer.until("\r\n\r\nab");
      peer.send(OK);
    });
    const client = await lb.connect();
    client.send(expecting("1.1"));
    await client.until("HTTP/1.1 100 Continue\r\n\r\n");
    expect(fieldOf(server.connections[0].text, "Expect")).toBe("100-continue");
    client.send("ab");
    await client.until(/\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*ok$/);
  });
  test("a server that refuses at once is heard, and the connection closes", async () => {
    saying("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    const answer = await lb.ask(expecting("1.1"));
    expect(statusOf(answer)).toBe(413);
    expect(fieldOf(answer, "Connection")).toBe("close");
  });
  test("HTTP/1.0 cannot expect anything", async () => {
    const head = await forwarded(`${expecting("1.0")}ab`);
    expect(namesIn(head)).not.toContain("expect");
  });
  test("another expectation is a 417", async () =>
    expect(statusOf(await lb.ask(get("Expect: a-miracle\r\n")))).toBe(417));
});

describe("rule 36: 1xx", () => {
  const hinted = `HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n${OK}`;
  test("103 is forwarded", async () => {
    const answer = await relayed(hinted);
    expect(answer).toStartWith(
      "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n",
    );
  });
  test("not to HTTP/1.0", async () => {
    expect(await relayed(hinted, ending, get("", "1.0"))).toStartWith("HTTP/1.1 200 OK\r\n");
  });
  test("an endless run of them is a 502", async () => {
    const answer = await relayed("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000), () => {});
    expect(answer).toEndWith("answers\n");
    expect(answer).toContain("HTTP/1.1 502 ");
  });
});

describe("rule 37: answers without a body, whatever their fields say", () => {
  for (const [name, method, answer, stated] of [
    ["HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "5"],
    ["HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", undefined],
    ["204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", undefined],
    [
      "204, chunked",
      "GET",
      "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
      undefined,
    ],
    ["304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "5"],
  ] as const) {
    test(name, async () => {
      saying(answer);
      const client = await lb.connect();
      client.send(get("", "1.1", method));
      const head = await client.until("\r\n\r\n");
      expect(head).toEndWith("\r\n\r\n");
      expect(fieldOf(head, "Content-Length")).toBe(stated);
      expect(namesIn(head)).not.toContain("transfer-encoding");
      // The connections are in step: the next request gets the next answer.
      client.forget();
      client.send(last());
      await server.connections[0].until(/ HTTP\/1\.1[\s\S]* HTTP\/1\.1/);
      server.connections[0].send(OK);
      expect(statusOf(await client.untilEnd())).toBe(200);
    });
  }
});

describe("rule 38: the framing of answers", () => {
  const chunked = "2\r\nok\r\n0\r\n\r\n";
  test("with both, chunked counts, Content-Length is dropped, the server's connection is not used again", async () => {
    saying(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`);
    const client = await lb.connect();
    client.send(get());
    const answer = await client.until(chunked);
    expect(fieldOf(answer, "Transfer-Encoding")).toBe("chunked");
    expect(fieldOf(answer, "Content-Length")).toBeUndefined();
    await server.connections[0].untilEnd();
  });
  for (const lengths of ["5\r\nContent-Length: 6", "5, 6", "+2", "", "2 2", "-1"]) {
    test(`Content-Length ${JSON.stringify(lengths)} is a 502`, async () =>
      expect(
        statusOf(await relayed(`HTTP/1.1 200 OK\r\nContent-Length: ${lengths}\r\n\r\nokok!!`)),
      ).toBe(502));
  }
  for (const coding of [
    "gzip",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "chunked\r\nTransfer-Encoding: chunked",
  ]) {
    test(`Transfer-Encoding ${JSON.stringify(coding)} is a 502`, async () =>
      expect(
        statusOf(
          await relayed(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n${chunked}`),
        ),
      ).toBe(502));
  }
  test("Transfer-Encoding in HTTP/1.0 is a 502", async () =>
    expect(
      statusOf(await relayed(`HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`)),
    ).toBe(502));
  test("bytes beyond the body never reach the client, and the server's connection is not used again", async () => {
    saying(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
    const client = await lb.connect();
    client.send(get());
    await client.until("ok");
    await server.connections[0].untilClosed();
    server.script = answering(OK);
    client.forget();
    client.send(last());
    expect(await client.untilEnd()).toEndWith("ok");
    expect(server.connections).toHaveLength(2);
  });
  test("bytes that come between two exchanges end the server's connection", async () => {
    const client = await lb.connect();
    client.send(get());
    await client.until("ok");
    server.connections[0].send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    await server.connections[0].untilClosed();
    client.forget();
    client.send(last());
    expect(await client.untilEnd()).toEndWith("ok");
    expect(server.connections).toHaveLength(2);
  });
  test("chunked is framed anew, extensions dropped, trailers checked", async () => {
    const answer = await relayed(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0002;x=y\r\nok\r\n000\r\nX-Sum: 1\r\nSet-Cookie: evil\r\n\r\n",
    );
    expect(answer).toEndWith("\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n");
  });
  test("to HTTP/1.0 chunked content goes plain, until the close", async () => {
    const answer = await relayed(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
      () => {},
      get("", "1.0"),
    );
    expect(answer).toEndWith("\r\n\r\nok!");
    expect(namesIn(answer)).not.toContain("transfer-encoding");
    expect(fieldOf(answer, "Connection")).toBe("close");
  });
  test("without either the body goes on until the server closes, and so does the client's connection", async () => {
    const answer = await relayed("HTTP/1.1 200 OK\r\n\r\nall of it", ending, get());
    expect(answer).toEndWith("\r\n\r\nall of it");
    expect(fieldOf(answer, "Connection")).toBe("close");
  });
});

describe("rule 39: an answer that begins before the request's body has ended", () => {
  const NO = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
  const upload = (bytes: number, fields = "") =>
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n${fields}\r\n`;

  test("is relayed with close where the node closes, and what else the client sends is thrown away", async () => {
    saying("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    const client = await lb.connect();
    client.send(`${upload(1_000_000)}abc`);
    const answer = await client.untilEnd();
    expect(statusOf(answer)).toBe(403);
    expect(fieldOf(answer, "Connection")).toBe("close");
    expect(answer).toEndWith("no");
    client.send("x".repeat(100_000));
    await server.connections[0].untilClosed();
    client.finish();
    await client.untilClosed();
    expect(client.wasReset).toBe(false);
  });

  test("keeps the connection: the rest of the body follows, and then the next request", async () => {
    server.play(async (peer) => {
      await peer.until("abc");
      peer.send(NO);
      await peer.until("GET /next");
      peer.send(OK);
    });
    const client = await lb.connect();
    client.send(`${upload(300_003)}abc`);
    expect(fieldOf(await client.until("no"), "Connection")).toBeUndefined();
    client.send(`${"x".repeat(300_000)}GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect((await client.untilEnd()).match(/HTTP\/1\.1 (?:403|200)/g)).toEqual([
      "HTTP/1.1 403",
      "HTTP/1.1 200",
    ]);
    expect(server.connections).toHaveLength(1);
    expect(server.connections[0].text).toContain(`abc${"x".repeat(300_000)}GET /next `);
  });

  test("an echo of chunks, with requests behind it", async () => {
    server.play(async (peer) => {
      await peer.until("abc");
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
      await peer.until("\r\n0\r\n\r\n");
      peer.send("0\r\n\r\n");
      await peer.until("GET /next");
      peer.send(OK);
    });
    const client = await lb.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    await client.until("abc");
    client.send("0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect((await client.untilEnd()).match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(server.connections).toHaveLength(1);
  });

  for (const [name, then] of [
    ["leaves", (peer: RawPeer) => peer.finish()],
    ["is reset", (peer: RawPeer) => peer.reset()],
    ["says more", (peer: RawPeer) => peer.send("HTTP/1.1 200 OK\r\n\r\n")],
  ] as const)
    test(`a node that ${name} after it: the rest is dropped, the next request goes elsewhere`, async () => {
      const answered = Promise.withResolvers<void>();
      server.play(async (peer) => {
        if (server.connections.length > 1) return await answering(OK)(peer);
        await peer.until("abc");
        peer.send(NO);
        await answered.promise;
        then(peer);
      });
      const client = await lb.connect();
      client.send(`${upload(100_003)}abc`);
      await client.until("no");
      answered.resolve();
      await server.connections[0].untilClosed();
      client.send(`${"x".repeat(100_000)}${last()}`);
      expect((await client.untilEnd()).match(/HTTP\/1\.1 (?:403|200)/g)).toHaveLength(2);
      expect(server.connections).toHaveLength(2);
      expect((await lb.countsWhen(({ connections }) => connections === 0)).upstreams).toBe(0);
    });

  test("a node that does not read the rest holds nobody up for ever", async () => {
    const slow = await Lb.inFrontOf(server, "--body-timeout-ms", "300");
    try {
      server.play(async (peer) => {
        if (server.connections.length > 1) return await answering(OK)(peer);
        await peer.until("abc");
        peer.socket.pause();
        peer.send(NO);
      });
      const client = await slow.connect();
      const bytes = 30_000_000;
      client.send(`${upload(bytes + 3)}abc`);
      await client.until("no");
      client.send("x".repeat(bytes));
      client.send(last());
      expect((await client.untilEnd()).match(/HTTP\/1\.1 (?:403|200)/g)).toHaveLength(2);
    } finally {
      await slow.stop();
    }
  });

  for (const [name, rest] of [
    ["is malformed", "zz\r\n"],
    ["is cut short", ""],
  ])
    test(`a body that ${name} after it ends the connection, without another answer`, async () => {
      server.play(async (peer) => {
        await peer.until("abc");
        peer.send(NO);
      });
      const client = await lb.connect();
      client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
      await client.until("no");
      if (rest === "") client.finish();
      else client.send(rest);
      expect((await client.untilEnd()).match(/HTTP\/1\.1/g)).toHaveLength(1);
      await server.connections[0].untilClosed();
      expect((await lb.countsWhen(({ connections }) => connections === 0)).upstreams).toBe(0);
    });

  test("a stopping lb waits for no rest", async () => {
    const stopping = await Lb.start("--upstream", server.address);
    server.play(async (peer) => {
      await peer.until("abc");
      peer.send(NO);
    });
    const client = await stopping.connect();
    client.send(`${upload(1000)}abc`);
    await client.until("no");
    stopping.child.kill("SIGTERM");
    await client.untilEnd();
    client.finish();
    expect(await stopping.child.exited).toBe(0);
    expect(client.wasReset).toBe(false);
  });
});

describe("rule 40: a truncated answer ends in an abort, not in a clean end", () => {
  for (const [name, answer] of [
    ["by length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
    ["chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    [
      "a broken chunk",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ],
  ]) {
    for (const [how, end] of [
      ["FIN", ending],
      // Not before the lb has read the answer: a reset overtakes it.
      ["RST", (peer: RawPeer) => void lb.caughtUp().then(() => peer.reset())],
    ] as const) {
      test(`${name}, ${how}`, async () => {
        saying(answer, end);
        const client = await lb.connect();
        client.send(get());
        await client.untilClosed();
        expect(client.wasReset).toBe(true);
        expect(client.text).not.toEndWith("0\r\n\r\n");
      });
    }
  }
  test("an RST while the body goes on until the close", async () => {
    saying("HTTP/1.1 200 OK\r\n\r\nabc");
    const client = await lb.connect();
    client.send(get());
    await client.until("abc");
    server.connections[0].reset();
    await client.untilClosed();
    expect(client.wasReset).toBe(true);
  });
});

test("rule 41: after close, later bytes are ignored", async () => {
  server.play(async (peer) => {
    await peer.head();
    await lb.caughtUp();
    peer.send(OK);
  });
  const client = await lb.connect();
  client.send(`${last()}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
  client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
  expect((await client.untilEnd()).match(/HTTP\/1\.1/g)).toHaveLength(1);
  expect(server.connections).toHaveLength(1);
  expect(server.connections[0].text).not.toContain("smuggled");
});

describe("rule 42: what may have reached a server is not sent again, unless it is idempotent and bodyless", () => {
  const deaf = () =>
    server.play(async (peer) => {
      await peer.head();
      peer.socket.destroy();
    });
  test("POST is sent once", async () => {
    deaf();
    expect(
      statusOf(await lb.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")),
    ).toBe(502);
    expect(server.connections).toHaveLength(1);
  });
  test("POST without a body is sent once", async () => {
    deaf();
    expect(statusOf(await lb.ask(get("", "1.1", "POST")))).toBe(502);
    expect(server.connections).toHaveLength(1);
  });
  test("PUT with a body is sent once", async () => {
    deaf();
    expect(statusOf(await lb.ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"))).toBe(
      502,
    );
    expect(server.connections).toHaveLength(1);
  });
  test("GET is sent again, and served", async () => {
    server.play(async (peer) => {
      if (server.connections.length === 1) {
        await peer.head();
        peer.socket.destroy();
      } else await answering(OK)(peer);
    });
    expect(statusOf(await lb.ask(last()))).toBe(200);
    expect(server.connections).toHaveLength(2);
  });
  test("a server's kept connection that closes just then costs a GET nothing", async () => {
    server.play(async (peer) => {
      if (server.connections.length > 1) return await answering(OK)(peer);
      await peer.head();
      peer.send(OK);
      await peer.until(/GET[\s\S]*GET/);
      peer.reset();
    });
    const client = await lb.connect();
    client.send(get());
    await client.until("ok");
    client.forget();
    client.send(last());
    expect(statusOf(await client.untilEnd())).toBe(200);
  });
});

describe("rule 43: when there is no good answer", () => {
  test("a response timeout is a 504", async () => {
    server.play(() => {});
    expect(statusOf(await lb.ask(get()))).toBe(504);
    await (await server.connection()).untilClosed();
  });
  for (const garbage of [
    "garbage\r\n\r\n",
    "HTTP/1.1 888 What\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 99 Low\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(200)}\r\n`,
    `HTTP/1.1 200 OK\r\nX: ${"y".repeat(100_000)}\r\n\r\n`,
  ]) {
    test(`garbage is a 502: ${JSON.stringify(garbage.slice(0, 60))}`, async () =>
      expect(statusOf(await relayed(garbage))).toBe(502));
  }
  test("a close without an answer is a 502", async () =>
    expect(statusOf(await relayed(""))).toBe(502));
  test("half a head is a 502", async () =>
    expect(statusOf(await relayed("HTTP/1.1 200 OK\r\nX: "))).toBe(502));
  test("an odd but legal answer passes", async () => {
    const answer = await relayed(
      "HTTP/1.1 299 \xc4h, well\r\nX-Odd:\r\nContent-Length:2\r\n\r\nok",
    );
    expect(answer).toStartWith("HTTP/1.1 299 \xc4h, well\r\nX-Odd: \r\n");
    expect(await relayed("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")).toStartWith(
      "HTTP/1.1 200 \r\n",
    );
  });
});

describe("bodies of any size flow, and nothing of them is kept", () => {
  const SIZE = 48 * 1024 * 1024;
  const rssMb = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lb.pid}/status`, "utf8"))?.[1]) / 1024;
  const count = (peer: RawPeer) => {
    let bytes = peer.text.length;
    peer.socket.removeAllListeners("data");
    return new Promise<number>((resolve) => {
      peer.socket.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes >= SIZE) resolve(bytes);
      });
      peer.socket.resume();
    });
  };
  for (const framing of ["Content-Length", "chunked"]) {
    const fields =
      framing === "chunked" ? "Transfer-Encoding: chunked\r\n" : `Content-Length: ${SIZE}\r\n`;
    const write = (peer: RawPeer) => {
      const piece = Buffer.alloc(1024 * 1024, "x");
      for (let sent = 0; sent < SIZE; sent += piece.length) {
        if (framing === "chunked") peer.socket.write(`${piece.length.toString(16)}\r\n`);
        peer.socket.write(piece);
        if (framing === "chunked") peer.socket.write("\r\n");
      }
      if (framing === "chunked") peer.socket.write("0\r\n\r\n");
    };
    test(`a request's, ${framing}, to a server that reads late`, async () => {
      server.play(() => {});
      const client = await lb.connect();
      const before = rssMb();
      client.send(`POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
      const upstream = await server.connection();
      await upstream.head();
      upstream.socket.pause();
      write(client);
      await lb.stalled(client);
      expect(client.socket.writableLength).toBeGreaterThan(SIZE / 4);
      expect(await count(upstream)).toBeGreaterThanOrEqual(SIZE);
      expect(rssMb() - before).toBeLessThan(64);
      upstream.send(OK);
      await client.until("ok");
    });
    test(`an answer's, ${framing}, to a client that reads late`, async () => {
      const before = rssMb();
      saying(`HTTP/1.1 200 OK\r\n${fields}\r\n`, write);
      const client = await lb.connect();
      client.socket.pause();
      client.send(get());
      const upstream = await server.connection();
      await upstream.head();
      await lb.stalled(upstream);
      expect(upstream.socket.writableLength).toBeGreaterThan(SIZE / 4);
      expect(await count(client)).toBeGreaterThanOrEqual(SIZE);
      expect(rssMb() - before).toBeLessThan(64);
    });
  }
});

test("every request of a connection is framed and routed by itself, and in order", async () => {
  const client = await lb.connect();
  client.send(get("X-N: 1\r\n") + get("X-N: 2\r\n") + last("X-N: 3\r\n"));
  const answers = await client.untilEnd();
  expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(3);
  expect(server.connections).toHaveLength(1);
  expect(server.connections[0].text.match(/X-N: \d/g)).toEqual(["X-N: 1", "X-N: 2", "X-N: 3"]);
});

test("no two clients ever share a connection to a server", async () => {
  for (let round = 0; round < 3; round++) {
    const client = await lb.connect();
    client.send(get());
    await client.until("ok");
    client.finish();
    await client.untilEnd();
  }
  expect(server.connections).toHaveLength(3);
});

test("a client that half-closes after its request still gets the answer", async () => {
  server.play(async (peer) => {
    await peer.head();
    // It has seen the FIN by then.
    await lb.caughtUp();
    peer.send(OK);
  });
  const client = await lb.connect();
  client.send(get());
  client.finish();
  expect(await client.untilEnd()).toEndWith("ok");
});

test("a client that half-closes after several requests gets all its answers", async () => {
  const client = await lb.connect();
  client.send(get("X-N: 1\r\n") + get("X-N: 2\r\n") + get("X-N: 3\r\n"));
  client.finish();
  const answers = await client.untilEnd();
  expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(3);
  expect(answers.match(/Connection: close/g)).toHaveLength(1);
  await client.untilClosed();
  expect(client.wasReset).toBe(false);
});

test("a client that goes away takes its request along", async () => {
  server.play(() => {});
  const client = await lb.connect();
  client.send(get());
  const upstream = await server.connection();
  await upstream.head();
  client.reset();
  await upstream.untilClosed();
  await lb.countsWhen(({ live, upstreams }) => live === 0 && upstreams === 0);
});
