// A real browser: two users on different nodes chat while the node of one, then of the other, is
// killed.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { type Cluster, startCluster } from "../cluster/start.ts";

const CHROMIUM = "/usr/bin/chromium";
const ARGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const TIMEOUT_MS = 60_000;
const hasChromium = existsSync(CHROMIUM);
if (!hasChromium) console.warn(`skipped: the browser test needs Debian's chromium at ${CHROMIUM}`);

let cluster: Cluster;
let browser: Browser;

beforeAll(async () => {
  if (!hasChromium) return;
  [cluster, browser] = await Promise.all([
    startCluster({ nodes: 3, app: join(import.meta.dir, "../../src/chat/app.ts") }),
    chromium.launch({ executablePath: CHROMIUM, args: ARGS }),
  ]);
}, TIMEOUT_MS);
afterAll(async () => {
  await Promise.all([cluster?.[Symbol.asyncDispose](), browser?.close()]);
}, TIMEOUT_MS);

/**
 * Opens the chat for one user. Each context has its own cookies, so the lb assigns another node.
 */
async function enter(name: string): Promise<Page> {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => {
    throw error;
  });
  await page.goto(`http://${cluster.address}/`);
  await page.fill("#name", name);
  await page.press("#name", "Tab");
  await page.waitForFunction(() =>
    /^kill -9 \d+$/.test(document.getElementById("command")?.textContent ?? ""),
  );
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const servedBy = async (page: Page): Promise<string> =>
  (await page.locator("#node").textContent()) ?? "";
const texts = (page: Page): Promise<string[]> =>
  page.locator(".message:not(.pending) .text").allTextContents();
const offsets = (page: Page): Promise<number[]> =>
  page
    .locator(".message[data-offset]")
    .evaluateAll((lines) => lines.map((line) => Number(line.dataset.offset)));

/** Resolves to the page's note about its reconnection from that node. */
async function recovery(page: Page, node: string): Promise<string> {
  const note = page
    .locator(".event", { hasText: new RegExp(`^${node} was lost — reconnected to `) })
    .last();
  await note.waitFor();
  return (await note.textContent()) ?? "";
}

async function kill(node: string): Promise<void> {
  const status = await cluster.run("status", "--json");
  const { processes }: { processes: { id: string; pid: number }[] } = JSON.parse(status.out);
  const found = processes.find(({ id }) => id === node);
  if (found === undefined) throw new Error(`status does not know ${node}`);
  process.kill(found.pid, "SIGKILL");
}

test.skipIf(!hasChromium)(
  "two pages on different nodes chat while their nodes are killed: no message is lost or repeated",
  async () => {
    const [ada, ben] = [await enter("Ada"), await enter("Ben")];
    expect(await servedBy(ada)).not.toBe(await servedBy(ben));
    await ada.locator("#people li", { hasText: "Ben" }).waitFor();
    await ben.locator("#people li", { hasText: "Ada" }).waitFor();

    const said: string[] = [];
    for (const victim of [ada, ben]) {
      const node = await servedBy(victim);
      for (let number = 0; number < 10; number++) {
        if (number === 4) await kill(node);
        for (const page of [ada, ben]) {
          const text = `${page === ada ? "Ada" : "Ben"} says ${said.length} <i>so</i>`;
          said.push(text);
          await say(page, text);
        }
      }
      expect(await recovery(victim, node)).toMatch(
        /^node-\d was lost — reconnected to node-\d in \d+ ms, .*(missed)/,
      );
      await cluster.until(node, ({ state }) => state === "up");
    }

    for (const page of [ada, ben]) {
      await page.waitForFunction(
        (count) => document.querySelectorAll("[data-offset]").length >= count,
        said.length,
      );
      const seen = await texts(page);
      expect([...seen].sort()).toEqual([...said].sort());
      for (const name of ["Ada", "Ben"]) {
        const isTheirs = (text: string) => text.startsWith(name);
        expect(seen.filter(isTheirs)).toEqual(said.filter(isTheirs));
      }
      const shown = await offsets(page);
      expect(shown).toEqual([...new Set(shown)].sort((a, b) => a - b));
    }
    expect(await texts(ada)).toEqual(await texts(ben));
  },
  TIMEOUT_MS,
);
