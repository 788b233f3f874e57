// The load of question "broker": one publisher and some subscribers of one broker, in this process.
// Publishes the requested number and answers when every subscriber has received all of them.

import { type Connect, type Driver, type Progress, SUBSCRIBERS, WINDOW } from "./broker-driver.ts";
import { jetStream, nats } from "./broker-nats.ts";
import { redisPublish, redisStreams } from "./broker-redis.ts";
import { relay } from "./broker-relay.ts";
import { serveTasks } from "./serve.ts";

const KINDS: Record<string, Connect> = { relay, redisPublish, redisStreams, nats, jetStream };

const had = new Array<number>(SUBSCRIBERS).fill(0);
let acknowledged = 0;
let sent = 0;
let onProgress = () => {};
let driver: Driver = { publish() {} };

const progress: Progress = {
  acknowledged(total) {
    acknowledged = total;
    onProgress();
  },
  received(subscriber, total) {
    had[subscriber] = total;
    onProgress();
  },
};

const run = (count: number): Promise<void> =>
  new Promise((done) => {
    const target = sent + count;
    onProgress = () => {
      const next = Math.min(target, Math.floor(Math.min(acknowledged, ...had)) + WINDOW);
      if (next > sent) {
        const first = sent;
        sent = next;
        driver.publish(first, next - first);
      }
      // A subscriber that counts bytes computes fractions of a publication.
      if (sent === target && had.every((total) => total >= target - 0.5)) done();
    };
    onProgress();
  });

serveTasks(async (task) => {
  if (typeof task.kind === "string") {
    driver = await KINDS[task.kind](
      { port: Number(task.port), secret: String(task.secret) },
      progress,
    );
    return {};
  }
  const startedMs = performance.now();
  await run(Number(task.count));
  return { seconds: (performance.now() - startedMs) / 1000 };
});
