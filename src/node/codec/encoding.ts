// The two encodings of the client protocol. Messages are encoded as JSON text first; a msgpack
// frame is made from that text, only for clients that use msgpack. Pure.

import { Packr, Unpackr } from "msgpackr";
import {
  type RequestId,
  requestIdOf,
  SUBPROTOCOL_JSON,
  SUBPROTOCOL_MSGPACK,
} from "../../wire/client-messages.ts";
import { Malformed } from "../../wire/shape.ts";
import { assertJsonValue } from "./json-value.ts";
import { scalarOf } from "./msgpack-field.ts";
import { assertJsonMsgpack } from "./msgpack-value.ts";

export type Encoding = "json" | "msgpack";
/** What goes into one WebSocket message: a text frame or a binary one. */
export type Frame = string | Uint8Array;

const packer = new Packr({ useRecords: false });
const unpacker = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

/** The first supported subprotocol in the client's list; undefined: none, so it gets JSON. */
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
    assertJsonValue(value, frame);
    return value;
  }
  if (typeof frame === "string")
    throw new Malformed("this connection speaks msgpack, in binary frames");
  assertJsonMsgpack(frame);
  return unpacker.unpack(frame);
}

/** The id of a frame that is malformed, for its error; undefined where none can be read. */
export function requestIdIn(encoding: Encoding, frame: string | Uint8Array): RequestId | undefined {
  if (typeof frame !== "string") {
    if (encoding === "json") return undefined;
    const id = scalarOf(frame, "id");
    return id && requestIdOf({ id: unpacker.unpack(id) });
  }
  if (encoding === "msgpack") return undefined;
  try {
    return requestIdOf(JSON.parse(frame));
  } catch {
    return undefined;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Malformed("the frame is not JSON");
  }
}

/** The client frame that holds this JSON text. */
export function frameOf(encoding: Encoding, json: string): Frame {
  return encoding === "json" ? json : packer.pack(JSON.parse(json));
}
