// Fixed-width big-endian integers inside a byte array. Hot path: no allocation, no DataView, no
// bounds beyond the array's own.

/** The unsigned 32-bit integer at `at`. */
export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/**
 * The unsigned 64-bit integer at `at` as a number: exact up to 2^53 − 1, which offsets and
 * timestamps never leave.
 */
export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 4);
}

export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  writeU32(bytes, at, high);
  writeU32(bytes, at + 4, value - high * 0x1_0000_0000);
}
