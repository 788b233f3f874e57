// Lines, fields, the request line and Host, rules 14–31: black box, a raw client in front of the lb
// and a raw server behind it.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { answering, fieldOf, namesIn, OK, serverBehindLb, statusOf } from "./harness.ts";

setDefaultTimeout(60_000);

const { server, lb } = await serverBehindLb("--head-timeout-ms", "600");

/** The answer to what is refused, and of which no server hears. */
async function refusal(request: string): Promise<string> {
  const answer = await lb.ask(request);
  expect(fieldOf(answer, "Connection")).toBe("close");
  expect(server.connections.map(({ text }) => text)).toEqual([]);
  return answer;
}

/** What the server gets of a request that is accepted. */
async function accepted(request: string): Promise<string> {
  const answer = await lb.ask(request);
  expect(statusOf(answer)).toBe(200);
  return server.connections[0].text;
}

const refuses = (name: string, request: string, status: number) =>
  test(name, async () => expect(statusOf(await refusal(request))).toBe(status));

/** A GET with one field line in this very form. */
const withLine = (line: string, end = "\r\n") =>
  `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${line}${end}\r\n`;

describe("rule 14: bare-LF line ends are refused", () => {
  refuses("everywhere", "GET / HTTP/1.1\nHost: a\n\n", 400);
  refuses("after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
  refuses("after a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400);
  refuses("at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
  refuses("before the request line", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
});

describe("rule 15: a bare CR or a NUL is refused", () => {
  refuses("CR in a value", withLine("X: a\rb"), 400);
  refuses("CR as the line end", "GET / HTTP/1.1\rHost: a\r\r", 400);
  refuses("CR before CRLF", withLine("X: a\r"), 400);
  refuses("CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400);
  refuses("NUL in a value", withLine("X: a\0b"), 400);
  refuses("NUL in a name", withLine("X\0: b"), 400);
  refuses("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400);
});

describe("rule 16: other control characters in a value are refused; bytes from 0x80 pass as they are", () => {
  for (const code of [0x01, 0x08, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f])
    refuses(`0x${code.toString(16)}`, withLine(`X: a${String.fromCharCode(code)}b`), 400);
  test("0x80 to 0xff and tab pass", async () => {
    const value = `a\t${Array.from({ length: 128 }, (_, at) => String.fromCharCode(0x80 + at)).join("")}b`;
    expect(await accepted(withLine(`X-Bytes: ${value}`))).toContain(`X-Bytes: ${value}\r\n`);
  });
});

describe("rule 17: white space before the colon is refused", () => {
  refuses("space", withLine("X : a"), 400);
  refuses("tab", withLine("X\t: a"), 400);
  refuses("Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", 400);
});

describe("rule 18: obs-fold is refused", () => {
  refuses("space", withLine("X: a\r\n b"), 400);
  refuses("tab", withLine("X: a\r\n\tb"), 400);
  test("in an answer it is a 502", async () => {
    server.play(async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok");
    });
    expect(statusOf(await lb.ask(withLine("X: a")))).toBe(502);
  });
});

describe("rule 19: white space before the first field is refused", () => {
  refuses("space", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
  refuses("a line of it", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", 400);
  refuses("before the request line", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
});

describe("rule 20: field names are tokens", () => {
  for (const line of [
    ": a",
    "X",
    "X(: a",
    "X[1]: a",
    "X\xe9: a",
    "X,Y: a",
    'X": a',
    "X Y: a",
    "@: a",
  ])
    refuses(JSON.stringify(line), withLine(line), 400);
});

test("rule 21: names with an underscore are dropped, because servers read them as hyphens", async () => {
  const lines = [
    "Content_Length: 5",
    "X_Forwarded_For: 6.6.6.6",
    "X-Fine: 1",
    "Transfer_Encoding: chunked",
  ].join("\r\n");
  const head = await accepted(withLine(lines));
  expect(namesIn(head).filter((name) => name.includes("_"))).toEqual([]);
  expect(head).toContain("X-Fine: 1\r\n");
  expect(head).not.toContain("6.6.6.6");
});

describe("rule 22: empty lines before a request are skipped, a few", () => {
  test("one and two", async () => {
    expect(await accepted(`\r\n${withLine("X: a")}`)).toStartWith("GET / HTTP/1.1\r\n");
    server.play(answering(OK));
    expect(await accepted(`\r\n\r\n${withLine("X: a")}`)).toStartWith("GET / HTTP/1.1\r\n");
  });
  refuses("not a hundred", `${"\r\n".repeat(100)}${withLine("X: a")}`, 400);
});

describe("rule 23: the request line has single spaces", () => {
  for (const line of [
    "GET\t/ HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    "GET / HTTP/1.1 ",
    "GET /\tHTTP/1.1",
    "GET / ",
  ])
    refuses(JSON.stringify(line), `${line}\r\nHost: a\r\n\r\n`, 400);
  refuses('"GET /"', "GET /\r\n", 400);
});

describe("rule 24: versions", () => {
  refuses("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
  refuses("HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505);
  refuses("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
  refuses("HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400);
  refuses("http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", 400);
  refuses("HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400);
  refuses("HTTP/1", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400);
  refuses("HTTP/ 1.1", "GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", 400);
  refuses("HTTPS/1.1", "GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400);
});

describe("rule 25: methods are tokens, and CONNECT is not served", () => {
  for (const method of ["G(T", "G\xe9T", "", "G,T", '"GET"'])
    refuses(JSON.stringify(method), `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`, 400);
  refuses("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405);
  test("a 405 says what is allowed", async () =>
    expect(
      fieldOf(await refusal("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), "Allow"),
    ).toContain("GET"));
  test("any token passes", async () =>
    expect(
      await accepted("M-SEARCH! / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ).toStartWith("M-SEARCH! / "));
});

describe("rule 26: targets", () => {
  for (const target of [
    "*",
    "x",
    "x/y",
    "//../a b",
    "/a#b",
    "#",
    "/\x80",
    "/\xc3\xa9",
    "http:/a",
    "ftp://a/",
    "http://",
    "/a\x7f",
    "?x",
  ])
    refuses(`GET ${JSON.stringify(target)}`, `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, 400);
  test("OPTIONS * passes", async () =>
    expect(
      await accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ).toStartWith("OPTIONS * HTTP/1.1"));
  test("what is odd but legal passes as it is", async () =>
    expect(
      await accepted(
        "GET //a/../b?c=%zz&d='\"<>\\^`{|} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      ),
    ).toStartWith("GET //a/../b?c=%zz&d='\"<>\\^`{|} HTTP/1.1\r\n"));
});

describe("rule 27: the absolute form becomes the origin form, and never chooses the server", () => {
  const absolute = (url: string, host: string) =>
    `GET ${url} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  test("path and query", async () => {
    const head = await accepted(absolute("http://a.example:81/x?y=z", "a.example:81"));
    expect(head).toStartWith("GET /x?y=z HTTP/1.1\r\nHost: a.example:81\r\n");
  });
  test("no path", async () =>
    expect(await accepted(absolute("HTTP://A", "a"))).toStartWith("GET / HTTP/1.1\r\nHost: A\r\n"));
  test("a query alone", async () =>
    expect(await accepted(absolute("http://a?x", "a"))).toStartWith("GET /?x HTTP/1.1\r\n"));
  test("OPTIONS without a path is OPTIONS *", async () =>
    expect(
      await accepted("OPTIONS http://a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ).toStartWith("OPTIONS * "));
  for (const [url, host] of [
    ["http://b/", "a"],
    ["http://a:1/", "a"],
    ["http://a:80/", "a"],
    ["http://a/", ""],
  ])
    test(`${url} replaces the Host ${JSON.stringify(host)}`, async () => {
      const head = await accepted(absolute(url, host));
      const authority = url.slice("http://".length, -1);
      expect(head).toStartWith(`GET / HTTP/1.1\r\nHost: ${authority}\r\n`);
      expect(head.match(/^host:/gim)).toHaveLength(1);
      expect(fieldOf(head, "X-Forwarded-Host")).toBe(authority);
    });
  test("in HTTP/1.0 without Host", async () =>
    expect(fieldOf(await accepted("GET http://b/ HTTP/1.0\r\n\r\n"), "Host")).toBe("b"));
  refuses("user information", absolute("http://u@a/", "a"), 400);
  refuses("no host", absolute("http:///x", "a"), 400);
});

describe("rule 28: exactly one valid Host", () => {
  refuses("missing", "GET / HTTP/1.1\r\n\r\n", 400);
  refuses("twice", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
  for (const host of [
    "a/b",
    "u@a",
    "a b",
    "a:x",
    "a:99999",
    "[::1",
    "a,b",
    "a\tb",
    "a?b",
    "a#b",
    "\xe9",
    "[::1]x",
    "a:1:2",
  ])
    refuses(JSON.stringify(host), `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 400);
  for (const host of [
    "a",
    "a.b:80",
    "127.0.0.1:65535",
    "[::1]:8080",
    "[2001:db8::1]",
    "under_score.example",
    "xn--nxasmq6b",
  ])
    test(`${host} passes`, async () =>
      expect(
        fieldOf(
          await accepted(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
          "Host",
        ),
      ).toBe(host));
  for (const [name, request] of [
    ["HTTP/1.0 may leave it out", "GET / HTTP/1.0\r\n\r\n"],
    ["it may be empty", "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"],
  ])
    test(`${name}; the server gets where we listen`, async () =>
      expect(fieldOf(await accepted(request), "Host")).toBe(`127.0.0.1:${lb.port}`));
});

describe("rule 52: OPTIONS and TRACE with Max-Forwards", () => {
  const options = (value: string, method = "OPTIONS") =>
    `${method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: ${value}\r\nConnection: close\r\n\r\n`;
  test("0 is answered here", async () => {
    const answer = await lb.ask(options("0"));
    expect(statusOf(answer)).toBe(204);
    expect(fieldOf(answer, "Allow")).toContain("OPTIONS");
    expect(server.connections).toHaveLength(0);
  });
  test("with a body too, which is nobody's request", async () => {
    const body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    const answer = await lb.ask(
      `OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(fieldOf(answer, "Connection")).toBe("close");
    expect(server.connections).toHaveLength(0);
  });
  test("and the connection goes on", async () => {
    const client = await lb.connect();
    client.send(`OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n${withLine("X: y")}`);
    expect((await client.untilEnd()).match(/HTTP\/1\.1 20[04]/g)).toHaveLength(2);
  });
  test("more is one less", async () => {
    const head = await accepted(options("007"));
    expect(fieldOf(head, "Max-Forwards")).toBe("6");
    expect(head.match(/^max-forwards:/gim)).toHaveLength(1);
  });
  test("in other methods it means nothing", async () =>
    expect(fieldOf(await accepted(options("0", "GET")), "Max-Forwards")).toBe("0"));
  for (const value of ["", "-1", "1.5", "x", "1, 1", "1\r\nMax-Forwards: 1"])
    refuses(JSON.stringify(value), options(value), 400);
  refuses("TRACE is not served, however far it may go", options("0", "TRACE"), 405);
});

describe("rule 29: a target over the limit is a 414", () => {
  test("8,000 octets pass", async () => {
    const target = `/${"a".repeat(7999)}`;
    expect(
      await accepted(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`),
    ).toStartWith(`GET ${target} `);
  });
  refuses("8,193", `GET /${"a".repeat(8192)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414);
  refuses("an endless one, long before its end", `GET /${"a".repeat(20_000)}`, 414);
});

describe("rule 30: a head too large or of too many fields is a 431", () => {
  refuses("large", withLine(`X: ${"a".repeat(40_000)}`), 431);
  refuses("large, and not yet ended", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(40_000)}`, 431);
  refuses(
    "many small lines, and not yet ended",
    `GET / HTTP/1.1\r\nHost: a\r\n${"X: abcdefghij\r\n".repeat(100)}`,
    431,
  );
  refuses("101 fields", `GET / HTTP/1.1\r\nHost: a\r\n${"X: a\r\n".repeat(100)}\r\n`, 431);
  test("100 fields pass", async () => {
    await accepted(
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${"X: a\r\n".repeat(98)}\r\n`,
    );
  });
});

describe("rule 31: a head that is not whole by an absolute deadline is a 408", () => {
  refuses("silence after the start", "GET / HTTP/1.1\r\nHost: a\r\n", 408);
  test("drops do not put it off", async () => {
    const client = await lb.connect();
    client.send("GET / HTTP/1.1\r\n");
    const dripping = setInterval(() => client.send("X: a\r\n"), 50);
    try {
      expect(statusOf(await client.untilEnd())).toBe(408);
    } finally {
      clearInterval(dripping);
    }
    expect(server.connections).toHaveLength(0);
  });
  test("a second request on a connection has its deadline too", async () => {
    const client = await lb.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until("ok");
    client.forget();
    client.send("GET / HT");
    expect(statusOf(await client.untilEnd())).toBe(408);
  });
  test("a connection on which nothing was ever said is closed without a word", async () => {
    const client = await lb.connect();
    expect(await client.untilEnd()).toBe("");
  });
});

test("a head cut at every byte is read all the same", async () => {
  const client = await lb.connect();
  for (const byte of "GET /cut HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n") {
    client.send(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await client.until("ok");
  expect(server.connections[0].text).toStartWith("GET /cut HTTP/1.1\r\nHost: a\r\nX: y\r\n");
});

test("to HEAD the lb's own answers have no body", async () => {
  const answer = await refusal("HEAD / HTTP/1.1\r\n\r\n");
  expect(statusOf(answer)).toBe(400);
  expect(answer).toEndWith("\r\n\r\n");
});
