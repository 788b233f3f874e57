// The order of one session's publications after one of them was refused for now.

import { expect, test } from "bun:test";
import { PublishWindow } from "../../src/node/session/publish-window.ts";

test("publications behind one that was refused for now are refused until it comes again, or seems given up", () => {
  const window = new PublishWindow();
  expect(window.mayPass("a", 5, 0)).toBe(true);
  window.holdBack("a", 5, 0);
  window.holdBack("a", 6, 0);
  expect(window.mayPass("a", 6, 0)).toBe(false);
  expect(window.mayPass("b", 6, 0)).toBe(true);
  expect(window.mayPass("a", 4, 0)).toBe(true);
  expect(window.mayPass("a", 7, 0)).toBe(false);
  expect(window.mayPass("a", 5, 0)).toBe(true);
  expect(window.mayPass("a", 7, 0)).toBe(true);
  window.holdBack("a", 8, 0);
  expect(window.mayPass("a", 9, 9999)).toBe(false);
  expect(window.mayPass("a", 9, 10_000)).toBe(true);
  for (let n = 0; n < 200; n++) window.holdBack(`c${n}`, 1, 0);
  expect(window.mayPass("c0", 2, 0)).toBe(true);
  expect(window.mayPass("c199", 2, 0)).toBe(false);
});
