// A node's core on a virtual clock whose wall time can be set; its relay is away.

import type { ANYONE } from "../../src/node/app/authentication.ts";
import type { AppOptions } from "../../src/node/app/index.ts";
import { Rules } from "../../src/node/app/rules.ts";
import { NodeCore } from "../../src/node/node-core.ts";
import type { Socket } from "../../src/node/session/client-writer.ts";
import { ClientSession } from "../../src/node/session/session.ts";
import { Clock } from "../sim/clock.ts";
import { Process } from "../sim/process.ts";

/** A client's socket: what it was sent, and the code it was closed with. */
export class RecordedSocket implements Socket {
  readonly frames: Record<string, unknown>[] = [];
  closedWith: number | undefined;

  send(frame: string | Uint8Array): number {
    this.frames.push(JSON.parse(String(frame)));
    return 1;
  }

  cork(work: () => void): void {
    work();
  }

  close(code: number): void {
    this.closedWith = code;
  }

  subscribe(): void {}
  unsubscribe(): void {}
  ping(): void {}
  terminate(): void {}
  getBufferedAmount(): number {
    return 0;
  }
}

/** A node whose relay is away, and whose wall clock can be set. */
export function createLoneNode(app: AppOptions<string> = {}) {
  const clock = new Clock();
  const process = new Process("node-1", clock);
  let wallShiftMs = 0;
  const overdue: string[] = [];
  const core = new NodeCore(
    {
      ...{ id: "node-1", relays: ["relay-1"], secret: "secret", app, rules: new Rules(app) },
      ...{ pingMs: 3_600_000, connectMs: 10_000 },
    },
    {
      clock: {
        wallMs: () => process.wallMs() + wallShiftMs,
        monotonicMs: process.monotonicMs,
        after: (delayMs, work) => process.after(delayMs, work),
        every: (intervalMs, work) => process.every(intervalMs, work),
        endOfTurn: (work) => process.endOfTurn(work),
      },
      random: () => 0.5,
      random32: () => 1,
      createId: () => "id",
      link: () => ({ isUp: false, send() {}, sendMessage() {}, close() {} }),
      publish() {},
      address: () => "unix:/node-1",
      events: {
        stateChanged() {},
        linkChanged() {},
        notPublished() {},
        clientClosed() {},
        refused() {},
        hookTimedOut: ({ name, channel }, session) =>
          void overdue.push(`${name} ${channel} ${session}`),
        failed: (what, error) => {
          throw new Error(`${what} failed`, { cause: error });
        },
      },
    },
  );
  const connect = (admitted: typeof ANYONE | Request) => {
    const socket = new RecordedSocket();
    const session = new ClientSession(core.context, "session", "json", "", admitted);
    core.sessions.add(session);
    session.socketOpened(socket);
    return { socket, say: (message: object) => session.frameReceived(JSON.stringify(message)) };
  };
  return {
    connect,
    /** Hooks that have not answered in time, as the log has them. */
    overdue,
    pass: (ms: number) => clock.runUntil(clock.now + ms),
    wallMs: () => process.wallMs() + wallShiftMs,
    setWallClock: (shiftMs: number) => {
      wallShiftMs += shiftMs;
    },
  };
}
