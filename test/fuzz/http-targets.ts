// Fuzz targets of the lb's HTTP parsers: heads and bodies of requests and responses, and what is
// forwarded of them.

import { type BodyReader, bodyReader } from "../../src/lb/http/body.ts";
import { HttpFault } from "../../src/lb/http/faults.ts";
import { forwardRequest, forwardResponse } from "../../src/lb/http/forward.ts";
import { framingFields, responseFraming } from "../../src/lb/http/framing.ts";
import { type HeadKind, HeadReader, REQUEST, RESPONSE } from "../../src/lb/http/head.ts";
import { interpretRequest, type Request } from "../../src/lb/http/request.ts";
import { grantsHandshake } from "../../src/lb/http/websocket.ts";
import { WriteBuffer } from "../../src/lb/net/byte-sink.ts";
import { cut } from "./mutate.ts";
import { must, type Target, utf8 } from "./target.ts";

const LIMITS = { headBytesMax: 4096, targetBytesMax: 1024, headFieldsMax: 20 };
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const HOP = {
  via: "tutti-x",
  peer: "10.0.0.1",
  trust: (address: string) => address.startsWith("10."),
  scheme: "http",
  ownHost: "own:80",
  cookieName: "T",
} as const;

const REQUESTS = [
  "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
  `GET /ws?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nCookie: a=b; T=abc; c=d\r\n\r\n`,
  "POST /p HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
  "\r\nPUT http://a.example/x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: y\r\n\r\n",
  "OPTIONS * HTTP/1.0\r\nConnection: x-y, close\r\nX-Y: z\r\nX_Y: z\r\nVia: 1.0 other\r\nForwarded: for=1\r\n\r\n",
].map(utf8);
const ANSWERS = [
  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: T=x\r\nSet-Cookie: a=b\r\n\r\nok",
  "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\nX: y\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  "HTTP/1.0 404 Not Found\r\n\r\nuntil the end",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
].map(utf8);

/** The result of reading a head; `rest`: the bytes after it. */
type Read = { readonly verdict: string; readonly rest: Buffer[] };

/** Reads one head; `onHead` returns its meaning as text while its fields are valid. */
function readHead<Start>(
  kind: HeadKind<Start>,
  pieces: readonly Uint8Array[],
  onHead: (start: Start, reader: HeadReader<Start>) => string,
): Read {
  const reader = new HeadReader(kind, LIMITS);
  for (const [index, piece] of pieces.entries()) {
    const chunk = Buffer.from(piece);
    const end = reader.read(chunk, 0);
    const { start, fault } = reader;
    // Of two faults, the one that is seen first is reported.
    if (fault !== undefined) return { verdict: "fault", rest: [] };
    if (start === undefined) continue;
    must(end >= 0 && end <= chunk.length, "a head ends outside its chunk");
    const rest = [
      chunk.subarray(end),
      ...pieces.slice(index + 1).map((after) => Buffer.from(after)),
    ];
    return { verdict: onHead(start, reader), rest };
  }
  return { verdict: "incomplete", rest: [] };
}

/** Reads a body to its end; returns its content and the outcome. */
function readBody(body: BodyReader, pieces: readonly Buffer[]): string {
  let content = "";
  for (const chunk of pieces) {
    const places: number[] = [];
    const end = body.read(chunk, 0, places);
    must(end >= 0 && end <= chunk.length, "a body ends outside its chunk");
    for (let at = 0; at < places.length; at += 2)
      content += chunk.toString("latin1", places[at], places[at + 1]);
    if (body.done || body.fault !== undefined) break;
  }
  must(content.length === body.contentBytes, "a body miscounts its content");
  return `${body.done ? "done" : body.fault === undefined ? "incomplete" : "fault"} ${body.fault === undefined ? content : ""}`;
}

const meaningOf = ({ method, target, framing, handshake }: Request): string =>
  JSON.stringify({ method, target, framing, handshake });

/** The meaning of a request; its forwarded form must mean the same to the next strict parser. */
function requestMeaning(pieces: readonly Uint8Array[]): string {
  let body: BodyReader | undefined;
  const { verdict, rest } = readHead(REQUEST, pieces, (start, { fields }) => {
    const request = interpretRequest(start, fields);
    if (request instanceof HttpFault) return `fault ${request.status}`;
    body = bodyReader(request.framing);
    const meaning = meaningOf(request);
    const draft = new WriteBuffer(1024);
    if (forwardRequest(request, fields, HOP, draft) instanceof HttpFault) return "fault 508";
    must(passedOn(draft.takeCopy()) === meaning, "what is passed on means something else");
    return meaning;
  });
  return `${verdict} ${body === undefined ? "" : readBody(body, rest)}`;
}

/** The meaning of a forwarded head to a strict parser with larger limits. */
function passedOn(head: Buffer): string {
  const reader = new HeadReader(REQUEST, {
    headBytesMax: 65_536,
    targetBytesMax: 8192,
    headFieldsMax: 100,
  });
  must(reader.read(head, 0) === head.length, "what is passed on is not exactly one head");
  const { start, fields } = reader;
  if (start === undefined) return `unreadable: ${reader.fault?.message}`;
  const request = interpretRequest(start, fields);
  return request instanceof HttpFault ? request.message : meaningOf(request);
}

function answerMeaning(pieces: readonly Uint8Array[]): string {
  let body: BodyReader | undefined;
  const { verdict, rest } = readHead(RESPONSE, pieces, (start, { fields }) => {
    const framing = responseFraming(framingFields(fields), start.status, start.minor, "GET");
    if (framing instanceof HttpFault) return "fault";
    body = bodyReader(framing);
    const meaning = JSON.stringify({ start, framing, switches: grantsHandshake(fields, KEY) });
    const answering = {
      framing,
      closes: true,
      sticky: "X: y\r\n",
      statedLength: undefined,
      date: "Sun, 06 Nov 1994 08:49:37 GMT",
      cookieName: "T",
    };
    const draft = new WriteBuffer(1024);
    forwardResponse(start, fields, answering, draft);
    must(
      /^[^\n]*\r\n(?:[^\r\n]+\r\n)*\r\n$/.test(draft.takeCopy().toString("latin1")),
      "an answer is passed on broken",
    );
    return meaning;
  });
  return `${verdict} ${body === undefined ? "" : readBody(body, rest)}`;
}

/** An input that ends early may have either outcome, depending on where it was cut. */
function mustAgree(whole: string, pieces: string): void {
  const isOpen = whole.startsWith("incomplete") || pieces.startsWith("incomplete");
  must(isOpen || whole === pieces, `cut elsewhere it means something else: ${whole} / ${pieces}`);
}

export const httpRequests: Target = {
  name: "http-requests",
  share: 12,
  good: REQUESTS,
  take: (input, random) => mustAgree(requestMeaning([input]), requestMeaning(cut(input, random))),
};
export const httpAnswers: Target = {
  name: "http-answers",
  share: 8,
  good: ANSWERS,
  take: (input, random) => mustAgree(answerMeaning([input]), answerMeaning(cut(input, random))),
};
