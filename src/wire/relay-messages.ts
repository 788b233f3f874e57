// The relay protocol: every message between a relay and the processes linked to it, except PUBLISH
// and PUBLICATION, whose fixed layout is in frame.ts. PROTOCOL.md, "The relay protocol", says what
// each is for.

import { channelName } from "./channel-name.ts";
import { codec, type Invalid, type MessageOf } from "./codec.ts";
import { epochShape, gapShape, nextOffsetShape, offsetShape, positionShape } from "./position.ts";
import {
  binary,
  counts,
  flag,
  integer,
  list,
  nullable,
  object,
  oneOf,
  type Shaped,
  text,
} from "./shape.ts";

export const RELAY_PROTOCOL_VERSION = 2;

const u32 = integer(0, 0xffff_ffff);
const milliseconds = integer(0, Number.MAX_SAFE_INTEGER);
const processId = text(1, 64);
const role = oneOf("node", "lb", "cluster", "probe");
const trimmed = oneOf("expired", "evicted");

/** The most publications that a channel can be asked to remember. */
export const POLICY_SIZE_MAX = 1_000_000;
/** The longest that a channel can be asked to remember publications, ms, and the most bytes. */
export const POLICY_TTL_MS_MAX = Number.MAX_SAFE_INTEGER;
export const POLICY_BYTES_MAX = Number.MAX_SAFE_INTEGER;
/**
 * How much of a channel is remembered: at most `size` publications, `bytes` of frames, for `ttlMs`.
 * Size 0 remembers nothing.
 */
export const policyShape = object({
  size: integer(0, POLICY_SIZE_MAX),
  ttlMs: integer(0, POLICY_TTL_MS_MAX),
  bytes: integer(0, POLICY_BYTES_MAX),
});
export type Policy = Shaped<typeof policyShape>;

/**
 * One process as the registry knows it. `address`: where its clients or lbs reach it.
 * `connections`: open client connections.
 */
const memberShape = object({
  role,
  id: processId,
  address: text(0, 255),
  state: oneOf("starting", "up", "draining"),
  connections: integer(0, 0xffff_ffff),
  /** An lb's open connections per node id, which the other lbs add to theirs. */
  counts: counts(1024),
});
export type Member = Shaped<typeof memberShape>;
export type Role = Shaped<typeof role>;

/** Outcomes in an ACK that are not offsets. */
export const OUTCOME_DUPLICATE = 0;
export const OUTCOME_STORAGE = -1;
export const OUTCOME_UNKNOWN_CHANNEL = -2;
/** The publication that has to be taken before this one has not been. */
export const OUTCOME_ORDER = -3;
/** A repeat of what may be forgotten: whether it was taken is not known. */
export const OUTCOME_UNKNOWN = -4;

/** Each message's opcode, and its fields in the order they have on the wire. */
export const RELAY_TABLE = {
  hello: { opcode: 0x01, fields: { version: u32, role, id: processId, nonce: binary(16, 16) } },
  challenge: { opcode: 0x02, fields: { nonce: binary(16, 16), proof: binary(32, 32) } },
  prove: { opcode: 0x03, fields: { proof: binary(32, 32) } },
  welcome: {
    opcode: 0x04,
    fields: {
      relay: processId,
      lineage: text(1, 32),
      uptimeMs: milliseconds,
      pingMs: milliseconds,
    },
  },
  ping: { opcode: 0x05, fields: {} },
  pong: { opcode: 0x06, fields: {} },
  bye: { opcode: 0x07, fields: { reason: text(1, 64), message: text(0, 500) } },

  /**
   * Outcomes of this link's PUBLISH frames, in the order they were sent: an offset, or one of
   * OUTCOME_*.
   */
  ack: { opcode: 0x12, fields: { outcomes: list(integer(-16, Number.MAX_SAFE_INTEGER), 100_000) } },

  /**
   * `live`: this link wants the channel's publications; without it the link only learns the
   * channel's id, to publish.
   */
  open: {
    opcode: 0x20,
    fields: {
      channel: channelName,
      live: flag,
      presence: flag,
      policy: policyShape,
      since: nullable(positionShape),
    },
  },
  /**
   * Followed by `missed` PUBLICATION frames and `members` ENTERED frames, then by whatever happens
   * in the channel.
   */
  opened: {
    opcode: 0x21,
    fields: {
      channel: channelName,
      id: u32,
      epoch: epochShape,
      first: nextOffsetShape,
      top: offsetShape,
      trimmed,
      gap: nullable(gapShape),
      missed: u32,
      members: u32,
    },
  },
  close: { opcode: 0x22, fields: { id: u32 } },
  open_refused: {
    opcode: 0x23,
    fields: { channel: channelName, reason: oneOf("limit", "storage", "malformed") },
  },

  /**
   * Up to `limit` publications after `since` (from the oldest without it), or with `reverse` the
   * last ones before it.
   */
  history: {
    opcode: 0x28,
    fields: {
      request: u32,
      id: u32,
      since: nullable(positionShape),
      limit: integer(0, 10_000),
      reverse: flag,
    },
  },
  /**
   * Followed by `count` PUBLICATION frames, oldest first, which answer this request and no other.
   */
  page: {
    opcode: 0x29,
    fields: {
      request: u32,
      found: flag,
      epoch: epochShape,
      first: nextOffsetShape,
      top: offsetShape,
      trimmed,
      gap: nullable(gapShape),
      count: u32,
    },
  },

  register: {
    opcode: 0x30,
    fields: {
      address: text(0, 255),
      state: oneOf("starting", "up", "draining"),
      connections: integer(0, 0xffff_ffff),
      counts: counts(1024),
    },
  },
  watch: { opcode: 0x31, fields: {} },
  registry: { opcode: 0x32, fields: { members: list(memberShape, 4096) } },
  registered: { opcode: 0x33, fields: { member: memberShape } },
  departed: { opcode: 0x34, fields: { role, id: processId } },

  /** `info` is JSON text, never looked into. */
  enter: { opcode: 0x40, fields: { id: u32, client: text(1, 64), info: binary(0, 1024) } },
  leave: { opcode: 0x41, fields: { id: u32, client: text(1, 64) } },
  entered: { opcode: 0x42, fields: { id: u32, client: text(1, 64), info: binary(0, 1024) } },
  left: { opcode: 0x43, fields: { id: u32, client: text(1, 64) } },
} as const;

export type RelayMessage = MessageOf<typeof RELAY_TABLE>;
export type RelayMessageOf<K extends RelayMessage["type"]> = Extract<RelayMessage, { type: K }>;

export const {
  encode: encodeRelayMessage,
  decode: decodeRelayMessage,
  read: readRelayMessage,
} = codec(RELAY_TABLE);
/** A relay message with a field that is wrong: what can be read of it, and what is wrong. */
export type InvalidRelayMessage = Invalid<RelayMessage>;
