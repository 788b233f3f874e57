// Finds one field of a msgpack map without decoding the rest: of a frame that is refused, so that
// the refusal carries the frame's id. Pure.

/**
 * The bytes of the value under `key` where a msgpack map begins the bytes, and the value is a text
 * or a number; undefined in any other case. What it does not look for it passes over, however deep
 * and whatever it is.
 */
export function scalarOf(bytes: Uint8Array, key: string): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const encodedKey = Buffer.from([0xa0 + key.length, ...Buffer.from(key)]);
  try {
    const map = headAt(view, 0);
    let keyAt = map.end;
    for (let left = map.isMap ? map.count : 0; left > 0; left -= 2) {
      const valueAt = skip(view, keyAt);
      const end = skip(view, valueAt);
      if (encodedKey.equals(bytes.subarray(keyAt, valueAt)))
        return isScalar(bytes[valueAt]) ? bytes.subarray(valueAt, end) : undefined;
      keyAt = end;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return undefined;
}

const isScalar = (type: number) =>
  type < 0x80 ||
  type >= 0xe0 ||
  (type >= 0xa0 && type < 0xc0) ||
  (type >= 0xca && type < 0xd4) ||
  (type >= 0xd9 && type < 0xdc);

/** Where the value that begins at `at` ends, however deep it is nested. */
function skip(view: DataView, at: number): number {
  let end = at;
  for (let left = 1; left > 0; left--) {
    const head = headAt(view, end);
    end = head.end;
    left += head.count;
  }
  return end;
}

/**
 * Where a value's own bytes end, and how many values follow that belong to it. Throws RangeError
 * where the bytes end before it does.
 */
function headAt(view: DataView, at: number): { end: number; count: number; isMap: boolean } {
  const type = view.getUint8(at);
  const leaf = (end: number) => {
    if (end > view.byteLength) throw new RangeError("the msgpack value is cut off");
    return { end, count: 0, isMap: false };
  };
  const list = (end: number, count: number) => ({ end, count, isMap: false });
  const map = (end: number, count: number) => ({ end, count: 2 * count, isMap: true });
  const u16 = (where: number) => view.getUint16(where);
  const u32 = (where: number) => view.getUint32(where);
  if (type < 0x80 || type >= 0xe0) return leaf(at + 1);
  if (type < 0x90) return map(at + 1, type & 0x0f);
  if (type < 0xa0) return list(at + 1, type & 0x0f);
  if (type < 0xc0) return leaf(at + 1 + (type & 0x1f));
  if (type < 0xc4) return leaf(at + 1);
  // bin and ext, an extension's own type byte included.
  if (type < 0xca) {
    const own = type < 0xc7 ? 0 : 1;
    if (type === 0xc4 || type === 0xc7) return leaf(at + 2 + own + view.getUint8(at + 1));
    if (type === 0xc5 || type === 0xc8) return leaf(at + 3 + own + u16(at + 1));
    return leaf(at + 5 + own + u32(at + 1));
  }
  if (type < 0xd4) return leaf(at + 1 + SCALAR_BYTES[type - 0xca]);
  if (type < 0xd9) return leaf(at + 2 + 2 ** (type - 0xd4));
  if (type === 0xd9) return leaf(at + 2 + view.getUint8(at + 1));
  if (type === 0xda) return leaf(at + 3 + u16(at + 1));
  if (type === 0xdb) return leaf(at + 5 + u32(at + 1));
  if (type === 0xdc) return list(at + 3, u16(at + 1));
  if (type === 0xdd) return list(at + 5, u32(at + 1));
  return type === 0xde ? map(at + 3, u16(at + 1)) : map(at + 5, u32(at + 1));
}

/** float 32 and 64, uint 8 to 64, int 8 to 64. */
const SCALAR_BYTES = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8];
