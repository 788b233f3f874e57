// What data may be where it comes as msgpack: values that JSON can hold. Pure.

import { isUtf8 } from "node:buffer";
import { Malformed } from "../../wire/shape.ts";
import { assertMayNest, INEXACT } from "./json-value.ts";

/**
 * Throws Malformed unless the bytes are exactly one msgpack value that JSON can hold: no binary, no
 * extension types, text keys. It runs before the decoder, so that no client reaches the decoder's
 * extensions; a declared length is checked against the bytes that are there.
 */
export function assertJsonMsgpack(bytes: Uint8Array): void {
  const scan = new MsgpackScan(bytes);
  scan.value(0);
  if (!scan.isAtEnd) throw new Malformed("bytes follow the msgpack value");
}

const CUT_OFF = "the msgpack value is cut off";
const NOT_JSON = "the msgpack value holds something that JSON cannot say";

/** Walks over msgpack without decoding it; every method throws Malformed. */
class MsgpackScan {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** One value, `depth` containers deep. */
  value(depth: number): void {
    const type = this.#bytes[this.#skip(1)];
    if (type < 0x80 || type >= 0xe0) return;
    if (type < 0x90) return this.#map(type & 0x0f, depth);
    if (type < 0xa0) return this.#array(type & 0x0f, depth);
    if (type < 0xc0) return this.#text(type & 0x1f);
    switch (type) {
      case 0xc0:
      case 0xc2:
      case 0xc3:
        return;
      case 0xcc:
      case 0xd0:
        this.#skip(1);
        return;
      case 0xcd:
      case 0xd1:
        this.#skip(2);
        return;
      case 0xce:
      case 0xd2:
        this.#skip(4);
        return;
      case 0xca:
        return assertFinite(this.#view.getFloat32(this.#skip(4)));
      case 0xcb:
        return assertFinite(this.#view.getFloat64(this.#skip(8)));
      case 0xcf:
        return assertSafe(this.#view.getBigUint64(this.#skip(8)));
      case 0xd3:
        return assertSafe(this.#view.getBigInt64(this.#skip(8)));
      case 0xd9:
        return this.#text(this.#uint8());
      case 0xda:
        return this.#text(this.#uint16());
      case 0xdb:
        return this.#text(this.#uint32());
      case 0xdc:
        return this.#array(this.#uint16(), depth);
      case 0xdd:
        return this.#array(this.#uint32(), depth);
      case 0xde:
        return this.#map(this.#uint16(), depth);
      case 0xdf:
        return this.#map(this.#uint32(), depth);
      default:
        throw new Malformed(NOT_JSON);
    }
  }

  #array(count: number, depth: number): void {
    assertMayNest(depth);
    for (let i = 0; i < count; i++) this.value(depth + 1);
  }

  #map(count: number, depth: number): void {
    assertMayNest(depth);
    for (let i = 0; i < count; i++) {
      this.#key();
      this.value(depth + 1);
    }
  }

  #key(): void {
    const type = this.#bytes[this.#at];
    const isText = (type >= 0xa0 && type < 0xc0) || (type >= 0xd9 && type <= 0xdb);
    if (type !== undefined && !isText) throw new Malformed(NOT_JSON);
    this.value(0);
  }

  #text(length: number): void {
    const start = this.#skip(length);
    for (let i = start; i < this.#at; i++) {
      if (this.#bytes[i] < 0x80) continue;
      if (isUtf8(this.#bytes.subarray(i, this.#at))) return;
      throw new Malformed("text is not UTF-8");
    }
  }

  #uint8(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  #uint16(): number {
    return this.#view.getUint16(this.#skip(2));
  }

  #uint32(): number {
    return this.#view.getUint32(this.#skip(4));
  }

  /** Returns where the skipped bytes begin. */
  #skip(count: number): number {
    const start = this.#at;
    if (start + count > this.#bytes.length) throw new Malformed(CUT_OFF);
    this.#at = start + count;
    return start;
  }
}

function assertFinite(value: number): void {
  if (!Number.isFinite(value)) throw new Malformed(NOT_JSON);
}

function assertSafe(value: bigint): void {
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER)
    throw new Malformed(`${value} ${INEXACT}`);
}
