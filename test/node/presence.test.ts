// Who is present in a channel, as a node knows it.

import { describe, expect, test } from "bun:test";
import { OwnMembers } from "../../src/node/channels/own-members.ts";
import { Presence } from "../../src/node/channels/presence.ts";

describe("presence", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);

  test("the list is given when the relay has named everyone; our own are in it before that is confirmed", () => {
    const presence = new Presence("room", 0);
    const lists: unknown[] = [];
    presence.listMembers((text) => lists.push(JSON.parse(text ?? "null")), 100);
    presence.channelOpened(2, 0);
    expect(presence.memberEntered("a", bytes('{"n":1}'))).toBeUndefined();
    expect(lists).toEqual([]);
    presence.addOwn("mine", bytes(""), 0);
    presence.memberEntered("b", bytes(""));
    expect(lists).toEqual([[{ client: "a", info: { n: 1 } }, { client: "b" }, { client: "mine" }]]);
    expect(presence.memberEntered("b", bytes(""))).toBeUndefined();
    expect(presence.memberLeft("b")).toBe('{"type":"leave","channel":"room","client":"b"}');
    expect(presence.memberLeft("b")).toBeUndefined();
  });

  test("who was there before is listed, and only who comes later is told as a join", () => {
    const presence = new Presence("room", 0);
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
    const presence = new Presence("room", 0);
    presence.channelOpened(0, 0);
    for (const client of ["a", "b"]) presence.memberEntered(client, bytes(""));
    presence.channelOpened(0, 1000);
    expect(presence.memberEntered("a", bytes(""))).toBeUndefined();
    expect(presence.expire(5900)).toEqual([]);
    expect(presence.expire(6000)).toEqual(['{"type":"leave","channel":"room","client":"b"}']);
    expect(presence.expire(60_000)).toEqual([]);
  });

  test("a request that waits too long is answered without a list", () => {
    const presence = new Presence("room", 0);
    const lists: unknown[] = [];
    presence.listMembers((text) => lists.push(text), 100);
    presence.expire(100);
    expect(lists).toEqual([]);
    presence.expire(101);
    expect(lists).toEqual([undefined]);
  });
});

describe("a node's own members", () => {
  const NONE = new Uint8Array(0);

  test("a change is told at once, and the same client's next one a second later", () => {
    const own = new OwnMembers(0);
    expect(own.enter("a", NONE, 0)).toBe(true);
    expect(own.leave("a", 400)).toBe(false);
    expect(own.settle(900)).toEqual([]);
    expect(own.settle(1000)).toEqual([{ client: "a", info: undefined }]);
    expect(own.enter("a", NONE, 1100)).toBe(false);
    expect([...own.present()]).toEqual([["a", NONE]]);
    expect(own.settle(2000)).toEqual([{ client: "a", info: NONE }]);
    expect(own.isUnsettled).toBe(false);
    expect(own.leave("a", 5000)).toBe(true);
    expect(own.settle(6000)).toEqual([]);
    expect(own.isUnsettled).toBe(false);
  });

  test("who goes and comes back in between is not told, nor is one of many who came and went", () => {
    const own = new OwnMembers(0);
    let told = 0;
    for (let n = 0; n < 1000; n++) {
      if (own.enter("a", NONE, n)) told++;
      if (own.leave("a", n)) told++;
    }
    own.enter("a", NONE, 999);
    expect([told, own.settle(1000), own.isUnsettled]).toEqual([1, [], false]);
    told = 0;
    for (let n = 0; n < 1000; n++) if (own.enter(`many ${n}`, NONE, 1000)) told++;
    for (let n = 500; n < 1000; n++) own.leave(`many ${n}`, 1000);
    expect(told + own.settle(2000).length).toBe(500);
  });

  test("a new link is told all who are present", () => {
    const own = new OwnMembers(0);
    for (const client of ["a", "b"]) own.enter(client, NONE, 0);
    own.leave("a", 10);
    expect(own.repeatAll(20)).toEqual([["b", NONE]]);
    expect(own.settle(2000)).toEqual([]);
    expect(own.isUnsettled).toBe(false);
  });
});
