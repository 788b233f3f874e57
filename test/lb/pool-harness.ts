// Pools and nodes for the tests of upstreams.

import { Pool, PoolNode } from "../../src/lb/upstreams/pool.ts";

export const node = (id: string) =>
  new PoolNode(id, { host: "127.0.0.1", port: 1 }, `cookie-${id}`);

export function poolOf(ids: readonly string[], options = { rampMs: 0, nodeConnectionsMax: 0 }) {
  const pool = new Pool(options);
  const nodes = ids.map(node);
  for (const each of nodes) {
    pool.addNode(each);
    pool.nodeBecameAvailable(each, 0);
  }
  return { pool, nodes };
}

export const chosen = (pool: Pool, nowMs = 0, avoid?: PoolNode) => {
  const choice = pool.choose(nowMs, avoid);
  return typeof choice === "string" ? choice : choice.id;
};
