// Starts a real relay process, and links to it as any process of the cluster does.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { reportIn } from "../../src/runtime/child-ipc.ts";
import { Link } from "../../src/runtime/link.ts";
import { encodePublish, offsetAt, payloadOf } from "../../src/wire/frame.ts";
import type { RelayMessage, RelayMessageOf, Role } from "../../src/wire/relay-messages.ts";

export const SECRET = "a secret that tests share";
export const POLICY = { size: 1000, ttlMs: 600_000, bytes: 10_000_000 };
const MAIN = join(import.meta.dir, "../../src/relay/main.ts");

export type RelayProcess = {
  readonly port: number;
  readonly process: Subprocess;
  kill(signal?: NodeJS.Signals): Promise<void>;
};

/** A folder that goes away with the test. */
export function testFolder(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "tutti-relay-"));
  writeFileSync(join(path, "secret"), SECRET);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export const relayCommand = (folder: string, port = 0): string[] => [
  process.execPath,
  MAIN,
  ...["--data", join(folder, "relay"), "--secret-file", join(folder, "secret")],
  ...["--listen", `127.0.0.1:${port}`, "--memory-mb", "64", "--log-level", "silent"],
];

/** Resolves when the relay listens. */
export function startRelay(
  folder: string,
  port = 0,
  command = relayCommand(folder, port),
): Promise<RelayProcess> {
  const { promise, resolve, reject } = Promise.withResolvers<RelayProcess>();
  const child = Bun.spawn(command, {
    stdin: "ignore",
    stderr: "inherit",
    ipc: (value) => {
      const report = reportIn(value);
      if (report?.type === "ready")
        resolve({
          port: Number(report.address.split(":").at(-1)),
          process: child,
          kill: async (signal = "SIGKILL") => {
            child.kill(signal);
            await child.exited;
          },
        });
      if (report?.type === "fatal") reject(new Error(report.message));
    },
  });
  child.exited.then((code) =>
    reject(new Error(`the relay exited with ${code} before it was ready`)),
  );
  return promise;
}

/**
 * A link whose messages can be awaited in the order they came. Publications come as {type:
 * "publication", offset, text}.
 */
export class TestLink {
  readonly link: Link;
  readonly seen: (
    | RelayMessage
    | { type: "publication"; offset: number; text: string }
    | { type: "invalid"; reason: string }
    | { type: "lost"; reason: string }
  )[] = [];
  #waiting: (() => void)[] = [];

  constructor(port: number, id: string, options: { role?: Role; secret?: string } = {}) {
    const { role = "node", secret = SECRET } = options;
    this.link = new Link(
      { address: { host: "127.0.0.1", port }, secret, role, id },
      {
        welcome: (message) => this.#note(message),
        message: (message) => this.#note(message),
        publication: (bytes, start, end) =>
          this.#note({
            type: "publication",
            offset: offsetAt(bytes, start),
            text: new TextDecoder().decode(payloadOf(bytes, start, end)),
          }),
        invalidMessage: ({ reason }) => this.#note({ type: "invalid", reason }),
        lost: (reason) => this.#note({ type: "lost", reason }),
      },
    );
  }

  /** The next message of that type that was not awaited yet; those before it are passed over. */
  async next<K extends TestLink["seen"][number]["type"]>(
    type: K,
  ): Promise<Extract<TestLink["seen"][number], { type: K }>> {
    for (;;) {
      for (let message = this.seen.shift(); message !== undefined; message = this.seen.shift())
        if (isOfType(message, type)) return message;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async open(
    channel: string,
    options: Partial<RelayMessageOf<"open">> = {},
  ): Promise<RelayMessageOf<"opened">> {
    this.link.sendMessage({
      type: "open",
      channel,
      live: true,
      presence: false,
      policy: POLICY,
      since: null,
      ...options,
    });
    return await this.next("opened");
  }

  publish(id: number, seq: number, text: string, producer = { high: 1, low: 1 }): void {
    this.link.send(encodePublish(id, producer, seq, new TextEncoder().encode(text)));
  }

  /** The next `count` publications, as "offset:text". */
  async publications(count: number): Promise<string[]> {
    const got: string[] = [];
    while (got.length < count) {
      const { offset, text } = await this.next("publication");
      got.push(`${offset}:${text}`);
    }
    return got;
  }

  [Symbol.dispose](): void {
    this.link.close();
  }

  #note(message: TestLink["seen"][number]): void {
    this.seen.push(message);
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function isOfType<M extends { type: string }, K extends M["type"]>(
  message: M,
  type: K,
): message is Extract<M, { type: K }> {
  return message.type === type;
}
