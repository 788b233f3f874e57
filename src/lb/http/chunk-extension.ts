// The grammar of chunk extensions (RFC 9112, 7.1.1), byte by byte, so that a line that another
// parser could end elsewhere is refused. Pure; what the extensions say is not kept.

import { isBlank, isTokenByte, isValueByte } from "./fields.ts";

/**
 * Where in the extensions a byte stands. `separator`: after white space, so that only a semicolon
 * may follow. `escaped`: after a backslash in a quoted string.
 */
export type ExtensionState =
  | "separator"
  | "before-name"
  | "name"
  | "after-name"
  | "before-value"
  | "value"
  | "quoted"
  | "escaped"
  | "after-quoted";

const CR = 0x0d;
const QUOTE = 0x22;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;

/**
 * The state that the first byte after a chunk size leads to; undefined where no extension begins.
 */
export function extensionBegins(byte: number): ExtensionState | undefined {
  if (byte === SEMICOLON) return "before-name";
  return isBlank(byte) ? "separator" : undefined;
}

/** The state after this byte; `end` after the CR that ends the line; undefined: malformed. */
export function nextInExtension(
  state: ExtensionState,
  byte: number,
): ExtensionState | "end" | undefined {
  switch (state) {
    case "separator":
      return extensionBegins(byte);
    case "before-name":
      if (isTokenByte(byte)) return "name";
      return isBlank(byte) ? state : undefined;
    case "name":
      if (isTokenByte(byte)) return state;
      if (byte === EQUALS) return "before-value";
      if (isBlank(byte)) return "after-name";
      return afterParameter(byte);
    case "after-name":
      if (byte === EQUALS) return "before-value";
      return byte === SEMICOLON ? "before-name" : isBlank(byte) ? state : undefined;
    case "before-value":
      if (byte === QUOTE) return "quoted";
      if (isTokenByte(byte)) return "value";
      return isBlank(byte) ? state : undefined;
    case "value":
      return isTokenByte(byte) ? state : afterParameter(byte);
    case "quoted":
      if (byte === QUOTE) return "after-quoted";
      if (byte === BACKSLASH) return "escaped";
      return isValueByte(byte) ? state : undefined;
    case "escaped":
      return isValueByte(byte) ? "quoted" : undefined;
    case "after-quoted":
      return afterParameter(byte);
  }
}

const afterParameter = (byte: number): ExtensionState | "end" | undefined =>
  byte === CR ? "end" : extensionBegins(byte);
