// Question "restart": the relay is killed. Measures how long it takes to deliver again, by size of
// history, and which steps take the time.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AdminClient } from "../src/cluster/admin/admin-client.ts";
import { layout } from "../src/cluster/files/data-folder.ts";
import { type Figures, type Measurement, quantile } from "./measure.ts";
import { Load } from "./processes.ts";
import type { Question } from "./question.ts";
import { startTutti, type Tutti } from "./tutti.ts";

/** The size of a publication in the journal: its header and 100 bytes. */
const FRAME_BYTES = 148;
const CHANNELS = 100;
const MB = 1024 * 1024;
const EVERY_MS = 11_000;
/** The kills in a row: with more within 10 s, the supervisor would not restart the relay. */
const SERIES = 4;
const SERIES_EVERY_MS = 1500;
const POLL_MS = 20;

type Line = Readonly<Record<string, unknown>>;

/** The lines of a process's log that were written since `sinceMs`. */
function logLines(tutti: Tutti, id: string, sinceMs: number): Line[] {
  const lines = readFileSync(layout(tutti.folder).logFile(id), "utf8").trim().split("\n");
  return lines
    .filter((line) => line.startsWith("{"))
    .map((line): Line => JSON.parse(line))
    .filter(({ time }) => Date.parse(String(time)) >= sinceMs);
}

const timeOf = (lines: readonly Line[], word: string): number =>
  Date.parse(String(lines.find(({ msg }) => msg === word)?.time));

/** Kills the relay; each figure is the time of one step, the last the total time. */
async function killOnce(tutti: Tutti, load: Load): Promise<Figures> {
  const pid = await tutti.pidOf("relay-1");
  const killedMs = performance.timeOrigin + performance.now();
  process.kill(pid, "SIGKILL");
  const { arrivedMs } = await load.ask({ kind: "arrived", sinceMs: killedMs });
  await Bun.sleep(POLL_MS);
  const relay = logLines(tutti, "relay-1", Math.floor(killedMs));
  const linkedMs = Math.max(
    ...["node-1", "node-2"].map((id) =>
      timeOf(logLines(tutti, id, Math.floor(killedMs)), "linked"),
    ),
  );
  const { processes } = await new AdminClient(tutti.folder).status();
  const startedMs = Date.parse(processes.find(({ id }) => id === "relay-1")?.since ?? "");
  const read = relay.find(({ msg }) => msg === "journal read") ?? {};
  const readAtMs = timeOf(relay, "journal read");
  const readMs = Number(read.tookMs);
  const bytes = Number(read.bytes);
  return {
    startedMs: startedMs - killedMs,
    bootMs: readAtMs - readMs - startedMs,
    readMs,
    mbPerSecond: bytes / MB / (readMs / 1000),
    journalMb: bytes / MB,
    listeningMs: timeOf(relay, "relay is up") - readAtMs,
    linkedMs: linkedMs - timeOf(relay, "relay is up"),
    deliveredMs: killedMs + arrivedMs - linkedMs,
    allMs: arrivedMs,
  };
}

async function takeAll(
  what: string,
  kills: number,
  take: (n: number) => Promise<Figures>,
): Promise<Measurement> {
  const figures = new Map<string, number[]>();
  for (let n = 0; n < kills; n++)
    for (const [name, value] of Object.entries(await take(n)))
      figures.set(name, [...(figures.get(name) ?? []), value]);
  const all = Float64Array.from(figures.get("allMs") ?? []).sort();
  return {
    what,
    who: "tutti",
    figures: { ...Object.fromEntries(figures), p99Ms: [quantile(all, 0.99)] },
  };
}

export const restart: Question = {
  name: "restart",
  asks: "How long does a killed relay take to deliver again?",
  method:
    "Two nodes, 100 publications per second from one SDK client to another over 20 channels; SIGKILL to the relay. Each column is the time since the previous step; the last columns are the time from the kill until a publication arrives that was sent after it.",
  columns: [
    { figure: "journalMb", title: "journal, MB", digits: 0 },
    { figure: "startedMs", title: "started again, ms", digits: 0 },
    { figure: "bootMs", title: "booted, ms", digits: 0 },
    { figure: "readMs", title: "journal read, ms", digits: 0 },
    { figure: "mbPerSecond", title: "MB/s", digits: 0 },
    { figure: "listeningMs", title: "listening, ms", digits: 0 },
    { figure: "linkedMs", title: "nodes linked, ms", digits: 0 },
    { figure: "deliveredMs", title: "delivered, ms", digits: 0 },
    { figure: "allMs", title: "total, ms", digits: 0 },
    { figure: "p99Ms", title: "p99", digits: 0 },
  ],
  plot: { figure: "allMs", title: "until delivered again, ms", kind: "bars" },

  async run({ isQuick, rounds, note }) {
    const measurements: Measurement[] = [];
    for (const historyMb of isQuick ? [64] : [0, 64]) {
      const tutti = await startTutti(["--nodes", "2", "--log-level", "info"], {}, "ignore");
      const load = new Load("restart.ts");
      const secret = readFileSync(join(tutti.folder, "secret"), "utf8").trim();
      const publications = Math.ceil((historyMb * MB) / FRAME_BYTES);
      const remembered = Math.ceil(publications / CHANNELS);
      const port = await tutti.relayPort();
      if (publications > 0)
        await load.ask({ kind: "fill", port, secret, publications, remembered });
      await load.ask({ kind: "follow", port: tutti.port });
      const kill = () => killOnce(tutti, load);
      const takeOne = async (n: number) => {
        await Bun.sleep(n === 0 ? 1000 : EVERY_MS);
        return kill();
      };
      const kills = isQuick ? 2 : 4 * rounds;
      note(`${kills} kills with ${historyMb} MB of history, ${EVERY_MS / 1000} s apart`);
      measurements.push(await takeAll(`${historyMb} MB of history, now and then`, kills, takeOne));
      const inSeries = async (n: number) => {
        await Bun.sleep(n % SERIES === 0 ? EVERY_MS : SERIES_EVERY_MS);
        return kill();
      };
      measurements.push(
        await takeAll(
          `${historyMb} MB of history, ${SERIES} kills in a row`,
          isQuick ? SERIES : 2 * SERIES,
          inSeries,
        ),
      );
      const { wrong } = await load.ask({ kind: "wrong" });
      if (wrong > 0) throw new Error(`${wrong} deliveries were lost, repeated or out of order`);
      await load.stop();
      await tutti.stop();
    }
    return measurements;
  },
};
