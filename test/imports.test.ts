// The shape of the house: imports run one way, pure files stay pure, and the client needs nothing but itself.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { Glob } from "bun";

const SRC = join(import.meta.dir, "../src");

/** Files that may touch sockets, clocks, files, processes or randomness. All others are pure. */
const SHELLS: Record<string, string[]> = {
  wire: ["arguments.ts", "child.ts", "link.ts", "lock.ts", "log.ts"],
  relay: ["main.ts", "server.ts", "recover.ts", "journal.ts"],
  node: ["alarm.ts", "main.ts", "node.ts", "server.ts", "load-app.ts"],
  lb: ["main.ts", "proxy.ts", "directory.ts", "checks.ts", "upstream.ts", "certificate-files.ts", "access-log-file.ts"],
  client: ["shell.ts"],
  chaos: ["main.ts", "run.ts", "cluster.ts", "troubles.ts", "plain-client.ts", "sdk-client.ts"],
  cluster: [
    ...["main.ts", "start.ts", "supervisor.ts", "child-process.ts", "incarnation.ts", "data-folder.ts"],
    ...["log-file.ts", "load-settings.ts", "admin.ts", "admin-client.ts"],
  ],
};

const IMPURE = new RegExp(
  [
    String.raw`\bBun\.`,
    String.raw`\bprocess\.(?:argv|connected|cwd|env|exit|kill|memoryUsage|on|pid|ppid|send|stderr|stdin|stdout)\b`,
    String.raw`\bDate\.now\b|\bperformance\.now\b|\bMath\.random\b|\bcrypto\.|\brandomBytes\b`,
    String.raw`\bset(?:Timeout|Interval|Immediate)\(|\bnew WebSocket\b|\bfetch\(`,
    String.raw`^import (?!type )[^;]*from "(?:bun|bun:\w+|node:(?:fs|child_process|process|timers)[^"]*)"`,
  ].join("|"),
  "m",
);

type File = { path: string; folder: string; text: string; code: string; imports: string[] };

const files: File[] = [...new Glob("**/*.ts").scanSync(SRC)].map((path) => {
  const text = readFileSync(join(SRC, path), "utf8");
  const imports = [
    ...text.matchAll(/^(?:import|export)\b(?!\s+type\b)[^;]*?from "([^"]+)"|\bimport\("([^"]+)"\)/gm),
  ].map((match) => match[1] ?? match[2]);
  const code = text.replace(/^\s*(?:\/\/|\/?\*).*$/gm, "");
  return { path, folder: path.split("/")[0], text, code, imports };
});

const resolved = (file: File, specifier: string): string => relative(SRC, join(SRC, dirname(file.path), specifier));

test("no folder imports a sibling other than wire, and wire imports nothing of ours", () => {
  const wrong = files.flatMap((file) =>
    [...file.text.matchAll(/from "(\.[^"]+)"/g)]
      .map(([, specifier]) => resolved(file, specifier))
      .filter((target) => ![file.folder, "wire"].includes(target.split("/")[0]))
      .map((target) => `${file.path} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

test("no two files import each other, however far round", () => {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const done = new Set<string>();
  const walk = (path: string, trail: string[]): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return [];
    done.add(path);
    const file = byPath.get(path);
    for (const specifier of file?.imports ?? []) {
      if (file === undefined || !specifier.startsWith(".")) continue;
      const circle = walk(resolved(file, specifier), [...trail, path]);
      if (circle.length > 0) return circle;
    }
    return [];
  };
  expect(files.flatMap((file) => walk(file.path, []))).toEqual([]);
});

test("pure files touch no clock, randomness, socket, file or process", () => {
  const impure = files
    .filter(({ path, folder }) => !(SHELLS[folder] ?? []).includes(path.slice(folder.length + 1)))
    .flatMap(({ path, code }) => (IMPURE.test(code) ? [`${path}: ${IMPURE.exec(code)?.[0]}`] : []));
  expect(impure).toEqual([]);
});

test("each file begins by saying what lives in it", () => {
  expect(files.filter(({ text }) => !text.startsWith("// ")).map(({ path }) => path)).toEqual([]);
});

test("the client needs no package: browsers load it as it is", () => {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const reach = (path: string) => {
    const file = byPath.get(path);
    if (file === undefined || reached.has(path)) return;
    reached.add(path);
    for (const specifier of file.imports) if (specifier.startsWith(".")) reach(resolved(file, specifier));
  };
  reach("client/index.ts");
  expect(reached.size).toBeGreaterThan(1);
  const packages = [...reached].flatMap(
    (path) => byPath.get(path)?.imports.filter((each) => !each.startsWith(".")) ?? [],
  );
  expect(packages).toEqual([]);
});
