// The faults of a simulated cluster, and what its clients do meanwhile.

import { below, between, pick, weighted } from "../../src/runtime/random.ts";
import type { SimClient } from "./client.ts";
import type { World } from "./world.ts";

/** How likely each fault is. */
const FAULTS = {
  killRelay: 6,
  killNode: 6,
  killLb: 3,
  killTwo: 4,
  killAll: 1,
  stopProcess: 5,
  tornWrite: 5,
  fullDisk: 3,
  losePower: 4,
  cutLink: 4,
  silenceLink: 2,
  stallLink: 3,
  cutClient: 6,
  silenceClient: 4,
  stallClient: 4,
  stopClient: 2,
  killClient: 1,
  slowNetwork: 3,
  drainNode: 2,
} as const;

export function fault(world: World): void {
  const { random, clock, network } = world;
  const kind = weighted(random, FAULTS);
  network.note(() => `fault: ${kind}`);
  const links = [...world.nodes, ...world.lbs].flatMap(({ links }) =>
    links.map(({ cable }) => cable),
  );
  switch (kind) {
    case "killRelay":
      return world.kill(pick(random, world.relays));
    case "killNode":
      return world.kill(pick(random, world.nodes));
    case "killLb":
      return world.kill(pick(random, world.lbs));
    case "killTwo":
      world.kill(pick(random, world.processes));
      return clock.after(between(random, 0, 600), () => world.kill(pick(random, world.processes)));
    case "killAll":
      for (const process of world.processes) world.kill(process);
      return undefined;
    case "stopProcess":
      return stopProcess(world);
    case "tornWrite":
      pick(random, world.relays).disk.diesAfter = below(random, 300);
      return undefined;
    case "fullDisk": {
      const { disk } = pick(random, world.relays);
      disk.isFull = true;
      return clock.after(between(random, 100, 2500), () => {
        disk.isFull = false;
      });
    }
    case "losePower": {
      if (!world.profile.losesPower) return undefined;
      pick(random, world.relays).losePower();
      return world.superviseSoon();
    }
    case "cutLink":
      return pick(random, links)?.cut();
    case "silenceLink":
      return pick(random, links)?.silence();
    case "stallLink":
      return pick(random, links)?.stall(random() < 0.5 ? 0 : 1, between(random, 10, 1500));
    case "cutClient":
      return pick(random, world.clients).cable?.cut();
    case "silenceClient":
      return pick(random, world.clients).cable?.silence();
    case "stallClient":
      return pick(random, world.clients).cable?.stall(0, between(random, 100, 6000));
    case "stopClient": {
      const { process } = pick(random, world.clients);
      process.stop();
      return clock.after(between(random, 100, 5000), () => process.continue());
    }
    case "killClient":
      world.killClient(pick(random, world.clients));
      world.addClient();
      return undefined;
    case "slowNetwork":
      network.slowness = pick(random, [10, 50]);
      return clock.after(between(random, 100, 1000), () => {
        network.slowness = 1;
      });
    case "drainNode": {
      const node = pick(random, world.nodes);
      node.drain();
      return clock.after(between(random, 200, 3000), () => node.undrain());
    }
    default:
      return kind satisfies never;
  }
}

/** SIGSTOP, then SIGCONT; or SIGKILL, as a supervisor kills a process that hangs. */
function stopProcess(world: World): void {
  const { random, clock } = world;
  const victim = pick(random, world.processes);
  const { process } = victim;
  const forMs = between(random, 50, 6000);
  if ("stop" in victim) victim.stop(forMs);
  else process.stop();
  clock.after(forMs, () => {
    if (forMs > 5000) world.kill(victim);
    else process.continue();
  });
}

const CHANNELS_MAX = 10;
const WORK = {
  publish: 80,
  open: 1,
  burst: 0.5,
  subscribe: 3,
  last: 2,
  again: 4,
  unsubscribe: 3,
  pause: 3,
  online: 2,
} as const;

/** A client does something. */
export function work(world: World, client: SimClient): void {
  const { random, clock } = world;
  const channel = pick(random, world.channels);
  const kind = weighted(random, WORK);
  switch (kind) {
    case "publish":
      return client.publish(channel, { isKeyed: random() < 0.2 });
    case "open": {
      const name = `new-${world.channels.length}`;
      if (world.channels.length >= CHANNELS_MAX) return undefined;
      world.channels.push(name);
      return client.subscribe(name);
    }
    case "burst":
      for (let n = below(random, 300); n >= 0; n--)
        client.publish(pick(random, world.channels), { isKeyed: random() < 0.2 });
      return undefined;
    case "subscribe":
      return client.channels.includes(channel) ? undefined : client.subscribe(channel);
    case "last":
      return client.subscribe(channel, { last: below(random, 20) });
    case "again":
      return again(world, client, channel);
    case "unsubscribe":
      return client.unsubscribe(channel);
    case "pause":
      client.pause(channel);
      return clock.after(between(random, 10, 3000), () => client.resume(channel));
    case "online":
      return client.step({ type: "online" });
    default:
      return kind satisfies never;
  }
}

/** Unsubscribes, and subscribes again at the same position, at once or after a while. */
function again(world: World, client: SimClient, channel: string): void {
  const { random, clock, absences } = world;
  const since = client.positionOf(channel);
  const start = since === undefined ? {} : { since };
  client.unsubscribe(channel);
  if (random() < 0.5) return client.subscribe(channel, start);
  const end = () => {
    if (absences.delete(end) && client.process.isAlive && !client.channels.includes(channel))
      client.subscribe(channel, start);
  };
  absences.add(end);
  clock.after(between(random, 10, 2000), end);
}

/** Ends all faults. A dead connection stays dead until a timeout notices. */
export function heal(world: World): void {
  world.network.slowness = 1;
  for (const { disk } of world.relays) {
    disk.isFull = false;
    disk.diesAfter = undefined;
  }
  for (const { process } of [...world.processes, ...world.clients]) process.continue();
  for (const node of world.nodes) node.undrain();
  for (const end of world.absences) end();
}
