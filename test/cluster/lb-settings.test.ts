// Settings of the cluster that reach every lb: trust, TLS, the access log, and other lb flags.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isRecord } from "../../src/wire/shape.ts";
import { eventually } from "../eventually.ts";
import { RawWebSocket } from "../security/raw-web-socket.ts";
import { startCluster, temporaryFolder } from "./start.ts";

setDefaultTimeout(60_000);

/** The lines of an access log, once there are so many. */
async function lines(path: string, count: number): Promise<Record<string, unknown>[]> {
  const whole = await eventually(
    () => readFileSync(path, "utf8").split("\n").slice(0, -1),
    ({ length }) => length >= count,
  );
  return whole.map((line): unknown => JSON.parse(line)).filter(isRecord);
}

test("every lb writes whole lines to the one access log, and obeys the flags that are its own", async () => {
  await using folder = await temporaryFolder();
  const config = join(folder.path, "tutti.config.ts");
  const settings = {
    lbWorkers: 2,
    accessLog: "access.log",
    lbFlags: { cookieName: "SEAT", noHealthPath: true },
  };
  writeFileSync(config, `export default ${JSON.stringify(settings)};`);
  await using cluster = await startCluster({ nodes: 2, args: ["--config", config] });
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      fetch(`http://${cluster.address}/${n}?token=secret`, { headers: { Connection: "close" } }),
    ),
  );
  for (const answer of answers) expect(answer.headers.get("set-cookie")).toStartWith("SEAT=");
  expect(await (await fetch(`http://${cluster.address}/healthz`)).json()).toMatchObject({
    state: "up",
  });
  const logged = await lines(join(folder.path, "access.log"), 61);
  expect(new Set(logged.map(({ lb }) => lb))).toEqual(new Set(["lb-1", "lb-2"]));
  expect(new Set(logged.map(({ target }) => target)).size).toBe(61);
  expect(JSON.stringify(logged)).not.toContain("secret");
  for (const line of logged) expect(line).toMatchObject({ client: "127.0.0.1", end: "--NI" });
});

test("proxies that are trusted are told to the lb", async () => {
  await using folder = await temporaryFolder();
  const app = join(folder.path, "app.ts");
  const from = join(import.meta.dirname, "../../src/node/app/index.ts");
  writeFileSync(
    app,
    `import { app } from ${JSON.stringify(from)};
     export default app({
       fetch: (request) => new Response(request.headers.get("x-forwarded-for")),
       methods: { who: ({ address }) => address },
     });`,
  );
  const env = { TUTTI_TRUST: "192.0.2.0/24,127.0.0.0/8" };
  await using cluster = await startCluster({ nodes: 1, app, env });
  const answer = await fetch(`http://${cluster.address}/`, {
    headers: { "X-Forwarded-For": "203.0.113.7" },
  });
  expect(await answer.text()).toBe("203.0.113.7, 127.0.0.1");
  const headers = { "X-Forwarded-For": "6.6.6.6, 203.0.113.7, 192.0.2.1" };
  using client = await RawWebSocket.open(cluster.address, "/", headers);
  expect((await client.ask({ type: "who", id: 1 })).data).toBe("203.0.113.7");
});

test.skipIf(Bun.which("openssl") === null)(
  "with a certificate the cluster speaks TLS, and says so",
  async () => {
    await using folder = await temporaryFolder();
    const { path } = folder;
    const openssl =
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost";
    const names = [
      "-addext",
      "subjectAltName=IP:127.0.0.1,DNS:localhost",
      "-keyout",
      "a.key",
      "-out",
      "a.pem",
    ];
    expect(
      Bun.spawnSync(["openssl", ...openssl.split(" "), ...names], { cwd: path }).exitCode,
    ).toBe(0);
    const config = join(path, "tutti.config.ts");
    writeFileSync(config, 'export default { tlsCert: "a.pem", tlsKey: ["a.key"] };');
    await using cluster = await startCluster({ nodes: 1, args: ["--config", config] });
    const url = `https://${cluster.address}`;
    expect(cluster.screen).toContain(`  ${url}\n  wss://${cluster.address}\n`);
    expect((await cluster.run("status")).out).toStartWith(`${url}\n`);
    const answer = await fetch(`${url}/healthz`, {
      tls: { ca: readFileSync(join(path, "a.pem"), "utf8") },
    });
    expect(await answer.text()).toBe("ok\n");
    await expect(fetch(`http://${cluster.address}/healthz`)).rejects.toThrow();
  },
);
