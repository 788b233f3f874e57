// How many connections may lie unaccepted in a listen backlog.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Backlog } from "../../src/lb/upstreams/backlog.ts";

describe("the backlog", () => {
  test("never counts less than what is truly unaccepted, and nothing once all is answered", () => {
    const events = fc.array(fc.constantFrom("dial", "fail", "open", "accept", "answer"), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(events, fc.nat(), (all, seed) => {
        const backlog = new Backlog();
        const opened: { place: number; accepted: boolean; answered: boolean }[] = [];
        let dialing = 0;
        all.forEach((event, at) => {
          if (event === "dial") {
            backlog.dial();
            dialing++;
          } else if (event === "fail" && dialing > 0) {
            backlog.dialFailed();
            dialing--;
          } else if (event === "open" && dialing > 0) {
            opened.push({ place: backlog.dialOpened(), accepted: false, answered: false });
            dialing--;
          } else if (event === "accept") {
            const next = opened.find(({ accepted }) => !accepted);
            if (next !== undefined) next.accepted = true;
          } else if (event === "answer") {
            const ready = opened.filter(({ accepted, answered }) => accepted && !answered);
            const one = ready[(seed + at) % Math.max(1, ready.length)];
            if (one === undefined) return;
            one.answered = true;
            backlog.answered(one.place);
          }
          expect(backlog.unaccepted).toBeGreaterThanOrEqual(
            dialing + opened.filter(({ accepted }) => !accepted).length,
          );
        });
        for (const { place } of opened) backlog.answered(place);
        expect(backlog.unaccepted).toBe(dialing);
      }),
    );
  });
});
