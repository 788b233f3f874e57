// How deep JSON may be nested for both ends of the client protocol, and where its texts end.
// No dependency: browsers import this.

/** How deep a frame may be nested: objects and lists, the frame itself included. */
export const DEPTH_MAX = 64;
/** How deep the data of a publication may be nested: it is a field of its frame. */
export const DATA_DEPTH_MAX = DEPTH_MAX - 1;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Where the text that begins at `quote` in valid JSON ends: its closing quote. */
export function textEnd(json: string, quote: number): number {
  let at = quote + 1;
  for (; at < json.length && json.charCodeAt(at) !== QUOTE; at++)
    if (json.charCodeAt(at) === BACKSLASH) at++;
  return at;
}
