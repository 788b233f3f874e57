// A client that sends whatever it is told to, in either encoding, and counts what it is told.

import { isRecord } from "../../src/wire/shape.ts";
import { fieldsIn, unpack } from "../protocol/stranger.ts";
import { add, type Tally } from "./report.ts";

const OPEN_WITHIN_MS = 5000;

export type Encoding = "json" | "msgpack";
export type Message = Record<string, unknown>;
type Options = { readonly encoding?: Encoding; readonly path?: string };

export class Attacker implements Disposable {
  /** "ok", "error rate", "closed 4429": how often each was heard. Its own leaving is not. */
  readonly told: Tally;
  /** The answers that carried an id, by it. */
  readonly answers = new Map<unknown, Message>();
  /** The node that serves it; undefined until the welcome. */
  node: string | undefined;
  closeCode: number | undefined;
  readonly closed: Promise<number>;
  readonly #socket: WebSocket;
  readonly #welcomed = Promise.withResolvers<void>();
  readonly #waiting = new Set<() => void>();
  #hasLeft = false;

  /** Resolves when it is welcomed, or closed before that. `told`: where it counts. */
  static async open(address: string, told: Tally = {}, options: Options = {}): Promise<Attacker> {
    const attacker = new Attacker(address, told, options);
    const timer = setTimeout(() => attacker.#socket.close(), OPEN_WITHIN_MS);
    await Promise.race([attacker.#welcomed.promise, attacker.closed]);
    clearTimeout(timer);
    return attacker;
  }

  private constructor(address: string, told: Tally, { encoding = "json", path = "/" }: Options) {
    this.told = told;
    this.#socket = new WebSocket(`ws://${address}${path}`, [`tutti.v1.${encoding}`]);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => this.#hear(data);
    this.closed = new Promise((resolve) => {
      this.#socket.onclose = ({ code }) => {
        this.closeCode = code;
        if (!this.#hasLeft) add(told, `closed ${code}`);
        resolve(code);
      };
    });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Bytes that its own socket has not sent yet. */
  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(frame: string | Uint8Array<ArrayBuffer> | Message): void {
    if (!this.isOpen) return;
    const isRaw = typeof frame === "string" || frame instanceof Uint8Array;
    this.#socket.send(isRaw ? frame : JSON.stringify(frame));
  }

  /** The answer to a request; undefined when there is none in time. */
  async ask(
    message: Message & { readonly id: number },
    withinMs = 5000,
  ): Promise<Message | undefined> {
    this.send(message);
    await this.until(() => this.answers.has(message.id), withinMs);
    return this.answers.get(message.id);
  }

  /** Resolves when what it has heard makes it so, when it is closed, or when the time is over. */
  async until(isSo: () => boolean, withinMs: number): Promise<void> {
    if (isSo() || this.closeCode !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (isSo()) resolve();
    };
    const timer = setTimeout(resolve, withinMs);
    this.#waiting.add(look);
    await Promise.race([promise, this.closed]);
    this.#waiting.delete(look);
    clearTimeout(timer);
  }

  #hear(data: unknown): void {
    const message =
      data instanceof ArrayBuffer ? fieldsIn(unpack(new Uint8Array(data))) : jsonOf(data);
    const { type, id, code, node } = message;
    if (type === "welcome") {
      this.node = String(node);
      this.#welcomed.resolve();
    }
    add(this.told, type === "error" ? `error ${String(code)}` : String(type));
    if (id !== undefined) this.answers.set(id, message);
    for (const look of this.#waiting) look();
  }

  [Symbol.dispose](): void {
    this.#hasLeft = true;
    this.#socket.close();
  }
}

function jsonOf(data: unknown): Message {
  const message: unknown = JSON.parse(String(data));
  return isRecord(message) ? message : {};
}
