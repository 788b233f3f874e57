// The README: every command of its shell blocks runs, and so does its code.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";

setDefaultTimeout(60_000);

const ROOT = join(import.meta.dir, "..");
const README = readFileSync(join(ROOT, "README.md"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "tutti-readme-"));
/** A free port and a temporary folder instead of the defaults. */
const env = { ...process.env, TUTTI_PORT: "0", TUTTI_DATA: join(folder, "data") };

const blocks = (language: string): string[] =>
  [...README.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))].map(
    ([, text]) => text,
  );
const commands = blocks("sh").flatMap((block) =>
  block.split("\n").flatMap((line) => line.replace(/\s+#.*$/, "").split(" && ")),
);
const block = (beginning: string): string =>
  blocks("ts").find((text) => text.startsWith(beginning)) ?? "";

const typed = new Set<string>();
/** A command of the README, with the changes that the test needs. */
function command(text: string, change: (text: string) => string = (same) => same): string[] {
  expect(commands).toContain(text);
  typed.add(text);
  return ["sh", "-c", `exec ${change(text)}`];
}

const running: Subprocess[] = [];
/** Starts a long-running command; resolves to its output when that contains `words`. */
function start(words: string, argv: string[]): Promise<{ text: string; child: Subprocess }> {
  const child = Bun.spawn(argv, {
    cwd: ROOT,
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  running.push(child);
  const said = Promise.withResolvers<{ text: string; child: Subprocess }>();
  let text = "";
  const listen = async (stream: ReadableStream<Uint8Array>) => {
    for await (const chunk of stream) {
      text += new TextDecoder().decode(chunk);
      if (text.includes(words)) said.resolve({ text, child });
    }
  };
  Promise.all([listen(child.stdout), listen(child.stderr)]).then(() =>
    said.reject(new Error(`it ended without saying "${words}": ${text}`)),
  );
  return said.promise;
}

async function run(argv: string[]): Promise<string> {
  const child = Bun.spawn(argv, {
    cwd: ROOT,
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, complaint] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect(`${complaint}${await child.exited}`).toEndWith("0");
  return out;
}

async function stop(child: Subprocess): Promise<void> {
  child.kill("SIGTERM");
  await child.exited;
}

let address = "";
beforeAll(async () => {
  const { text } = await start("stop ", command("bun run cluster --nodes 4"));
  address = /ws:\/\/\S+/.exec(text)?.[0] ?? "";
});
afterAll(async () => {
  await Promise.all(running.map(stop));
  rmSync(folder, { recursive: true, force: true });
});

test("the client's code publishes and reads", async () => {
  const code = block('import { connect } from "tutti/client"').replace(
    "ws://127.0.0.1:8080",
    address,
  );
  writeFileSync(
    join(ROOT, "examples", ".readme-client.ts"),
    code.replace("console.log(data.title)", "{ console.log(data.title); process.exit(); }"),
  );
  try {
    const text = (await run([process.execPath, "examples/.readme-client.ts"])).trim();
    expect(text).toBe("hello");
  } finally {
    rmSync(join(ROOT, "examples", ".readme-client.ts"));
  }
});

test("the conversation matches what a plain WebSocket receives", async () => {
  const block =
    README.match(/^→.*?(?=^```)/ms)?.[0]
      .trim()
      .split("\n") ?? [];
  const socket = new WebSocket(address);
  const heard: string[] = [];
  const wake = { up: () => {} };
  socket.onmessage = ({ data }) => {
    heard.push(String(data));
    wake.up();
  };
  const blank = (line: string) =>
    line
      .replace(/"epoch":"\w+"/, '"epoch":""')
      .replace(/"time":\d+/, '"time":0')
      .replace("news", "other-news");
  const hear = async (wanted: string): Promise<void> => {
    while (
      !heard
        .map((line) =>
          line.replace(/"epoch":"\w+"/, '"epoch":""').replace(/"time":\d+/, '"time":0'),
        )
        .includes(wanted)
    )
      await new Promise<void>((resolve) => {
        wake.up = resolve;
      });
  };
  await new Promise((resolve) => socket.addEventListener("open", resolve));
  expect(block.length).toBeGreaterThan(2);
  for (const line of block) {
    if (line.startsWith("→")) socket.send(blank(line.slice(2)));
    else await hear(blank(line.slice(2)));
  }
  socket.close();
});

test("the commands for a running cluster", async () => {
  expect(await run(command("bun run cluster status"))).toContain("node-4");
  await run(command("bun run cluster scale 6"));
  expect(await run(command("bun run cluster status"))).toContain("node-6");
  await run(command("bun run cluster drain node-2"));
  expect(await run(command("bun run cluster status"))).toMatch(/node-2 .* draining/);
  await run(command("bun run cluster restart"));
  await run(command("bun run cluster stop"));
}, 60_000);

test("the same with npm, and with an app of one's own", async () => {
  await stop((await start("stop ", command("npm run cluster -- --nodes 4"))).child);
  const app = join(folder, "app.ts");
  writeFileSync(app, block("// app.ts"));
  const own = command("bun run cluster --nodes 4 --host 0.0.0.0 --app ./app.ts", (text) =>
    text.replace("./app.ts", app),
  );
  const { text, child } = await start("stop ", own);
  const http = /http:\/\/\S+/.exec(text)?.[0] ?? "";
  expect(await (await fetch(http)).text()).toContain("hono.fetch fits here");
  expect(
    (await fetch(http, { headers: { Upgrade: "websocket", Connection: "Upgrade" } })).status,
  ).toBeGreaterThan(300);
  await stop(child);
}, 60_000);

test("the lb alone", async () => {
  const lb = commands.find((text) => text.startsWith("bun run lb")) ?? "";
  await stop(
    (
      await start(
        "listening",
        command(lb, (text) => text.replace("8080", "0")),
      )
    ).child,
  );
});

test("the benchmark", async () => {
  const quick = (text: string) => `${text} --quick --rounds 1 --only broker`;
  expect(await run(command("bun run bench", quick))).toContain("broker CPU per publication");
}, 120_000);

test("chaos and the simulation, with less load", async () => {
  const short = (text: string) =>
    text.replace("--seconds 60 --clients 200", "--seconds 4 --clients 20");
  expect(await run(command("bun run chaos --seconds 60 --clients 200 --seed 7", short))).toMatch(
    /lost\s+0/,
  );
  const few = (text: string) => text.replace("1000", "5");
  await run(command("bun run sim --runs 1000", few));
}, 120_000);

test("every command of the README was run", () => {
  // These were run to install the project and to start this test.
  for (const each of ["bun install", "npm install", "bun run test"]) typed.add(each);
  expect(commands.filter((each) => each !== "" && !typed.has(each))).toEqual([]);
});
