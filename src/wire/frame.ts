// Frames of a relay link: how bytes are cut into frames, and the one fixed layout that PUBLISH and
// PUBLICATION share. Nothing here knows a socket. PROTOCOL.md, "Frames", is the description of what
// this file implements.

import { readU32, readU64, writeU32, writeU64 } from "./bytes.ts";

/** The longest payload of a publication, in bytes. */
export const PAYLOAD_BYTES_MAX = 1024 * 1024;
/** Bytes of a publication's frame before its payload, the length field included. */
const PUBLICATION_HEAD_BYTES = 48;
/** The longest frame, its length field included. */
export const FRAME_BYTES_MAX = PAYLOAD_BYTES_MAX + PUBLICATION_HEAD_BYTES;
/** The longest frame that a link may send before it has proved that it knows the cluster secret. */
export const HELLO_BYTES_MAX = 512;

export const PUBLISH = 0x10;
export const PUBLICATION = 0x11;

/** The longest age of a PUBLISH, ms; what is older says this. */
const AGE_MAX = 0xffff_ffff;

const ARRAY_OF_7 = 0x97;
const U32 = 0xce;
const U64 = 0xcf;
const BIN32 = 0xc6;

/**
 * The identity of a producer: a random or hashed 64-bit number, held as two unsigned 32-bit halves.
 */
export type Producer = { readonly high: number; readonly low: number };

/** Whose a producer is, in its lowest bits of the high half: a relay shares its memory by that. */
export const OWNERS = 1 << 12;
export const ownerAmong = (high: number): number => high & (OWNERS - 1);

/** The opcode of the frame that begins at `start`: 0 when its second byte cannot be one. */
export function opcodeOf(bytes: Uint8Array, start: number): number {
  const opcode = bytes[start + 5];
  return opcode < 0x80 ? opcode : 0;
}

/** Whether the frame at `start`…`end` is a PUBLISH or PUBLICATION of exactly the fixed layout. */
export function isPublicationLayout(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    end - start >= PUBLICATION_HEAD_BYTES &&
    bytes[start + 4] === ARRAY_OF_7 &&
    bytes[start + 6] === U32 &&
    bytes[start + 11] === U64 &&
    bytes[start + 20] === U64 &&
    bytes[start + 29] === U64 &&
    bytes[start + 38] === U32 &&
    bytes[start + 43] === BIN32 &&
    readU32(bytes, start + 44) === end - start - PUBLICATION_HEAD_BYTES
  );
}

export const channelIdAt = (bytes: Uint8Array, start: number): number => readU32(bytes, start + 7);
export const offsetAt = (bytes: Uint8Array, start: number): number => readU64(bytes, start + 12);
export const timeAt = (bytes: Uint8Array, start: number): number => readU64(bytes, start + 21);
export const producerHighAt = (bytes: Uint8Array, start: number): number =>
  readU32(bytes, start + 30);
export const producerLowAt = (bytes: Uint8Array, start: number): number =>
  readU32(bytes, start + 34);
export const seqAt = (bytes: Uint8Array, start: number): number => readU32(bytes, start + 39);
// A PUBLISH has these where the relay writes offset and time.
/** The producer in whose order the PUBLISH is; 0: in nobody's. */
export const orderHighAt = (bytes: Uint8Array, start: number): number => readU32(bytes, start + 12);
export const orderLowAt = (bytes: Uint8Array, start: number): number => readU32(bytes, start + 16);
/** The seq, in that order, of what has to be taken before the PUBLISH; 0: nothing has to be. */
export const afterAt = (bytes: Uint8Array, start: number): number => readU32(bytes, start + 21);
/** How long ago it was sent for the first time, ms; 0: this is the first time. */
export const ageAt = (bytes: Uint8Array, start: number): number => readU32(bytes, start + 25);
/**
 * The payload of the publication at `start`…`end`: a view, valid as long as `bytes` is not reused.
 */
export const payloadOf = (bytes: Uint8Array, start: number, end: number): Uint8Array =>
  bytes.subarray(start + PUBLICATION_HEAD_BYTES, end);

/**
 * Names the channel of a PUBLISH: a publisher does this again when a relay gives the channel
 * another id.
 */
export function setChannelId(bytes: Uint8Array, start: number, channelId: number): void {
  writeU32(bytes, start + 7, channelId);
}

/** Says in whose order the PUBLISH at `start` is. */
export function setOrder(bytes: Uint8Array, start: number, producer: Producer): void {
  writeU32(bytes, start + 12, producer.high);
  writeU32(bytes, start + 16, producer.low);
}

/** Says what has to be taken before the PUBLISH at `start`. `seq` 0: nothing. */
export function setAfter(bytes: Uint8Array, start: number, seq: number): void {
  writeU32(bytes, start + 21, seq);
}

export function setSeq(bytes: Uint8Array, start: number, seq: number): void {
  writeU32(bytes, start + 39, seq);
}

/** Says how long ago the PUBLISH at `start` was sent for the first time. */
export function setAge(bytes: Uint8Array, start: number, ageMs: number): void {
  writeU32(bytes, start + 25, Math.min(ageMs, AGE_MAX));
}

/**
 * Turns the PUBLISH at `start` into the PUBLICATION that every link and the journal get. `timeMs`:
 * since the Unix epoch.
 */
export function stamp(bytes: Uint8Array, start: number, offset: number, timeMs: number): void {
  bytes[start + 5] = PUBLICATION;
  writeU64(bytes, start + 12, offset);
  writeU64(bytes, start + 21, timeMs);
}

/** A whole PUBLISH frame, sent for the first time, in nobody's order. `seq`: 1 to 2^32 − 1. */
export function encodePublish(
  channelId: number,
  producer: Producer,
  seq: number,
  payload: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(PUBLICATION_HEAD_BYTES + payload.length);
  writeU32(bytes, 0, bytes.length - 4);
  bytes[4] = ARRAY_OF_7;
  bytes[5] = PUBLISH;
  bytes[6] = U32;
  writeU32(bytes, 7, channelId);
  bytes[11] = U64;
  bytes[20] = U64;
  bytes[29] = U64;
  writeU32(bytes, 30, producer.high);
  writeU32(bytes, 34, producer.low);
  bytes[38] = U32;
  writeU32(bytes, 39, seq);
  bytes[43] = BIN32;
  writeU32(bytes, 44, payload.length);
  bytes.set(payload, PUBLICATION_HEAD_BYTES);
  return bytes;
}

/** Why a stream of bytes cannot be cut into frames. The link that sent it ends with this reason. */
export type FrameFault = "frame_too_long" | "frame_too_short";

/**
 * Receives one whole frame, its length field at `start`; the bytes are only lent for the call.
 * `false` stops the decoder.
 */
export type OnFrame = (bytes: Uint8Array, start: number, end: number) => boolean;

/**
 * Cuts a stream into frames. What is incomplete is kept for the next `feed`; nothing is allocated
 * from a declared length, only for bytes that have arrived.
 */
export class FrameDecoder {
  frameBytesMax: number;
  #kept = new Uint8Array(0);
  #keptLength = 0;

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax;
  }

  /**
   * Gives every whole frame to `onFrame`. Returns a fault when the stream cannot be followed any
   * further.
   */
  feed(chunk: Uint8Array, onFrame: OnFrame): FrameFault | undefined {
    let at = 0;
    while (this.#keptLength > 0 && at < chunk.length) {
      const wanted = this.#wanted();
      if (typeof wanted === "string") return wanted;
      const taken = Math.min(wanted - this.#keptLength, chunk.length - at);
      this.#keep(chunk, at, at + taken);
      at += taken;
      if (this.#keptLength < wanted || wanted === 4) continue;
      this.#keptLength = 0;
      if (!onFrame(this.#kept, 0, wanted)) return undefined;
    }
    while (chunk.length - at >= 4) {
      const end = at + 4 + readU32(chunk, at);
      const fault = this.#fault(end - at);
      if (fault !== undefined) return fault;
      if (end > chunk.length) break;
      if (!onFrame(chunk, at, end)) return undefined;
      at = end;
    }
    if (at < chunk.length) this.#keep(chunk, at, chunk.length);
    return undefined;
  }

  /** Bytes that the kept frame needs: 4 until its length is known. */
  #wanted(): number | FrameFault {
    if (this.#keptLength < 4) return 4;
    const length = 4 + readU32(this.#kept, 0);
    return this.#fault(length) ?? length;
  }

  #fault(frameBytes: number): FrameFault | undefined {
    if (frameBytes > this.frameBytesMax) return "frame_too_long";
    return frameBytes < 6 ? "frame_too_short" : undefined;
  }

  #keep(chunk: Uint8Array, from: number, to: number): void {
    const length = this.#keptLength + to - from;
    if (length > this.#kept.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.#kept.length, 256));
      grown.set(this.#kept.subarray(0, this.#keptLength));
      this.#kept = grown;
    }
    this.#kept.set(chunk.subarray(from, to), this.#keptLength);
    this.#keptLength = length;
  }
}
