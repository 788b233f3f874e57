// Clients that subscribe and never read a byte more, while megabytes are published: what waits for
// them is bounded over all of them together, and nobody else is closed for it.

import { RawWebSocket } from "../security/raw-web-socket.ts";
import { Attacker } from "./attacker.ts";
import { add } from "./report.ts";
import type { Attack, Target } from "./stage.ts";

const SHORT = { clients: 150, publications: 120 };
const LONG = { clients: 1000, publications: 600 };
/** A run of so many seconds is a long one. */
const LONG_S = 10;
const CHANNEL = "wide:unread";
const DATA = "y".repeat(60_000);

async function run(target: Target): Promise<string> {
  const { clients, publications } = target.seconds >= LONG_S ? LONG : SHORT;
  const stalled: RawWebSocket[] = [];
  const reading: Record<string, number> = {};
  using reader = await Attacker.open(target.address, reading);
  using writer = await Attacker.open(target.address, target.told);
  try {
    await reader.ask({ type: "subscribe", id: 1, channel: CHANNEL });
    for (let n = 0; n < clients; n++) {
      const client = await RawWebSocket.open(target.address);
      stalled.push(client);
      await client.ask({ type: "subscribe", id: 1, channel: CHANNEL });
      client.socket.pause();
    }
    let taken = 0;
    for (let id = 1; id <= publications && writer.isOpen; id++) {
      const answer = await writer.ask({ type: "publish", id, channel: CHANNEL, data: DATA });
      if (answer?.type === "ok") taken++;
    }
    const heard = () => reading.message ?? 0;
    await reader.until(() => heard() >= taken, 5000);
    if (!reader.isOpen) target.wrong.push(`the good reader was closed: ${reader.closeCode}`);
    if (heard() < taken) target.wrong.push(`the good reader heard ${heard()} of ${taken}`);
    const mb = (taken * DATA.length) / 1e6;
    return `${clients} clients that never read, ${mb.toFixed(1)} MB published`;
  } finally {
    for (const client of stalled) client[Symbol.dispose]();
    add(target.told, "never read", stalled.length);
  }
}

export const nonReaders: readonly Attack[] = [{ name: "non-readers", seconds: 2, run }];
