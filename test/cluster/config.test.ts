import { expect, test } from "bun:test";
import { isLoopback, type Sources, settle } from "../../src/cluster/config.ts";
import { UsageError } from "../../src/wire/arguments.ts";

const sources = (some: Partial<Sources>): Sources => ({
  flags: {},
  environment: {},
  file: {},
  fileName: "tutti.config.ts",
  ...some,
});

const complaint = (some: Partial<Sources>): string => {
  try {
    settle(sources(some));
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return "";
};

test("without any source the defaults hold", () => {
  expect(settle(sources({}))).toEqual({
    nodes: 2,
    host: "127.0.0.1",
    port: 8080,
    relays: 1,
    lbWorkers: 1,
    data: ".tutti",
    app: undefined,
    open: false,
    memoryMb: 128,
    fsync: false,
    logLevel: "info",
  });
});

test("flags win over the environment, that over the file, that over the defaults", () => {
  const file = { nodes: 5, port: 5000, relays: 3, lbWorkers: 2 };
  const environment = { TUTTI_NODES: "6", TUTTI_PORT: "6000", TUTTI_LB_WORKERS: "4" };
  const settled = settle(sources({ flags: { nodes: "7" }, environment, file }));
  expect(settled).toMatchObject({ nodes: 7, port: 6000, lbWorkers: 4, relays: 3, memoryMb: 128 });
});

test("every setting can come from every source", () => {
  const asFile = {
    nodes: 3,
    host: "::1",
    port: 0,
    relays: 2,
    lbWorkers: 2,
    data: "d",
    app: "a.ts",
    open: true,
    memoryMb: 64,
    fsync: true,
    logLevel: "warn",
  } as const;
  const asText: [string, string][] = Object.entries(asFile).map(([key, value]) => [
    key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    String(value),
  ]);
  const flags = Object.fromEntries(asText.map(([flag, text]) => [flag, text === "true" ? true : text]));
  const environment = Object.fromEntries(
    asText.map(([flag, text]) => [`TUTTI_${flag.toUpperCase().replace("-", "_")}`, text]),
  );
  expect(settle(sources({ file: asFile }))).toEqual(asFile);
  expect(settle(sources({ flags }))).toEqual(asFile);
  expect(settle(sources({ environment }))).toEqual(asFile);
});

test("a flag can take back what another source has switched on, and an empty variable is none", () => {
  expect(settle(sources({ flags: { open: false }, environment: { TUTTI_OPEN: "true" } })).open).toBe(false);
  expect(settle(sources({ environment: { TUTTI_APP: "", TUTTI_FSYNC: "1" } }))).toMatchObject({
    app: undefined,
    fsync: true,
  });
});

test("what cannot be used is refused with a sentence that says where it stands", () => {
  expect(complaint({ flags: { nodes: "0" } })).toBe('--nodes "0" must be a whole number from 1 to 256.');
  expect(complaint({ flags: { nodes: "-1" } })).toStartWith("--nodes");
  expect(complaint({ environment: { TUTTI_PORT: "http" } })).toStartWith('TUTTI_PORT "http" must be');
  expect(complaint({ environment: { TUTTI_PORT: "65536" } })).toStartWith("TUTTI_PORT");
  expect(complaint({ file: { relays: 1.5 } })).toStartWith('relays in tutti.config.ts "1.5" must be');
  expect(complaint({ file: { nodes: [4] } })).toStartWith("nodes in tutti.config.ts");
  expect(complaint({ file: { nodes: null } })).toStartWith("nodes in tutti.config.ts");
  expect(complaint({ file: { open: "maybe" } })).toStartWith("open in tutti.config.ts");
  expect(complaint({ file: { data: 7 } })).toStartWith("data in tutti.config.ts");
  expect(complaint({ flags: { app: "" } })).toStartWith("--app");
  expect(complaint({ flags: { "log-level": "loud" } })).toBe(
    '--log-level "loud" must be one of debug, info, warn, error, silent.',
  );
  expect(complaint({ file: { ports: 1 } })).toStartWith(
    '"ports" in tutti.config.ts is not a setting: use nodes, host,',
  );
});

test("a host is a name or an address, without port or scheme", () => {
  for (const host of ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1", "localhost", "my-host.example.org"])
    expect(settle(sources({ flags: { host } })).host).toBe(host);
  for (const host of ["", "a b", "127.0.0.1:8080", "localhost:80", "http://x", "[::1]", "x/y", "ü"])
    expect(complaint({ flags: { host } })).toStartWith("--host");
});

test("only what this machine alone can reach is loopback", () => {
  for (const host of ["127.0.0.1", "127.1.2.3", "::1", "localhost"]) expect(isLoopback(host)).toBe(true);
  for (const host of ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org", "1127.0.0.1"])
    expect(isLoopback(host)).toBe(false);
});
