// A simulated relay process: the relay's core, store and connections on simulated cables and a
// disk that outlives the process, and can tear the last write, be full, or lose power.

import { type Connection, Connections, type LinkTransport } from "../../src/relay/connections.ts";
import { SEGMENT_BYTES, Segments } from "../../src/relay/journal/segments.ts";
import { Relay } from "../../src/relay/relay.ts";
import type { Store } from "../../src/relay/store/store.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { below, type Random } from "../../src/runtime/random.ts";
import { Died, MemoryDisk, storeOn } from "../relay/memory-disk.ts";
import { ABNORMAL, type Cable, type End, type Network } from "./cable.ts";
import { SECRET } from "./link.ts";
import { Process } from "./process.ts";

const SEGMENTS = 8;

/** Segments whose memory is reused, because relays start often here. */
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
  #connections: Connections | undefined;
  readonly #cables = new Set<() => Cable<Uint8Array>>();
  #hasLostPower = false;

  /** `onTornWrite`: called when a torn write has ended the process. */
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

  /** Reads back what the process before has written. False: the disk does not let it. */
  start(): boolean {
    const { clock } = this.#network;
    this.disk.diesAfter = undefined;
    const recovered = this.#recover();
    if (recovered === undefined) return false;
    const { store, segments } = recovered;
    this.store = store;
    this.starts++;
    this.#hasLostPower = false;
    this.process = new Process(this.id, clock);
    const bytes = (count: number) =>
      Uint8Array.from({ length: count }, () => below(this.#random, 256));
    const startedAtMs = Math.floor(clock.now);
    const identity = { id: this.id, secret: SECRET, lineage: "lineage", pingMs: 1000, startedAtMs };
    this.#core = new Relay(identity, store, bytes);
    this.#hooks.started?.(store);
    this.#connections = new Connections(this.#core, segments, this.#createClock(this.process), {
      refused: (link, reason, message) => {
        // The cores never send malformed frames, whatever the faults.
        throw new Error(`${this.id} cannot read what ${link.key} says: ${reason}: ${message}`);
      },
      malformed: (link, message) => {
        throw new Error(`${this.id} cannot read what ${link.key} says: ${message}`);
      },
      cut: () => {},
    });
    return true;
  }

  #recover(): { store: Store; segments: Segments } | undefined {
    const mayHaveLost = this.#hasLostPower && this.#hooks.ignoresPowerLoss !== true;
    try {
      const { store, segments, damages, renewed } = storeOn(this.disk, SEGMENTS, {
        nowMs: this.#network.clock.now,
        mayHaveLost,
        newEpoch: () => `${this.id}.${this.starts}.${below(this.#random, 1_000_000)}`,
        onFree: (segment) => this.#core?.cutLaggards(segment),
        segments: (wanted, first, found) => {
          this.#segments = new PooledSegments(wanted, first, found);
          return this.#segments;
        },
      });
      if (damages.length > 0 && !this.#hasLostPower)
        throw new Error(`${this.id}: a killed relay left a damaged journal`);
      if (!renewed.every((channel) => store.define(channel))) return undefined;
      return { store, segments };
    } catch (error) {
      if (this.disk.isFull) return undefined;
      throw error;
    }
  }

  kill(): void {
    if (!this.process.isAlive) return;
    this.process.kill();
    this.#core = undefined;
    this.#connections = undefined;
    this.store = undefined;
    this.#segments?.giveBack();
    for (const cable of this.#cables) cable().died(1);
    this.#cables.clear();
    this.#hooks.died?.(this.disk);
  }

  /** The run is over. */
  end(): void {
    this.#segments?.giveBack();
  }

  /** The power fails: the disk keeps only a part of the last segment. */
  losePower(): void {
    this.kill();
    this.#hasLostPower = true;
    const head = [...this.disk.files].sort(([a], [b]) => b - a)[0];
    if (head !== undefined) head[1].length = below(this.#random, head[1].length + 1);
  }

  /** The relay's end of a new connection. */
  accept(cable: () => Cable<Uint8Array>): End<Uint8Array> {
    const { process } = this;
    const connections = this.#connections;
    let connection: Connection | undefined;
    this.#cables.add(cable);
    const drained = () => {
      if (connection !== undefined) connections?.drained(connection);
    };
    const transport: LinkTransport = {
      write: (bytes) => {
        const taken = this.#network.bytesTaken(bytes.length);
        // A copy: the outbox uses its bytes again (and a Buffer's slice is no copy).
        if (taken > 0) cable().send(1, new Uint8Array(bytes.subarray(0, taken)));
        if (taken < bytes.length) process.after(this.#network.delayMs(), drained);
        return taken;
      },
      shutdown: () => cable().finish(1),
      terminate: () => {
        this.#cables.delete(cable);
        cable().close(1, ABNORMAL);
      },
    };
    process.run(() => {
      connection = connections?.create(transport);
      if (connection !== undefined) connections?.opened(connection);
    });
    return {
      process,
      receive: (bytes) => {
        this.#guard(() => {
          if (connection !== undefined) connections?.received(connection, bytes);
        });
      },
      closed: () => {
        this.#cables.delete(cable);
        cable().close(1, ABNORMAL);
        if (connection !== undefined) connections?.closed(connection);
      },
    };
  }

  /** The process's clock; a turn's end comes a little later, so that it may hold several chunks. */
  #createClock(process: Process): Clock {
    return {
      wallMs: process.wallMs,
      monotonicMs: process.monotonicMs,
      after: (delayMs, work) => process.after(delayMs, () => this.#guard(work)),
      every: (intervalMs, work) => process.every(intervalMs, () => this.#guard(work)),
      endOfTurn: (work) => {
        const delayMs = this.#random() < 0.3 ? this.#random() : 0;
        process.after(delayMs, () => this.#guard(work));
      },
    };
  }

  /** A torn write ends the process. */
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
