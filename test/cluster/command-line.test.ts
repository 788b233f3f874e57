import { expect, test } from "bun:test";
import { HELP, readCommand } from "../../src/cluster/settings/command-line.ts";
import { SETTING_FLAGS } from "../../src/cluster/settings/config.ts";
import { UsageError } from "../../src/runtime/arguments.ts";

const complaint = (...typed: string[]): string => {
  try {
    readCommand(typed);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return "";
};

test("flags alone start a cluster, as the word start does", () => {
  expect(readCommand([])).toMatchObject({ name: "start", operand: undefined });
  expect(readCommand(["--nodes", "4"])).toMatchObject({ name: "start", flags: { nodes: "4" } });
  expect(readCommand(["start", "--nodes=4", "--open"])).toMatchObject({
    name: "start",
    flags: { nodes: "4", open: true },
  });
  expect(readCommand(["--no-open"]).flags.open).toBe(false);
});

test("commands take their operand and the flags that say which cluster is meant", () => {
  expect(readCommand(["status", "--json", "--data", "x"])).toMatchObject({
    name: "status",
    flags: { json: true, data: "x" },
  });
  expect(readCommand(["scale", "6"])).toMatchObject({ name: "scale", operand: "6" });
  expect(readCommand(["drain", "node-2", "--data", "x"])).toMatchObject({
    name: "drain",
    operand: "node-2",
  });
  expect(readCommand(["restart"]).operand).toBeUndefined();
  expect(readCommand(["restart", "lb-1"]).operand).toBe("lb-1");
});

test("several trusted networks, and flags of the lb as one text", () => {
  expect(readCommand(["--trust", "10.0.0.0/8", "--trust", "::1"]).flags.trust).toEqual([
    "10.0.0.0/8",
    "::1",
  ]);
  const typed = ["start", "--nodes", "4", "--lb-flags", "--rise 3", "--open"];
  expect(readCommand(typed).flags).toMatchObject({
    nodes: "4",
    "lb-flags": "--rise 3",
    open: true,
  });
  expect(complaint("--lb-flags")).toContain("'--lb-flags <value>'");
});

test("everything else is refused with a sentence", () => {
  expect(complaint("stauts")).toStartWith('There is no command "stauts".');
  expect(complaint("--nods", "4")).toContain("'--nods'");
  expect(complaint("--nodes")).toContain("'--nodes <value>'");
  expect(complaint("status", "--nodes", "4")).toContain("'--nodes'");
  expect(complaint("--json")).toContain("'--json'");
  expect(complaint("scale")).toBe('"scale" needs a number of nodes, such as scale 4.');
  expect(complaint("drain")).toBe('"drain" needs the id of a node, such as drain node-2.');
  expect(complaint("drain", "node-1", "node-2")).toStartWith('"drain" does not take "node-2"');
  expect(complaint("--data", "x", "status")).toStartWith(
    '"start" does not take "status" (a command comes first).',
  );
});

test("help wins over whatever else was typed, and names every flag", () => {
  expect(readCommand(["--help"]).name).toBe("help");
  expect(readCommand(["scale", "-h"]).name).toBe("help");
  for (const flag of Object.keys(SETTING_FLAGS)) expect(HELP).toContain(`--${flag}`);
});
