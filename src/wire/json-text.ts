// What JSON both ends of the client protocol take: a limit of depth, and no half surrogate pairs.
// No dependency: browsers import this.

/** How deep a frame may be nested: objects and lists, the frame itself included. */
export const DEPTH_MAX = 64;
/** How deep the data of a publication may be nested: it is a field of its frame. */
export const DATA_DEPTH_MAX = DEPTH_MAX - 1;

/** A surrogate that JSON.stringify had to escape, so one without its partner. */
const HALF_PAIR = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Why a node would refuse this text, nested at most `depthMax` deep; undefined: it takes it.
 * `json`: what JSON.stringify returned.
 */
export function jsonFault(json: string, depthMax: number): string | undefined {
  if (json.includes("\\ud") && HALF_PAIR.test(json))
    return "text must not hold half a surrogate pair";
  if (json.length > 2 * depthMax && depthOf(json) > depthMax)
    return `it may be nested ${depthMax} deep`;
  return undefined;
}

/** Where the text that begins at `quote` in valid JSON ends: its closing quote. */
export function textEnd(json: string, quote: number): number {
  let at = quote + 1;
  for (; at < json.length && json.charCodeAt(at) !== QUOTE; at++)
    if (json.charCodeAt(at) === BACKSLASH) at++;
  return at;
}

/** How deep valid JSON is nested. */
function depthOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at);
    // "[" and "{", "]" and "}".
    if (code === QUOTE) at = textEnd(json, at);
    else if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x5d || code === 0x7d) depth--;
  }
  return deepest;
}
