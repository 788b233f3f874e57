// Rise and fall over the outcomes of health checks.

import { describe, expect, test } from "bun:test";
import { HealthRecord } from "../../src/lb/upstreams/health.ts";

describe("health", () => {
  test("rises and falls by runs of checks", () => {
    const record = new HealthRecord({ rise: 2, fall: 2 });
    expect(record.checked("unreachable")).toBe("up");
    expect(record.checked("well")).toBe("up");
    expect(record.checked("unwell")).toBe("up");
    expect(record.checked("unwell")).toBe("failing");
    expect(record.checked("unreachable")).toBe("down");
    expect(record.checked("well")).toBe("failing");
    expect(record.checked("well")).toBe("up");
    expect(record.refused()).toBe("down");
    expect(record.checked("well")).toBe("failing");
    expect(record.checked("unwell")).toBe("failing");
    expect(record.checked("well")).toBe("failing");
    expect(record.checked("well")).toBe("up");
  });
});
