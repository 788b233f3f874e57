// The client protocol: every message between a client and a node, in both encodings. PROTOCOL.md,
// "The client protocol", says what each is for. No dependency: browsers import this.

import { channelName } from "./channel-name.ts";
import { GAP_REASONS, type GapReason, gapFields, offsetShape, positionShape } from "./position.ts";
import {
  flag,
  integer,
  isRecord,
  list,
  Malformed,
  object,
  optional,
  present,
  type Shape,
  type Shaped,
  type ShapedFields,
  shapeFields,
  text,
} from "./shape.ts";

/** Values of Sec-WebSocket-Protocol. A client that names neither speaks JSON. */
export const SUBPROTOCOL_JSON = "tutti.v1.json";
export const SUBPROTOCOL_MSGPACK = "tutti.v1.msgpack";

export const SEQ_MAX = 0xffff_ffff;
/**
 * Publications that a client may have unacknowledged in one channel, and a relay's window of seqs,
 * in which it always recognizes a repeat. A multiple of 32.
 */
export const UNACKNOWLEDGED_MAX = 256;
const HISTORY_LIMIT_MAX = 1000;

const requestId: Shape<string | number> = (value, field) => {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (typeof value === "string" && value.length <= 64) return value;
  throw new Malformed(`${field} must be a number or text of at most 64 characters`);
};
const id = optional(requestId);

const clientTable = {
  connect: { id, token: optional(text(1, 8192)), producer: optional(text(8, 64)) },
  subscribe: {
    id,
    channel: channelName,
    since: optional(positionShape),
    last: optional(integer(0, HISTORY_LIMIT_MAX)),
  },
  unsubscribe: { id, channel: channelName },
  publish: {
    id,
    channel: channelName,
    data: present,
    seq: optional(integer(1, SEQ_MAX)),
    key: optional(text(1, 128)),
    after: optional(integer(0, SEQ_MAX)),
    age: optional(integer(0, Number.MAX_SAFE_INTEGER)),
  },
  history: {
    id,
    channel: channelName,
    since: optional(positionShape),
    limit: optional(integer(1, HISTORY_LIMIT_MAX)),
    reverse: optional(flag),
  },
  presence: { id, channel: channelName },
  call: { id, method: text(1, 100), params: optional(present) },
  ping: { id },
};

type Messages<T extends Record<string, Record<string, Shape<unknown>>>> = {
  [K in keyof T & string]: { type: K } & ShapedFields<T[K]>;
}[keyof T & string];

export type ClientMessage = Messages<typeof clientTable>;
export type ClientMessageOf<K extends ClientMessage["type"]> = Extract<ClientMessage, { type: K }>;
export type RequestId = string | number;

/**
 * The message in a decoded frame; throws Malformed. A type that the protocol does not know is a
 * call of the app's method of that name, with the whole frame as its params.
 */
export function clientMessage(frame: unknown): ClientMessage {
  if (!isRecord(frame)) throw new Malformed("a frame must be an object with a type");
  const type = text(1, 100)(Object.hasOwn(frame, "type") ? frame.type : undefined, "type");
  const method = { type: "call", method: type, params: frame } as const;
  if (!names(clientTable, type)) {
    const called = requestIdOf(frame);
    return called === undefined ? method : { ...method, id: called };
  }
  return shapedMessage(clientTable, type, frame);
}

/** The id of a frame that may be malformed, for its error. */
export function requestIdOf(frame: unknown): RequestId | undefined {
  if (!isRecord(frame) || !Object.hasOwn(frame, "id")) return undefined;
  try {
    return requestId(frame.id, "id");
  } catch {
    return undefined;
  }
}

/** A later version's reason says as much as this one does: these publications are gone. */
const gapReason: Shape<GapReason> = (value, field) => {
  const word = text(1, 64)(value, field);
  return GAP_REASONS.find((reason) => reason === word) ?? "evicted";
};
const clientGapFields = { ...gapFields, reason: gapReason };
/** One remembered publication, as `history` answers it. */
const rememberedShape = object({
  offset: offsetShape,
  time: integer(0, Number.MAX_SAFE_INTEGER),
  data: present,
});
/** One client that is present in a channel; `client` is its session. */
const presentShape = object({ client: text(1, 64), info: optional(present) });

const limitsShape = object({
  frameBytes: integer(1, Number.MAX_SAFE_INTEGER),
  dataBytes: integer(1, Number.MAX_SAFE_INTEGER),
  subscriptions: integer(1, Number.MAX_SAFE_INTEGER),
  unacknowledged: integer(1, Number.MAX_SAFE_INTEGER),
});
export type Limits = Shaped<typeof limitsShape>;

const nodeTable = {
  welcome: {
    session: text(1, 64),
    node: text(1, 64),
    pingMs: integer(1, 3_600_000),
    limits: limitsShape,
  },
  /**
   * `position`, `recovered` and `gap` answer a subscribe; `position` a publish or history; `data` a
   * call, history or presence.
   */
  ok: {
    id,
    channel: optional(channelName),
    position: optional(positionShape),
    recovered: optional(flag),
    more: optional(flag),
    gap: optional(object(clientGapFields)),
    data: optional(present),
  },
  /** Codes of later versions pass: `retry` says enough of them. */
  error: { id, code: text(1, 64), message: text(0, 1000), retry: flag },
  message: {
    channel: channelName,
    offset: offsetShape,
    time: integer(0, Number.MAX_SAFE_INTEGER),
    data: present,
  },
  /** The reader continues after `position`. */
  gap: {
    channel: channelName,
    ...clientGapFields,
    position: positionShape,
  },
  join: { channel: channelName, client: text(1, 64), info: optional(present) },
  leave: { channel: channelName, client: text(1, 64), info: optional(present) },
  goodbye: { reason: text(0, 200), reconnectAfterMs: integer(0, 3_600_000) },
  pong: { id },
};

export type NodeMessage = Messages<typeof nodeTable>;
export type NodeMessageOf<K extends NodeMessage["type"]> = Extract<NodeMessage, { type: K }>;
export type Present = Shaped<typeof presentShape>;
export const rememberedList = list(rememberedShape, HISTORY_LIMIT_MAX);
export const presentList = list(presentShape, 100_000);

/**
 * The message in a decoded frame from a node; undefined: a type of a later version. Throws
 * Malformed.
 */
export function nodeMessage(frame: unknown): NodeMessage | undefined {
  if (!isRecord(frame) || typeof frame.type !== "string")
    throw new Malformed("a frame must be an object with a type");
  const { type } = frame;
  return names(nodeTable, type) ? shapedMessage(nodeTable, type, frame) : undefined;
}

/** The fields whose content belongs to the app: a node passes on their JSON text as it is. */
type AppField = "data" | "info";
type WithAppText<M> = {
  [F in keyof M]: F extends AppField ? string | Extract<M[F], undefined> : M[F];
};
/** A message as a node sends it: `data` and `info` hold JSON text. */
export type OutgoingMessage = {
  [K in NodeMessage["type"]]: WithAppText<NodeMessageOf<K>>;
}[NodeMessage["type"]];

/** The JSON text of a message from a node: its fields in the order of the table. */
export function encodeNodeMessage(message: OutgoingMessage): string {
  const values: Record<string, unknown> = message;
  let json = `{"type":"${message.type}"`;
  for (const name of Object.keys(nodeTable[message.type])) {
    const value = values[name];
    if (value === undefined) continue;
    json += `,"${name}":${name === "data" || name === "info" ? value : JSON.stringify(value)}`;
  }
  return `${json}}`;
}

// What a node encodes once per publication is concatenated from parts that were encoded before;
// a test holds these against the table.

/** What precedes the offset in every `message` of one channel. `channelText`: the name as JSON. */
export const messageHead = (channelText: string): string =>
  `{"type":"message","channel":${channelText},"offset":`;

/** A `message`. `head`: see messageHead. `dataText`: JSON. */
export const encodeMessage = (
  head: string,
  offset: number,
  timeMs: number,
  dataText: string,
): string => `${head}${offset},"time":${timeMs},"data":${dataText}}`;

/** The `ok` of a publish. `offset` 0: it is not known. */
export function encodePublishOk(
  id: RequestId,
  channelText: string,
  epoch: string,
  offset: number,
): string {
  const position =
    offset === 0 ? "" : `,"position":{"epoch":${JSON.stringify(epoch)},"offset":${offset}}`;
  return `{"type":"ok","id":${JSON.stringify(id)},"channel":${channelText}${position}}`;
}

/** An entry of what answers `history`. */
export const encodeRemembered = (offset: number, timeMs: number, dataText: string): string =>
  `{"offset":${offset},"time":${timeMs},"data":${dataText}}`;

/** An entry of what answers `presence`. */
export const encodePresent = (client: string, infoText: string | undefined): string =>
  `{"client":${JSON.stringify(client)}${infoText === undefined ? "" : `,"info":${infoText}`}}`;

/** Whether a table has messages of this type. */
function names<T extends object>(table: T, type: string): type is keyof T & string {
  return Object.hasOwn(table, type);
}

function shapedMessage<T extends Record<string, Record<string, Shape<unknown>>>>(
  table: T,
  type: keyof T & string,
  frame: Record<string, unknown>,
): Messages<T> {
  const fields = shapeFields(table[type], (name) =>
    Object.hasOwn(frame, name) ? frame[name] : undefined,
  );
  return { type, ...fields } as Messages<T>;
}
