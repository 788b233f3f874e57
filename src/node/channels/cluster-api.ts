// The Cluster object that the app's own code publishes with.

import { EVERYONE, isChannelName, isReserved } from "../../wire/channel-name.ts";
import { ERRORS, type ErrorCode } from "../../wire/codes.ts";
import { PAYLOAD_BYTES_MAX, type Producer } from "../../wire/frame.ts";
import type { Position } from "../../wire/position.ts";
import { type Cluster, NotPublished } from "../app/index.ts";
import { DEFAULT_ROUTE, type Route } from "../app/rules.ts";
import { type Identity, NOBODY } from "../uplink/broker.ts";
import type { Identities } from "../uplink/identity.ts";
import type { PublishResult } from "../uplink/outbox.ts";
import type { Channels } from "./channels.ts";

/** `failed`: for the log, a publication failed. */
export function createCluster(
  node: string,
  channels: Channels,
  identities: Identities,
  failed: (channel: string, code: ErrorCode) => void,
): Cluster {
  function publish(channel: string, route: Route | undefined, data: unknown, key?: string) {
    const publishing = new Promise<Position | undefined>((resolve, reject) => {
      const fail = (code: ErrorCode, why: string = ERRORS[code].message) => {
        failed(channel, code);
        reject(new NotPublished(code, why));
      };
      const json: string | undefined = JSON.stringify(data);
      if (json === undefined) throw new TypeError("what is published must be JSON");
      const payload = new TextEncoder().encode(json);
      if (payload.length > PAYLOAD_BYTES_MAX) return fail("too_large");
      if (route === undefined)
        return fail("refused", `The app has no pattern for the channel "${channel}".`);
      const open = channels.open(channel, route, false);
      const identity = key === undefined ? undefined : ownIdentity(identities.appKey(channel, key));
      const published = (result: PublishResult) => {
        if (typeof result !== "number") fail(result);
        else resolve(result === 0 ? undefined : { epoch: open?.epoch ?? "", offset: result });
      };
      if (open?.publish(identity, payload, { published }) !== true) fail("busy");
    });
    // Apps need not wait for it: the failure is in the log, and must not end the process.
    publishing.catch(() => {});
    return publishing;
  }

  return Object.freeze({
    node,
    publish: (channel: string, data: unknown, options?: { readonly key?: string }) => {
      if (!isChannelName(channel) || isReserved(channel))
        throw new TypeError(`"${channel}" is not a channel's name, or is tutti's own.`);
      return publish(channel, channels.routeOf(channel), data, options?.key);
    },
    broadcast: (data: unknown) => publish(EVERYONE, DEFAULT_ROUTE, data),
  });
}

/** A publication of the app with a key: the uplink gives it its place. */
const ownIdentity = (producer: Producer): Identity => ({
  producer,
  isOwn: true,
  order: NOBODY,
  seq: 1,
  after: 0,
  ageMs: 0,
});
