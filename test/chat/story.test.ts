import { expect, test } from "bun:test";
import { storyOfLoss } from "../../src/chat/story.ts";

const before = { node: "node-1", pid: 11 };

test("a node is lost when another process serves, also under the same id", () => {
  expect(storyOfLoss(before, { node: "node-2", pid: 12 }, false)).toBe("node-1 was lost");
  expect(storyOfLoss(before, { node: "node-1", pid: 13 }, false)).toBe("node-1 was lost");
  expect(storyOfLoss(before, undefined, false)).toBe("node-1 was lost");
  expect(storyOfLoss(undefined, undefined, false)).toBe("the node was lost");
});

test("a node that still serves was not lost: the lb was", () => {
  expect(storyOfLoss(before, before, false)).toBe("the lb or the network was lost");
});

test("a node that said goodbye went away", () => {
  expect(storyOfLoss(before, { node: "node-2", pid: 12 }, true)).toBe("node-1 went away");
});
