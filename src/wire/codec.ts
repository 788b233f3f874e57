// Makes encoder, decoder and types from a table of messages. A message is a frame: u32 length, then
// one msgpack array [opcode, …fields in the order of the table]. The relay protocol and the journal
// use it.

import { Packr, Unpackr } from "msgpackr";
import { writeU32 } from "./bytes.ts";
import { integer, Malformed, type Shape, type ShapedFields, shapeFields } from "./shape.ts";

type Table = Record<string, { opcode: number; fields: Record<string, Shape<unknown>> }>;
/** The union of the messages in a table, told apart by `type`. */
export type MessageOf<T extends Table> = {
  [K in keyof T & string]: { type: K } & ShapedFields<T[K]["fields"]>;
}[keyof T & string];

const packer = new Packr({ useRecords: false, encodeUndefinedAsNil: true });
const unpacker = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

/** Those fields of a message that are of their shapes. */
export type ReadableFields<M> = M extends { type: infer K }
  ? { readonly type: K } & Partial<Omit<M, "type">>
  : never;
/** A whole frame of a known message, in which a field is not of its shape. */
export type Invalid<M> = {
  readonly type: "invalid";
  readonly readable: ReadableFields<M>;
  /** A sentence that names the first wrong field. */
  readonly reason: string;
};

export type Read<M> = M | Invalid<M>;

/** A positive fixint. */
const opcodeShape = integer(0, 0x7f);

export type Codec<M> = {
  /** A whole frame, its length field included. */
  encode(message: M): Uint8Array;
  /**
   * The message in the frame at `start`…`end`. Binary fields are views on `bytes`. Throws
   * Malformed.
   */
  decode(bytes: Uint8Array, start: number, end: number): M;
  /**
   * As `decode`, but a field that is not of its shape is a result: Malformed is thrown only where
   * the frame is no message of the table, so that the sender's framing cannot be trusted.
   */
  read(bytes: Uint8Array, start: number, end: number): Read<M>;
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

  /** The message's row in the table, and its fields as they came. */
  function unpackFrame(bytes: Uint8Array, start: number, end: number) {
    const values = unpackArray(bytes.subarray(start + 4, end));
    const opcode = opcodeShape(values[0], "opcode");
    const row = rows.get(opcode);
    if (row === undefined) throw new Malformed(`opcode ${opcode} is not known`);
    if (values.length !== row.names.length + 1)
      throw new Malformed(`${row.type} has ${values.length - 1} fields, not ${row.names.length}`);
    return { row, fieldOf: (_: string, index: number) => values[index + 1] ?? undefined };
  }

  function shapeMessage({ row, fieldOf }: ReturnType<typeof unpackFrame>): MessageOf<T> {
    const fields = shapeFields(row.fields, fieldOf, `${row.type}.`);
    return { type: row.type, ...fields } as MessageOf<T>;
  }

  function decode(bytes: Uint8Array, start: number, end: number): MessageOf<T> {
    return shapeMessage(unpackFrame(bytes, start, end));
  }

  function read(bytes: Uint8Array, start: number, end: number): Read<MessageOf<T>> {
    const unpacked = unpackFrame(bytes, start, end);
    try {
      return shapeMessage(unpacked);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const { row, fieldOf } = unpacked;
      const readable = { type: row.type, ...readableFields(row.fields, fieldOf) };
      const invalid = { type: "invalid", readable, reason: error.message } as const;
      return invalid as Invalid<MessageOf<T>>;
    }
  }

  return { encode, decode, read };
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

function readableFields(
  fields: Record<string, Shape<unknown>>,
  fieldOf: (name: string, index: number) => unknown,
): Record<string, unknown> {
  const readable: Record<string, unknown> = {};
  Object.entries(fields).forEach(([name, shape], index) => {
    try {
      readable[name] = shape(fieldOf(name, index), name);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
    }
  });
  return readable;
}
