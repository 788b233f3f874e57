import { afterAll, afterEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataFolder } from "../../src/cluster/files/data-folder.ts";

const parent = mkdtempSync(join(tmpdir(), "tutti-"));
const path = join(parent, "data");
const mode = (file: string): number => statSync(file).mode & 0o777;

afterAll(() => rmSync(parent, { recursive: true, force: true }));
afterEach(() => rmSync(path, { recursive: true, force: true }));

test("folder, secret and sockets are for their owner alone, and the secret is made once", () => {
  const folder = DataFolder.claim(path);
  folder.prepare();
  const { secretFile, runFolder, logFolder } = folder.layout;
  expect([path, runFolder, logFolder].map(mode)).toEqual([0o700, 0o700, 0o700]);
  expect(mode(secretFile)).toBe(0o600);
  const secret = readFileSync(secretFile, "utf8");
  expect(secret).toMatch(/^[0-9a-f]{64}\n$/);
  folder.keep();
  folder.release();

  const again = DataFolder.claim(path);
  again.prepare();
  again.keep();
  expect(readFileSync(secretFile, "utf8")).toBe(secret);
  again.release();
  expect(readdirSync(path).sort()).toEqual(["logs", "secret"]);
});

test("a second cluster is told who holds the folder, and may have it afterwards", () => {
  const first = DataFolder.claim(path);
  first.prepare();
  const sentence = `Another cluster is already running on ${path} (pid ${process.pid}): stop it with "bun run cluster stop --data ${path}", or choose another folder with --data.`;
  expect(() => DataFolder.claim(path)).toThrow(sentence);
  expect(() => DataFolder.claim(path)).toThrow(sentence);
  first.release();
  DataFolder.claim(path).release();
});

test("the kernel drops the lock of a killed process, and what it left is cleared away", async () => {
  const module = join(import.meta.dirname, "../../src/cluster/files/data-folder.ts");
  const script = `
    const { DataFolder } = await import(${JSON.stringify(module)});
    const folder = DataFolder.claim(${JSON.stringify(path)});
    folder.prepare();
    Bun.listen({ unix: folder.layout.nodeSocket("node-1"), socket: { data() {} } });
    Bun.listen({ unix: folder.layout.adminSocket, socket: { data() {} } });
    console.log("claimed");`;
  const holder = Bun.spawn([process.execPath, "--no-orphans", "-e", script], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await holder.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("claimed\n");
  expect(() => DataFolder.claim(path)).toThrow(`(pid ${holder.pid})`);
  holder.kill("SIGKILL");
  await holder.exited;

  const { nodeSocket, adminSocket } = (await import(module)).layout(path);
  expect([nodeSocket("node-1"), adminSocket].map((socket) => existsSync(socket))).toEqual([
    true,
    true,
  ]);
  const folder = DataFolder.claim(path);
  folder.prepare();
  expect([nodeSocket("node-1"), adminSocket].map((socket) => existsSync(socket))).toEqual([
    false,
    false,
  ]);
  folder.release();
});

test("a folder that was made for nothing is removed, one that was there is not", () => {
  DataFolder.claim(path).release();
  expect(existsSync(path)).toBe(false);
  mkdirSync(path);
  DataFolder.claim(path).release();
  expect(existsSync(path)).toBe(true);
});

test("a cluster that was never up leaves nothing in a folder of its own", () => {
  const folder = DataFolder.claim(path);
  folder.prepare();
  mkdirSync(folder.layout.relayFolder("relay-1"));
  folder.release();
  expect(existsSync(path)).toBe(false);
});

test("a folder that others may have filled is refused, one that they may read is closed", () => {
  mkdirSync(path);
  chmodSync(path, 0o777);
  DataFolder.claim(path).release();
  expect(mode(path)).toBe(0o700);
  writeFileSync(join(path, "secret"), `${"0".repeat(64)}\n`, { mode: 0o600 });
  for (const open of [0o777, 0o770, 0o702]) {
    chmodSync(path, open);
    expect(() => DataFolder.claim(path)).toThrow(
      `The data folder ${path} can be written by others (mode 0${open.toString(8)}): check what is in it, then "chmod 700 ${path}", or choose another with --data.`,
    );
    expect(mode(path)).toBe(open);
  }
  chmodSync(path, 0o755);
  DataFolder.claim(path).release();
  expect(mode(path)).toBe(0o700);
});

test("a secret that others may know or have planted is refused", () => {
  mkdirSync(path);
  const secret = join(path, "secret");
  const expectRefusal = (sentence: string) => {
    const folder = DataFolder.claim(path);
    expect(() => folder.prepare()).toThrow(sentence);
    folder.release();
  };
  writeFileSync(secret, `${"0".repeat(64)}\n`);
  chmodSync(secret, 0o644);
  expectRefusal(
    `The cluster secret ${secret} is open to others (mode 0644): remove it for a new one, or "chmod 600 ${secret}" if nobody has seen it.`,
  );
  rmSync(secret);
  symlinkSync("/etc/hostname", secret);
  expectRefusal("is no file");
});

test("what is deleted of a running cluster's folder is found and made anew", () => {
  const folder = DataFolder.claim(path);
  folder.prepare();
  const { secretFile, runFolder, adminSocket } = folder.layout;
  expect(folder.missing()).toEqual([adminSocket]);
  const secret = readFileSync(secretFile, "utf8");
  rmSync(runFolder, { recursive: true });
  expect(folder.missing()).toEqual([runFolder, adminSocket]);
  rmSync(path, { recursive: true });
  expect(folder.missing()).toContain(path);
  folder.restore();
  expect(folder.missing()).toEqual([adminSocket]);
  expect(readFileSync(secretFile, "utf8")).toBe(secret);
  expect(mode(path)).toBe(0o700);
  expect(() => DataFolder.claim(path)).toThrow("Another cluster is already running");
  folder.release();
});

test("what cannot be a data folder is refused with a sentence", () => {
  const file = join(parent, "file");
  writeFileSync(file, "");
  expect(() => DataFolder.claim(file)).toThrow(
    /^The data folder .*file cannot be used \(EEXIST.*\): make sure that it is writable and has free space, or/,
  );
  expect(() => DataFolder.claim("/proc/tutti")).toThrow(
    /^The data folder \/proc\/tutti cannot be used/,
  );
  const long = join(parent, "x".repeat(100));
  expect(() => DataFolder.claim(long)).toThrow(
    /longer than 107 bytes: choose a shorter --data folder/,
  );
  expect(existsSync(long)).toBe(false);
});
