// When each client of a draining node is told to leave: spread out, so that the other nodes are not
// flooded. Pure.

/** Up to this many clients leave almost at once. */
const FEW = 50;
const FEW_MS = 100;
const MANY_MS = 1000;

export type Departure<Client> = { readonly client: Client; readonly afterMs: number };

/** The clients in the order of their departure. `random`: from 0 up to 1. */
export function departures<Client>(
  clients: readonly Client[],
  random: () => number,
): Departure<Client>[] {
  const spreadMs = clients.length <= FEW ? FEW_MS : MANY_MS;
  return clients
    .map((client) => ({ client, afterMs: Math.round(random() * spreadMs) }))
    .sort((a, b) => a.afterMs - b.afterMs);
}
