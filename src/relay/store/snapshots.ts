// Collects the snapshots of producers that only the oldest segment may still hold, in one pass over
// it. Pure.

import { type Producers, SNAPSHOT_BYTES } from "../channels/producers.ts";
import { encodeRecord, PRODUCERS_PER_RECORD } from "../journal/records.ts";

export class Snapshots {
  readonly #producers: Producers;
  readonly #pass: number;
  readonly #full: Uint8Array[] = [];
  #bytes = Buffer.alloc(PRODUCERS_PER_RECORD * SNAPSHOT_BYTES);
  #end = 0;

  constructor(producers: Producers, pass: number) {
    this.#producers = producers;
    this.#pass = pass;
  }

  add(high: number, low: number, seq: number): void {
    if (!this.#producers.snapshot(high, low, seq, this.#pass, this.#bytes, this.#end)) return;
    this.#end += SNAPSHOT_BYTES;
    if (this.#end < this.#bytes.length) return;
    this.#full.push(this.#bytes);
    this.#bytes = Buffer.alloc(this.#bytes.length);
    this.#end = 0;
  }

  /** `bytesEach`: of a snapshot. */
  addAll(snapshots: Uint8Array, bytesEach: number): void {
    const view = Buffer.from(snapshots.buffer, snapshots.byteOffset, snapshots.length);
    for (let at = 0; at + bytesEach <= view.length; at += bytesEach)
      this.add(view.readUInt32BE(at), view.readUInt32BE(at + 4), 0);
  }

  /** Also says when producers were heard that are known no more: once a segment. */
  records(): Uint8Array[] {
    const parts =
      this.#end === 0 ? this.#full : [...this.#full, this.#bytes.subarray(0, this.#end)];
    const records = parts.map((snapshots) => encodeRecord({ type: "producers", snapshots }));
    const owners = this.#producers.forgotten();
    return owners.length === 0
      ? records
      : [...records, encodeRecord({ type: "forgotten", owners })];
  }
}
