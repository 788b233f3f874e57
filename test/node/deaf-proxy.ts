// Stands between a node and a relay: cuts the link, or lets it live while nothing that matters
// comes through.

import type { Socket } from "bun";
import { FRAME_BYTES_MAX, FrameDecoder, opcodeOf } from "../../src/wire/frame.ts";

/** PUBLICATION and ACK: what a deaf link does not hear. */
export const OPCODES_DROPPED = [0x11, 0x12];

type Leg = {
  other: Socket<Leg> | undefined;
  pending: Uint8Array[];
  isDeaf: boolean;
  decoder: FrameDecoder;
};

export type DeafProxy = {
  readonly port: number;
  /** Ends all links, and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
  /** The links that are open hear nothing from now on. */
  deafen(): void;
  stop(): void;
};

export function startDeafProxy(relayPort: number): DeafProxy {
  const nodes = new Set<Socket<Leg>>();
  let isCut = false;
  const newLeg = (): Leg => ({
    other: undefined,
    pending: [],
    isDeaf: false,
    decoder: new FrameDecoder(FRAME_BYTES_MAX),
  });

  const fromRelay = {
    open: (socket: Socket<Leg>) => {
      for (const bytes of socket.data.pending.splice(0)) socket.write(bytes);
    },
    data: (socket: Socket<Leg>, chunk: Uint8Array) => {
      const node = socket.data.other;
      if (node === undefined) return;
      socket.data.decoder.feed(chunk, (bytes, start, end) => {
        const isDropped = node.data.isDeaf && OPCODES_DROPPED.includes(opcodeOf(bytes, start));
        if (!isDropped) node.write(bytes.slice(start, end));
        return true;
      });
    },
    close: (socket: Socket<Leg>) => {
      socket.data.other?.end();
    },
    error: () => {},
  };

  const listener = Bun.listen<Leg>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (node) => {
        node.data = newLeg();
        if (isCut) {
          node.terminate();
          return;
        }
        nodes.add(node);
        const leg = newLeg();
        leg.other = node;
        leg.pending = node.data.pending;
        Bun.connect<Leg>({
          hostname: "127.0.0.1",
          port: relayPort,
          data: leg,
          socket: fromRelay,
        }).then(
          (relay) => {
            node.data.other = relay;
          },
          () => node.terminate(),
        );
      },
      data: (node, chunk) => {
        if (node.data.other === undefined) node.data.pending.push(chunk.slice());
        else node.data.other.write(chunk);
      },
      close: (node) => {
        nodes.delete(node);
        node.data.other?.end();
      },
      error: () => {},
    },
  });

  return {
    port: listener.port,
    cut: () => {
      isCut = true;
      for (const node of nodes) node.terminate();
    },
    mend: () => {
      isCut = false;
    },
    deafen: () => {
      for (const node of nodes) node.data.isDeaf = true;
    },
    stop: () => listener.stop(true),
  };
}
