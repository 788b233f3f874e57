// The two encodings of the client protocol. What a node says is JSON text first; a msgpack frame is
// a translation of that text, made only for those who read msgpack. Pure.

import { Packr, Unpackr } from "msgpackr";
import { SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK } from "../../wire/client-messages.ts";
import { Malformed } from "../../wire/shape.ts";
import { assertJsonMsgpack, assertJsonValue } from "./json-value.ts";

export type Encoding = "json" | "msgpack";
/** What goes into one WebSocket message: a text frame or a binary one. */
export type Frame = string | Uint8Array;

const packer = new Packr({ useRecords: false });
const unpacker = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

/**
 * The first subprotocol of the client's list that we speak; undefined when it named none of ours,
 * and so gets JSON.
 */
export function chooseSubprotocol(
  header: string | null,
): typeof SUBPROTOCOL_JSON | typeof SUBPROTOCOL_MSGPACK | undefined {
  for (const offered of header?.split(",") ?? []) {
    const name = offered.trim();
    if (name === SUBPROTOCOL_JSON || name === SUBPROTOCOL_MSGPACK) return name;
  }
  return undefined;
}

/** The value in a client's frame. Throws Malformed. */
export function decodeFrame(encoding: Encoding, frame: string | Uint8Array): unknown {
  if (encoding === "json") {
    if (typeof frame !== "string")
      throw new Malformed("this connection speaks JSON, in text frames");
    const value = parseJson(frame);
    assertJsonValue(value);
    return value;
  }
  if (typeof frame === "string")
    throw new Malformed("this connection speaks msgpack, in binary frames");
  assertJsonMsgpack(frame);
  return unpacker.unpack(frame);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Malformed("the frame is not JSON");
  }
}

/** The frame that says what this JSON text says. */
export function frameOf(encoding: Encoding, json: string): Frame {
  return encoding === "json" ? json : packer.pack(JSON.parse(json));
}
