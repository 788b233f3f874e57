// The relay's rules for its connections, by value: deadlines, bounds, and the order of a turn.

import { expect, test } from "bun:test";
import { Packr } from "msgpackr";
import { Connections, type LinkTransport } from "../../src/relay/connections.ts";
import { Relay } from "../../src/relay/relay.ts";
import { FRAME_BYTES_MAX, FrameDecoder } from "../../src/wire/frame.ts";
import { linkProof, NONCE_BYTES } from "../../src/wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type RelayMessage,
} from "../../src/wire/relay-messages.ts";
import { Clock } from "../sim/clock.ts";
import { Process } from "../sim/process.ts";
import { MemoryDisk, storeOn } from "./memory-disk.ts";

const SECRET = "a secret that tests share";
const NONCE = new Uint8Array(NONCE_BYTES);
const HELLO: RelayMessage = { type: "hello", version: 2, role: "node", id: "n", nonce: NONCE };

const packer = new Packr({ useRecords: false });

class Transport implements LinkTransport {
  state: "open" | "shut" | "terminated" = "open";
  room = Number.POSITIVE_INFINITY;
  readonly #decoder = new FrameDecoder(FRAME_BYTES_MAX);
  readonly #messages: RelayMessage[] = [];

  write(bytes: Uint8Array): number {
    const taken = Math.min(this.room, bytes.length);
    this.room -= taken;
    this.#decoder.feed(bytes.slice(0, taken), (frame, start, end) => {
      this.#messages.push(decodeRelayMessage(frame, start, end));
      return true;
    });
    return taken;
  }

  shutdown(): void {
    this.state = "shut";
  }

  terminate(): void {
    this.state = "terminated";
  }

  /** What was said since the last call. */
  said(): string[] {
    return this.#messages.splice(0).map(({ type }) => type);
  }
}

function createConnections() {
  const clock = new Clock();
  const process = new Process("relay-1", clock);
  const { store, segments } = storeOn(new MemoryDisk(), 4, { nowMs: clock.now });
  const identity = { id: "relay-1", secret: SECRET, lineage: "lineage", pingMs: 1000 };
  const relay = new Relay({ ...identity, startedAtMs: clock.now }, store, () => NONCE);
  const events: string[] = [];
  const connections = new Connections(relay, segments, process, {
    refused: (_, reason) => void events.push(`refused: ${reason}`),
    malformed: (_, message) => void events.push(`malformed: ${message}`),
    cut: (_, why) => void events.push(`cut: ${why}`),
  });
  const pass = (ms: number) => clock.runUntil(clock.now + ms);
  const dial = () => {
    const transport = new Transport();
    const connection = connections.create(transport);
    connections.opened(connection);
    const say = (...messages: RelayMessage[]) =>
      connections.received(connection, Buffer.concat(messages.map(encodeRelayMessage)));
    const prove = () => {
      say(HELLO, { type: "prove", proof: linkProof(SECRET, NONCE, NONCE, "node", "n") });
      pass(0);
      expect(transport.said()).toEqual(["challenge", "welcome"]);
    };
    return { transport, connection, say, prove };
  };
  return { relay, connections, process, events, pass, dial };
}

test("a connection that fails is ended, in whatever state it is", () => {
  const { connections, relay, dial } = createConnections();
  const unproven = dial();
  const proven = dial();
  proven.prove();
  for (const { connection, transport } of [unproven, proven]) {
    connections.failed(connection);
    expect(transport.state).toBe("terminated");
  }
  expect(relay.linkCount).toBe(0);
});

test("what links say in one turn is answered at its end", () => {
  const { pass, dial } = createConnections();
  const { transport, say, prove } = dial();
  prove();
  say({ type: "ping" }, { type: "ping" });
  say({ type: "ping" });
  expect(transport.said()).toEqual([]);
  pass(0);
  expect(transport.said()).toEqual(["pong", "pong", "pong"]);
});

test("a socket that takes no more is written to again when it drains", () => {
  const { connections, pass, dial } = createConnections();
  const { transport, connection, say, prove } = dial();
  prove();
  transport.room = 1;
  say({ type: "ping" });
  pass(0);
  expect(transport.said()).toEqual([]);
  transport.room = 100;
  connections.drained(connection);
  expect(transport.said()).toEqual(["pong"]);
});

test("who has not proved the secret after five seconds is cut, and who is silent for five", () => {
  const { relay, events, pass, dial } = createConnections();
  const [stranger, member] = [dial(), dial()];
  member.prove();
  pass(4000);
  member.say({ type: "ping" });
  pass(2000);
  expect([stranger.transport.state, member.transport.state]).toEqual(["terminated", "open"]);
  pass(4000);
  expect([member.transport.state, events, relay.linkCount]).toEqual([
    "terminated",
    ["cut: silent"],
    0,
  ]);
});

test("a relay that slept cuts nobody for that", () => {
  const { process, pass, dial } = createConnections();
  const { transport, say, prove } = dial();
  prove();
  process.stop();
  pass(10_000);
  process.continue();
  say({ type: "ping" });
  pass(3000);
  expect(transport.state).toBe("open");
});

test("what is not of the protocol ends the link with a reason, and the socket within two seconds", () => {
  const { connections, events, pass, dial } = createConnections();
  const [gross, wrong] = [dial(), dial()];
  connections.received(gross.connection, new Uint8Array(8).fill(0xff));
  wrong.say({ type: "ping" });
  pass(0);
  expect(events).toHaveLength(2);
  expect(events[1]).toBe("refused: malformed");
  for (const { transport } of [gross, wrong])
    expect([transport.said(), transport.state]).toEqual([["bye"], "shut"]);
  pass(4000);
  for (const { transport } of [gross, wrong]) expect(transport.state).toBe("terminated");
});

test("a wrong field in a message of a member refuses that message, and its link goes on", () => {
  const { events, pass, dial } = createConnections();
  const member = dial();
  member.prove();
  const policy = { size: 1, ttlMs: 2 ** 60, bytes: 1 };
  const how = { live: false, presence: false, since: null };
  member.say(
    { type: "open", channel: "room", policy, ...how },
    { type: "history", request: 7, id: 1, since: null, limit: -1, reverse: false },
    { type: "close", id: -1 },
    { type: "ping" },
  );
  pass(0);
  expect(member.transport.said()).toEqual(["open_refused", "page", "pong"]);
  expect(events).toEqual([
    expect.stringContaining("malformed: open.policy.ttlMs must be a whole number"),
    expect.stringContaining("malformed: history.limit"),
    expect.stringContaining("malformed: close.id"),
  ]);
  expect([member.connection.link.phase, member.transport.state]).toEqual(["up", "open"]);
});

test("an opcode that is no integer ends the link", () => {
  const { connections, events, pass, dial } = createConnections();
  const member = dial();
  const map = packer.pack([{ toString: 1, valueOf: 1 }]);
  connections.received(member.connection, Buffer.concat([Buffer.from([0, 0, 0, map.length]), map]));
  pass(0);
  expect(events).toEqual(["refused: malformed"]);
  expect(member.transport.state).toBe("shut");
});

test("of more than 128 strangers the oldest is cut, and no member", () => {
  const { dial } = createConnections();
  const member = dial();
  member.prove();
  const strangers = Array.from({ length: 129 }, dial);
  expect(member.transport.state).toBe("open");
  expect(strangers.map(({ transport }) => transport.state)).toEqual([
    "terminated",
    ...Array.from({ length: 128 }, () => "open" as const),
  ]);
});

test("a relay that stops says so to every link", () => {
  const { connections, dial } = createConnections();
  const { transport, prove } = dial();
  prove();
  connections.stop();
  expect([transport.said(), transport.state]).toEqual([["bye"], "shut"]);
});
