// Limits on client connections.

import { describe, expect, test } from "bun:test";
import { Admission } from "../../src/lb/accept/admission.ts";
import { HttpFault } from "../../src/lb/http/faults.ts";

describe("admission", () => {
  test("seats in all and per address, given back once", () => {
    const admission = new Admission(
      { connectionsMax: 3, addressConnectionsMax: 2, connectionsPerSecond: 0 },
      0,
    );
    const [first, second] = [admission.admit("x", 0), admission.admit("x", 0)];
    const refused = admission.admit("x", 0);
    expect(refused instanceof HttpFault && refused.status).toBe(429);
    expect(admission.admit("y", 0)).not.toBeInstanceOf(HttpFault);
    const full = admission.admit("z", 0);
    expect(full instanceof HttpFault && full.status).toBe(503);
    for (const seat of [first, first, second]) if (!(seat instanceof HttpFault)) seat.release();
    expect(admission.connections).toBe(1);
  });

  test("a token bucket: a burst of one second's worth, then the rate", () => {
    const admission = new Admission(
      { connectionsMax: 1000, addressConnectionsMax: 0, connectionsPerSecond: 10 },
      0,
    );
    const let_in = (nowMs: number, tries: number) =>
      Array.from({ length: tries }, () => admission.admit(undefined, nowMs)).filter(
        (seat) => !(seat instanceof HttpFault),
      ).length;
    expect(let_in(0, 50)).toBe(10);
    expect(let_in(500, 50)).toBe(5);
    expect(let_in(10_000, 50)).toBe(10);
  });
});
