// A second implementation of both protocols, written from PROTOCOL.md alone. It imports nothing
// from src and no package.

import { createHmac, randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";

export type Value = null | boolean | number | bigint | string | Uint8Array | Value[] | Fields;
export type Fields = { [name: string]: Value };

// ── msgpack ──

/** Uses as few forms as possible: a value that does not fit the smallest form takes the largest. */
export function pack(value: Value): Buffer {
  if (value === null) return Buffer.of(0xc0);
  if (typeof value === "boolean") return Buffer.of(value ? 0xc3 : 0xc2);
  if (typeof value === "number") return packNumber(value);
  if (typeof value === "bigint") {
    const out = Buffer.alloc(9, 0xcf);
    out.writeBigUInt64BE(value, 1);
    return out;
  }
  if (typeof value === "string")
    return Buffer.concat([head(0xa0, 31, 0xdb, Buffer.byteLength(value)), Buffer.from(value)]);
  if (value instanceof Uint8Array)
    return Buffer.concat([Buffer.of(0xc6), u32(value.length), value]);
  if (Array.isArray(value))
    return Buffer.concat([head(0x90, 15, 0xdd, value.length), ...value.map(pack)]);
  const entries = Object.entries(value);
  return Buffer.concat([head(0x80, 15, 0xdf, entries.length), ...entries.flat().map(pack)]);
}

function packNumber(value: number): Buffer {
  if (Number.isInteger(value) && value >= -32 && value < 128) return Buffer.of(value & 0xff);
  if (Number.isInteger(value) && value > 0 && value < 2 ** 32)
    return Buffer.concat([Buffer.of(0xce), u32(value)]);
  const out = Buffer.alloc(9, 0xcb);
  out.writeDoubleBE(value, 1);
  return out;
}

/** The header of a text, list or map of this length. */
function head(small: number, smallMax: number, large: number, length: number): Buffer {
  return length <= smallMax
    ? Buffer.of(small | length)
    : Buffer.concat([Buffer.of(large), u32(length)]);
}

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

export function unpack(bytes: Uint8Array): Value {
  const reader = new Reader(Buffer.from(bytes));
  const value = reader.value();
  if (reader.left > 0) throw new Error(`${reader.left} bytes too many`);
  return value;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  value(): Value {
    const mark = this.#uint(1);
    if (mark < 0x80) return mark;
    if (mark < 0x90) return this.#map(mark & 15);
    if (mark < 0xa0) return this.#list(mark & 15);
    if (mark < 0xc0) return this.#text(mark & 31);
    if (mark >= 0xe0) return mark - 0x100;
    // In each of these families the last bits of the marker are the width: 1, 2, 4, 8 bytes.
    if (mark >= 0xc4 && mark <= 0xc6)
      return Buffer.from(this.#take(this.#uint(1 << (mark - 0xc4))));
    if (mark >= 0xcc && mark <= 0xce) return this.#uint(1 << (mark - 0xcc));
    if (mark >= 0xd0 && mark <= 0xd2)
      return this.#take(1 << (mark - 0xd0)).readIntBE(0, 1 << (mark - 0xd0));
    if (mark >= 0xd9 && mark <= 0xdb) return this.#text(this.#uint(1 << (mark - 0xd9)));
    if (mark === 0xdc || mark === 0xdd) return this.#list(this.#uint(mark === 0xdc ? 2 : 4));
    if (mark === 0xde || mark === 0xdf) return this.#map(this.#uint(mark === 0xde ? 2 : 4));
    if (mark === 0xc0) return null;
    if (mark === 0xc2 || mark === 0xc3) return mark === 0xc3;
    if (mark === 0xca) return this.#take(4).readFloatBE();
    if (mark === 0xcb) return this.#take(8).readDoubleBE();
    if (mark === 0xcf) return narrow(this.#take(8).readBigUInt64BE());
    if (mark === 0xd3) return narrow(this.#take(8).readBigInt64BE());
    throw new Error(`no msgpack that JSON could hold: 0x${mark.toString(16)}`);
  }

  #take(length: number): Buffer {
    if (length > this.left) throw new Error("cut short");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  #uint(width: number): number {
    return this.#take(width).readUIntBE(0, width);
  }

  #text(length: number): string {
    return this.#take(length).toString();
  }

  #list(length: number): Value[] {
    return Array.from({ length }, () => this.value());
  }

  #map(length: number): Fields {
    return Object.fromEntries(Array.from({ length }, () => [String(this.value()), this.value()]));
  }
}

function narrow(value: bigint): number | bigint {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

// ── shared by both protocols ──

/** Messages that arrived and have not been read. */
class Inbox {
  readonly #messages: Fields[] = [];
  #news = Promise.withResolvers<void>();
  #end: string | undefined;

  /** A message that cannot be read ends the inbox. */
  put(read: () => Fields): void {
    try {
      this.#messages.push(read());
      this.#wake();
    } catch (error) {
      this.end(String(error));
    }
  }

  end(reason: string): void {
    this.#end ??= reason;
    this.#wake();
  }

  /** The first message that has these fields; earlier ones stay in the inbox. */
  async next(wanted: Fields): Promise<Fields> {
    const names = Object.keys(wanted);
    for (;;) {
      const at = this.#messages.findIndex((message) =>
        names.every((name) => message[name] === wanted[name]),
      );
      const [found] = at < 0 ? [] : this.#messages.splice(at, 1);
      if (found !== undefined) return found;
      if (this.#end !== undefined)
        throw new Error(`${this.#end}, while waiting for ${JSON.stringify(wanted)}`);
      await this.#news.promise;
    }
  }

  #wake(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }
}

export function fieldsIn(value: Value): Fields {
  if (
    typeof value !== "object" ||
    value === null ||
    Array.isArray(value) ||
    value instanceof Uint8Array
  )
    throw new Error(`no map: ${value}`);
  return value;
}

// ── the client protocol ──

export class Client {
  /** Resolves to the close code. */
  readonly closed: Promise<number>;
  readonly #socket: WebSocket;
  readonly #inbox = new Inbox();
  readonly #msgpack: boolean;
  #id = 0;

  /** Resolves when the WebSocket is open. */
  static async open(address: string, subprotocol?: string): Promise<Client> {
    const client = new Client(address, subprotocol);
    await Promise.race([
      new Promise((resolve) => client.#socket.addEventListener("open", resolve)),
      client.closed,
    ]);
    return client;
  }

  private constructor(address: string, subprotocol?: string) {
    this.#msgpack = subprotocol === "tutti.v1.msgpack";
    this.#socket = new WebSocket(
      `ws://${address}/`,
      subprotocol === undefined ? [] : [subprotocol],
    );
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("message", ({ data }) => this.#inbox.put(() => this.#read(data)));
    this.closed = new Promise((resolve) =>
      this.#socket.addEventListener("close", ({ code }) => resolve(code)),
    );
    this.closed.then((code) => this.#inbox.end(`closed with ${code}`));
  }

  send(message: Fields): void {
    this.sendRaw(this.#msgpack ? new Uint8Array(pack(message)) : JSON.stringify(message));
  }

  sendRaw(frame: string | Uint8Array<ArrayBuffer>): void {
    this.#socket.send(frame);
  }

  /** Sends a request; resolves to its answer. */
  ask(type: string, fields: Fields = {}): Promise<Fields> {
    this.#id += 1;
    this.send({ type, id: this.#id, ...fields });
    return this.next({ id: this.#id });
  }

  /** The next message with these fields; without fields, the next message. */
  next(wanted: Fields = {}): Promise<Fields> {
    return this.#inbox.next(wanted);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.closed;
  }

  #read(data: unknown): Fields {
    if (this.#msgpack && data instanceof ArrayBuffer) return fieldsIn(unpack(new Uint8Array(data)));
    if (!this.#msgpack && typeof data === "string") return fieldsIn(JSON.parse(data));
    throw new Error("the wrong kind of frame");
  }
}

// ── the relay protocol ──

const [PUBLISH, PING, PONG] = [0x10, 0x05, 0x06];
/** Opcode and fields of every message, in their order. */
const MESSAGES: { [name: string]: readonly [number, ...string[]] } = {
  HELLO: [0x01, "version", "role", "id", "nonce"],
  CHALLENGE: [0x02, "nonce", "proof"],
  PROVE: [0x03, "proof"],
  WELCOME: [0x04, "relay", "lineage", "uptimeMs", "pingMs"],
  PING: [PING],
  PONG: [PONG],
  BYE: [0x07, "reason", "message"],
  PUBLICATION: [0x11, "id", "offset", "time", "producer", "seq", "payload"],
  ACK: [0x12, "outcomes"],
  OPEN: [0x20, "channel", "live", "presence", "policy", "since"],
  OPENED: [0x21, "channel", "id", "epoch", "first", "top", "trimmed", "gap", "missed", "members"],
  CLOSE: [0x22, "id"],
  OPEN_REFUSED: [0x23, "channel", "reason"],
  HISTORY: [0x28, "request", "id", "since", "limit", "reverse"],
  PAGE: [0x29, "request", "found", "epoch", "first", "top", "trimmed", "gap", "count"],
  REGISTER: [0x30, "address", "state", "connections", "counts"],
  WATCH: [0x31],
  REGISTRY: [0x32, "members"],
  REGISTERED: [0x33, "member"],
  DEPARTED: [0x34, "role", "id"],
  ENTER: [0x40, "id", "client", "info"],
  LEAVE: [0x41, "id", "client"],
  ENTERED: [0x42, "id", "client", "info"],
  LEFT: [0x43, "id", "client"],
};
/** The fixed bytes of PUBLISH and PUBLICATION. */
const MARKS = Object.entries({
  4: 0x97,
  6: 0xce,
  11: 0xcf,
  20: 0xcf,
  29: 0xcf,
  38: 0xce,
  43: 0xc6,
});
const PAYLOAD_AT = 48;

/** What a PUBLISH says of its place. */
type Order = { order?: bigint; after?: number; age?: number };

export class RelayLink {
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #inbox = new Inbox();
  readonly #pongs = new Inbox();
  #received = Buffer.alloc(0);
  #pinging: Timer | undefined;

  /** A link before HELLO; `dial` returns one after WELCOME. */
  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.on("data", (bytes) => typeof bytes !== "string" && this.#receive(bytes));
    this.#socket.on("error", ({ message }) => this.#inbox.end(message));
    this.closed = new Promise((resolve) => this.#socket.on("close", () => resolve()));
    this.closed.then(() => {
      clearInterval(this.#pinging);
      for (const inbox of [this.#inbox, this.#pongs]) inbox.end("closed");
    });
  }

  static async dial(port: number, secret: string, id: string, role = "node"): Promise<RelayLink> {
    const link = new RelayLink(port);
    const nonce = randomBytes(16);
    link.send("HELLO", { version: 2, role, id, nonce });
    const challenge = await link.next("CHALLENGE");
    const theirs = bytesIn(challenge.nonce);
    if (!proofOf(secret, "tutti relay", nonce, theirs).equals(bytesIn(challenge.proof))) {
      link[Symbol.dispose]();
      throw new Error("the relay does not know the secret");
    }
    link.send("PROVE", { proof: proofOf(secret, "tutti link", theirs, nonce, role, id) });
    const { pingMs } = await link.next("WELCOME");
    link.#pinging = setInterval(() => link.send("PING"), Number(pingMs));
    return link;
  }

  send(name: string, fields: Fields = {}): void {
    const [opcode = 0, ...names] = MESSAGES[name] ?? [];
    const array = pack([opcode, ...names.map((field) => fields[field] ?? null)]);
    this.#socket.write(Buffer.concat([u32(array.length), array]));
  }

  publish(channelId: Value, producer: bigint, seq: number, data: Value, more: Order = {}): void {
    const payload = Buffer.from(JSON.stringify(data));
    const frame = Buffer.alloc(PAYLOAD_AT + payload.length);
    frame.writeUInt32BE(frame.length - 4);
    for (const [at, mark] of MARKS) frame[Number(at)] = mark;
    frame[5] = PUBLISH;
    frame.writeUInt32BE(Number(channelId), 7);
    frame.writeBigUInt64BE(more.order ?? producer, 12);
    frame.writeUInt32BE(more.after ?? 0, 21);
    frame.writeUInt32BE(more.age ?? 0, 25);
    frame.writeBigUInt64BE(producer, 30);
    frame.writeUInt32BE(seq, 39);
    frame.writeUInt32BE(payload.length, 44);
    payload.copy(frame, PAYLOAD_AT);
    this.#socket.write(frame);
  }

  /** The next message with this name; without a name, the next message. */
  next(name?: string): Promise<Fields> {
    return this.#inbox.next(name === undefined ? {} : { name });
  }

  async ping(): Promise<void> {
    this.send("PING");
    await this.#pongs.next({});
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #receive(bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    while (
      this.#received.length >= 4 &&
      this.#received.length >= 4 + this.#received.readUInt32BE()
    ) {
      const frame = this.#received.subarray(0, 4 + this.#received.readUInt32BE());
      this.#received = this.#received.subarray(frame.length);
      if (frame[5] === PING) this.send("PONG");
      else (frame[5] === PONG ? this.#pongs : this.#inbox).put(() => messageIn(frame));
    }
  }
}

function messageIn(frame: Buffer): Fields {
  const value = unpack(frame.subarray(4));
  if (!Array.isArray(value)) throw new Error("no array in the frame");
  const [opcode, ...fields] = value;
  const [name, [, ...names]] = Object.entries(MESSAGES).find(([, [code]]) => code === opcode) ?? [
    "?",
    [0],
  ];
  if (names.length !== fields.length)
    throw new Error(`opcode ${opcode} with ${fields.length} fields`);
  if (name === "PUBLICATION" && MARKS.some(([at, mark]) => frame[Number(at)] !== mark))
    throw new Error("another layout");
  return {
    name,
    ...Object.fromEntries(names.map((field, index) => [field, fields[index] ?? null])),
  };
}

function proofOf(secret: string, ...lines: (string | Uint8Array)[]): Buffer {
  const text = lines.flatMap((line) => [Buffer.from(line), Buffer.from("\n")]);
  return createHmac("sha256", secret).update(Buffer.concat(text)).digest();
}

function bytesIn(value: Value): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new Error(`no bytes: ${value}`);
  return value;
}

/** The value of the JSON text in a payload or info. */
export function jsonIn(bytes: Value): Value {
  return JSON.parse(Buffer.from(bytesIn(bytes)).toString());
}
