// Deadlines are kept when the system's clock is set back: only what the clock shows follows it.

import { expect, test } from "bun:test";
import { ANYONE } from "../../src/node/app/authentication.ts";
import { createLoneNode } from "./lone-node.ts";

test("a clock that is set back makes nobody wait longer", () => {
  const { connect, pass, setWallClock } = createLoneNode();
  const waiting = connect(ANYONE);
  const stranger = connect(new Request("http://localhost/"));
  waiting.say({ type: "connect", producer: "producer" });
  waiting.say({ type: "subscribe", id: "s", channel: "room" });
  waiting.say({ type: "history", id: "h", channel: "$everyone" });
  waiting.say({ type: "publish", id: "p", channel: "room", data: 1, seq: 1 });
  setWallClock(-3_600_000);
  pass(9000);
  expect(stranger.socket.closedWith).toBeUndefined();
  pass(3000);
  expect(stranger.socket.closedWith).toBe(4408);
  const answers = waiting.socket.frames.slice(1).map(({ id, code }) => `${id} ${code}`);
  expect(answers.sort()).toEqual(["h busy", "p busy", "s busy"]);
});

test("an authorization expires by the wall clock", () => {
  const { connect, pass, wallMs, setWallClock } = createLoneNode();
  const { socket } = connect({ ...ANYONE, expiresAtMs: wallMs() + 60_000 });
  pass(2000);
  expect(socket.closedWith).toBeUndefined();
  setWallClock(60_000);
  pass(2000);
  expect(socket.closedWith).toBe(4402);
});
