// Which publications have been seen: for each producer the highest seq and a window of the ones
// before it. An open-addressed table in typed arrays, of bounded size; when it is full, a producer
// of an owner who has far more than the others makes room, and else one not heard for long.

import { readU32, writeU32 } from "../../wire/bytes.ts";
import { UNACKNOWLEDGED_MAX } from "../../wire/client-messages.ts";
import { OWNERS, ownerAmong } from "../../wire/frame.ts";

/** Seqs that are told apart below the highest: as many as a client may leave unacknowledged. */
export const SEQ_WINDOW = UNACKNOWLEDGED_MAX;
/** Bytes of a snapshot of version 1: high, low, highest seq, window. */
export const SNAPSHOT_BYTES_VERSION_1 = 12 + SEQ_WINDOW / 8;
/** Bytes of one producer's snapshot: the same, and when it was last heard, seconds since 1970. */
export const SNAPSHOT_BYTES = SNAPSHOT_BYTES_VERSION_1 + 4;
/** An owner, and when the latest of its producers that are forgotten was heard. */
export const FORGOTTEN_BYTES = 6;

const WORDS = SEQ_WINDOW / 32;
const SLOTS_MIN = 1 << 10;
const SLOTS_MAX = 1 << 18;
/** Of a relay's memory, so that what the journal keeps of producers is a small part of it. */
const MEMORY_BYTES_PER_SLOT = 512;
/** Producers that are looked at for one to make room, and where an owner has far too many. */
const LOOKED_AT = 64;
const LOOKED_AT_FOR_CROWD = 512;
/** How many times the average an owner may have before its producers make room for others'. */
const FAIR_SHARES = 2;
/** How much longer a repeat may have been on its way than the original, ms. */
const WAY_MS = 10_000;

/** How many slots suit a relay with that much memory: a power of two. */
export const slotsFor = (memoryBytes: number): number =>
  Math.max(
    SLOTS_MIN,
    Math.min(SLOTS_MAX, 2 ** Math.floor(Math.log2(memoryBytes / MEMORY_BYTES_PER_SLOT))),
  );

export class Producers {
  readonly #slotsMax: number;
  #slots = SLOTS_MIN;
  #count = 0;
  #hand = 0;
  #high = new Uint32Array(SLOTS_MIN);
  #low = new Uint32Array(SLOTS_MIN);
  /** The highest seq seen; 0: the slot is empty. */
  #highest = new Uint32Array(SLOTS_MIN);
  /**
   * Bit (seq mod SEQ_WINDOW) of a slot's words: whether seq was seen, for the seqs in the window.
   */
  #window = new Uint32Array(SLOTS_MIN * WORDS);
  /** When it was heard last, seconds since 1970. */
  #heardAt = new Uint32Array(SLOTS_MIN);
  /** The pass in which the producer's last snapshot was taken. */
  #pass = new Float64Array(SLOTS_MIN);

  /** By owner: how many producers are known, and when the latest forgotten one was heard. */
  readonly #owned = new Uint32Array(OWNERS);
  readonly #forgottenAt = new Uint32Array(OWNERS);
  #owners = 0;

  /** `slotsMax`: a power of two; at most three quarters of it are filled. */
  constructor(slotsMax = SLOTS_MAX) {
    this.#slotsMax = slotsMax;
  }

  get count(): number {
    return this.#count;
  }

  /**
   * Records (producer, seq), seq ≥ 1. Returns the highest seq before: `forget` needs it. A seq too
   * old to tell counts as recorded.
   */
  record(high: number, low: number, seq: number, nowMs: number): number {
    const slot = this.#claim(high, low);
    const highest = this.#highest[slot];
    this.#heardAt[slot] = Math.max(this.#heardAt[slot], Math.ceil(nowMs / 1000));
    if (seq > highest) this.#raise(slot, seq);
    if (this.#highest[slot] - seq < SEQ_WINDOW) this.#setBit(slot, seq);
    return highest;
  }

  /** Whether (producer, seq) is recorded; a seq that is too old to tell counts as recorded. */
  has(high: number, low: number, seq: number): boolean {
    const slot = this.#find(high, low);
    const highest = this.#highest[slot];
    return seq <= highest && (highest - seq >= SEQ_WINDOW || this.#bit(slot, seq));
  }

  /** `has` where a publication is asked for; the simulation breaks it here, to see it caught. */
  isRepeat(high: number, low: number, seq: number): boolean {
    return this.has(high, low, seq);
  }

  isKnown(high: number, low: number): boolean {
    return this.#highest[this.#find(high, low)] !== 0;
  }

  /** Whether an unknown producer may be one that was forgotten after it was heard at that time. */
  mayHaveForgotten(high: number, heardAtMs: number): boolean {
    const forgottenAt = this.#forgottenAt[ownerAmong(high)];
    return forgottenAt > 0 && heardAtMs <= forgottenAt * 1000 + WAY_MS;
  }

  /** A part of what was known is lost, whosever it was. */
  lostSome(nowMs: number): void {
    this.#forgottenAt.fill(Math.ceil(nowMs / 1000));
  }

  /**
   * Takes back the record of a publication that could not be stored; of several, the newest first.
   * `highestBefore`: what `record` returned.
   */
  forget(high: number, low: number, seq: number, highestBefore: number): void {
    const slot = this.#find(high, low);
    if (this.#highest[slot] === 0) return;
    if (this.#highest[slot] - seq < SEQ_WINDOW) this.#clearBit(slot, seq);
    if (this.#highest[slot] !== seq) return;
    if (highestBefore === 0) return this.#remove(slot);
    // The bits of these seqs gave way to higher ones. A publisher leaves none of them behind.
    const oldest = Math.max(1, highestBefore - SEQ_WINDOW + 1);
    const lost = Math.min(highestBefore, seq - SEQ_WINDOW);
    this.#highest[slot] = highestBefore;
    for (let each = oldest; each <= lost; each++) this.#setBit(slot, each);
  }

  /**
   * Writes the producer's snapshot at `at` and returns true, unless the producer is not known,
   * `seq` no longer matters to it, or a snapshot was taken in this pass already. `seq` 0: whatever
   * is known.
   */
  snapshot(
    high: number,
    low: number,
    seq: number,
    pass: number,
    into: Uint8Array,
    at: number,
  ): boolean {
    const slot = this.#find(high, low);
    const highest = this.#highest[slot];
    if (highest === 0 || this.#pass[slot] === pass) return false;
    if (seq !== 0 && highest - seq >= SEQ_WINDOW) return false;
    this.#pass[slot] = pass;
    writeU32(into, at, high);
    writeU32(into, at + 4, low);
    writeU32(into, at + 8, highest);
    for (let word = 0; word < WORDS; word++)
      writeU32(into, at + 12 + 4 * word, this.#window[slot * WORDS + word]);
    writeU32(into, at + SNAPSHOT_BYTES_VERSION_1, this.#heardAt[slot]);
    return true;
  }

  /** When producers were heard that are forgotten, for a successor. */
  forgotten(): Uint8Array {
    const owners = [...this.#forgottenAt.keys()].filter((owner) => this.#forgottenAt[owner] > 0);
    const bytes = Buffer.alloc(owners.length * FORGOTTEN_BYTES);
    for (const [i, owner] of owners.entries()) {
      bytes.writeUInt16BE(owner, i * FORGOTTEN_BYTES);
      bytes.writeUInt32BE(this.#forgottenAt[owner], i * FORGOTTEN_BYTES + 2);
    }
    return bytes;
  }

  restoreForgotten(bytes: Uint8Array): void {
    for (let at = 0; at + FORGOTTEN_BYTES <= bytes.length; at += FORGOTTEN_BYTES) {
      const owner = ((bytes[at] << 8) | bytes[at + 1]) & (OWNERS - 1);
      this.#forgottenAt[owner] = Math.max(this.#forgottenAt[owner], readU32(bytes, at + 2));
    }
  }

  /**
   * Adds what a snapshot knows to what is known. A highest seq of 0 would be an empty slot: no
   * snapshot says it. `heardAtMs`: where the snapshot does not say it.
   */
  restore(from: Uint8Array, at: number, heardAtMs?: number): void {
    const highest = readU32(from, at + 8);
    if (highest === 0) return;
    const slot = this.#claim(readU32(from, at), readU32(from, at + 4));
    const heardAt =
      heardAtMs === undefined
        ? readU32(from, at + SNAPSHOT_BYTES_VERSION_1)
        : Math.ceil(heardAtMs / 1000);
    this.#heardAt[slot] = Math.max(this.#heardAt[slot], heardAt);
    if (highest > this.#highest[slot]) this.#raise(slot, highest);
    const seen = (seq: number) =>
      (readU32(from, at + 12 + 4 * ((seq % SEQ_WINDOW) >>> 5)) >>> (seq & 31)) & 1;
    for (let seq = Math.max(1, highest - SEQ_WINDOW + 1); seq <= highest; seq++)
      if (seen(seq) === 1 && this.#highest[slot] - seq < SEQ_WINDOW) this.#setBit(slot, seq);
  }

  /** Makes `seq`, which is higher, the highest, forgetting the seqs that leave the window. */
  #raise(slot: number, seq: number): void {
    const highest = this.#highest[slot];
    if (seq - highest >= SEQ_WINDOW) {
      this.#window.fill(0, slot * WORDS, (slot + 1) * WORDS);
    } else {
      for (let passed = highest + 1; passed <= seq; passed++)
        this.#window[slot * WORDS + ((passed % SEQ_WINDOW) >>> 5)] &= ~(1 << (passed & 31));
    }
    this.#highest[slot] = seq;
  }

  #bit(slot: number, seq: number): boolean {
    return ((this.#window[slot * WORDS + ((seq % SEQ_WINDOW) >>> 5)] >>> (seq & 31)) & 1) === 1;
  }

  #setBit(slot: number, seq: number): void {
    this.#window[slot * WORDS + ((seq % SEQ_WINDOW) >>> 5)] |= 1 << (seq & 31);
  }

  #clearBit(slot: number, seq: number): void {
    this.#window[slot * WORDS + ((seq % SEQ_WINDOW) >>> 5)] &= ~(1 << (seq & 31));
  }

  #home(high: number, low: number): number {
    const mixed = Math.imul(high ^ Math.imul(low, 0x9e3779b1), 0x85ebca6b);
    return ((mixed ^ (mixed >>> 15)) >>> 0) & (this.#slots - 1);
  }

  /** The producer's slot, or the empty one where it would go. */
  #find(high: number, low: number): number {
    let slot = this.#home(high, low);
    while (this.#highest[slot] !== 0 && (this.#high[slot] !== high || this.#low[slot] !== low))
      slot = (slot + 1) & (this.#slots - 1);
    return slot;
  }

  #claim(high: number, low: number): number {
    let slot = this.#find(high, low);
    if (this.#highest[slot] !== 0) return slot;
    if (this.#count >= this.#slots * 0.75) {
      if (this.#slots < this.#slotsMax) this.#grow();
      else this.#evict();
      slot = this.#find(high, low);
    }
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#window.fill(0, slot * WORDS, (slot + 1) * WORDS);
    this.#pass[slot] = -1;
    this.#heardAt[slot] = 0;
    this.#count++;
    if (this.#owned[ownerAmong(high)]++ === 0) this.#owners++;
    return slot;
  }

  #grow(): void {
    const [slots, high, low, highest] = [this.#slots, this.#high, this.#low, this.#highest];
    const [window, heardAt, pass] = [this.#window, this.#heardAt, this.#pass];
    this.#slots = 2 * slots;
    this.#high = new Uint32Array(this.#slots);
    this.#low = new Uint32Array(this.#slots);
    this.#highest = new Uint32Array(this.#slots);
    this.#window = new Uint32Array(this.#slots * WORDS);
    this.#heardAt = new Uint32Array(this.#slots);
    this.#pass = new Float64Array(this.#slots);
    for (let from = 0; from < slots; from++) {
      if (highest[from] === 0) continue;
      const to = this.#find(high[from], low[from]);
      this.#high[to] = high[from];
      this.#low[to] = low[from];
      this.#highest[to] = highest[from];
      this.#window.set(window.subarray(from * WORDS, (from + 1) * WORDS), to * WORDS);
      this.#heardAt[to] = heardAt[from];
      this.#pass[to] = pass[from];
    }
  }

  /**
   * Forgets a producer. Of those that the hand passes, the one not heard for longest; but one of an
   * owner with far more than the average before all others.
   */
  #evict(): void {
    const crowd = (FAIR_SHARES * this.#count) / this.#owners;
    let victim = -1;
    let isCrowded = false;
    for (let looked = 0; looked < LOOKED_AT || (looked < LOOKED_AT_FOR_CROWD && !isCrowded); ) {
      this.#hand = (this.#hand + 1) & (this.#slots - 1);
      const slot = this.#hand;
      if (this.#highest[slot] === 0) continue;
      looked++;
      const isOfCrowd = this.#owned[ownerAmong(this.#high[slot])] > crowd;
      if (isCrowded && !isOfCrowd) continue;
      const isOlder = victim < 0 || this.#heardAt[slot] < this.#heardAt[victim];
      if (isOlder || (isOfCrowd && !isCrowded)) victim = slot;
      isCrowded ||= isOfCrowd;
    }
    const owner = ownerAmong(this.#high[victim]);
    this.#forgottenAt[owner] = Math.max(this.#forgottenAt[owner], this.#heardAt[victim]);
    this.#remove(victim);
  }

  /** Empties a slot and moves back what was pushed past it, so that searches need no tombstones. */
  #remove(slot: number): void {
    if (--this.#owned[ownerAmong(this.#high[slot])] === 0) this.#owners--;
    let hole = slot;
    for (
      let next = (hole + 1) & (this.#slots - 1);
      this.#highest[next] !== 0;
      next = (next + 1) & (this.#slots - 1)
    ) {
      const home = this.#home(this.#high[next], this.#low[next]);
      const fits = hole <= next ? home <= hole || home > next : home <= hole && home > next;
      if (!fits) continue;
      this.#high[hole] = this.#high[next];
      this.#low[hole] = this.#low[next];
      this.#highest[hole] = this.#highest[next];
      this.#window.copyWithin(hole * WORDS, next * WORDS, (next + 1) * WORDS);
      this.#heardAt[hole] = this.#heardAt[next];
      this.#pass[hole] = this.#pass[next];
      hole = next;
    }
    this.#highest[hole] = 0;
    this.#count--;
  }
}
