// The README: every command of its shell blocks runs, and so does its code.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
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
  expect(`${out}${complaint}${await child.exited}`).toEndWith("0");
  return out;
}

async function stop(child: Subprocess): Promise<void> {
  child.kill("SIGTERM");
  await child.exited;
}

beforeAll(async () => {
  await start("stop ", command("bun run cluster --nodes 4"));
});
afterAll(async () => {
  await Promise.all(running.map(stop));
  rmSync(folder, { recursive: true, force: true });
});

const APP = block("// app.ts");
const CLIENT = block('import { connect } from "tutti/client"');

test("the app's and the client's code are right by their types", async () => {
  const place = mkdtempSync(join(ROOT, "examples", ".readme-"));
  try {
    writeFileSync(join(place, "app.ts"), APP);
    writeFileSync(join(place, "client.ts"), CLIENT);
    const settings = { extends: "../tsconfig.json", files: ["app.ts", "client.ts"], include: [] };
    writeFileSync(join(place, "tsconfig.json"), JSON.stringify(settings));
    await run(["node_modules/.bin/tsc", "--noEmit", "-p", place]);
  } finally {
    rmSync(place, { recursive: true });
  }
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

test("the same with npm", async () => {
  await stop((await start("stop ", command("npm run cluster -- --nodes 4"))).child);
});

describe("an app of one's own", () => {
  let address = "";
  let child: Subprocess | undefined;
  beforeAll(async () => {
    const file = join(folder, "app.ts");
    writeFileSync(file, APP);
    const own = command("bun run cluster --nodes 4 --host 0.0.0.0 --app ./app.ts", (text) =>
      text.replace("./app.ts", file),
    );
    const started = await start("stop ", own);
    child = started.child;
    address = /ws:\/\/\S+/.exec(started.text)?.[0] ?? "";
  });
  afterAll(async () => {
    if (child !== undefined) await stop(child);
  });

  /** Runs the client's code against the app. `change`: what a test makes of it. */
  async function runClient(change: (code: string) => string): Promise<string> {
    const place = mkdtempSync(join(ROOT, "examples", ".readme-"));
    try {
      const file = join(place, "client.ts");
      writeFileSync(file, change(CLIENT.replace("ws://127.0.0.1:8080", address)));
      const child = Bun.spawn([process.execPath, file], {
        cwd: ROOT,
        stdout: "pipe",
        stderr: "pipe",
      });
      const texts = [child.stdout, child.stderr].map((stream) => new Response(stream).text());
      return (await Promise.all(texts)).join("").trim();
    } finally {
      rmSync(place, { recursive: true });
    }
  }
  /** The client ends with the first message that it prints. */
  const ending = (code: string) => {
    const print = /console\.log\(`\$\{data.*`\)/;
    expect(code).toMatch(print);
    return code.replace(print, "{ $&; process.exit(); }");
  };

  test("serves its HTTP part", async () => {
    const answer = await fetch(address.replace("ws:", "http:"));
    expect(await answer.text()).toContain("hono.fetch fits here");
  });

  test("hears the client's code, and answers it", async () => {
    expect(await runClient(ending)).toBe("ada: hello");
  });

  test.each([
    ["another token", (code: string) => code.replace("token-of-ada", "guess"), "Who are you?"],
    [
      "no token",
      (code: string) => code.replace(', { token: "token-of-ada" }', ""),
      "connect needs a token",
    ],
    ["another channel", (code: string) => code.replace("chat:lobby", "chat:attic"), "refused"],
    [
      "a channel that the app lacks",
      (code: string) => code.replace("chat:", "talk:"),
      "talk:lobby",
    ],
  ])("tells a client with %s what is wrong", async (_, change, words) => {
    expect(await runClient((code) => change(ending(code)))).toContain(words);
  });

  test("hears the conversation of a plain WebSocket", async () => {
    const lines =
      README.match(/^→.*?(?=^```)/ms)?.[0]
        .trim()
        .split("\n") ?? [];
    const anyTime = (line: string) =>
      line.replace(/"epoch":"\w+"/, '"epoch":""').replace(/"time":\d+/, '"time":0');
    const socket = new WebSocket(address);
    const heard: string[] = [];
    const wake = { up: () => {} };
    socket.onmessage = ({ data }) => {
      heard.push(anyTime(String(data)));
      wake.up();
    };
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    expect(lines.length).toBeGreaterThan(2);
    for (const line of lines) {
      const frame = line.slice(2).replace("chat:lobby", "chat:other");
      if (line.startsWith("→")) socket.send(frame);
      else
        while (!heard.includes(anyTime(frame)))
          await new Promise<void>((resolve) => {
            wake.up = resolve;
          });
    }
    socket.close();
  });
});

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

test("chaos, the simulation and an attack, with less load", async () => {
  const short = (text: string) =>
    text.replace("--seconds 60 --clients 200", "--seconds 4 --clients 20");
  expect(await run(command("bun run chaos --seconds 60 --clients 200 --seed 7", short))).toMatch(
    /lost\s+0/,
  );
  const few = (text: string) => text.replace("1000", "5");
  await run(command("bun run sim --runs 1000", few));
  const one = (text: string) => `${text} --seconds 1 --only poison`;
  expect(await run(command("bun run attack", one))).toMatch(/^\| poison .* stood \|$/m);
}, 120_000);

test("every command of the README was run", () => {
  // These were run to install the project and to start this test.
  for (const each of ["bun install", "npm install", "bun run test"]) typed.add(each);
  expect(commands.filter((each) => each !== "" && !typed.has(each))).toEqual([]);
});
