// When each client of a draining node goes: spread out, so that the other nodes can take them one
// by one. Pure.

/** Up to so many clients go at once: nobody would notice. */
const FEW = 50;
const FEW_MS = 100;
const MANY_MS = 1000;

export type Departure<Client> = { readonly client: Client; readonly afterMs: number };

/** Each client's moment, in order. `random`: from 0 up to 1. */
export function departures<Client>(
  clients: readonly Client[],
  random: () => number,
): Departure<Client>[] {
  const spreadMs = clients.length <= FEW ? FEW_MS : MANY_MS;
  return clients
    .map((client) => ({ client, afterMs: Math.round(random() * spreadMs) }))
    .sort((a, b) => a.afterMs - b.afterMs);
}
