// A TCP connection for load generators: it buffers what the socket does not accept, and writes once
// per turn.

import type { Socket } from "bun";

export type Target = { readonly port: number } | { readonly unix: string };

export type BytesSocket = {
  send(bytes: Uint8Array): void;
  /** Closes at once. */
  terminate(): void;
};

export async function dial(
  target: Target,
  onBytes: (bytes: Buffer) => void,
  onClose = () => {},
): Promise<BytesSocket> {
  let pending: Uint8Array[] = [];
  let isFlushing = false;
  const flush = (socket: Socket<undefined>) => {
    isFlushing = false;
    if (pending.length === 0) return;
    const bytes = pending.length === 1 ? pending[0] : Buffer.concat(pending);
    const taken = Math.max(0, socket.write(bytes));
    pending = taken === bytes.length ? [] : [bytes.subarray(taken)];
  };
  const handlers = {
    data: (_: Socket<undefined>, bytes: Buffer) => onBytes(bytes),
    drain: flush,
    close: onClose,
    error: onClose,
  };
  const socket = await ("unix" in target
    ? Bun.connect({ unix: target.unix, socket: handlers })
    : Bun.connect({ hostname: "127.0.0.1", port: target.port, socket: handlers }));
  return {
    send(bytes) {
      pending.push(bytes);
      if (isFlushing) return;
      isFlushing = true;
      queueMicrotask(() => flush(socket));
    },
    terminate: () => socket.terminate(),
  };
}
