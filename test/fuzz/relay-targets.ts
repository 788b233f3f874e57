// Fuzz targets of the relay protocol: the frame decoder, and a relay's core that receives arbitrary
// messages from authenticated and unauthenticated links.

import { Producers } from "../../src/relay/channels/producers.ts";
import { Segments } from "../../src/relay/journal/segments.ts";
import type { RelayLink } from "../../src/relay/links/relay-link.ts";
import { Relay } from "../../src/relay/relay.ts";
import { Store } from "../../src/relay/store/store.ts";
import {
  encodePublish,
  FRAME_BYTES_MAX,
  FrameDecoder,
  HELLO_BYTES_MAX,
} from "../../src/wire/frame.ts";
import { linkProof } from "../../src/wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type RelayMessage,
} from "../../src/wire/relay-messages.ts";
import { Malformed } from "../../src/wire/shape.ts";
import { cut } from "./mutate.ts";
import { must, type Target, unless, utf8 } from "./target.ts";

const NONCE = new Uint8Array(16).fill(7);
const POLICY = { size: 10, ttlMs: 60_000, bytes: 100_000 };
const SINCE = { epoch: "e1", offset: 3 };
const MEMBER = {
  role: "node",
  id: "node-1",
  address: "unix:/n",
  state: "up",
  connections: 5,
  counts: { a: 1 },
} as const;

const MESSAGES: RelayMessage[] = [
  { type: "hello", version: 2, role: "node", id: "node-1", nonce: NONCE },
  { type: "challenge", nonce: NONCE, proof: new Uint8Array(32) },
  { type: "prove", proof: new Uint8Array(32) },
  { type: "welcome", relay: "relay-1", lineage: "l", uptimeMs: 1, pingMs: 1000 },
  { type: "ping" },
  { type: "bye", reason: "why", message: "because" },
  { type: "ack", outcomes: [1, 2, -1, 0] },
  { type: "open", channel: "room", live: true, presence: true, policy: POLICY, since: SINCE },
  {
    type: "open",
    channel: "other",
    live: false,
    presence: false,
    policy: { size: 0, ttlMs: 0, bytes: 0 },
    since: null,
  },
  { type: "close", id: 1 },
  { type: "history", request: 9, id: 1, since: SINCE, limit: 100, reverse: true },
  { type: "history", request: 10, id: 1, since: null, limit: 10_000, reverse: false },
  { type: "register", address: "unix:/n", state: "up", connections: 3, counts: { "node-1": 2 } },
  { type: "watch" },
  { type: "registry", members: [MEMBER] },
  { type: "enter", id: 1, client: "c1", info: utf8("{}") },
  { type: "leave", id: 1, client: "c1" },
];
const PUBLISHES = [1, 2, 9].map((seq) =>
  encodePublish(1, { high: 1, low: 2 }, seq, utf8(`"${"x".repeat(seq * 20)}"`)),
);
const FRAMES = [...MESSAGES.map(encodeRelayMessage), ...PUBLISHES];
/** A valid sequence of messages from an authenticated link. */
const CONVERSATION = new Uint8Array(
  Buffer.concat([
    ...MESSAGES.slice(7, 9).map(encodeRelayMessage),
    ...PUBLISHES,
    encodeRelayMessage(MESSAGES[10]),
  ]),
);

/** The frames of a stream as text, up to the first invalid one. */
function framesIn(pieces: readonly Uint8Array[], frameBytesMax: number): string[] {
  const decoder = new FrameDecoder(frameBytesMax);
  const seen: string[] = [];
  for (const piece of pieces) {
    const fault = decoder.feed(piece, (bytes, start, end) => {
      must(end - start <= frameBytesMax, "a frame is longer than allowed");
      seen.push(Buffer.from(bytes.subarray(start, end)).toString("latin1"));
      unless(Malformed, () => decodeRelayMessage(bytes, start, end));
      return true;
    });
    if (fault !== undefined) return [...seen, fault];
  }
  return seen;
}

export const frames: Target = {
  name: "relay-frames",
  share: 10,
  good: [...FRAMES, CONVERSATION],
  take(input, random) {
    const max = random.pick([HELLO_BYTES_MAX, FRAME_BYTES_MAX]);
    // A false length may be detected only with the next byte.
    const after = new Uint8Array(1);
    const whole = framesIn([input, after], max);
    const pieces = framesIn([...cut(input, random), after], max);
    must(whole.join("\n") === pieces.join("\n"), "cutting a stream elsewhere gives other frames");
  },
};

const SECRET = "a secret that fuzzing shares";

/** A relay whose journal is discarded, and a correct link to it. */
class FuzzedRelay {
  readonly #store = new Store(
    new Segments(8),
    new Producers(1 << 10),
    { create: () => true, write: () => true, remove() {} },
    (segment) => this.#relay.cutLaggards(segment),
  );
  readonly #relay = new Relay(
    { id: "relay-1", secret: SECRET, lineage: "l", pingMs: 1000, startedAtMs: 0 },
    this.#store,
    (bytes) => new Uint8Array(bytes).fill(9),
  );
  readonly #honest: RelayLink;
  #nowMs = 1_700_000_000_000;
  #seq = 0;

  constructor() {
    must(this.#store.start(), "the store does not start");
    this.#honest = this.#member("honest");
    this.#say(this.#honest, encodeRelayMessage(MESSAGES[7]));
    this.#read(this.#honest);
  }

  /** A link sends arbitrary messages and closes; the relay must still serve the correct link. */
  takeIn(pieces: readonly Uint8Array[], isMember: boolean): void {
    this.#nowMs += 10;
    const link = isMember ? this.#member("fuzz") : this.#relay.connect();
    const decoder = new FrameDecoder(isMember ? FRAME_BYTES_MAX : HELLO_BYTES_MAX);
    for (const piece of pieces) {
      const isOver = unless(Malformed, () =>
        decoder.feed(piece, (bytes, start, end) => this.#hear(link, bytes, start, end)),
      );
      if (isOver !== undefined || link.phase === "ended") break;
    }
    this.#relay.endTurn();
    this.#relay.end(link, "malformed", "x".repeat(1000));
    this.#read(link);
    this.#relay.tick(this.#nowMs);
    this.#serveNext();
  }

  #hear(link: RelayLink, bytes: Uint8Array, start: number, end: number): boolean {
    this.#relay.receive(link, bytes, start, end, this.#nowMs);
    return link.phase !== "ended";
  }

  #serveNext(): void {
    this.#say(this.#honest, encodePublish(1, { high: 3, low: 4 }, ++this.#seq, utf8('"next"')));
    const answer = this.#read(this.#honest);
    must(answer.includes('"next"'), "the honest publication was not forwarded");
    must(this.#relay.linkCount === 1, "a link that has ended is still counted");
    must(this.#store.channels.size <= this.#store.channelsMax, "too many channels");
    must(this.#store.channels.historyBytes >= 0, "history has a negative size");
  }

  #member(id: string): RelayLink {
    const link = this.#relay.connect();
    this.#say(
      link,
      encodeRelayMessage({ type: "hello", version: 2, role: "node", id, nonce: NONCE }),
    );
    const proof = linkProof(SECRET, NONCE, new Uint8Array(16).fill(9), "node", id);
    this.#say(link, encodeRelayMessage({ type: "prove", proof }));
    must(link.phase === "up", "an honest link is not let in");
    this.#read(link);
    return link;
  }

  #say(link: RelayLink, frame: Uint8Array): void {
    this.#relay.receive(link, frame, 0, frame.length, this.#nowMs);
    this.#relay.endTurn();
  }

  /** Reads what is queued for a link, as its socket does. */
  #read(link: RelayLink): string {
    this.#relay.takeDirty();
    let text = "";
    while (link.outbox.bytes > 0) {
      const bytes = link.outbox.next(this.#store.segments);
      text += Buffer.from(bytes).toString("latin1");
      link.outbox.taken(bytes.length);
    }
    return text;
  }
}

const relay = new FuzzedRelay();

export const relayMembers: Target = {
  name: "relay-members",
  share: 10,
  good: [...FRAMES, CONVERSATION, CONVERSATION],
  take: (input, random) => relay.takeIn(cut(input, random), true),
};
export const relayStrangers: Target = {
  name: "relay-strangers",
  share: 4,
  good: FRAMES,
  take: (input, random) => relay.takeIn(cut(input, random), false),
};
