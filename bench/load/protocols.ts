// The client protocol of each stack, as bytes: written by hand, so that the load generator costs
// little, and the same for every stack.

import { NatsStream } from "./nats-stream.ts";
import { binaryFrame, frame } from "./websocket.ts";

export type Kind = "tutti" | "classic" | "socketIo" | "nats" | "socketCluster";

/** The events of a conversation. */
export type Heard = {
  /** The server is ready for requests. */
  ready(): void;
  /** A request is answered. */
  answered(): void;
  /** A publication has arrived; its data is from `start` to `end`. */
  published(bytes: Buffer, start: number, end: number): void;
  send(frame: Buffer): void;
};

/** The client side of one connection. Data is JSON text. */
export type Conversation = {
  /** The bytes to send when the connection opens. */
  readonly greeting: Buffer | undefined;
  receive(bytes: Buffer, start: number, end: number): void;
  subscribe(channel: string): Buffer;
  /** With `asks`, the publication is answered. */
  publish(channel: string, data: string): Buffer;
  call(data: string): Buffer;
};

type Protocol = { readonly path: string; talk(heard: Heard): Conversation };

const code = (letter: string): number => letter.charCodeAt(0);

const tutti: Protocol = {
  path: "/",
  talk: ({ ready, answered, published }) => ({
    greeting: undefined,
    receive(bytes, start, end) {
      // {"type":"message"…, {"type":"ok"…, {"type":"welcome"…
      const letter = bytes[start + 9];
      if (letter === code("m")) published(bytes, start, end);
      else if (letter === code("o")) answered();
      else if (letter === code("w")) ready();
      else fail(bytes, start, end);
    },
    subscribe: (channel) => frame(`{"type":"subscribe","id":1,"channel":"${channel}"}`),
    publish: (channel, data) => frame(`{"type":"publish","channel":"${channel}","data":${data}}`),
    call: (data) => frame(`{"type":"call","id":1,"method":"echo","params":${data}}`),
  }),
};

const classic: Protocol = {
  path: "/",
  talk({ ready, answered, published }) {
    queueMicrotask(ready);
    return {
      greeting: undefined,
      receive(bytes, start, end) {
        if (bytes[start + 9] === code("m")) published(bytes, start, end);
        else answered();
      },
      subscribe: (channel) => frame(`{"type":"subscribe","id":1,"channel":"${channel}"}`),
      publish: (channel, data) => frame(`{"type":"publish","channel":"${channel}","data":${data}}`),
      call: (data) => frame(`{"type":"call","id":1,"data":${data}}`),
    };
  },
};

const socketIo: Protocol = {
  path: "/socket.io/?EIO=4&transport=websocket",
  talk: ({ ready, answered, published, send }) => ({
    greeting: undefined,
    receive(bytes, start, end) {
      const packet = bytes.toString("latin1", start, start + 2);
      if (packet === "42") published(bytes, start, end);
      else if (packet === "43") answered();
      else if (packet === "40") ready();
      else if (packet[0] === "0") send(frame("40"));
      else if (packet[0] === "2") send(frame("3"));
      else fail(bytes, start, end);
    },
    subscribe: (channel) => frame(`421["subscribe","${channel}"]`),
    publish: (channel, data) => frame(`42["publish","${channel}",${data}]`),
    call: (data) => frame(`421["call",${data}]`),
  }),
};

const nats: Protocol = {
  path: "/",
  talk({ ready, answered, published, send }) {
    let isReady = false;
    let subscriptions = 0;
    const stream = new NatsStream({
      message: published,
      ping: () => send(binaryFrame("PONG\r\n")),
      pong() {
        if (isReady) return answered();
        isReady = true;
        ready();
      },
    });
    return {
      greeting: binaryFrame('CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n'),
      receive: (bytes, start, end) => stream.feed(bytes.subarray(start, end)),
      subscribe: (channel) => binaryFrame(`SUB ${channel} ${++subscriptions}\r\nPING\r\n`),
      publish: (channel, data) => binaryFrame(`PUB ${channel} ${data.length}\r\n${data}\r\n`),
      call: () => binaryFrame("PING\r\n"),
    };
  },
};

const socketCluster: Protocol = {
  path: "/socketcluster/",
  talk({ ready, answered, published, send }) {
    let cid = 1;
    let isReady = false;
    return {
      greeting: frame('{"event":"#handshake","data":{"authToken":null},"cid":1}'),
      receive(bytes, start, end) {
        if (start === end) return send(frame(""));
        // {"event":"#publish"… or {"rid":…
        if (bytes[start + 2] === code("e")) {
          if (bytes[start + 11] === code("p")) published(bytes, start, end);
        } else if (isReady) {
          answered();
        } else {
          isReady = true;
          ready();
        }
      },
      subscribe: (channel) =>
        frame(`{"event":"#subscribe","data":{"channel":"${channel}"},"cid":${++cid}}`),
      publish: (channel, data) =>
        frame(`{"event":"#publish","data":{"channel":"${channel}","data":${data}}}`),
      call: (data) => frame(`{"event":"call","data":${data},"cid":${++cid}}`),
    };
  },
};

function fail(bytes: Buffer, start: number, end: number): never {
  throw new Error(`the server says: ${bytes.toString("utf8", start, end)}`);
}

export const PROTOCOLS: Readonly<Record<Kind, Protocol>> = {
  tutti,
  classic,
  socketIo,
  nats,
  socketCluster,
};

export const isKind = (text: unknown): text is Kind =>
  typeof text === "string" && Object.hasOwn(PROTOCOLS, text);
