// The events of a socket, as its owner receives them. All sockets share one table of callbacks;
// `socket.data` is the owner.

import type { Socket } from "bun";
import type { Logger } from "../../runtime/log.ts";

/** No call follows `socketClosed`. `hasFailed`: the socket was reset. */
export interface SocketOwner {
  socketOpened(socket: OwnedSocket): void;
  bytesReceived(chunk: Buffer): void;
  socketDrained(): void;
  /** The peer has sent its FIN; this side may still be open. */
  endReceived(): void;
  socketClosed(hasFailed: boolean): void;
  /** The dial failed. */
  dialFailed(code: string): void;
}

export type OwnedSocket = Socket<SocketOwner>;

/** Owns a socket whose events no longer matter. */
export const NOBODY: SocketOwner = {
  socketOpened() {},
  bytesReceived() {},
  socketDrained() {},
  endReceived() {},
  socketClosed() {},
  dialFailed() {},
};

export type SocketCallbacks = {
  open(socket: OwnedSocket): void;
  data(socket: OwnedSocket, chunk: Buffer): void;
  drain(socket: OwnedSocket): void;
  end(socket: OwnedSocket): void;
  close(socket: OwnedSocket, error?: Error): void;
  error(socket: OwnedSocket, error: Error): void;
  connectError(socket: OwnedSocket, error: Error): void;
};

/** The callbacks of all sockets. An exception in one ends that connection only. */
export function socketCallbacks(log: Logger, open: (socket: OwnedSocket) => void): SocketCallbacks {
  return {
    open,
    data: (socket, chunk) => socket.data.bytesReceived(chunk),
    drain: (socket) => socket.data.socketDrained(),
    end: (socket) => socket.data.endReceived(),
    close: (socket, error) => socket.data.socketClosed(error !== undefined && error !== null),
    error(socket, error) {
      log.error({ err: error }, "a connection was ended by an error of the lb");
      socket.terminate();
    },
    connectError: (socket, error) => socket.data.dialFailed(codeOf(error)),
  };
}

export const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "unknown";
