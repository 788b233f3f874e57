// Makes encoder, decoder and types from a table of messages. A message is a frame: u32 length, then
// one msgpack array [opcode, …fields in the order of the table]. The relay protocol and the journal
// use it.

import { Packr, Unpackr } from "msgpackr";
import { writeU32 } from "./bytes.ts";
import { Malformed, type Shape, type ShapedFields, shapeFields } from "./shape.ts";

type Table = Record<string, { opcode: number; fields: Record<string, Shape<unknown>> }>;
/** The union of the messages in a table, told apart by `type`. */
export type MessageOf<T extends Table> = {
  [K in keyof T & string]: { type: K } & ShapedFields<T[K]["fields"]>;
}[keyof T & string];

const packer = new Packr({ useRecords: false, encodeUndefinedAsNil: true });
const unpacker = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

export type Codec<M> = {
  /** A whole frame, its length field included. */
  encode(message: M): Uint8Array;
  /**
   * The message in the frame at `start`…`end`. Binary fields are views on `bytes`. Throws
   * Malformed.
   */
  decode(bytes: Uint8Array, start: number, end: number): M;
};

export function codec<const T extends Table>(table: T): Codec<MessageOf<T>> {
  const rows = new Map(
    Object.entries(table).map(([type, { opcode, fields }]) => [
      opcode,
      { type, fields, names: Object.keys(fields) },
    ]),
  );

  function encode(message: MessageOf<T>): Uint8Array {
    const { opcode, fields } = table[message.type];
    const values: Record<string, unknown> = message;
    const body = packer.pack([opcode, ...Object.keys(fields).map((name) => values[name])]);
    const frame = new Uint8Array(4 + body.length);
    writeU32(frame, 0, body.length);
    frame.set(body, 4);
    return frame;
  }

  function decode(bytes: Uint8Array, start: number, end: number): MessageOf<T> {
    const values = unpackArray(bytes.subarray(start + 4, end));
    const [opcode] = values;
    const row = typeof opcode === "number" ? rows.get(opcode) : undefined;
    if (row === undefined) throw new Malformed("the opcode is not known");
    if (values.length !== row.names.length + 1)
      throw new Malformed(`${row.type} has ${values.length - 1} fields, not ${row.names.length}`);
    const fields = shapeFields(
      row.fields,
      (_, index) => values[index + 1] ?? undefined,
      `${row.type}.`,
    );
    return { type: row.type, ...fields } as MessageOf<T>;
  }

  return { encode, decode };
}

function unpackArray(body: Uint8Array): unknown[] {
  let value: unknown;
  try {
    value = unpacker.unpack(body);
  } catch {
    throw new Malformed("the frame is not msgpack");
  }
  if (!Array.isArray(value)) throw new Malformed("the frame is not a msgpack array");
  return value;
}
