// A WebSocket client for load generators that does as little work as possible, so that the load
// generator is not the bottleneck. It masks with zeros, which cost every server the same to unmask.

import { type BytesSocket, dial, type Target } from "./bytes-socket.ts";

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const EMPTY = Buffer.alloc(0);

/** A final, masked frame. */
export function frame(payload: Uint8Array | string, opcode = TEXT): Buffer {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  const { length } = bytes;
  const lengthBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const out = Buffer.alloc(2 + lengthBytes + 4 + length);
  out[0] = 0x80 | opcode;
  out[1] = 0x80 | (lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) out.writeUInt16BE(length, 2);
  if (lengthBytes === 8) out.writeBigUInt64BE(BigInt(length), 2);
  out.set(bytes, 6 + lengthBytes);
  return out;
}

export const binaryFrame = (payload: Uint8Array | string): Buffer => frame(payload, BINARY);

/** Receives a message's payload; the bytes are valid only during the call. */
export type OnMessage = (bytes: Buffer, start: number, end: number) => void;

/** Splits what a server sends into messages. No server here sends fragments. */
class Scanner {
  readonly #onFrame: (opcode: number, bytes: Buffer, start: number, end: number) => void;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  /** Bytes that must have arrived before the kept ones are parsed again. */
  #wanted = 2;

  constructor(onFrame: (opcode: number, bytes: Buffer, start: number, end: number) => void) {
    this.#onFrame = onFrame;
  }

  feed(chunk: Buffer): void {
    if (this.#keptBytes > 0) {
      this.#kept.push(chunk);
      this.#keptBytes += chunk.length;
      if (this.#keptBytes < this.#wanted) return;
    }
    const bytes = this.#keptBytes > 0 ? Buffer.concat(this.#kept) : chunk;
    let at = 0;
    for (;;) {
      const end = frameEnd(bytes, at);
      if (end > bytes.length) {
        this.#keptBytes = bytes.length - at;
        this.#kept = this.#keptBytes === 0 ? [] : [bytes.subarray(at)];
        this.#wanted = end - at;
        return;
      }
      this.#onFrame(bytes[at] & 15, bytes, at + headBytes(bytes[at + 1]), end);
      at = end;
    }
  }
}

const headBytes = (length: number): number => (length < 126 ? 2 : length === 126 ? 4 : 10);

/** The end of the frame at `at`; if it is not known yet, an offset beyond `bytes`. */
function frameEnd(bytes: Buffer, at: number): number {
  if (at + 2 > bytes.length) return at + 2;
  const length = bytes[at + 1];
  const head = at + headBytes(length);
  if (head > bytes.length) return head;
  if (length < 126) return head + length;
  return head + (length === 126 ? bytes.readUInt16BE(at + 2) : bytes.readUInt32BE(at + 6));
}

export type WebSocketOptions = {
  readonly path?: string;
  readonly protocol?: string;
  onClose?(): void;
};

/** Opens a WebSocket; resolves after the 101. */
export async function openWebSocket(
  target: Target,
  onMessage: OnMessage,
  { path = "/", protocol, onClose = () => {} }: WebSocketOptions = {},
): Promise<BytesSocket> {
  const opened = Promise.withResolvers<void>();
  let head: Buffer | undefined = EMPTY;
  const scanner = new Scanner((opcode, bytes, start, end) => {
    if (opcode === TEXT || opcode === BINARY) onMessage(bytes, start, end);
    else if (opcode === PING) socket.send(frame(bytes.subarray(start, end), PONG));
    else if (opcode === CLOSE) socket.terminate();
  });
  const receive = (chunk: Buffer) => {
    if (head === undefined) return scanner.feed(chunk);
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end === -1) return;
    const text = head.toString("latin1", 0, end);
    const rest = head.subarray(end + 4);
    head = undefined;
    if (!text.startsWith("HTTP/1.1 101 ")) return opened.reject(new Error(text));
    opened.resolve();
    scanner.feed(rest);
  };
  const socket = await dial(target, receive, () => {
    opened.reject(new Error("closed before the 101"));
    onClose();
  });
  const fields = [
    "Host: 127.0.0.1",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
  ];
  socket.send(Buffer.from(`GET ${path} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`));
  await opened.promise;
  return socket;
}

/** Opens `count` things, several at a time. */
export async function openMany<T>(
  count: number,
  open: (index: number) => Promise<T>,
  atATime = 64,
): Promise<T[]> {
  const all: T[] = [];
  let next = 0;
  const opener = async () => {
    while (next < count) {
      const index = next++;
      all[index] = await open(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atATime, count) }, opener));
  return all;
}
