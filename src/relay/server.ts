// The relay's sockets: feeds their bytes to the core, and once per turn of the event loop lets it
// journal, then writes what waits for each link. What the bytes mean is the core's business.

import type { Socket, TCPSocketListener } from "bun";
import type { RelayAddress } from "../runtime/link.ts";
import type { Logger } from "../runtime/log.ts";
import { loggable } from "../runtime/log.ts";
import { FRAME_BYTES_MAX, FrameDecoder, HELLO_BYTES_MAX } from "../wire/frame.ts";
import { Malformed } from "../wire/shape.ts";
import type { Relay } from "./relay.ts";
import type { RelayLink } from "./relay-link.ts";
import type { Segments } from "./segments.ts";

const LINKS_MAX = 4096;
const STRANGERS_MAX = 128;
const HANDSHAKE_MS = 5000;
const SILENT_MS = 5000;
const ENDING_MS = 2000;
const SWEEP_MS = 1000;

/** One socket and what it feeds. `since`: when it was opened, or began to end, ms. */
type Connection = {
  readonly socket: Socket<Connection>;
  readonly link: RelayLink;
  readonly decoder: FrameDecoder;
  readonly onFrame: (bytes: Uint8Array, start: number, end: number) => boolean;
  since: number;
  heardAt: number;
};

export class RelayServer {
  readonly #relay: Relay;
  readonly #segments: Segments;
  readonly #log: Logger;
  readonly #listener: TCPSocketListener<Connection>;
  readonly #connections = new Map<RelayLink, Connection>();
  readonly #sweeper: ReturnType<typeof setInterval>;
  #turnScheduled = false;
  /** The time that this chunk's publications bear. */
  #nowMs = 0;

  /** Listens at once; throws when the address cannot be bound. */
  constructor(relay: Relay, segments: Segments, address: RelayAddress, log: Logger) {
    this.#relay = relay;
    this.#segments = segments;
    this.#log = log;
    this.#listener = Bun.listen<Connection>({
      hostname: address.host,
      port: address.port,
      socket: {
        open: (socket) => this.#open(socket),
        data: (socket, chunk) => this.#data(socket.data, chunk),
        drain: (socket) => this.#pump(socket.data),
        close: (socket) => this.#close(socket.data),
        error: (socket, error) => {
          log.debug({ err: error }, "link error");
          this.#close(socket.data);
        },
      },
    });
    let sweptAt = performance.now();
    this.#sweeper = setInterval(() => {
      const now = performance.now();
      const overslept = now - sweptAt > 2 * SWEEP_MS;
      sweptAt = now;
      if (!overslept) this.#sweep(now);
      this.#relay.tick(Date.now());
    }, SWEEP_MS);
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Tells every link that the relay goes away, and lets go of the port. */
  stop(): void {
    clearInterval(this.#sweeper);
    this.#listener.stop();
    this.#relay.endTurn();
    for (const { link } of this.#connections.values())
      this.#relay.end(link, "stopping", "the relay is going away");
    this.#flush();
  }

  #open(socket: Socket<Connection>): void {
    const now = performance.now();
    const link = this.#relay.connect();
    const connection: Connection = {
      socket,
      link,
      decoder: new FrameDecoder(HELLO_BYTES_MAX),
      onFrame: (bytes, start, end) => {
        this.#relay.receive(link, bytes, start, end, this.#nowMs);
        if (link.phase === "up") connection.decoder.frameBytesMax = FRAME_BYTES_MAX;
        return link.phase !== "ended";
      },
      since: now,
      heardAt: now,
    };
    socket.data = connection;
    this.#connections.set(link, connection);
    if (this.#connections.size > LINKS_MAX) this.#cut(connection);
    else if (this.#connections.size > STRANGERS_MAX) this.#cutStrangers();
  }

  /**
   * Of too many strangers the oldest goes: a member has proved itself long before, and one that
   * comes now must get in.
   */
  #cutStrangers(): void {
    const strangers = [...this.#connections.values()].filter(({ link }) => link.phase !== "up");
    if (strangers.length > STRANGERS_MAX) this.#cut(strangers[0]);
  }

  #data(connection: Connection, chunk: Uint8Array): void {
    const { link, decoder } = connection;
    connection.heardAt = performance.now();
    if (link.phase === "ended") return;
    this.#nowMs = Date.now();
    try {
      const fault = decoder.feed(chunk, connection.onFrame);
      if (fault !== undefined) this.#refuse(link, fault, "the stream is not made of frames");
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#refuse(link, "malformed", error.message);
    }
    this.#schedule();
  }

  #refuse(link: RelayLink, reason: string, message: string): void {
    const level = link.phase === "up" ? "warn" : "debug";
    this.#log[level]({ link: loggable(link.key), reason }, loggable(message));
    this.#relay.end(link, reason, message);
  }

  #schedule(): void {
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    setImmediate(() => {
      this.#turnScheduled = false;
      this.#relay.endTurn();
      this.#flush();
    });
  }

  #flush(): void {
    for (const link of this.#relay.takeDirty()) {
      const connection = this.#connections.get(link);
      if (connection !== undefined) this.#pump(connection);
    }
  }

  /** Writes what the link's outbox holds until the socket takes no more; `drain` goes on. */
  #pump(connection: Connection): void {
    const { socket, link } = connection;
    const { outbox } = link;
    while (outbox.bytes > 0) {
      const bytes = outbox.next(this.#segments);
      const taken = socket.write(bytes);
      if (taken > 0) outbox.taken(taken);
      if (taken < bytes.length) return;
    }
    if (link.phase !== "ended") return;
    if (link.isTooSlow) {
      this.#log.warn({ link: loggable(link.key) }, "link cut: it reads too slowly");
      this.#cut(connection);
      return;
    }
    connection.since = performance.now();
    socket.shutdown();
  }

  #close(connection: Connection): void {
    this.#connections.delete(connection.link);
    this.#relay.disconnect(connection.link);
    this.#schedule();
  }

  #cut(connection: Connection): void {
    this.#close(connection);
    connection.socket.terminate();
  }

  #sweep(now: number): void {
    for (const connection of this.#connections.values()) {
      const { link, since, heardAt } = connection;
      if (link.phase === "ended") {
        if (now - since > ENDING_MS) this.#cut(connection);
      } else if (link.phase !== "up") {
        if (now - since > HANDSHAKE_MS) this.#cut(connection);
      } else if (now - heardAt > SILENT_MS) {
        this.#log.warn({ link: loggable(link.key) }, "link silent");
        this.#cut(connection);
      }
    }
    this.#schedule();
  }
}
