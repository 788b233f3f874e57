import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { writeU32 } from "../../src/wire/bytes.ts";
import { encodePublish } from "../../src/wire/frame.ts";
import { encodeRelayMessage, OUTCOME_STORAGE } from "../../src/wire/relay-messages.ts";
import { type RelayProcess, relayCommand, startRelay, TestLink, testFolder } from "./process.ts";

setDefaultTimeout(60_000);

const folder = testFolder();
let relay: RelayProcess;
beforeAll(async () => {
  relay = await startRelay(folder.path);
});
afterAll(async () => {
  await relay.kill();
  folder[Symbol.dispose]();
});

let names = 0;
const newName = () => `channel-${++names}`;
const newProducer = () => ({ high: 7, low: ++names });

describe("channels", () => {
  test("publications reach every link that opened the channel, in order, and the publisher is told the offsets", async () => {
    using publisher = new TestLink(relay.port, "p1");
    using subscriber = new TestLink(relay.port, "s1");
    using other = new TestLink(relay.port, "o1");
    await Promise.all([publisher, subscriber, other].map((link) => link.next("welcome")));
    const channel = newName();
    await other.open(newName());
    const { id, top } = await publisher.open(channel, { live: false });
    expect(top).toBe(0);
    expect((await subscriber.open(channel)).id).toBe(id);
    for (let seq = 1; seq <= 3; seq++) publisher.publish(id, seq, `t${seq}`, { high: 5, low: 5 });
    expect(await subscriber.publications(3)).toEqual(["1:t1", "2:t2", "3:t3"]);
    expect((await publisher.next("ack")).outcomes).toEqual([1, 2, 3]);
    expect(publisher.seen.concat(other.seen).filter(({ type }) => type === "publication")).toEqual(
      [],
    );
  });

  test("missed, then live, on one ordered stream; a position that proves nothing is told", async () => {
    using publisher = new TestLink(relay.port, "p2");
    using subscriber = new TestLink(relay.port, "s2");
    await Promise.all([publisher.next("welcome"), subscriber.next("welcome")]);
    const channel = newName();
    const producer = newProducer();
    const { id, epoch } = await publisher.open(channel, { live: false });
    for (let seq = 1; seq <= 5; seq++) publisher.publish(id, seq, `t${seq}`, producer);
    await publisher.next("ack");
    const opened = await subscriber.open(channel, { since: { epoch, offset: 2 } });
    expect(opened).toMatchObject({ top: 5, missed: 3, gap: null });
    publisher.publish(id, 6, "t6", producer);
    expect(await subscriber.publications(4)).toEqual(["3:t3", "4:t4", "5:t5", "6:t6"]);
    for (const since of [
      { epoch, offset: 99 },
      { epoch: "another", offset: 2 },
    ]) {
      subscriber.link.sendMessage({ type: "close", id });
      expect(await subscriber.open(channel, { since })).toMatchObject({
        missed: 0,
        gap: { reason: "epoch" },
      });
    }
  });

  test("history by position, from either end, in pages", async () => {
    using link = new TestLink(relay.port, "h1");
    await link.next("welcome");
    const { id, epoch } = await link.open(newName(), { live: false });
    const producer = newProducer();
    for (let seq = 1; seq <= 10; seq++) link.publish(id, seq, `t${seq}`, producer);
    const ask = async (since: number | null, limit: number, reverse = false) => {
      const position = since === null ? null : { epoch, offset: since };
      link.link.sendMessage({ type: "history", request: 1, id, since: position, limit, reverse });
      const { count, top } = await link.next("page");
      expect(top).toBe(10);
      return (await link.publications(count)).map((each) => Number(each.split(":")[0]));
    };
    expect(await ask(null, 3)).toEqual([1, 2, 3]);
    expect(await ask(3, 3)).toEqual([4, 5, 6]);
    expect(await ask(8, 100)).toEqual([9, 10]);
    expect(await ask(10, 100)).toEqual([]);
    expect(await ask(null, 3, true)).toEqual([8, 9, 10]);
    expect(await ask(8, 3, true)).toEqual([5, 6, 7]);
    expect(await ask(2, 3, true)).toEqual([1]);
    link.link.sendMessage({
      type: "history",
      request: 2,
      id: 4_000_000,
      since: null,
      limit: 1,
      reverse: false,
    });
    expect(await link.next("page")).toMatchObject({ request: 2, found: false, count: 0 });
  });

  test("presence: who enters, who leaves, and who goes with the link that vouched for them", async () => {
    using observer = new TestLink(relay.port, "n1");
    await observer.next("welcome");
    const channel = newName();
    const { id } = await observer.open(channel, { presence: true });
    const node = new TestLink(relay.port, "n2");
    await node.next("welcome");
    await node.open(channel, { presence: true });
    const info = new TextEncoder().encode('{"name":"ann"}');
    node.link.sendMessage({ type: "enter", id, client: "ann", info });
    node.link.sendMessage({ type: "enter", id, client: "bob", info });
    expect(await observer.next("entered")).toMatchObject({
      client: "ann",
      info: Buffer.from(info),
    });
    node.link.sendMessage({ type: "leave", id, client: "ann" });
    expect(await observer.next("left")).toMatchObject({ client: "ann" });
    using late = new TestLink(relay.port, "n3");
    await late.next("welcome");
    expect(await late.open(channel, { presence: true })).toMatchObject({ members: 1 });
    expect(await late.next("entered")).toMatchObject({ client: "bob" });
    node.link.close();
    expect(await observer.next("left")).toMatchObject({ client: "bob" });
  });

  test("the registry: a link is its membership", async () => {
    using watcher = new TestLink(relay.port, "lb-1", { role: "lb" });
    await watcher.next("welcome");
    watcher.link.sendMessage({ type: "watch" });
    expect((await watcher.next("registry")).members).toEqual([]);
    const node = new TestLink(relay.port, "node-7");
    await node.next("welcome");
    const state = { address: "unix:/x.sock", connections: 3, counts: {} };
    node.link.sendMessage({ type: "register", state: "up", ...state });
    expect((await watcher.next("registered")).member).toEqual({
      role: "node",
      id: "node-7",
      state: "up",
      ...state,
    });
    const twin = new TestLink(relay.port, "node-7");
    await twin.next("welcome");
    twin.link.sendMessage({ type: "register", state: "draining", ...state });
    expect((await watcher.next("registered")).member.state).toBe("draining");
    expect((await node.next("lost")).reason).toStartWith("replaced");
    node.link.close();
    twin.link.close();
    expect(await watcher.next("departed")).toMatchObject({ role: "node", id: "node-7" });
  });
});

describe("strangers and bad links", () => {
  /** Sends raw bytes; resolves with what came back when the relay has closed. */
  function send(bytes: Uint8Array): Promise<Buffer> {
    const { promise, resolve } = Promise.withResolvers<Buffer>();
    const got: Uint8Array[] = [];
    Bun.connect({
      hostname: "127.0.0.1",
      port: relay.port,
      socket: {
        open: (socket) => {
          socket.write(bytes);
        },
        data: (_, chunk) => {
          got.push(chunk);
        },
        close: () => resolve(Buffer.concat(got)),
      },
    });
    return promise;
  }

  test("a wrong secret is found out by both sides", async () => {
    using link = new TestLink(relay.port, "spy", { secret: "another secret altogether" });
    expect((await link.next("lost")).reason).toContain("secret");
    const hello = encodeRelayMessage({
      type: "hello",
      version: 2,
      role: "node",
      id: "spy",
      nonce: new Uint8Array(16),
    });
    const prove = encodeRelayMessage({ type: "prove", proof: new Uint8Array(32) });
    expect((await send(Buffer.concat([hello, prove]))).toString("latin1")).toContain(
      "secret is wrong",
    );
  });

  test("nothing but a hello is taken from a stranger, and a short one", async () => {
    const version = encodeRelayMessage({
      type: "hello",
      version: 9,
      role: "node",
      id: "x",
      nonce: new Uint8Array(16),
    });
    expect((await send(version)).toString("latin1")).toContain("version");
    expect((await send(encodeRelayMessage({ type: "watch" }))).toString("latin1")).toContain(
      "before welcome",
    );
    expect(
      (await send(encodePublish(1, { high: 1, low: 1 }, 1, new Uint8Array(2)))).toString("latin1"),
    ).toContain("malformed");
    for (const opcode of ["\x82\xa8toString\x01\xa7valueOf\x01", "\x91\x01", "\xa1x", "\xc0"]) {
      const body = Buffer.from(`\x91${opcode}`, "latin1");
      const frame = Buffer.concat([Buffer.of(0, 0, 0, body.length), body]);
      expect((await send(frame)).toString("latin1")).toContain("malformed");
    }
    const lie = new Uint8Array(8);
    writeU32(lie, 0, 0x7fff_ffff);
    expect((await send(lie)).toString("latin1")).toContain("frame_too_long");
  });

  test("garbage ends that link alone, and memory stays flat", async () => {
    const rssMb = () =>
      Number(
        /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${relay.process.pid}/status`, "utf8"))?.[1],
      ) / 1024;
    using honest = new TestLink(relay.port, "honest");
    await honest.next("welcome");
    const before = rssMb();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 8, maxLength: 400 }), async (bytes) => {
        writeU32(bytes, 0, bytes.length - 4);
        await send(bytes);
      }),
      { numRuns: 300 },
    );
    expect(rssMb() - before).toBeLessThan(40);
    expect((await honest.open(newName())).top).toBe(0);
  });

  test("a member that breaks the rules is told why", async () => {
    const reasonFor = async (breakIt: (link: TestLink, id: number) => void) => {
      using link = new TestLink(relay.port, newName());
      await link.next("welcome");
      const { id } = await link.open(newName());
      breakIt(link, id);
      return (await link.next("lost")).reason;
    };
    expect(
      await reasonFor((link) => link.link.sendMessage({ type: "close", id: 12345 })),
    ).toContain("not open");
    expect(await reasonFor((link, id) => link.publish(id, 0, "x"))).toContain("seq");
    expect(
      await reasonFor((link) => link.link.sendMessage({ type: "ack", outcomes: [] })),
    ).toContain("not for a relay");
    expect(
      await reasonFor((link, id) => {
        const frame = encodePublish(id, { high: 1, low: 1 }, 1, new Uint8Array(9));
        frame[38] = 0xcf;
        link.link.send(frame);
      }),
    ).toContain("fixed layout");
  });

  test("a link that never reads is cut once the memory has gone round past it; the others do not notice", async () => {
    using publisher = new TestLink(relay.port, "fast");
    await publisher.next("welcome");
    const channel = newName();
    const policy = { size: 0, ttlMs: 0, bytes: 0 };
    const { id } = await publisher.open(channel, { live: false, policy });
    const script = `
      const { Link } = await import("${import.meta.dir}/../../src/runtime/link.ts");
      const link = new Link({ address: { host: "127.0.0.1", port: ${relay.port} }, secret: "a secret that tests share", role: "node", id: "stalled" }, {
        welcome: () => link.sendMessage({ type: "open", channel: "${channel}", live: true, presence: false, policy: ${JSON.stringify(policy)}, since: null }),
        publication: () => {}, lost: (reason) => { console.log("lost"); process.exit(); },
        message: (message) => { if (message.type === "opened") console.log("opened"); },
      });`;
    const stalled = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    const lines = stalled.stdout.getReader();
    await lines.read();
    stalled.kill("SIGSTOP");
    const text = "x".repeat(500_000);
    const producer = newProducer();
    for (let seq = 1; seq <= 200; seq++) {
      publisher.publish(id, seq, text, producer);
      if (seq % 20 === 0)
        for (let had = 0; had < 20; ) had += (await publisher.next("ack")).outcomes.length;
    }
    stalled.kill("SIGCONT");
    expect(new TextDecoder().decode((await lines.read()).value)).toBe("lost\n");
    await stalled.exited;
    expect((await publisher.open(newName())).top).toBe(0);
  });
});

describe("a relay that dies", () => {
  test("its successor goes on with the same ids, epochs and offsets, and knows repeats", async () => {
    using place = testFolder();
    let first = await startRelay(place.path);
    const { port } = first;
    using link = new TestLink(port, "p");
    await link.next("welcome");
    const { id, epoch } = await link.open("news");
    for (let seq = 1; seq <= 500; seq++) link.publish(id, seq, `t${seq}`);
    for (let had = 0; had < 500; ) had += (await link.next("ack")).outcomes.length;
    for (let kills = 0; kills < 2; kills++) {
      await first.kill("SIGKILL");
      first = await startRelay(place.path, port);
      await link.next("welcome");
    }
    const opened = await link.open("news", { since: { epoch, offset: 497 } });
    expect(opened).toMatchObject({ id, epoch, top: 500, missed: 3, gap: null });
    expect(await link.publications(3)).toEqual(["498:t498", "499:t499", "500:t500"]);
    link.publish(id, 499, "t499");
    link.publish(id, 501, "t501");
    expect((await link.next("ack")).outcomes).toEqual([499, 501]);
    await first.kill("SIGTERM");
  });

  test("R13: a stopped relay keeps its folder; a second one is refused with a sentence", async () => {
    using place = testFolder();
    const first = await startRelay(place.path);
    first.process.kill("SIGSTOP");
    const second = Bun.spawn(relayCommand(place.path), { stderr: "pipe", stdout: "ignore" });
    expect(await second.exited).toBe(1);
    expect(await new Response(second.stderr).text()).toContain("Another relay is using");
    first.process.kill("SIGCONT");
    using link = new TestLink(first.port, "p");
    await link.next("welcome");
    await first.kill();
  });

  test("R18: on a full disk publications are refused, by a successor too, and taken again when there is room", async () => {
    using place = testFolder();
    const limited = (port: number) => [
      ...["bash", "-c", `trap "" XFSZ; ulimit -S -f 64; exec "$@"`, "bash"],
      ...relayCommand(place.path, port),
    ];
    let relay = await startRelay(place.path, 0, limited(0));
    using link = new TestLink(relay.port, "p");
    await link.next("welcome");
    const { id } = await link.open("news");
    const text = "x".repeat(10_000);
    // One at a time, so that they do not come in one write that is refused as a whole.
    let stored = 0;
    for (let outcome = 0; outcome !== OUTCOME_STORAGE; ) {
      link.publish(id, stored + 1, text);
      [outcome] = (await link.next("ack")).outcomes;
      if (outcome !== OUTCOME_STORAGE) expect(outcome).toBe(++stored);
    }
    expect(stored).toBeGreaterThan(0);
    await relay.kill();
    relay = await startRelay(place.path, relay.port, limited(relay.port));
    await link.next("welcome");
    expect((await link.open("news")).top).toBe(stored);
    link.publish(id, 21, text);
    expect((await link.next("ack")).outcomes).toEqual([OUTCOME_STORAGE]);
    expect(
      Bun.spawnSync(["prlimit", "--pid", String(relay.process.pid), "--fsize=unlimited"]).exitCode,
    ).toBe(0);
    link.publish(id, 21, "room again");
    expect((await link.next("ack")).outcomes).toEqual([stored + 1]);
    await relay.kill("SIGTERM");
  });

  test("a folder that cannot be written is refused with a sentence", async () => {
    using place = testFolder();
    const blocked = Bun.spawn([...relayCommand(place.path), "--data", "/proc/tutti"], {
      stderr: "pipe",
      stdout: "ignore",
    });
    expect(await blocked.exited).toBe(1);
    expect(await new Response(blocked.stderr).text()).toContain(
      "data folder /proc/tutti cannot be written",
    );
  });
});
