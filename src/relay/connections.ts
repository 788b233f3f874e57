// The relay's connections: passes their bytes to the relay, and at the end of each turn lets it
// journal, then writes what is queued for each link. Bounds the number of connections, and the time
// of a handshake, a silence and an ending. Pure: sockets and the clock are ports.

import type { Cancel, Clock } from "../runtime/clock.ts";
import { FRAME_BYTES_MAX, FrameDecoder, HELLO_BYTES_MAX } from "../wire/frame.ts";
import { Malformed } from "../wire/shape.ts";
import type { Segments } from "./journal/segments.ts";
import type { RelayLink } from "./links/relay-link.ts";
import type { Relay } from "./relay.ts";

const CONNECTIONS_MAX = 4096;
/** Connections that have not proved the cluster secret. */
const UNPROVEN_MAX = 128;
const HANDSHAKE_MS = 5000;
const SILENT_MS = 5000;
const ENDING_MS = 2000;
const SWEEP_MS = 1000;

/** What is needed of a socket: Bun's TCP socket has it. */
export interface LinkTransport {
  /** Returns how many bytes were taken, −1 when it is closed. */
  write(bytes: Uint8Array): number;
  shutdown(): void;
  terminate(): void;
}

/** One socket and the link that it carries. */
export type Connection = {
  readonly transport: LinkTransport;
  readonly link: RelayLink;
  readonly decoder: FrameDecoder;
  readonly onFrame: (bytes: Uint8Array, start: number, end: number) => boolean;
  /** When it was opened, or began to end, ms. */
  sinceMs: number;
  heardAtMs: number;
};

/** For the log. */
export type ConnectionEvents = {
  /** The link violated the protocol, and is ended. */
  refused(link: RelayLink, reason: string, message: string): void;
  /** A message of the link has a wrong field, and was refused; the link goes on. */
  malformed(link: RelayLink, message: string): void;
  cut(link: RelayLink, why: "silent" | "slow"): void;
};

export class Connections {
  readonly #relay: Relay;
  readonly #segments: Segments;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  readonly #connections = new Map<RelayLink, Connection>();
  readonly #cancelSweep: Cancel;
  #isTurnScheduled = false;
  /** The timestamp of this chunk's publications. */
  #nowMs = 0;
  #sweptAtMs: number;

  constructor(relay: Relay, segments: Segments, clock: Clock, events: ConnectionEvents) {
    this.#relay = relay;
    this.#segments = segments;
    this.#clock = clock;
    this.#events = events;
    this.#sweptAtMs = clock.monotonicMs();
    this.#cancelSweep = clock.every(SWEEP_MS, () => this.#sweep());
  }

  /** Call `opened` once the socket refers to the connection: that may cut it at once. */
  create(transport: LinkTransport): Connection {
    const nowMs = this.#clock.monotonicMs();
    const link = this.#relay.connect();
    const connection: Connection = {
      transport,
      link,
      decoder: new FrameDecoder(HELLO_BYTES_MAX),
      onFrame: (bytes, start, end) => {
        const fault = this.#relay.receive(link, bytes, start, end, this.#nowMs);
        if (fault !== undefined) this.#events.malformed(link, fault);
        if (link.phase === "up") connection.decoder.frameBytesMax = FRAME_BYTES_MAX;
        return link.phase !== "ended";
      },
      sinceMs: nowMs,
      heardAtMs: nowMs,
    };
    return connection;
  }

  opened(connection: Connection): void {
    this.#connections.set(connection.link, connection);
    if (this.#connections.size > CONNECTIONS_MAX) this.#cut(connection);
    else if (this.#connections.size > UNPROVEN_MAX) this.#boundUnproven();
  }

  received(connection: Connection, chunk: Uint8Array): void {
    const { link, decoder } = connection;
    connection.heardAtMs = this.#clock.monotonicMs();
    if (link.phase === "ended") return;
    this.#nowMs = this.#clock.wallMs();
    try {
      const fault = decoder.feed(chunk, connection.onFrame);
      if (fault !== undefined) this.#refuse(link, fault, "the stream is not made of frames");
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#refuse(link, "malformed", error.message);
    }
    this.#scheduleTurnEnd();
  }

  /** The socket takes bytes again. */
  drained(connection: Connection): void {
    this.#write(connection);
  }

  /** Something about it failed: whatever it was, the socket must not outlive the connection. */
  failed(connection: Connection): void {
    this.#cut(connection);
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection.link);
    this.#relay.disconnect(connection.link);
    this.#scheduleTurnEnd();
  }

  /** Tells every link that the relay is stopping. */
  stop(): void {
    this.#cancelSweep();
    this.#relay.endTurn();
    for (const { link } of this.#connections.values())
      this.#relay.end(link, "stopping", "the relay is going away");
    this.#writeDirty();
  }

  /**
   * Cuts the oldest of too many unproven connections: a member proves itself long before, and a
   * new one must get in.
   */
  #boundUnproven(): void {
    const unproven = [...this.#connections.values()].filter(({ link }) => link.phase !== "up");
    if (unproven.length > UNPROVEN_MAX) this.#cut(unproven[0]);
  }

  #refuse(link: RelayLink, reason: string, message: string): void {
    this.#events.refused(link, reason, message);
    this.#relay.end(link, reason, message);
  }

  #scheduleTurnEnd(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#clock.endOfTurn(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#isTurnScheduled = false;
    this.#relay.endTurn();
    this.#writeDirty();
  };

  #writeDirty(): void {
    for (const link of this.#relay.takeDirty()) {
      const connection = this.#connections.get(link);
      if (connection !== undefined) this.#write(connection);
    }
  }

  /** Writes the link's outbox until the socket takes no more; `drained` continues. */
  #write(connection: Connection): void {
    const { transport, link } = connection;
    const { outbox } = link;
    while (outbox.bytes > 0) {
      const bytes = outbox.next(this.#segments);
      const taken = transport.write(bytes);
      if (taken > 0) outbox.taken(taken);
      if (taken < bytes.length) return;
    }
    if (link.phase !== "ended") return;
    if (link.isTooSlow) {
      this.#events.cut(link, "slow");
      this.#cut(connection);
      return;
    }
    connection.sinceMs = this.#clock.monotonicMs();
    transport.shutdown();
  }

  #cut(connection: Connection): void {
    this.closed(connection);
    connection.transport.terminate();
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    const hasSlept = nowMs - this.#sweptAtMs > 2 * SWEEP_MS;
    this.#sweptAtMs = nowMs;
    // What links sent while this process slept is not read yet.
    if (!hasSlept) this.#cutOverdue(nowMs);
    this.#relay.tick(this.#clock.wallMs());
  }

  #cutOverdue(nowMs: number): void {
    for (const connection of this.#connections.values()) {
      const { link, sinceMs, heardAtMs } = connection;
      if (link.phase === "ended") {
        if (nowMs - sinceMs > ENDING_MS) this.#cut(connection);
      } else if (link.phase !== "up") {
        if (nowMs - sinceMs > HANDSHAKE_MS) this.#cut(connection);
      } else if (nowMs - heardAtMs > SILENT_MS) {
        this.#events.cut(link, "silent");
        this.#cut(connection);
      }
    }
    this.#scheduleTurnEnd();
  }
}
