// The shape of the house: imports run one way, between folders and between the rooms of a folder;
// pure files stay pure; and the client needs nothing but itself.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { Glob } from "bun";

const SRC = join(import.meta.dir, "../src");

/** What each folder may import besides itself. */
const FOLDERS: Record<string, string[]> = {
  wire: [],
  runtime: ["wire"],
  relay: ["wire", "runtime"],
  node: ["wire", "runtime"],
  lb: ["wire", "runtime"],
  client: ["wire"],
  cluster: ["wire", "runtime"],
  chaos: ["wire", "runtime", "tutti", "tutti/client"],
  chat: ["tutti", "tutti/client"],
};

/**
 * The rooms of a folder: each may import itself and those before it. What lies outside of them may
 * import all, and no room imports it.
 */
const ROOMS: Record<string, string[]> = {
  node: ["codec", "app", "uplink", "channels", "session"],
  lb: ["net", "http", "telemetry", "upstreams", "accept", "proxying"],
  relay: ["journal", "channels", "links", "store"],
  cluster: ["files", "report", "settings", "supervision", "admin"],
};

/** The public entries, as others import them. */
const ALIASES: Record<string, string> = {
  tutti: "node/app/index.ts",
  "tutti/client": "client/index.ts",
};

/** Files that touch sockets, clocks, files, processes or randomness. All others are pure. */
const SHELLS: Record<string, string[]> = {
  wire: [],
  runtime: [
    ...["arguments.ts", "child-ipc.ts", "clock.ts", "file-descriptors.ts"],
    ...["link.ts", "lock.ts", "log.ts"],
  ],
  relay: ["main.ts", "server.ts", "store/recover.ts", "journal/journal.ts"],
  node: [
    ...["main.ts", "node.ts", "server.ts", "load-app.ts", "file-reserve.ts"],
    "session/client-writer.ts",
  ],
  lb: [
    ...["main.ts", "load-balancer.ts", "upstreams/directory.ts", "upstreams/checks.ts"],
    ...["net/dial.ts", "net/socket-owner.ts", "net/socket-writer.ts"],
    ...["accept/acceptor.ts", "accept/handshake.ts", "accept/tls.ts"],
    ...["proxying/client-stream.ts", "proxying/upstream.ts", "proxying/tunnel.ts"],
    "proxying/lingering-close.ts",
    ...["accept/certificate-files.ts", "telemetry/access-log-file.ts"],
  ],
  client: ["shell.ts"],
  chaos: ["main.ts", "run.ts", "cluster.ts", "faults.ts", "plain-client.ts", "sdk-client.ts"],
  chat: ["app.ts", "page.ts", "user-name.ts", "view.ts", "message-list.ts", "people.ts"],
  cluster: [
    ...[
      "main.ts",
      "start.ts",
      "supervision/supervisor.ts",
      "supervision/child-process.ts",
      "supervision/process-run.ts",
      "files/data-folder.ts",
    ],
    ...[
      "files/log-file.ts",
      "settings/load-settings.ts",
      "admin/admin-server.ts",
      "admin/admin-client.ts",
    ],
  ],
};

const IMPURE = new RegExp(
  [
    String.raw`\bBun\.`,
    String.raw`\bprocess\.(?:argv|connected|cwd|env|exit|kill|memoryUsage|on|pid|ppid|send|stderr|stdin|stdout)\b`,
    String.raw`\bDate\.now\b|\bperformance\.now\b|\bMath\.random\b|\bcrypto\.|\brandomBytes\b`,
    String.raw`\bset(?:Timeout|Interval|Immediate)\(|\bnew WebSocket\b|\bfetch\(`,
    String.raw`\bsocket\.(?:write|end|terminate|shutdown|pause|resume|upgradeTLS|timeout)\(`,
    String.raw`^import (?!type )[^;]*from "(?:bun|bun:\w+|node:(?:fs|child_process|process|timers)[^"]*)"`,
  ].join("|"),
  "m",
);

type File = {
  path: string;
  folder: string;
  room: string;
  text: string;
  code: string;
  imports: string[];
};

const placeOf = (path: string) => {
  const [folder, ...rest] = path.split("/");
  return { folder, room: rest.length > 1 ? rest[0] : "" };
};

const files: File[] = [...new Glob("**/*.ts").scanSync(SRC)].map((path) => {
  const text = readFileSync(join(SRC, path), "utf8");
  const code = text.replace(/^\s*(?:\/\/|\/?\*).*$/gm, "");
  const imports = [...code.matchAll(/\bfrom "([^"]+)"|\bimport\("([^"]+)"\)|^import "([^"]+)"/gm)]
    .map((match) => match[1] ?? match[2] ?? match[3])
    .map((specifier) =>
      specifier.startsWith(".") ? normalize(join(path, "..", specifier)) : specifier,
    );
  return { path, ...placeOf(path), text, code, imports };
});
const byPath = new Map(files.map((file) => [file.path, file]));
const fileOf = (imported: string) => byPath.get(ALIASES[imported] ?? imported);

test("a folder imports itself and what is below it, types and aliases included", () => {
  const wrong = files.flatMap(({ path, folder, imports }) =>
    imports
      .filter((imported) => fileOf(imported) !== undefined && placeOf(imported).folder !== folder)
      .filter(
        (imported) =>
          !FOLDERS[folder]?.some((each) => each === imported || each === placeOf(imported).folder),
      )
      .map((imported) => `${path} imports ${imported}`),
  );
  expect(wrong).toEqual([]);
});

test("every folder and room is known, and the rooms of a folder import one way, types included", () => {
  const places = files.map(({ folder, room }) => (room === "" ? folder : `${folder}/${room}`));
  const known = [
    ...Object.keys(FOLDERS),
    ...Object.entries(ROOMS).flatMap(([folder, rooms]) => rooms.map((room) => `${folder}/${room}`)),
  ];
  expect([...new Set(places)].sort()).toEqual(known.sort());
  const wrong = files.flatMap(({ path, folder, room, imports }) => {
    const rooms = ROOMS[folder] ?? [];
    return imports
      .flatMap((imported) => fileOf(imported) ?? [])
      .filter((target) => room !== "" && target.folder === folder)
      .filter((target) => target.room === "" || rooms.indexOf(target.room) > rooms.indexOf(room))
      .map((target) => `${path} imports ${target.path}`);
  });
  expect(wrong).toEqual([]);
});

test("no two files import each other, however far round, types included", () => {
  const done = new Set<string>();
  const walk = (path: string, trail: string[]): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return [];
    done.add(path);
    for (const imported of byPath.get(path)?.imports ?? []) {
      const target = fileOf(imported);
      const circle = target === undefined ? [] : walk(target.path, [...trail, path]);
      if (circle.length > 0) return circle;
    }
    return [];
  };
  expect(files.flatMap((file) => walk(file.path, []))).toEqual([]);
});

test("pure files touch no clock, randomness, socket, file or process, and every shell does", () => {
  const shells = new Set(
    Object.entries(SHELLS).flatMap(([folder, names]) => names.map((name) => `${folder}/${name}`)),
  );
  const impure = files
    .filter(({ path }) => !shells.has(path))
    .flatMap(({ path, code }) => (IMPURE.test(code) ? [`${path}: ${IMPURE.exec(code)?.[0]}`] : []));
  expect(impure).toEqual([]);
  expect([...shells].filter((path) => !byPath.has(path))).toEqual([]);
});

test("each file begins by saying what lives in it", () => {
  expect(files.filter(({ text }) => !text.startsWith("// ")).map(({ path }) => path)).toEqual([]);
});

test("the client needs no package: browsers load it as it is", () => {
  const reached = new Set<string>();
  const reach = (path: string) => {
    const file = byPath.get(path);
    if (file === undefined || reached.has(path)) return;
    reached.add(path);
    for (const imported of file.imports) reach(imported);
  };
  reach("client/index.ts");
  expect(reached.size).toBeGreaterThan(1);
  const packages = [...reached].flatMap(
    (path) => byPath.get(path)?.imports.filter((each) => !byPath.has(each)) ?? [],
  );
  expect(packages).toEqual([]);
});
