// Who is present in a channel, as a node knows it.

import { describe, expect, test } from "bun:test";
import { Presence } from "../../src/node/channels/presence.ts";

describe("presence", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);

  test("the list is given when the relay has named everyone; our own are in it before that is confirmed", () => {
    const presence = new Presence("room");
    const lists: unknown[] = [];
    presence.listMembers((text) => lists.push(JSON.parse(text ?? "null")), 100);
    presence.channelOpened(2, 0);
    expect(presence.memberEntered("a", bytes('{"n":1}'))).toBeUndefined();
    expect(lists).toEqual([]);
    presence.addOwn("mine", bytes(""));
    presence.memberEntered("b", bytes(""));
    expect(lists).toEqual([[{ client: "a", info: { n: 1 } }, { client: "b" }, { client: "mine" }]]);
    expect(presence.memberEntered("b", bytes(""))).toBeUndefined();
    expect(presence.memberLeft("b")).toBe('{"type":"leave","channel":"room","client":"b"}');
    expect(presence.memberLeft("b")).toBeUndefined();
  });

  test("who was there before is listed, and only who comes later is told as a join", () => {
    const presence = new Presence("room");
    presence.channelOpened(2, 0);
    expect(presence.memberEntered("a", bytes(""))).toBeUndefined();
    // The link is lost before all were named: the next one names them from the first.
    presence.channelOpened(3, 0);
    for (const client of ["a", "b", "c"])
      expect(presence.memberEntered(client, bytes(""))).toBeUndefined();
    expect(presence.memberEntered("d", bytes('{"n":1}'))).toBe(
      '{"type":"join","channel":"room","client":"d","info":{"n":1}}',
    );
    const lists: unknown[] = [];
    presence.listMembers((text) => lists.push(JSON.parse(text ?? "null").length), 100);
    expect(lists).toEqual([4]);
  });

  test("after a new link those who are not named again leave, but only after a while", () => {
    const presence = new Presence("room");
    presence.channelOpened(0, 0);
    for (const client of ["a", "b"]) presence.memberEntered(client, bytes(""));
    presence.channelOpened(0, 1000);
    expect(presence.memberEntered("a", bytes(""))).toBeUndefined();
    expect(presence.expire(5900)).toEqual([]);
    expect(presence.expire(6000)).toEqual(['{"type":"leave","channel":"room","client":"b"}']);
    expect(presence.expire(60_000)).toEqual([]);
  });

  test("a request that waits too long is answered without a list", () => {
    const presence = new Presence("room");
    const lists: unknown[] = [];
    presence.listMembers((text) => lists.push(text), 100);
    presence.expire(100);
    expect(lists).toEqual([]);
    presence.expire(101);
    expect(lists).toEqual([undefined]);
  });
});
