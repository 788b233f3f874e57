// The rules of a relay link, by value: handshake, silence, gathering, and dialing again.

import { expect, test } from "bun:test";
import {
  type LinkConnection,
  LinkCore,
  redialMs,
  WRONG_SECRET,
} from "../../src/runtime/link-core.ts";
import { FRAME_BYTES_MAX, FrameDecoder } from "../../src/wire/frame.ts";
import { linkProof, NONCE_BYTES, relayProof } from "../../src/wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type RelayMessage,
} from "../../src/wire/relay-messages.ts";
import { Clock } from "../sim/clock.ts";
import { Process } from "../sim/process.ts";

const SECRET = "a secret that tests share";
const [OURS, THEIRS] = [1, 2].map((byte) => new Uint8Array(NONCE_BYTES).fill(byte));

/** The relay's end of one dial. */
class Dialed implements LinkConnection {
  readonly writes: Uint8Array[] = [];
  state: "open" | "ended" | "terminated" = "open";
  /** How many bytes the next writes take in all. */
  room = Number.POSITIVE_INFINITY;
  readonly #decoder = new FrameDecoder(FRAME_BYTES_MAX);

  write(bytes: Uint8Array): number {
    const taken = Math.min(this.room, bytes.length);
    this.room -= taken;
    this.writes.push(bytes.slice(0, taken));
    return taken;
  }

  end(): void {
    this.state = "ended";
  }

  terminate(): void {
    this.state = "terminated";
  }

  /** What was said since the last call. */
  said(): RelayMessage[] {
    const messages: RelayMessage[] = [];
    for (const bytes of this.writes.splice(0))
      this.#decoder.feed(bytes, (frame, start, end) => {
        messages.push(decodeRelayMessage(frame, start, end));
        return true;
      });
    return messages;
  }
}

function createLink() {
  const clock = new Clock();
  const process = new Process("node-1", clock);
  const dials: number[] = [];
  const events: string[] = [];
  const link = new LinkCore(
    { secret: SECRET, role: "node", id: "node-1" },
    {
      welcome: ({ relay }) => void events.push(`welcome ${relay}`),
      publication: () => void events.push("publication"),
      message: ({ type }) => void events.push(type),
      invalidMessage: ({ readable, reason }) =>
        void events.push(`invalid ${readable.type}: ${reason}`),
      lost: (reason, wasUp) => void events.push(`${wasUp ? "lost" : "failed"}: ${reason}`),
    },
    {
      clock: process,
      random: () => 0.5,
      createNonce: () => OURS,
      dial: (_, attempt) => void dials.push(attempt),
    },
  );
  const pass = (ms: number) => clock.runUntil(clock.now + ms);
  const say = (...messages: RelayMessage[]) => {
    const bytes = Buffer.concat(messages.map(encodeRelayMessage));
    link.received(dials.at(-1) ?? 0, bytes);
    pass(0);
  };
  /** The last dial succeeds. */
  const open = () => {
    const dialed = new Dialed();
    link.opened(dials.at(-1) ?? 0, dialed);
    pass(0);
    return dialed;
  };
  const up = () => {
    const dialed = open();
    say(challenge(SECRET));
    say(WELCOME);
    dialed.said();
    events.length = 0;
    return dialed;
  };
  return { link, process, dials, events, pass, say, open, up };
}

const PAGE_OUT_OF_RANGE: RelayMessage = {
  ...{ type: "page", request: 7, found: true, epoch: "e", first: 2 ** 53, top: 9 },
  ...{ trimmed: "expired", gap: null, count: 0 },
};

const challenge = (secret: string): RelayMessage => ({
  type: "challenge",
  nonce: THEIRS,
  proof: relayProof(secret, OURS, THEIRS),
});
const WELCOME: RelayMessage = {
  ...{ type: "welcome", relay: "relay-1", lineage: "lineage" },
  ...{ uptimeMs: 0, pingMs: 1000 },
};

test("says hello, proves the secret to a relay that has proved it, and is up when welcomed", () => {
  const { link, events, say, open } = createLink();
  const dialed = open();
  const [role, id] = ["node", "node-1"] as const;
  expect(dialed.said()).toEqual([{ type: "hello", version: 2, role, id, nonce: OURS }]);
  link.sendMessage({ type: "ping" });
  say(challenge(SECRET));
  const proof = linkProof(SECRET, OURS, THEIRS, role, id);
  expect(dialed.said()).toEqual([{ type: "prove", proof }]);
  expect(link.isUp).toBe(false);
  say(WELCOME);
  expect([link.isUp, events]).toEqual([true, ["welcome relay-1"]]);
});

test("tells nothing to a relay that does not prove the secret, and is not welcomed without", () => {
  const faults: [RelayMessage, string][] = [
    [challenge("another secret"), `failed: ${WRONG_SECRET}`],
    [WELCOME, "failed: welcome before challenge"],
    [{ type: "ping" }, "failed: ping before challenge"],
    [{ type: "bye", reason: "stopping", message: "later" }, "failed: stopping: later"],
  ];
  for (const [message, lost] of faults) {
    const { link, events, say, open } = createLink();
    const dialed = open();
    dialed.said();
    say(message);
    expect(events).toEqual([lost]);
    expect([dialed.said(), dialed.state, link.isUp]).toEqual([[], "terminated", false]);
  }
  const { events, say, open } = createLink();
  open();
  say(challenge(SECRET));
  say(challenge(SECRET));
  expect(events).toEqual(["failed: challenge before welcome"]);
});

test("dials again after a failure, and gives up a dial or a handshake that takes two seconds", () => {
  const { link, dials, events, pass, open } = createLink();
  link.disconnected(dials[0], "unreachable");
  pass(19);
  expect(dials).toHaveLength(1);
  pass(1);
  expect([dials.length, events.splice(0)]).toEqual([2, ["failed: unreachable"]]);
  pass(2000);
  expect(events.splice(0)).toEqual(["failed: dial_timeout"]);
  pass(60);
  expect(dials).toHaveLength(3);
  const dialed = open();
  pass(2000);
  expect([events, dialed.state]).toEqual([["failed: dial_timeout"], "terminated"]);
});

test("what is told of an earlier dial is stale, and its connection is terminated", () => {
  const { link, dials, events, pass, up } = createLink();
  link.disconnected(dials[0], "unreachable");
  pass(20);
  events.length = 0;
  const late = new Dialed();
  link.opened(dials[0], late);
  link.received(dials[0], encodeRelayMessage(WELCOME));
  link.disconnected(dials[0], "closed");
  expect([late.state, events]).toEqual(["terminated", []]);
  up();
  link.disconnected(dials[0], "closed");
  expect(link.isUp).toBe(true);
});

test("what is sent in one turn is one write, and the rest of it follows when there is room", () => {
  const { link, dials, pass, up } = createLink();
  const dialed = up();
  link.sendMessage({ type: "ping" });
  link.sendMessage({ type: "watch" });
  expect(dialed.writes).toEqual([]);
  pass(0);
  expect(dialed.writes).toHaveLength(1);
  expect(dialed.said().map(({ type }) => type)).toEqual(["ping", "watch"]);
  dialed.room = 3;
  link.sendMessage({ type: "watch" });
  const bytes = link.backlogBytes;
  pass(0);
  expect(link.backlogBytes).toBe(bytes - 3);
  dialed.room = 1000;
  link.drained(dials.at(-1) ?? 0);
  expect([link.backlogBytes, dialed.said()]).toEqual([0, [{ type: "watch" }]]);
});

test("pings every interval, answers pings, and is lost after three intervals of silence", () => {
  const { link, events, pass, say, up } = createLink();
  const dialed = up();
  pass(1000);
  expect(dialed.said()).toEqual([{ type: "ping" }]);
  say({ type: "ping" });
  expect(dialed.said()).toEqual([{ type: "pong" }]);
  pass(3000);
  expect(link.isUp).toBe(true);
  pass(1000);
  expect([events, dialed.state]).toEqual([["lost: silent"], "terminated"]);
});

test("a process that slept is no proof of a silent relay", () => {
  const { link, process, pass, say, up } = createLink();
  up();
  process.stop();
  pass(10_000);
  process.continue();
  expect(link.isUp).toBe(true);
  say({ type: "pong" });
  pass(2000);
  expect(link.isUp).toBe(true);
});

test("bytes that are no frames lose the link; messages and publications go to the owner", () => {
  const { link, dials, events, say, up } = createLink();
  up();
  say({ type: "ack", outcomes: [1] }, { type: "pong" });
  expect(events.splice(0)).toEqual(["ack"]);
  link.received(dials.at(-1) ?? 0, new Uint8Array(8).fill(0xff));
  expect(events).toHaveLength(1);
  expect(events[0]).toStartWith("lost: ");
});

test("a message with a wrong field is told to the owner, and the link stays up", () => {
  const { link, dials, events, say, up } = createLink();
  const dialed = up();
  say(PAGE_OUT_OF_RANGE, { type: "close", id: 1 });
  expect(events.splice(0)).toEqual([
    expect.stringContaining("invalid page: page.first must be a whole number"),
    "close",
  ]);
  expect([link.isUp, dialed.state, dials.length]).toEqual([true, "open", 1]);
  link.received(dials.at(-1) ?? 0, new Uint8Array([0, 0, 0, 2, 0x91, 0x81]));
  expect(events).toEqual([expect.stringContaining("lost: ")]);
});

test("a wrong field before welcome loses the link", () => {
  const { events, say, open } = createLink();
  open();
  say({ type: "challenge", nonce: new Uint8Array(3), proof: new Uint8Array(32) });
  expect(events).toEqual([expect.stringContaining("failed: challenge.nonce must be 16 bytes")]);
});

test("a close sends what is pending, and nothing happens any more", () => {
  const { link, dials, events, pass, up } = createLink();
  const dialed = up();
  link.sendMessage({ type: "watch" });
  link.close();
  expect([dialed.said(), dialed.state]).toEqual([[{ type: "watch" }], "ended"]);
  link.disconnected(dials.at(-1) ?? 0, "closed");
  pass(60_000);
  expect([events, dials.length]).toEqual([[], 1]);
});

test("a relay that is just gone is dialed every 20 ms or so, one that stays away four times a second at least", () => {
  const dials = [0, 500, 800, 2000, 10_000, 3_600_000].map((awayMs) => redialMs(awayMs, 0.5));
  expect(dials).toEqual([20, 20, 20, 50, 250, 250]);
  expect([redialMs(0, 0), redialMs(0, 0.999)].map(Math.round)).toEqual([10, 30]);
});
