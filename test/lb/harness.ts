// What the black-box tests of the lb share: the lb as a process of its own, and raw TCP peers on
// both sides of it that send exactly what a test says and remember exactly what they got.

import { afterAll, beforeEach } from "bun:test";
import net from "node:net";
import { type Report, reportIn } from "../../src/runtime/child-ipc.ts";
import { eventually } from "../eventually.ts";

const PATIENCE_MS = 10_000;

/** One end of a raw TCP connection. */
export class RawPeer {
  readonly socket: net.Socket;
  /** Everything received so far, one character a byte. */
  text = "";
  /** The other side's FIN has come. */
  hasEnded = false;
  isClosed = false;
  /** The other side has reset the connection. */
  wasReset = false;
  readonly #waiting = new Set<() => void>();

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("latin1");
      this.#changed();
    });
    socket.on("end", () => {
      this.hasEnded = true;
      this.#changed();
    });
    socket.on("error", (error) => {
      this.wasReset ||= "code" in error && error.code === "ECONNRESET";
    });
    socket.on("close", () => {
      this.isClosed = true;
      this.#changed();
    });
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Sends a FIN. */
  finish(): void {
    this.socket.end();
  }

  /** Sends an RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Resolves with what came, once `what` is in it. */
  async until(what: string | RegExp): Promise<string> {
    await this.#when(
      () => (typeof what === "string" ? this.text.includes(what) : what.test(this.text)),
      `${what} in what was received`,
    );
    return this.text;
  }

  /** Resolves once so many bytes have come since the last `forget`. */
  async untilBytes(count: number): Promise<void> {
    await this.#when(() => this.text.length >= count, `${count} bytes`);
  }

  /** The head that came first, its blank line included. */
  async head(): Promise<string> {
    await this.until("\r\n\r\n");
    return this.text.slice(0, this.text.indexOf("\r\n\r\n") + 4);
  }

  /** Resolves with everything, once the other side has ended or closed the connection. */
  async untilEnd(): Promise<string> {
    await this.#when(() => this.hasEnded || this.isClosed, "the end of the connection");
    return this.text;
  }

  /** Resolves with what came, once `what` is in it or the connection is over. */
  async untilClosedOr(what: string): Promise<string> {
    await this.#when(() => this.text.includes(what) || this.hasEnded || this.isClosed, what);
    return this.text;
  }

  async untilClosed(): Promise<string> {
    await this.#when(() => this.isClosed, "the connection to be closed");
    return this.text;
  }

  /** Forgets what came. */
  forget(): void {
    this.text = "";
  }

  #changed(): void {
    for (const check of this.#waiting) check();
  }

  #when(isSo: () => boolean, what: string): Promise<void> {
    if (isSo()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const check = () => {
        if (!isSo() && !this.isClosed) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        if (isSo()) resolve();
        else
          reject(
            new Error(
              `the connection closed before ${what}; received: ${JSON.stringify(this.text.slice(0, 300))}`,
            ),
          );
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(
          new Error(`no ${what} in time; received: ${JSON.stringify(this.text.slice(0, 300))}`),
        );
      }, PATIENCE_MS);
      this.#waiting.add(check);
    });
  }
}

/**
 * A server that does to each connection what the current script says, and remembers all of them.
 */
export class ScriptedServer {
  readonly connections: RawPeer[] = [];
  script: (peer: RawPeer) => void | Promise<void> = () => {};
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #arrived: ((peer: RawPeer) => void)[] = [];
  #port = 0;

  private constructor(server: net.Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      const peer = new RawPeer(socket);
      this.#sockets.add(socket.once("close", () => this.#sockets.delete(socket)));
      this.connections.push(peer);
      for (const resolve of this.#arrived.splice(0)) resolve(peer);
      Promise.resolve(this.script(peer)).catch(() => peer.socket.destroy());
    });
  }

  static async listen(
    where: { port: number } | { path: string } = { port: 0 },
  ): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(net.createServer({ allowHalfOpen: true }));
    const options = "path" in where ? where : { ...where, host: "127.0.0.1" };
    await new Promise<void>((resolve, reject) => {
      scripted.#server.once("error", reject);
      scripted.#server.listen(options, resolve);
    });
    const address = scripted.#server.address();
    if (address !== null && typeof address === "object") scripted.#port = address.port;
    return scripted;
  }

  /** Where it listens, or has listened; 0 on a unix socket. */
  get port(): number {
    return this.#port;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Cuts earlier connections and plays another script. */
  play(script: (peer: RawPeer) => void | Promise<void>): void {
    for (const socket of this.#sockets) socket.destroy();
    this.connections.length = 0;
    this.script = script;
  }

  /** The connection at `index`, once it is there. */
  async connection(index = 0): Promise<RawPeer> {
    while (this.connections.length <= index) await this.nextConnection();
    return this.connections[index];
  }

  /** The next connection to arrive. */
  nextConnection(): Promise<RawPeer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no connection in time")), PATIENCE_MS);
      this.#arrived.push((peer) => {
        clearTimeout(timer);
        resolve(peer);
      });
    });
  }

  /** Stops listening and cuts every connection. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/**
 * A script: answers each request (its head, and a body of Content-Length bytes) with the same
 * bytes.
 */
export const answering =
  (answer: string) =>
  async (peer: RawPeer): Promise<void> => {
    for (let at = 0; ; ) {
      const rest = () => peer.text.slice(at);
      await peer.until(new RegExp(`^[^]{${at}}[^]*?\r\n\r\n`));
      const head = rest().slice(0, rest().indexOf("\r\n\r\n") + 4);
      at += head.length + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
      if (peer.text.length < at) await peer.until(new RegExp(`^[^]{${at}}`));
      peer.send(answer);
    }
  };

export const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** The counts that the lb logs on SIGUSR2. */
export type Counts = {
  connections: number;
  arrivalsFailed: number;
  live: number;
  upstreams: number;
  waiting: number;
  nodes: Record<
    string,
    { health: string; standing: string; connections: number; elsewhere: number; backlogMax: number }
  >;
};

/** A running lb process. */
export class Lb {
  readonly port: number;
  readonly child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  /** Its log so far. */
  log = "";
  readonly #peers = new Set<RawPeer>();
  #logged: (() => void)[] = [];

  private constructor(child: Bun.Subprocess<"ignore", "ignore", "pipe">, port: number) {
    this.child = child;
    this.port = port;
  }

  /**
   * Starts an lb with these flags on a port of its own choice; resolves when it says that it is
   * ready.
   */
  static async start(...flags: string[]): Promise<Lb> {
    return await Lb.startCommand([
      process.execPath,
      "src/lb/main.ts",
      "--listen",
      "127.0.0.1:0",
      ...flags,
    ]);
  }

  /** Starts an lb whose only node this server is; it does not check it again. */
  static async inFrontOf(server: ScriptedServer, ...flags: string[]): Promise<Lb> {
    return await Lb.start("--upstream", server.address, "--check-interval-ms", "3600000", ...flags);
  }

  static async startCommand(command: string[]): Promise<Lb> {
    const { promise, resolve } = Promise.withResolvers<Report | undefined>();
    const child = Bun.spawn(command, {
      cwd: new URL("../..", import.meta.url).pathname,
      stdio: ["ignore", "ignore", "pipe"],
      ipc: (message) => resolve(reportIn(message)),
      onExit: () => resolve(undefined),
    });
    const report = await promise;
    if (report?.type !== "ready")
      throw new Error(`the lb did not start: ${await new Response(child.stderr).text()}`);
    const lb = new Lb(child, Number(report.address.slice(report.address.lastIndexOf(":") + 1)));
    lb.#readLog().catch(() => {});
    return lb;
  }

  get pid(): number {
    return this.child.pid;
  }

  async connect(): Promise<RawPeer> {
    const socket = net.connect({ host: "127.0.0.1", port: this.port, allowHalfOpen: true });
    const peer = new RawPeer(socket);
    this.#peers.add(peer);
    socket.once("close", () => this.#peers.delete(peer));
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return peer;
  }

  /**
   * Sends these bytes on a connection of their own; resolves with all that came when the lb ended
   * it.
   */
  async ask(bytes: string): Promise<string> {
    const peer = await this.connect();
    peer.send(bytes);
    const text = await peer.untilEnd();
    peer.socket.destroy();
    return text;
  }

  /** Resolves when the log has these words, beyond its first `from` characters. */
  async logged(words: string, from = 0): Promise<void> {
    while (!this.log.includes(words, from))
      await new Promise<void>((resolve) => this.#logged.push(resolve));
  }

  async counts(): Promise<Counts> {
    const from = this.log.length;
    this.child.kill("SIGUSR2");
    await this.logged('"msg":"counts"}', from);
    const lines = this.log.slice(from).split("\n");
    return JSON.parse(lines.find((line) => line.endsWith('"msg":"counts"}')) ?? "");
  }

  /**
   * Resolves when the lb has read what was sent to it before: it sees to its sockets between two
   * signals.
   */
  async caughtUp(): Promise<void> {
    for (let round = 0; round < 2; round++) await this.counts();
  }

  /** Resolves when nothing moves: the lb takes no more of what this peer has written. */
  async stalled({ socket }: RawPeer): Promise<void> {
    let left = Number.NaN;
    const isStill = async () => {
      const before = left;
      await this.caughtUp();
      left = socket.writableLength;
      return left === before;
    };
    await eventually(async () => (await isStill()) && (await isStill()) && (await isStill()));
  }

  /** Polls the counts until they are as wanted. */
  async countsWhen(isSo: (counts: Counts) => boolean): Promise<Counts> {
    return await eventually(() => this.counts(), isSo, { what: "the count" });
  }

  /** Cuts every connection that a test has left open. */
  hangUp(): void {
    for (const { socket } of this.#peers) socket.destroy();
  }

  async stop(): Promise<number> {
    this.hangUp();
    this.child.kill("SIGTERM");
    return await this.child.exited;
  }

  async #readLog(): Promise<void> {
    for await (const chunk of this.child.stderr) {
      this.log += Buffer.from(chunk).toString();
      for (const resolve of this.#logged.splice(0)) resolve();
    }
  }
}

/**
 * A server and an lb with these flags in front of it, for all tests of a file. Before each test
 * the connections of earlier ones are cut and the server answers with `OK`.
 */
export async function serverBehindLb(
  ...flags: string[]
): Promise<{ server: ScriptedServer; lb: Lb }> {
  const server = await ScriptedServer.listen();
  const lb = await Lb.inFrontOf(server, ...flags);
  beforeEach(() => {
    lb.hangUp();
    server.play(answering(OK));
  });
  afterAll(async () => {
    await lb.stop();
    await server.stop();
  });
  return { server, lb };
}

export const statusOf = (answer: string): number =>
  Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]);

/** The value of a field of a head; undefined when it is not there. */
export const fieldOf = (head: string, name: string): string | undefined =>
  new RegExp(`^${name}: ?(.*?)\r$`, "im").exec(head)?.[1];

/** Field names of a head, in lower case. */
export const namesIn = (head: string): string[] =>
  head
    .slice(0, head.indexOf("\r\n\r\n"))
    .split("\r\n")
    .slice(1)
    .map((line) => line.slice(0, line.indexOf(":")).toLowerCase());
