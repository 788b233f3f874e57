// A raw WebSocket client that misbehaves on request: it sends arbitrary bytes, stops reading,
// answers no pings, or disconnects without a close.

import net from "node:net";
import { isRecord } from "../../src/wire/shape.ts";

export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** The opening handshake, with additional fields. */
export const handshake = (path: string, fields: Readonly<Record<string, string>> = {}): string =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join(
      "",
    )}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`;

const FIN = 0x80;
export const OPCODES = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

/** A client's frame, masked with zeros. `first`: its first byte. */
export function clientFrame(
  payload: string | Uint8Array,
  first: number = FIN | OPCODES.text,
): Buffer {
  const bytes = Buffer.from(payload);
  const { length } = bytes;
  const head = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
  head[0] = first;
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (length >= 65_536) head.writeBigUInt64BE(BigInt(length), 2);
  else if (length >= 126) head.writeUInt16BE(length, 2);
  return Buffer.concat([head, bytes]);
}

export type Message = Record<string, unknown>;

export class RawWebSocket {
  readonly socket: net.Socket;
  /** Messages from the node that have not been read, in order. */
  readonly inbox: Message[] = [];
  /** The head of the response to the handshake. */
  head = "";
  closeCode: number | undefined;
  /** The connection has ended. */
  isOver = false;
  answersPings = true;
  #bytes: Buffer = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#received(chunk));
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      this.isOver = true;
      this.#wake();
    });
  }

  /** Sends these bytes on a new connection to "host:port". */
  static dial(address: string, bytes: string | Uint8Array): RawWebSocket {
    const colon = address.lastIndexOf(":");
    const socket = net.connect({
      host: address.slice(0, colon),
      port: Number(address.slice(colon + 1)),
      allowHalfOpen: true,
    });
    socket.write(bytes);
    return new RawWebSocket(socket);
  }

  /** Resolves when the response to the handshake has arrived. */
  static async open(
    address: string,
    path = "/",
    fields: Readonly<Record<string, string>> = {},
  ): Promise<RawWebSocket> {
    const client = RawWebSocket.dial(address, handshake(path, fields));
    await client.until(() => client.head !== "");
    return client;
  }

  get status(): number {
    return Number(this.head.slice(9, 12));
  }

  send(message: Message): void {
    this.socket.write(clientFrame(JSON.stringify(message)));
  }

  /** Resolves to the first matching message. */
  async take(fits: (message: Message) => boolean): Promise<Message> {
    let index = -1;
    await this.until(() => {
      index = this.inbox.findIndex(fits);
      return index >= 0;
    });
    return this.inbox.splice(index, 1)[0];
  }

  next(type: string): Promise<Message> {
    return this.take((message) => message.type === type);
  }

  /** The answer to a request. */
  ask(message: Message & { readonly id: string | number }): Promise<Message> {
    this.send(message);
    return this.take(({ id }) => id === message.id);
  }

  async ended(): Promise<number | undefined> {
    if (!this.isOver)
      await new Promise<void>((resolve) => this.socket.once("close", () => resolve()));
    return this.closeCode;
  }

  /** Resolves when the condition holds; throws if the connection ends first. */
  async until(isSo: () => boolean): Promise<void> {
    for (;;) {
      if (isSo()) return;
      if (this.isOver)
        throw new Error(
          `the connection is over (${this.closeCode}); head: ${JSON.stringify(this.head.slice(0, 60))}`,
        );
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #received(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    if (this.head === "") {
      const end = this.#bytes.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.head = this.#bytes.toString("latin1", 0, end + 4);
      this.#bytes = this.#bytes.subarray(end + 4);
    }
    if (this.status === 101) while (this.#frame());
    this.#wake();
  }

  /** Reads one frame from the node, if it is complete. */
  #frame(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < 2) return false;
    const short = bytes[1] & 0x7f;
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < start) return false;
    const length =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(2)
          : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < start + length) return false;
    this.#bytes = bytes.subarray(start + length);
    this.#hear(bytes[0] & 0x0f, bytes.subarray(start, start + length));
    return true;
  }

  #hear(opcode: number, payload: Buffer): void {
    if (opcode === OPCODES.text) {
      const message: unknown = JSON.parse(payload.toString());
      if (isRecord(message)) this.inbox.push(message);
    } else if (opcode === OPCODES.ping && this.answersPings) {
      this.socket.write(clientFrame(payload, FIN | OPCODES.pong));
    } else if (opcode === OPCODES.close) {
      this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : undefined;
    }
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
