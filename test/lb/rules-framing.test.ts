// Framing, rules 1–13: black box, a raw client in front of the running lb and a raw server behind
// it.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { fieldOf, OK, serverBehindLb, statusOf } from "./harness.ts";

setDefaultTimeout(60_000);

const { server, lb } = await serverBehindLb("--body-bytes-max", "1000000");

const post = (fields: string, body = "", version = "1.1") =>
  `POST /p HTTP/${version}\r\nHost: a\r\n${fields}\r\n${body}`;

/** A request that is refused with one of these statuses, and of which no server hears. */
async function expectRefused(request: string, ...statuses: number[]): Promise<void> {
  const answer = await lb.ask(request);
  expect(statuses).toContain(statusOf(answer));
  expect(fieldOf(answer, "Connection")).toBe("close");
  expect(server.connections.map(({ text }) => text)).toEqual([]);
}

/**
 * Sends a chunked body in this very form; resolves with what the server got of it, the head left
 * out.
 */
async function chunkedThrough(body: string): Promise<string> {
  server.play(async (peer) => {
    await peer.until(/\r\n0\r\n(?:[^\r\n]+\r\n)*\r\n$/);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  });
  const answer = await lb.ask(post("Transfer-Encoding: chunked\r\nConnection: close\r\n", body));
  expect(statusOf(answer)).toBe(200);
  const { text } = server.connections[0];
  return text.slice(text.indexOf("\r\n\r\n") + 4);
}

/** A chunked body that is refused; the server never gets its end. */
async function expectBodyRefused(body: string): Promise<void> {
  server.play(() => {});
  const answer = await lb.ask(post("Transfer-Encoding: chunked\r\n", body));
  expect(statusOf(answer)).toBe(400);
  expect(fieldOf(answer, "Connection")).toBe("close");
  const peer = await server.connection();
  await peer.untilClosed();
  expect(peer.text).not.toMatch(/\r\n0\r\n\r\n$/);
}

test("rule 1: Content-Length and Transfer-Encoding together are refused", async () => {
  await expectRefused(
    post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    400,
  );
  await expectRefused(
    post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    400,
  );
});

test("rule 2: Content-Length twice is refused, equal values too", async () => {
  await expectRefused(post("Content-Length: 2\r\nContent-Length: 3\r\n", "abc"), 400);
  await expectRefused(post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), 400);
  await expectRefused(post("Content-Length: 2, 3\r\n", "abc"), 400);
  await expectRefused(post("Content-Length: 2, 2\r\n", "ab"), 400);
});

describe("rule 3: Content-Length is digits only", () => {
  for (const value of [
    "",
    "+2",
    "-1",
    "0x2",
    "2 2",
    "1_0",
    "1e1",
    "9007199254740992",
    "2;",
    "2.0",
    "٢",
    "\xb2",
  ]) {
    test(JSON.stringify(value), () =>
      expectRefused(post(`Content-Length: ${value}\r\n`, "ab"), 400),
    );
  }
  test("002 is legal, and passed on as 2", async () => {
    const answer = await lb.ask(post("Content-Length: 002\r\nConnection: close\r\n", "ab"));
    expect(statusOf(answer)).toBe(200);
    const received = server.connections[0].text;
    expect(fieldOf(received, "Content-Length")).toBe("2");
    expect(received).toEndWith("\r\n\r\nab");
  });
});

test("rule 4: Transfer-Encoding in HTTP/1.0 is refused", () =>
  expectRefused(post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "1.0"), 400));

describe("rule 5: any Transfer-Encoding but chunked is refused", () => {
  const values = [
    "identity",
    "xchunked",
    "chunked,chunked",
    "chunked,gzip",
    "chunked;x=1",
    "",
    "\x0bchunked",
    "chunked,",
  ];
  for (const value of [
    ...values,
    ",chunked",
    "\x0cchunked",
    "chunked chunked",
    "gzip",
    '"chunked"',
    "chunked\x00",
  ]) {
    test(JSON.stringify(value), () =>
      expectRefused(post(`Transfer-Encoding: ${value}\r\n`, "0\r\n\r\n"), 400, 501),
    );
  }
  test("two fields", () =>
    expectRefused(
      post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
      400,
      501,
    ));
  test("two fields, the first gzip", () =>
    expectRefused(
      post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
      400,
      501,
    ));
  test("a white space before the colon", () =>
    expectRefused(post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400));
});

test("rule 6: gzip, chunked is not implemented; CHUNKED is chunked", async () => {
  await expectRefused(post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501);
  const answer = await lb.ask(
    post("Transfer-Encoding: CHUNKED\r\nConnection: close\r\n", "2\r\nab\r\n0\r\n\r\n").replace(
      "/p",
      "/upper",
    ),
  );
  expect(statusOf(answer)).toBe(200);
});

describe("rule 7: chunk sizes are 1 to 13 hex digits", () => {
  for (const size of [
    "0x2",
    "-1",
    "+1",
    "_",
    "2 ",
    " 2",
    "",
    "2\t",
    "00000000000002",
    "fffffffffffffff",
    "2\xb2",
    "g",
  ]) {
    test(JSON.stringify(size), () => expectBodyRefused(`${size}\r\nab\r\n0\r\n\r\n`));
  }
  test("upper case and leading zeros are legal", async () => {
    expect(await chunkedThrough(`00A\r\n0123456789\r\n0\r\n\r\n`)).toBe(
      "a\r\n0123456789\r\n0\r\n\r\n",
    );
  });
});

describe("rule 8: chunk data and the last chunk end in exactly CRLF", () => {
  for (const body of [
    "2\r\nabc\r\n0\r\n\r\n",
    "2\r\nab\n0\r\n\r\n",
    "2\r\nab0\r\n\r\n",
    "2\r\nab\r\n0\n\r\n",
    "2\r\nab\rX0\r\n\r\n",
  ]) {
    test(JSON.stringify(body), () => expectBodyRefused(body));
  }
  test("the trailer section too", () => expectBodyRefused("2\r\nab\r\n0\r\nX: y\n\r\n"));
  test("its end too", () => expectBodyRefused("2\r\nab\r\n0\r\n\n"));
});

describe("rule 9: a bare LF in a chunk size or extension line is refused", () => {
  for (const body of [
    "2\nab\r\n0\r\n\r\n",
    "2;a\nab\r\n0\r\n\r\n",
    "2;a\r\rab\r\n0\r\n\r\n",
    "2\r\rab\r\n0\r\n\r\n",
  ]) {
    test(JSON.stringify(body), () => expectBodyRefused(body));
  }
});

test("rule 10: chunk extensions are checked and dropped, and their total length is capped", async () => {
  expect(await chunkedThrough("2;a=b\r\nab\r\n0;c\r\n\r\n")).toBe("2\r\nab\r\n0\r\n\r\n");
  expect(await chunkedThrough('2 ;a="b;"\r\nab\r\n0\r\n\r\n')).toBe("2\r\nab\r\n0\r\n\r\n");
  for (const extension of [";", ";;", ";bad[=x", ';a="unclosed', ";a=b c"])
    await expectBodyRefused(`2${extension}\r\nab\r\n0\r\n\r\n`);
  await expectBodyRefused(`2;${"a".repeat(5000)}\r\nab\r\n0\r\n\r\n`);
  await expectBodyRefused(`${`1;${"a".repeat(50)}\r\nx\r\n`.repeat(100)}0\r\n\r\n`);
});

test("rule 11: framing is written anew, whatever pieces it came in", async () => {
  server.play(async (peer) => {
    await peer.until(/\r\n0\r\n\r\n$/);
    peer.send(OK);
  });
  const client = await lb.connect();
  for (const byte of post(
    "Transfer-Encoding: chunked\r\n",
    "0003;x\r\nabc\r\n1\r\nd\r\n00\r\n\r\n",
  )) {
    client.send(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(statusOf(await client.until("ok"))).toBe(200);
  const { text } = server.connections[0];
  const body = text.slice(text.indexOf("\r\n\r\n") + 4);
  expect(body).toMatch(/^(?:[1-4]\r\n[abcd]+\r\n)+0\r\n\r\n$/);
  expect(body.replace(/\d\r\n|\r\n/g, "")).toBe("abcd");
  expect(text.toLowerCase().split("transfer-encoding: chunked")).toHaveLength(2);
});

test("rule 12: trailers that route, frame or authorise are dropped, others pass", async () => {
  const trailers = [
    "Content-Length: 9",
    "Transfer-Encoding: chunked",
    "Host: evil",
    "Authorization: x",
    "X-Sum: 1",
  ];
  const more = [
    "Cookie: a=b",
    "Proxy-Authorization: x",
    "X-Forwarded-For: 1.2.3.4",
    "X_Sum: 2",
    "Connection: close",
  ];
  const body = await chunkedThrough(
    `2\r\nab\r\n0\r\n${[...trailers, ...more].join("\r\n")}\r\n\r\n`,
  );
  expect(body).toBe("2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n");
});

describe("rule 13: a FIN before the body ends aborts the exchange", () => {
  for (const [name, framing, body] of [
    ["by length", "Content-Length: 10\r\n", "abc"],
    ["chunked", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"],
  ]) {
    test(name, async () => {
      server.play(() => {});
      const client = await lb.connect();
      client.send(post(framing, body));
      const upstream = await server.connection();
      await upstream.until("abc");
      client.finish();
      await upstream.untilClosed();
      expect(upstream.wasReset).toBe(true);
      expect(upstream.text).toMatch(/abc(?:\r\n)?$/);
      await client.untilEnd();
      expect((await lb.countsWhen(({ connections }) => connections === 0)).upstreams).toBe(0);
    });
  }
});

test("a body over the limit is refused, by its length at once and by its chunks when they come to it", async () => {
  await expectRefused(post("Content-Length: 1000001\r\n"), 413);
  server.play(() => {});
  const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
  const client = await lb.connect();
  client.send(post("Transfer-Encoding: chunked\r\n", chunk.repeat(20)));
  expect(statusOf(await client.untilEnd())).toBe(413);
});

test("bytes after a request are the next request, not part of the body", async () => {
  const client = await lb.connect();
  client.send(
    `${post("Content-Length: 2\r\n", "ab")}GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
  );
  const answers = await client.untilEnd();
  expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
  expect(server.connections).toHaveLength(1);
  expect(server.connections[0].text).toContain("\r\n\r\nabGET /second HTTP/1.1\r\n");
});
