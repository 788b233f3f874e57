// The relay's listening socket: binds Bun.listen and the log to the relay's connections.

import type { TCPSocketListener } from "bun";
import { systemClock } from "../runtime/clock.ts";
import type { RelayAddress } from "../runtime/link.ts";
import { type Logger, loggable } from "../runtime/log.ts";
import { type Connection, Connections } from "./connections.ts";
import type { Segments } from "./journal/segments.ts";
import type { Relay } from "./relay.ts";

export class RelayServer {
  readonly #connections: Connections;
  readonly #listener: TCPSocketListener<Connection>;

  /** Listens at once; throws when the address cannot be bound. */
  constructor(relay: Relay, segments: Segments, address: RelayAddress, log: Logger) {
    const connections = new Connections(relay, segments, systemClock, {
      refused: (link, reason, message) => {
        const level = link.phase === "up" ? "warn" : "debug";
        log[level]({ link: loggable(link.key), reason }, loggable(message));
      },
      malformed: (link, message) =>
        log.warn({ link: loggable(link.key) }, `message refused: ${loggable(message)}`),
      cut: (link, why) => {
        const message = why === "slow" ? "link cut: it reads too slowly" : "link silent";
        log.warn({ link: loggable(link.key) }, message);
      },
    });
    this.#connections = connections;
    this.#listener = Bun.listen<Connection>({
      hostname: address.host,
      port: address.port,
      socket: {
        open: (socket) => {
          socket.data = connections.create(socket);
          connections.opened(socket.data);
        },
        data: (socket, chunk) => connections.received(socket.data, chunk),
        drain: (socket) => connections.drained(socket.data),
        close: (socket) => connections.closed(socket.data),
        error: (socket, error) => {
          log.debug({ err: error }, "link error");
          connections.failed(socket.data);
        },
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Tells every link that the relay is stopping, and closes the port. */
  stop(): void {
    this.#listener.stop();
    this.#connections.stop();
  }
}
