// What the journal holds besides publications: the same frames as on a link, with opcodes of their
// own. A segment begins with its header; a channel's definition names its id, its epoch and its top
// at that moment.

import { channelName } from "../../wire/channel-name.ts";
import { codec } from "../../wire/codec.ts";
import { epochShape, offsetShape } from "../../wire/position.ts";
import { policyShape } from "../../wire/relay-messages.ts";
import { binary, integer } from "../../wire/shape.ts";

export const JOURNAL_VERSION = 2;
/** Snapshots in one PRODUCERS record, at most: the record then stays far below a segment. */
export const PRODUCERS_PER_RECORD = 1000;
/** More than any record has. */
export const RECORD_BYTES_MAX = 64 * 1024;
/** Ids are given in turn and never again: one that is higher was never given. */
export const CHANNEL_ID_MAX = 0xffff_ffff;
/** Fewer bytes than any definition has. */
export const DEFINITION_BYTES_MIN = 32;

const u32 = integer(0, 0xffff_ffff);

const table = {
  /** How a segment of version 1 begins. */
  segment1: { opcode: 0x50, fields: { version: u32, number: integer(0, Number.MAX_SAFE_INTEGER) } },
  /** How a segment begins. `nextId`: every channel id below it may have been given. */
  segment: {
    opcode: 0x55,
    fields: {
      version: u32,
      number: integer(0, Number.MAX_SAFE_INTEGER),
      nextId: integer(1, CHANNEL_ID_MAX + 1),
    },
  },
  define: {
    opcode: 0x51,
    fields: {
      id: integer(1, CHANNEL_ID_MAX),
      channel: channelName,
      epoch: epochShape,
      top: offsetShape,
      policy: policyShape,
    },
  },
  /** Snapshots of producers as version 1 laid them out. */
  producers1: { opcode: 0x52, fields: { snapshots: binary(0, RECORD_BYTES_MAX) } },
  /** When producers were heard that are forgotten, as Producers.forgotten lays it out. */
  forgotten: { opcode: 0x57, fields: { owners: binary(0, RECORD_BYTES_MAX) } },
  /** Snapshots of producers, as Producers.snapshot lays them out. */
  producers: { opcode: 0x58, fields: { snapshots: binary(0, RECORD_BYTES_MAX) } },
} as const;

export const { encode: encodeRecord, decode: decodeRecord } = codec(table);
