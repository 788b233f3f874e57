// The queue of requests that wait for a node.

import { describe, expect, test } from "bun:test";
import type { HttpFault } from "../../src/lb/http/faults.ts";
import { Dispatcher, type Lease, type Waiter } from "../../src/lb/upstreams/dispatch.ts";
import type { PoolNode } from "../../src/lb/upstreams/pool.ts";
import { poolOf } from "./pool-harness.ts";

describe("the queue", () => {
  const waiterFor = (stickTo?: PoolNode) => {
    const waiter: Waiter & { lease?: Lease; fault?: HttpFault } = {
      stickTo,
      avoid: undefined,
      nodeAssigned(lease) {
        waiter.lease = lease;
      },
      dispatchRefused(fault) {
        waiter.fault = fault;
      },
    };
    return waiter;
  };

  test("first come, first served; the sticky wait for their own node and hold nobody up", () => {
    const { pool, nodes } = poolOf(["a", "b"], { rampMs: 0, nodeConnectionsMax: 1 });
    const dispatcher = new Dispatcher(
      pool,
      3,
      () => 0,
      () => {},
    );
    const [one, two] = [waiterFor(), waiterFor()];
    for (const waiter of [one, two]) dispatcher.dispatch(waiter);
    const [sticky, third, fourth, surplus] = [
      waiterFor(nodes[0]),
      waiterFor(),
      waiterFor(),
      waiterFor(),
    ];
    for (const waiter of [sticky, third, fourth, surplus]) dispatcher.dispatch(waiter);
    expect(dispatcher.waiting).toBe(3);
    expect(surplus.fault?.status).toBe(503);
    two.lease?.release();
    expect(sticky.lease).toBeUndefined();
    expect(third.lease?.node).toBe(nodes[1]);
    one.lease?.release();
    expect(sticky.lease?.node).toBe(nodes[0]);
    dispatcher.withdraw(fourth);
    third.lease?.release();
    expect(fourth.lease).toBeUndefined();
    expect(dispatcher.waiting).toBe(0);
  });

  test("a lease is given back once", () => {
    const { pool, nodes } = poolOf(["a"]);
    const dispatcher = new Dispatcher(
      pool,
      1,
      () => 0,
      () => {},
    );
    const waiter = waiterFor();
    dispatcher.dispatch(waiter);
    expect(nodes[0].connections).toBe(1);
    for (let times = 0; times < 3; times++) waiter.lease?.release();
    expect(nodes[0].connections).toBe(0);
  });

  test("when the last node goes, those that wait are told", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 0, nodeConnectionsMax: 1 });
    const dispatcher = new Dispatcher(
      pool,
      5,
      () => 0,
      () => {},
    );
    dispatcher.dispatch(waiterFor());
    const [waiting, sticky] = [waiterFor(), waiterFor(nodes[0])];
    for (const waiter of [waiting, sticky]) dispatcher.dispatch(waiter);
    nodes[0].health = "down";
    dispatcher.serveQueue();
    expect([waiting.fault?.status, sticky.fault?.status]).toEqual([503, 503]);
    expect(dispatcher.waiting).toBe(0);
  });

  test("many at once are taken on over several turns, in order, and are not refused for want of a queue", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 0, nodeConnectionsMax: 30 });
    const turns: (() => void)[] = [];
    const dispatcher = new Dispatcher(
      pool,
      0,
      () => 0,
      (begin) => turns.push(begin),
    );
    const waiters = Array.from({ length: 40 }, () => waiterFor());
    for (const waiter of waiters) dispatcher.dispatch(waiter);
    const gone = waiters[10];
    dispatcher.withdraw(gone);
    const taken: number[] = [];
    for (let begin = turns.shift(); begin !== undefined; begin = turns.shift()) {
      taken.push(nodes[0].connections);
      begin();
    }
    expect(taken).toEqual([8, 16, 24, 30]);
    const served = waiters.filter((waiter) => waiter !== gone);
    expect(served.map(({ lease }) => lease !== undefined)).toEqual(served.map((_, at) => at < 30));
    expect(served.slice(30).every(({ fault }) => fault?.status === 503)).toBe(true);
    expect(dispatcher.waiting).toBe(0);
  });

  test("who waits for a node is served before those that come, and within what a turn may give", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 0, nodeConnectionsMax: 8 });
    const turns: (() => void)[] = [];
    const dispatcher = new Dispatcher(
      pool,
      100,
      () => 0,
      (begin) => turns.push(begin),
    );
    const first = Array.from({ length: 8 }, () => waiterFor());
    for (const waiter of first) dispatcher.dispatch(waiter);
    turns.shift()?.();
    const waiting = Array.from({ length: 8 }, () => waiterFor());
    for (const waiter of waiting) dispatcher.dispatch(waiter);
    for (const waiter of first) waiter.lease?.release();
    expect(waiting.every(({ lease }) => lease !== undefined)).toBe(true);
    expect(nodes[0].connections).toBe(8);
    const late = waiterFor();
    waiting[0].lease?.release();
    dispatcher.dispatch(late);
    expect(late.lease).toBeUndefined();
    turns.shift()?.();
    expect(late.lease).toBeDefined();
  });
});
