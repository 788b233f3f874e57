import { expect, test } from "bun:test";
import { isLoopback, resolveSettings, type Sources } from "../../src/cluster/settings/config.ts";
import { UsageError } from "../../src/runtime/arguments.ts";

const sources = (some: Partial<Sources>): Sources => ({
  flags: {},
  environment: {},
  file: {},
  fileName: "tutti.config.ts",
  ...some,
});

const complaint = (some: Partial<Sources>): string => {
  try {
    resolveSettings(sources(some));
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return "";
};

test("without any source the defaults hold", () => {
  expect(resolveSettings(sources({}))).toEqual({
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
    trust: [],
    publicHost: [],
    proxyProtocol: false,
    tlsCert: [],
    tlsKey: [],
    accessLog: undefined,
    lbFlags: [],
    origins: {},
  });
});

test("flags win over the environment, that over the file, that over the defaults", () => {
  const file = { nodes: 5, port: 5000, relays: 3, lbWorkers: 2 };
  const environment = { TUTTI_NODES: "6", TUTTI_PORT: "6000", TUTTI_LB_WORKERS: "4" };
  const settled = resolveSettings(sources({ flags: { nodes: "7" }, environment, file }));
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
    publicHost: ["app.example", "b.example:8443"],
    trust: ["10.0.0.0/8", "::1"],
    proxyProtocol: true,
    tlsCert: ["a.pem", "b.pem"],
    tlsKey: ["a.key", "b.key"],
    accessLog: "access.log",
    lbFlags: ["--no-cookie", "--head-timeout-ms", "5000"],
  } as const;
  const asText: [string, string][] = Object.entries(asFile).map(([key, value]) => [
    key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    key === "lbFlags" ? asFile.lbFlags.join(" ") : String(value),
  ]);
  const flags = Object.fromEntries(
    asText.map(([flag, text]) => [flag, text === "true" ? true : text]),
  );
  const environment = Object.fromEntries(
    asText.map(([flag, text]) => [`TUTTI_${flag.toUpperCase().replaceAll("-", "_")}`, text]),
  );
  expect(resolveSettings(sources({ file: asFile }))).toMatchObject(asFile);
  expect(resolveSettings(sources({ flags }))).toMatchObject(asFile);
  expect(resolveSettings(sources({ environment }))).toMatchObject(asFile);
});

test("a flag can take back what another source has switched on, and an empty variable is none", () => {
  expect(
    resolveSettings(sources({ flags: { open: false }, environment: { TUTTI_OPEN: "true" } })).open,
  ).toBe(false);
  expect(
    resolveSettings(sources({ environment: { TUTTI_APP: "", TUTTI_FSYNC: "1" } })),
  ).toMatchObject({
    app: undefined,
    fsync: true,
  });
});

test("what cannot be used is refused with a sentence that says where it stands", () => {
  expect(complaint({ flags: { nodes: "0" } })).toBe(
    '--nodes "0" must be a whole number from 1 to 256.',
  );
  expect(complaint({ flags: { nodes: "-1" } })).toStartWith("--nodes");
  expect(complaint({ environment: { TUTTI_PORT: "http" } })).toStartWith(
    'TUTTI_PORT "http" must be',
  );
  expect(complaint({ environment: { TUTTI_PORT: "65536" } })).toStartWith("TUTTI_PORT");
  expect(complaint({ file: { relays: 1.5 } })).toStartWith(
    'relays in tutti.config.ts "1.5" must be',
  );
  expect(complaint({ file: { nodes: [4] } })).toStartWith("nodes in tutti.config.ts");
  expect(complaint({ file: { nodes: null } })).toStartWith("nodes in tutti.config.ts");
  expect(complaint({ file: { open: "maybe" } })).toStartWith("open in tutti.config.ts");
  expect(complaint({ file: { data: 7 } })).toStartWith("data in tutti.config.ts");
  expect(complaint({ flags: { app: "" } })).toStartWith("--app");
  expect(complaint({ flags: { "log-level": "loud" } })).toBe(
    '--log-level "loud" must be one of debug, info, warn, error, silent.',
  );
  expect(complaint({ file: { threads: 1 } })).toStartWith(
    '"threads" in tutti.config.ts is not a setting: use nodes, host,',
  );
});

test("a host is a name or an address, without port or scheme", () => {
  for (const host of [
    "127.0.0.1",
    "0.0.0.0",
    "::",
    "::1",
    "fe80::1",
    "localhost",
    "my-host.example.org",
  ])
    expect(resolveSettings(sources({ flags: { host } })).host).toBe(host);
  for (const host of ["", "a b", "127.0.0.1:8080", "localhost:80", "http://x", "[::1]", "x/y", "ü"])
    expect(complaint({ flags: { host } })).toStartWith("--host");
});

test("only what this machine alone can reach is loopback", () => {
  for (const host of ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    expect(isLoopback(host)).toBe(true);
  for (const host of [
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "127.0.0.1.example.org",
    "localhost.example.org",
    "1127.0.0.1",
  ])
    expect(isLoopback(host)).toBe(false);
});

test("flags of the lb are words, a text of words, or an object", () => {
  const read = (lbFlags: unknown) => resolveSettings(sources({ file: { lbFlags } })).lbFlags;
  expect(read(' --head-timeout-ms  5000 --cookie-name="a b" ')).toEqual([
    ...["--head-timeout-ms", "5000", "--cookie-name=a b"],
  ]);
  expect(read("--a 'b \"c\"' ''")).toEqual(["--a", 'b "c"', ""]);
  expect(
    read({ headTimeoutMs: 5000, noCookie: true, cookieSecure: false, rise: "3", x: ["a", "b"] }),
  ).toEqual([...["--head-timeout-ms=5000", "--no-cookie", "--rise=3", "--x=a", "--x=b"]]);
  expect(read("")).toEqual([]);
});

test("flags of the lb that the cluster sets itself are refused, and so is what are no flags", () => {
  const why = (lbFlags: unknown) => complaint({ file: { lbFlags } });
  expect(why("--listen 0.0.0.0:1")).toBe(
    "lbFlags in tutti.config.ts must not hold --listen: the cluster sets it, or has a flag for it.",
  );
  expect(why(["--upstream=a:1"])).toContain("must not hold --upstream:");
  expect(why({ trust: "10.0.0.0/8" })).toContain("must not hold --trust:");
  expect(why('--cookie-name "a')).toContain("quotation mark");
  expect(why(7)).toContain("must be flags of the lb");
  expect(why(["--rise", 3])).toContain("must be flags of the lb");
  expect(why({ rise: { n: 3 } })).toContain(
    "rise of lbFlags in tutti.config.ts must be text, a number",
  );
});

test("several values come as an array or with commas, and an access log is a file", () => {
  const read = (trust: unknown) => resolveSettings(sources({ file: { trust } })).trust;
  expect(read("10.0.0.0/8, ::1")).toEqual(["10.0.0.0/8", "::1"]);
  expect(read(["10.0.0.0/8"])).toEqual(["10.0.0.0/8"]);
  expect(
    resolveSettings(sources({ flags: { trust: ["a", "b"] }, environment: { TUTTI_TRUST: "c" } }))
      .trust,
  ).toEqual(["a", "b"]);
  for (const wrong of [7, ["a", 7], ["a", ""], "a,,b", { a: 1 }])
    expect(complaint({ file: { tlsCert: wrong } })).toStartWith(
      "tlsCert in tutti.config.ts must be text, or several",
    );
  expect(complaint({ flags: { "access-log": "-" } })).toStartWith("--access-log must be a file");
});
