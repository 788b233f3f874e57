// The interface between a channel and the uplink that serves it: another broker than tutti's relay
// would implement it too.

import type { Producer } from "../../wire/frame.ts";
import type { Gap, Position, Readable } from "../../wire/position.ts";
import type { Policy, RelayMessageOf } from "../../wire/relay-messages.ts";
import type { Outgoing } from "./outbox.ts";

/**
 * A channel, as the uplink sees it: what it wants of the relay, and what it is told. Its methods
 * must not throw.
 */
export interface ChannelPort {
  readonly name: string;
  readonly policy: Policy;
  readonly presence: boolean;
  /** Whether it wants publications, or is only published to. */
  readonly isFollowed: boolean;
  /** Where to continue after a lost link; null: at the top. */
  readonly position: Position | null;
  channelOpened(opened: RelayMessageOf<"opened">): void;
  publicationArrived(offset: number, timeMs: number, payload: string): void;
  memberEntered(client: string, info: Uint8Array): void;
  memberLeft(client: string): void;
  /** The relay does not open it now; the uplink will ask again. */
  openRefused(): void;
}

/** A channel's state on an uplink. */
export type Opening = {
  readonly port: ChannelPort;
  /** The relay's number for the channel; 0: not open. */
  id: number;
  /** Publications to it that are in the outbox. */
  unacknowledged: number;
  /** What was last asked of the relay on this connection. */
  asked: "nothing" | "open" | "open_followed";
  /** This node's own producer in the channel, and the seq that it gave last. */
  ownProducer: Producer | undefined;
  ownSeq: number;
  /** The newest of the node's own publications that is unanswered. */
  newestOwn: Outgoing | undefined;
};

/** In whose order a publication is that is in nobody's. */
export const NOBODY: Producer = { high: 0, low: 0 };

/** What a relay recognizes a repeated publication by, and where in an order it belongs. */
export type Identity = {
  /** Its publisher in the channel, or a key. */
  readonly producer: Producer;
  /** This node keeps its order itself, and gives it its place. */
  readonly isOwn: boolean;
  /** Else in whose order it is: its publisher's, or nobody's. */
  readonly order: Producer;
  /** Its place in that order; 1 in nobody's. */
  readonly seq: number;
  /** What has to be taken before it; 0: nothing. */
  readonly after: number;
  /** How long ago its publisher sent it first, ms; 0: never before. */
  readonly ageMs: number;
};
export type Question = {
  readonly since: Position | null;
  readonly limit: number;
  readonly reverse: boolean;
};
/** A page of history: parallel lists, oldest first. */
export type Page = {
  readonly readable: Readable;
  readonly gap: Gap | null;
  readonly offsets: number[];
  readonly timesMs: number[];
  readonly payloads: string[];
};
/** Undefined: the link was lost, or the relay does not know the channel; nothing is known. */
export type OnPage = (page: Page | undefined) => void;
