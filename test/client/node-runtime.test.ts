// The built client under Node: what `npm run build` makes has to work where there is no Bun.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCluster } from "../cluster/start.ts";

const node = Bun.which("node");
const version = node === null ? "" : Bun.spawnSync([node, "--version"]).stdout.toString().trim();
const major = Number(/^v(\d+)/.exec(version)?.[1] ?? 0);
/** Node 20 and 21 have a WebSocket, but only when asked. */
const flags = major < 22 ? ["--experimental-websocket"] : [];
const canRun = major >= 20;
if (!canRun)
  console.warn(
    `skipped: the built client is not tried under Node, because there is no Node 20 or later here`,
  );

const PROGRAM = `
import { connect } from "./client.js";
const client = connect(process.argv[2]);
const channel = client.channel("room:node");
await channel.subscribe();
const published = [1, 2, 3].map((number) => channel.publish({ number }));
const read = [];
for await (const { data } of channel) if (read.push(data.number) === 3) break;
await Promise.all(published);
console.log(JSON.stringify({ read, echo: await client.call("echo", "hello"), node: client.node }));
await client.close();
`;

test.skipIf(!canRun)(
  `the built file talks to a cluster under Node ${version}, and lets the process end`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "tutti-client-"));
    try {
      await using cluster = await startCluster({
        nodes: 1,
        app: join(import.meta.dir, "apps/rooms.ts"),
      });
      const entry = join(import.meta.dir, "../../src/client/index.ts");
      const build = [
        process.execPath,
        "build",
        entry,
        "--target=browser",
        `--outfile=${join(folder, "client.js")}`,
      ];
      expect(Bun.spawnSync(build).exitCode).toBe(0);
      writeFileSync(join(folder, "program.mjs"), PROGRAM);
      const command = [
        String(node),
        ...flags,
        join(folder, "program.mjs"),
        `ws://${cluster.address}`,
      ];
      const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
      const [out, err] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      expect({
        code: await child.exited,
        out: JSON.parse(out || "null"),
        err: out === "" ? err : "",
      }).toEqual({
        code: 0,
        out: { read: [1, 2, 3], echo: "hello", node: "node-1" },
        err: "",
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
