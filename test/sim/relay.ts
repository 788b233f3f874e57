// A simulated relay process around the real core and store: its disk outlives it, can tear the last
// write, be full, or lose power.

import { Relay } from "../../src/relay/relay.ts";
import type { RelayLink } from "../../src/relay/relay-link.ts";
import { SEGMENT_BYTES, Segments } from "../../src/relay/segments.ts";
import type { Store } from "../../src/relay/store.ts";
import { below, type Random } from "../../src/runtime/random.ts";
import { FRAME_BYTES_MAX, FrameDecoder, HELLO_BYTES_MAX } from "../../src/wire/frame.ts";
import { Malformed } from "../../src/wire/shape.ts";
import { Died, MemoryDisk, storeOn } from "../relay/memory-disk.ts";
import type { Cable, End, Network } from "./cable.ts";
import { SECRET } from "./link.ts";
import { Process } from "./process.ts";

const SEGMENTS = 8;
const SWEEP_MS = 1000;
const SILENT_MS = 5000;

type Held = { readonly link: RelayLink; readonly cable: () => Cable<Uint8Array>; heardAt: number };

/**
 * Segments whose memory is used again: relays start all the time here. What a dead one left in it,
 * nobody reads.
 */
class PooledSegments extends Segments {
  static readonly #pool: Buffer[] = [];
  readonly #slots = new Map<number, Buffer>();

  override bytes(segment: number): Buffer {
    const slot = segment % this.count;
    const bytes =
      this.#slots.get(slot) ?? PooledSegments.#pool.pop() ?? Buffer.allocUnsafeSlow(SEGMENT_BYTES);
    this.#slots.set(slot, bytes);
    return bytes;
  }

  giveBack(): void {
    PooledSegments.#pool.push(...this.#slots.values());
    this.#slots.clear();
  }
}

export type RelayHooks = {
  /**
   * Planted faults of tests: what a wrong relay would do to its disk when it dies, or to its memory
   * when it starts.
   */
  readonly died?: (disk: MemoryDisk) => void;
  readonly started?: (store: Store) => void;
  /** Forget that the power was lost. */
  readonly ignoresPowerLoss?: boolean;
};

export class SimRelay {
  readonly id: string;
  readonly disk = new MemoryDisk();
  process: Process;
  store: Store | undefined;
  starts = 0;
  readonly #network: Network;
  readonly #random: Random;
  readonly #hooks: RelayHooks;
  readonly #onTornWrite: () => void;
  #core: Relay | undefined;
  #segments: PooledSegments | undefined;
  #held = new Map<RelayLink, Held>();
  #isTurnPlanned = false;
  #hasLostPower = false;

  /** `onTornWrite`: the process has died of one. */
  constructor(
    id: string,
    network: Network,
    random: Random,
    hooks: RelayHooks,
    onTornWrite: () => void,
  ) {
    this.id = id;
    this.#network = network;
    this.#random = random;
    this.#hooks = hooks;
    this.#onTornWrite = onTornWrite;
    this.process = new Process(id, network.clock);
    this.start();
  }

  /** Reads back what the one before has written. False: the disk does not let it. */
  start(): boolean {
    const { clock } = this.#network;
    const mayHaveLost = this.#hasLostPower && this.#hooks.ignoresPowerLoss !== true;
    this.disk.diesAfter = undefined;
    const newEpoch = () => `${this.id}.${this.starts}.${below(this.#random, 1_000_000)}`;
    try {
      const { store, damages, renewed } = storeOn(this.disk, SEGMENTS, {
        nowMs: clock.now,
        mayHaveLost,
        newEpoch,
        onFree: (segment) => this.#core?.cutLaggards(segment),
        segments: (wanted, first, found) => {
          this.#segments = new PooledSegments(wanted, first, found);
          return this.#segments;
        },
      });
      if (damages.length > 0 && !this.#hasLostPower)
        throw new Error(`${this.id}: a killed relay left a damaged journal`);
      if (!renewed.every((channel) => store.define(channel))) return false;
      this.store = store;
    } catch (error) {
      if (this.disk.isFull) return false;
      throw error;
    }
    this.starts++;
    this.#hasLostPower = false;
    this.process = new Process(this.id, clock);
    const bytes = (count: number) =>
      Uint8Array.from({ length: count }, () => below(this.#random, 256));
    const startedAtMs = Math.floor(clock.now);
    const identity = { id: this.id, secret: SECRET, lineage: "lineage", pingMs: 1000, startedAtMs };
    this.#core = new Relay(identity, this.store, bytes);
    this.#hooks.started?.(this.store);
    let sweptAt = clock.now;
    this.process.every(SWEEP_MS, () => {
      const overslept = clock.now - sweptAt > 2 * SWEEP_MS;
      sweptAt = clock.now;
      if (!overslept) this.#cutSilent();
      this.#guard(() => this.#core?.tick(Math.floor(clock.now)));
      this.#planTurn();
    });
    return true;
  }

  kill(): void {
    if (!this.process.isAlive) return;
    this.process.kill();
    this.#core = undefined;
    this.store = undefined;
    this.#segments?.giveBack();
    this.#isTurnPlanned = false;
    for (const { cable } of this.#held.values()) cable().died(1);
    this.#held = new Map();
    this.#hooks.died?.(this.disk);
  }

  /** The run is over. */
  end(): void {
    this.#segments?.giveBack();
  }

  /** The machine goes dark: of what was written last, not all is on the disk. */
  losePower(): void {
    this.kill();
    this.#hasLostPower = true;
    const head = [...this.disk.files].sort(([a], [b]) => b - a)[0];
    if (head !== undefined) head[1].length = below(this.#random, head[1].length + 1);
  }

  /** The relay's end of a new connection. */
  accept(cable: () => Cable<Uint8Array>): End<Uint8Array> {
    const { process } = this;
    const core = this.#core;
    const ignore = () => {};
    if (core === undefined) return { process, receive: ignore, closed: ignore };
    const held: Held = { link: core.connect(), cable, heardAt: this.#network.clock.now };
    this.#held.set(held.link, held);
    const decoder = new FrameDecoder(HELLO_BYTES_MAX);
    return {
      process,
      receive: (bytes) => this.#take(core, held, decoder, bytes),
      closed: () => this.#drop(held),
    };
  }

  #take(core: Relay, held: Held, decoder: FrameDecoder, bytes: Uint8Array): void {
    const { link } = held;
    held.heardAt = this.#network.clock.now;
    const nowMs = Math.floor(held.heardAt);
    this.#guard(() => {
      try {
        decoder.feed(bytes, (frame, start, end) => {
          core.receive(link, frame, start, end, nowMs);
          if (link.phase === "up") decoder.frameBytesMax = FRAME_BYTES_MAX;
          return link.phase !== "ended";
        });
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        // Our own processes say nothing malformed, whatever happens to them.
        throw new Error(`${this.id} cannot read what ${link.key} says: ${error.message}`, {
          cause: error,
        });
      }
    });
    this.#planTurn();
  }

  /**
   * The end of the event loop's turn comes a little later, so that a turn may hold several chunks.
   */
  #planTurn(): void {
    if (this.#isTurnPlanned || !this.process.isAlive) return;
    this.#isTurnPlanned = true;
    this.process.after(this.#random() < 0.3 ? this.#random() : 0, () => {
      this.#isTurnPlanned = false;
      this.#guard(() => this.#core?.endTurn());
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#core === undefined || this.#segments === undefined) return;
    for (const link of this.#core.takeDirty()) {
      const held = this.#held.get(link);
      const { outbox } = link;
      while (outbox.bytes > 0) {
        const bytes = outbox.next(this.#segments);
        // A copy: the outbox uses its bytes again (and a Buffer's slice is no copy).
        held?.cable().send(1, new Uint8Array(bytes));
        outbox.taken(bytes.length);
      }
      if (link.phase !== "ended" || held === undefined) continue;
      held.cable().close(1, 1000);
      this.#held.delete(link);
    }
  }

  #drop(held: Held): void {
    this.#held.delete(held.link);
    this.#core?.disconnect(held.link);
    held.cable().close(1, 1000);
    this.#planTurn();
  }

  #cutSilent(): void {
    for (const held of [...this.#held.values()])
      if (this.#network.clock.now - held.heardAt > SILENT_MS) this.#drop(held);
  }

  /** A write that was torn is the process's last. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Died)) throw error;
      this.kill();
      this.#onTornWrite();
    }
  }
}
