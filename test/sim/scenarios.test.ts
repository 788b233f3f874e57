// Races that are too rare to wait for, each set up on the simulated cluster and judged by the
// checker. Those that need real processes (R13: two relays on one journal) are tests of the relay.

import { expect, setDefaultTimeout, test } from "bun:test";
import { check } from "../../src/chaos/checker.ts";
import type { ReadEvent } from "../../src/chaos/history.ts";
import { Store } from "../../src/relay/store/store.ts";
import { seeded } from "../../src/runtime/random.ts";
import { ownerOf } from "../../src/wire/channel-name.ts";
import { setAfter } from "../../src/wire/frame.ts";
import type { SimClient } from "./client.ts";
import { heal } from "./faults.ts";
import { SimSocket } from "./node.ts";
import type { Profile } from "./profile.ts";
import { World } from "./world.ts";

setDefaultTimeout(120_000);

const CALM: Profile = {
  relays: 1,
  nodes: 2,
  lbs: 1,
  clients: 2,
  channels: [],
  padding: "",
  history: "long",
  losesPower: false,
  hasHook: false,
  troubleMs: 0,
  workEveryMs: 1000,
  faultEveryMs: 1000,
};
const REST_MS = 30_000;

/** A cluster at rest with a writer and a reader of the channel "a". */
function scenario(profile: Partial<Profile> = {}, seed = 1) {
  const world = new World({ ...CALM, ...profile }, seeded(seed));
  const [writer, reader] = world.clients;
  const pass = (ms: number) => world.clock.runUntil(world.clock.now + ms);
  const rest = () => {
    const untilMs = world.clock.now + REST_MS;
    pass(50);
    while (world.unrest !== undefined && world.clock.now < untilMs) pass(50);
    expect(world.unrest).toBeUndefined();
  };
  const publish = (count: number, by: SimClient = writer) => {
    for (let n = 0; n < count; n++) by.publish("a");
  };
  reader.subscribe("a");
  rest();
  return { world, writer, reader, relay: world.relays[0], pass, rest, publish };
}

type Scenario = ReturnType<typeof scenario>;

/** Everything comes to rest, and the checker finds no violation. */
function isWell({ world, rest }: Scenario): void {
  rest();
  expect(check(world.history)).toEqual([]);
}

const eventsOf = (client: SimClient): readonly ReadEvent[] => client.readings.at(-1)?.events ?? [];
const read = (client: SimClient) =>
  eventsOf(client).filter(({ type }) => type === "message").length;
const gapsOf = (client: SimClient) =>
  eventsOf(client).flatMap((event) => (event.type === "stands" ? (event.gap ?? []) : []));
/** The node that serves a client. */
const nodeOf = ({ world }: Scenario, client: SimClient) =>
  world.nodes.find(({ sockets }) => [...sockets].some((socket) => socket.cable() === client.cable));

test("R1, R2: publications between reading history and going live come once", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const now = scenario({ clients: 3 }, seed);
    const late = now.world.clients[2];
    for (let n = 0; n < 60; n++) {
      now.publish(1);
      if (n === 20) late.subscribe("a", { last: 10 });
      now.pass(0.5);
    }
    isWell(now);
    expect(read(late)).toBeGreaterThanOrEqual(10);
  }
});

test("R3: a gap is told while nothing is said", () => {
  const now = scenario({ losesPower: true });
  now.publish(5);
  now.rest();
  now.relay.losePower();
  now.world.superviseSoon();
  isWell(now);
  expect(gapsOf(now.reader).map(({ reason }) => reason)).toEqual(["epoch"]);
});

test("R4: a position above the top proves nothing, now and after the top has passed it", () => {
  const now = scenario({ clients: 3 });
  now.publish(5);
  now.rest();
  const epoch = now.reader.positionOf("a")?.epoch ?? "";
  const [, , ahead] = now.world.clients;
  ahead.subscribe("a", { since: { epoch, offset: 8 } });
  now.rest();
  expect(gapsOf(ahead)).toEqual([{ reason: "epoch", from: 9, to: 5 }]);
  now.publish(6);
  now.rest();
  expect(read(ahead)).toBe(6);
  expect(ahead.positionOf("a")).toEqual({ epoch, offset: 11 });
});

test("R5, R6: an empty channel is resumed, twice with nothing said between", () => {
  const now = scenario();
  for (let n = 0; n < 2; n++) {
    now.reader.cable?.cut();
    now.rest();
  }
  now.publish(3);
  now.rest();
  for (let n = 0; n < 2; n++) {
    now.reader.cable?.cut();
    now.pass(3000);
  }
  now.publish(3);
  isWell(now);
  expect(read(now.reader)).toBe(6);
});

test("R7: an epoch without an offset is the beginning", () => {
  const now = scenario({ clients: 3 });
  now.publish(7);
  now.rest();
  const late = now.world.clients[2];
  late.subscribe("a", { since: { epoch: now.reader.positionOf("a")?.epoch ?? "", offset: 0 } });
  isWell(now);
  expect(read(late)).toBe(7);
});

test("R8: history that is trimmed while a slow reader catches up is told as a gap", () => {
  const now = scenario({ history: "short", padding: "x".repeat(20_000) });
  now.publish(3);
  now.rest();
  now.reader.cable?.stall(0, 8000);
  for (let n = 0; n < 40; n++) {
    now.publish(1);
    now.pass(100);
  }
  isWell(now);
  expect(gapsOf(now.reader).length).toBeGreaterThan(0);
  expect(read(now.reader)).toBeLessThan(43);
});

test("R9: a relay that restarts while readers catch up changes nothing", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const now = scenario({ clients: 3 }, seed);
    now.publish(100);
    now.rest();
    now.world.clients[2].subscribe("a", { last: 80 });
    now.pass(seed / 2);
    now.world.kill(now.relay);
    isWell(now);
    expect(read(now.world.clients[2])).toBe(80);
  }
});

test("R10: a link that is up but delivers nothing is noticed and dialed again", () => {
  const now = scenario();
  for (const { links } of now.world.nodes) links[0].cable?.silence();
  now.publish(5);
  isWell(now);
  expect(read(now.reader)).toBe(5);
});

test("R11: journaled, the node killed before the answer, published again through another: once", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const now = scenario({}, seed);
    now.publish(3);
    const topOf = () => now.relay.store?.channels.get("a")?.top ?? 0;
    while (topOf() < 3) now.pass(0.05);
    expect(now.writer.pending).toBeGreaterThan(0);
    const node = nodeOf(now, now.writer);
    if (node !== undefined) now.world.kill(node);
    isWell(now);
    expect(topOf()).toBe(3);
    expect(read(now.reader)).toBe(3);
  }
});

test("R12: a pipeline that was answered in part is sent again without its order changing", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const now = scenario({}, seed);
    now.publish(400);
    while (now.writer.pending > 300) now.pass(0.5);
    now.writer.cable?.cut();
    now.publish(50);
    isWell(now);
    expect(read(now.reader)).toBe(450);
  }
});

test("R14: subscribing again while the old replay is on its way takes nothing of it for the new", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const now = scenario({}, seed);
    now.publish(50);
    now.rest();
    const since = { ...(now.reader.positionOf("a") ?? { epoch: "", offset: 0 }), offset: 10 };
    for (let n = 0; n < 3; n++) {
      now.reader.unsubscribe("a");
      now.reader.subscribe("a", { since });
      now.pass(1);
      now.publish(1);
    }
    isWell(now);
    expect(read(now.reader)).toBe(43);
  }
});

test("R15: a frame that the socket dropped costs the connection, not the publication", () => {
  const now = scenario();
  const send = SimSocket.prototype.send;
  let dropped = 0;
  SimSocket.prototype.send = function (this: SimSocket, frame) {
    const isDropped = dropped < 3 && String(frame).startsWith('{"type":"message"');
    if (!isDropped) return send.call(this, frame);
    dropped++;
    // Bun gives a socket up whose backlog is full, which it does when a publish to a topic is
    // dropped as well.
    this.terminate();
    return 0;
  };
  try {
    now.publish(10);
    isWell(now);
  } finally {
    SimSocket.prototype.send = send;
  }
  expect([dropped, read(now.reader)]).toEqual([3, 10]);
});

test("R16: a half-open connection and the new one of the same client do not disturb each other", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const now = scenario({}, seed);
    now.publish(20);
    now.pass(seed / 4);
    const old = now.writer.cable;
    now.reader.cable?.silence();
    old?.silence();
    now.publish(20);
    now.writer.step({ type: "online" });
    isWell(now);
    expect(read(now.reader)).toBe(40);
  }
});

test("R17: a torn last record is dropped, and was never acknowledged", () => {
  for (let torn = 0; torn < 120; torn += 5) {
    const now = scenario();
    now.publish(3);
    now.rest();
    now.relay.disk.diesAfter = torn;
    now.publish(3);
    isWell(now);
    expect(read(now.reader)).toBe(6);
    expect(now.relay.starts).toBe(2);
  }
});

test("R18: on a full disk publications wait, in their order, and service comes back by itself", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const now = scenario({}, seed);
    now.publish(3);
    now.rest();
    now.relay.disk.isFull = true;
    now.publish(50);
    now.pass(30 + seed);
    // There is room again in the middle of the pipeline, and the link is lost besides.
    now.relay.disk.isFull = false;
    now.publish(50);
    if (seed % 2 === 0) for (const { links } of now.world.nodes) links[0].cable?.silence();
    isWell(now);
    expect(read(now.reader)).toBe(103);
  }
});

test("R18: what is on its way behind a refused publication does not overtake it when there is room again", () => {
  const reordered = () => {
    let count = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const now = scenario({}, seed);
      now.publish(3);
      now.rest();
      now.relay.disk.isFull = true;
      for (let n = 0; n < 60; n++) {
        now.writer.publish("a", { isKeyed: n % 5 === 0 });
        now.pass(0.2);
        if (n === 30) now.relay.disk.isFull = false;
      }
      now.rest();
      if (check(now.world.history).some(({ rule }) => rule === "C7")) count++;
    }
    return count;
  };
  expect(reordered()).toBe(0);
  // Without the rule it does.
  const { publish } = Store.prototype;
  Store.prototype.publish = function (this: Store, link, frame, start, end, nowMs) {
    setAfter(frame, start, 0);
    publish.call(this, link, frame, start, end, nowMs);
  };
  try {
    expect(reordered()).toBeGreaterThan(0);
  } finally {
    Store.prototype.publish = publish;
  }
});

test("a hook that refuses some for now changes nothing of the order, keyed or not", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const now = scenario({ hasHook: true }, seed);
    for (let n = 0; n < 60; n++) {
      now.writer.publish("a", { isKeyed: n % 3 === 0 });
      now.pass(seed);
    }
    isWell(now);
    expect(read(now.reader)).toBe(60);
  }
});

test("a relay that is away holds up its own channels only, however much waits for them", () => {
  const now = scenario({ relays: 2, clients: 3 });
  const [, , other] = now.world.clients;
  const channels = ["a", "b", "c", "d", "e", "f", "g", "h"];
  for (const channel of channels) other.subscribe(channel);
  now.rest();
  const [near, far] = [0, 1].map((relay) =>
    channels.filter((name) => ownerOf(name, ["relay-1", "relay-2"]) === relay),
  );
  expect([near.length, far.length].every((count) => count > 1)).toBe(true);
  now.world.relays[1].kill();
  for (let n = 0; n < 300; n++) for (const channel of channels) now.writer.publish(channel);
  now.pass(5000);
  const answered = (names: readonly string[]) =>
    now.writer.publications.filter(
      ({ channel, outcome }) => names.includes(channel) && outcome === "ok",
    ).length;
  expect(answered(far)).toBe(0);
  expect(answered(near)).toBe(300 * near.length);
  now.world.superviseSoon();
  isWell(now);
  expect(answered(far)).toBe(300 * far.length);
});

test("while a relay's disk is full its links stay, and its nodes are healthy", () => {
  const now = scenario();
  now.publish(3);
  now.rest();
  const cables = now.world.nodes.map(({ links }) => links[0].cable);
  now.relay.disk.isFull = true;
  for (let n = 0; n < 30; n++) {
    now.publish(1);
    now.pass(1000);
    expect(now.world.nodes.map(({ isHealthy }) => isHealthy)).toEqual([true, true]);
  }
  expect(now.world.nodes.map(({ links }) => links[0].cable)).toEqual(cables);
  now.relay.disk.isFull = false;
  isWell(now);
  expect(read(now.reader)).toBe(33);
});

test("R19: two kills in a row, of whatever", () => {
  let seed = 0;
  for (const first of [0, 1, 3])
    for (const second of [0, 1, 3])
      for (const apartMs of [0, 50, 300]) {
        const now = scenario({}, ++seed);
        now.publish(30);
        now.pass(5);
        now.world.kill(now.world.processes[first]);
        now.pass(apartMs);
        now.publish(30);
        now.world.kill(now.world.processes[second]);
        isWell(now);
        expect(read(now.reader)).toBe(60);
      }
});

test("while the relay is away for half a minute, publications wait, are refused for now, and are repeated", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const now = scenario({}, seed);
    now.publish(20);
    now.pass(seed / 4);
    now.relay.process.stop();
    for (let n = 0; n < 31; n++) {
      now.publish(2);
      now.pass(1000);
    }
    now.relay.process.continue();
    isWell(now);
    expect(read(now.reader)).toBe(82);
    expect(now.writer.publications.every(({ outcome }) => outcome === "ok")).toBe(true);
  }
});

test("a channel that nobody uses is closed, and resumed at the same place when it is opened again", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const now = scenario({}, seed);
    now.publish(20);
    now.rest();
    const since = now.reader.positionOf("a") ?? { epoch: "", offset: 0 };
    now.reader.unsubscribe("a");
    now.pass(40_000);
    if (seed % 2 === 0) now.publish(5);
    now.pass(seed);
    now.reader.subscribe("a", { since });
    now.publish(5);
    isWell(now);
    expect(read(now.reader)).toBe(seed % 2 === 0 ? 10 : 5);
  }
});

test("the clients of a node that drains go elsewhere, in the middle of all they do", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const now = scenario({ clients: 4 }, seed);
    for (let n = 0; n < 40; n++) {
      now.publish(2);
      now.pass(50);
      if (n === 10) now.world.nodes[0].drain();
      if (n === 20) now.world.nodes[0].undrain();
      if (n === 25) now.world.nodes[1].drain();
    }
    expect(now.world.nodes[1].sockets.size).toBe(0);
    isWell(now);
    expect(read(now.reader)).toBe(80);
  }
});

test("a message that comes twice is taken once", () => {
  const now = scenario();
  const { transmit } = SimSocket.prototype;
  SimSocket.prototype.transmit = function (this: SimSocket, text) {
    if (text.startsWith('{"type":"message"')) transmit.call(this, text);
    transmit.call(this, text);
  };
  try {
    now.publish(10);
    now.reader.cable?.cut();
    now.publish(10);
    isWell(now);
  } finally {
    SimSocket.prototype.transmit = transmit;
  }
  expect(read(now.reader)).toBe(20);
});

test("offsets with holes between them are nothing to a client, also over a lost connection", () => {
  const { transmit, received } = SimSocket.prototype;
  const times = (text: string, by: number) =>
    text.replace(/"offset":(\d+)/g, (_, offset) => `"offset":${Math.floor(offset * by)}`);
  SimSocket.prototype.transmit = function (this: SimSocket, text) {
    transmit.call(this, times(text, 3));
  };
  SimSocket.prototype.received = function (this: SimSocket, text) {
    received.call(this, times(text, 1 / 3));
  };
  try {
    const now = scenario();
    for (let n = 0; n < 20; n++) {
      now.publish(5);
      now.pass(20);
      if (n === 10) now.reader.cable?.cut();
    }
    now.pass(5000);
    expect(check(now.world.history)).toEqual([]);
    expect(read(now.reader)).toBe(100);
    expect(now.reader.positionOf("a")?.offset).toBe(300);
  } finally {
    Object.assign(SimSocket.prototype, { transmit, received });
  }
});

test("the whole cluster, dead at once, comes back to where it was", () => {
  const now = scenario({ relays: 2, nodes: 3, lbs: 2 });
  now.publish(100);
  now.pass(10);
  for (const process of now.world.processes) now.world.kill(process);
  heal(now.world);
  isWell(now);
  expect(read(now.reader)).toBe(100);
});
