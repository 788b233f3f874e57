// Processes that die again and again, and clients that come while their node goes.

import { isRunning } from "../cluster/start.ts";
import { Attacker } from "./attacker.ts";
import { add } from "./report.ts";
import { type Attack, NODES, type Target } from "./stage.ts";

const CALLS = 21;
const RELAY_KILLS = 10;
const RELAY_KILL_EVERY_MS = 300;
const SLOW_CLIENTS = 20;
const VICTIM = "node-1";
const CRASHES_WITHIN_MS = 6000;
/** Longer than the slow `connect` and the spread of a drain's goodbyes take together. */
const GONE_WITHIN_MS = 3000;

/** A client of the victim, while it can be had; the others are left to the other nodes. */
async function clientOfVictim(target: Target): Promise<Attacker | undefined> {
  const others: Attacker[] = [];
  try {
    for (let tries = 0; tries < 2 * NODES; tries++) {
      const attacker = await Attacker.open(target.address, target.told);
      if (attacker.node === VICTIM && attacker.isOpen) return attacker;
      others.push(attacker);
    }
    return undefined;
  } finally {
    for (const other of others) other[Symbol.dispose]();
  }
}

/** Calls the method that ends a node, until it was called so often or the time is over. */
async function crashes(target: Target): Promise<string> {
  const deadline = performance.now() + Math.max(CRASHES_WITHIN_MS, target.seconds * 1000);
  let calls = 0;
  while (calls < CALLS && performance.now() < deadline && isRunning(target.cluster.pid)) {
    using attacker = await clientOfVictim(target);
    if (attacker === undefined) {
      await Bun.sleep(100);
      continue;
    }
    attacker.send({ type: "call", id: 1, method: "crash" });
    calls++;
    await Promise.race([attacker.closed, Bun.sleep(1000)]);
  }
  return `${calls} calls that end ${VICTIM}, of ${CALLS} at most`;
}

async function relayKills(target: Target): Promise<string> {
  const kills = Math.max(RELAY_KILLS, Math.round((target.seconds * 1000) / RELAY_KILL_EVERY_MS));
  let killed = 0;
  for (let round = 0; round < kills && isRunning(target.cluster.pid); round++) {
    await target.cluster.kill("relay-1").then(
      () => killed++,
      () => {},
    );
    await Bun.sleep(RELAY_KILL_EVERY_MS);
  }
  return `the relay killed every ${RELAY_KILL_EVERY_MS} ms, ${killed} of ${kills} times`;
}

/** Clients whose `connect` is under way when the drain of their node begins. */
async function drainEscape(target: Target): Promise<string> {
  const opening = Array.from({ length: SLOW_CLIENTS }, () =>
    Attacker.open(target.address, target.told, { path: "/slow" }),
  );
  try {
    await Bun.sleep(50);
    await target.cluster.run("drain", VICTIM);
    const clients = await Promise.all(opening);
    const ofVictim = clients.filter(({ node }) => node === VICTIM);
    const gone = Promise.all(ofVictim.map(({ closed }) => closed));
    await Promise.race([gone, Bun.sleep(GONE_WITHIN_MS)]);
    const stay = ofVictim.filter(({ isOpen }) => isOpen).length;
    if (stay > 0) target.wrong.push(`${stay} clients stay at a drained node`);
    for (const { node = "no node" } of clients) add(target.told, `welcomed by ${node}`);
  } finally {
    for (const client of await Promise.all(opening)) client[Symbol.dispose]();
    await target.cluster.run("undrain", VICTIM);
  }
  return `${SLOW_CLIENTS} clients with a slow \`connect\` while ${VICTIM} was drained`;
}

export const kills: readonly Attack[] = [
  { name: "drain-escape", seconds: 1, closes: [1000, 1012], run: drainEscape },
  { name: "crashing-calls", seconds: 4, ends: [VICTIM], run: crashes },
  { name: "relay-kills", seconds: 3, ends: ["relay-1"], run: relayKills },
];
