// A real relay process, real nodes in this process, and clients that are plain WebSockets.
// Everything ends with the test.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Packr, Unpackr } from "msgpackr";
import type { AppOptions } from "../../src/node/app/index.ts";
import { app, appOptions } from "../../src/node/app/index.ts";
import { Rules } from "../../src/node/app/rules.ts";
import { ClusterNode } from "../../src/node/node.ts";
import { reportIn } from "../../src/runtime/child-ipc.ts";
import { createLogger, type Logger } from "../../src/runtime/log.ts";
import { SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK } from "../../src/wire/client-messages.ts";
import { isRecord } from "../../src/wire/shape.ts";

export const SECRET = "a secret that tests share";
const RELAY_MAIN = join(import.meta.dir, "../../src/relay/main.ts");

export type TestRelay = {
  readonly id: string;
  readonly port: number;
  kill(signal?: NodeJS.Signals): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Starts it again on the same port and data. */
  restart(): Promise<void>;
};

export class TestCluster {
  readonly folder = mkdtempSync(join(tmpdir(), "tutti-node-"));
  readonly #ends: (() => unknown)[] = [];
  #nodes = 0;

  constructor() {
    writeFileSync(join(this.folder, "secret"), SECRET);
  }

  /** Calls this when the test is over, the last added first. */
  onEnd(end: () => unknown): void {
    this.#ends.push(end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async relay(id = "relay-1"): Promise<TestRelay> {
    let child = await this.#startRelay(id, 0);
    const { port } = child;
    const kill = async (signal: NodeJS.Signals = "SIGKILL") => {
      child.process.kill(signal);
      await child.process.exited;
    };
    this.onEnd(() => kill());
    return {
      id,
      port,
      kill,
      signal: (signal) => child.process.kill(signal),
      restart: async () => {
        child = await this.#startRelay(id, port);
      },
    };
  }

  async #startRelay(id: string, port: number) {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const child = Bun.spawn(
      [
        process.execPath,
        RELAY_MAIN,
        ...[
          "--id",
          id,
          "--data",
          join(this.folder, id),
          "--secret-file",
          join(this.folder, "secret"),
        ],
        ...["--listen", `127.0.0.1:${port}`, "--memory-mb", "32", "--log-level", "silent"],
      ],
      {
        stdin: "ignore",
        stderr: "inherit",
        ipc: (value) => {
          const report = reportIn(value);
          if (report?.type === "ready") resolve(Number(report.address.split(":").at(-1)));
        },
      },
    );
    child.exited.then((code) =>
      reject(new Error(`the relay exited with ${code} before it was ready`)),
    );
    return { process: child, port: await promise };
  }

  /** A node that is up. `socket`: it listens on a unix socket of that name instead of a port. */
  async node(
    relays: readonly Pick<TestRelay, "id" | "port">[],
    options: AppOptions<string> = {},
    {
      id = `node-${++this.#nodes}`,
      pingMs = 25_000,
      connectMs = 10_000,
      socket,
      connectionsMax = 1000,
      publicHosts = [],
      log = createLogger("node", id, "silent"),
    }: NodeSettings = {},
  ): Promise<TestNode> {
    const node = new ClusterNode({
      id,
      address:
        socket === undefined ? { host: "127.0.0.1", port: 0 } : { unix: join(this.folder, socket) },
      relays: relays.map((relay) => ({
        id: relay.id,
        address: { host: "127.0.0.1", port: relay.port },
      })),
      secret: SECRET,
      app: appOptions(app(options)) ?? {},
      rules: new Rules(options),
      pingMs,
      connectMs,
      connectionsMax,
      publicHosts,
      log,
    });
    let isStopped = false;
    const stop = () => {
      if (isStopped) return;
      isStopped = true;
      return node.stop();
    };
    this.onEnd(stop);
    await node.start();
    return { node, address: node.address, stop };
  }

  /** A client that has had its welcome. */
  async client(node: Pick<TestNode, "address">, settings: ClientSettings = {}): Promise<Client> {
    const client = new Client(node.address, settings);
    this.onEnd(() => {
      client.close();
      return client.closed;
    });
    await client.opened;
    if (settings.isGreeted !== false) client.welcome = await client.next("welcome");
    return client;
  }
}

type NodeSettings = {
  id?: string;
  pingMs?: number;
  connectMs?: number;
  socket?: string;
  connectionsMax?: number;
  publicHosts?: readonly string[];
  log?: Logger;
};
export type TestNode = {
  readonly node: ClusterNode;
  readonly address: string;
  stop(): Promise<void> | undefined;
};
export type ClientSettings = {
  encoding?: "json" | "msgpack";
  path?: string;
  headers?: Record<string, string>;
  isGreeted?: boolean;
};
export type Message = Record<string, unknown>;

const packer = new Packr({ useRecords: false });
const unpacker = new Unpackr({ useRecords: false });

/** A plain WebSocket, and what it was told, in order. */
export class Client {
  readonly socket: WebSocket;
  readonly opened: Promise<void>;
  /** Resolves with the close event. */
  readonly closed: Promise<CloseEvent>;
  readonly inbox: Message[] = [];
  /** All that it was ever told. */
  readonly log: Message[] = [];
  welcome: Message = {};
  readonly #encoding: "json" | "msgpack";
  #waiting: (() => void)[] = [];
  #lastId = 0;

  constructor(
    address: string,
    { encoding = "json", path = "/", headers = {} }: ClientSettings = {},
  ) {
    this.#encoding = encoding;
    const protocols = [encoding === "json" ? SUBPROTOCOL_JSON : SUBPROTOCOL_MSGPACK];
    const url = address.startsWith("unix:")
      ? `ws+unix://${address.slice(5)}:${path}`
      : `ws://${address}${path}`;
    // Bun's WebSocket takes headers; the types know only the browser's.
    this.socket = Reflect.construct(WebSocket, [url, { protocols, headers }]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      const message: unknown =
        typeof data === "string" ? JSON.parse(data) : unpacker.unpack(new Uint8Array(data));
      if (!isRecord(message)) throw new Error("a message is not an object");
      this.inbox.push(message);
      this.log.push(message);
      this.#wake();
    };
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = () => resolve();
      this.socket.addEventListener("close", ({ code }) => reject(new Error(`closed with ${code}`)));
    });
    this.opened.catch(() => {});
    this.closed = new Promise((resolve) => {
      this.socket.addEventListener("close", (event) => {
        resolve(event);
        this.#wake();
      });
    });
  }

  send(message: Message): void {
    this.socket.send(
      this.#encoding === "json" ? JSON.stringify(message) : new Uint8Array(packer.pack(message)),
    );
  }

  /** The first message that fits and was not taken yet; those before it stay. */
  async take(fits: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const index = this.inbox.findIndex(fits);
      if (index >= 0) return this.inbox.splice(index, 1)[0];
      if (this.socket.readyState === WebSocket.CLOSED)
        throw new Error(`closed while waiting; left: ${JSON.stringify(this.inbox).slice(0, 500)}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  next(type: string): Promise<Message> {
    return this.take((message) => message.type === type);
  }

  /** The reply to a request. */
  async ask(message: Message): Promise<Message> {
    const id = `t${++this.#lastId}`;
    this.send({ ...message, id });
    return await this.take((reply) => reply.id === id);
  }

  /**
   * The next publications of a channel, as "offset:data"; they must be all there is of it in
   * between.
   */
  async messages(channel: string, count: number): Promise<string[]> {
    const got: string[] = [];
    while (got.length < count) {
      const { offset, data } = await this.take(
        (message) => message.type === "message" && message.channel === channel,
      );
      got.push(`${offset}:${JSON.stringify(data)}`);
    }
    return got;
  }

  async subscribe(channel: string, from: Message = {}): Promise<Message> {
    return await this.ask({ type: "subscribe", channel, ...from });
  }

  async publish(channel: string, data: unknown, more: Message = {}): Promise<Message> {
    return await this.ask({ type: "publish", channel, data, ...more });
  }

  close(): void {
    this.socket.close();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
