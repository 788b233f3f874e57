// What a client's publish does: the app may change or refuse it, its channel sends it to the relay,
// and the relay's outcome is the answer.

import { isReserved } from "../../wire/channel-name.ts";
import {
  type ClientMessageOf,
  encodePublishOk,
  type RequestId,
} from "../../wire/client-messages.ts";
import { HookTimeout } from "../app/hooks.ts";
import type { Route } from "../app/rules.ts";
import type { Channel } from "../channels/channel.ts";
import type { Publisher, PublishResult } from "../uplink/outbox.ts";
import { type Answered, callHook, jsonOf, sendFailure } from "./app-calls.ts";
import type { RequestingSession } from "./session-context.ts";

const encoder = new TextEncoder();
/** For the app's author: a hook that returns nothing has decided nothing. */
const NOTHING_RETURNED =
  "The app's publish function returned nothing: it has to return the data to publish, or true.";

export function publish(session: RequestingSession, message: ClientMessageOf<"publish">): Answered {
  const { id, channel, data, seq, key } = message;
  if (seq !== undefined && key !== undefined)
    return session.refuseFrame(id, "publish takes seq or key, not both");
  if (seq !== undefined && session.producer === undefined)
    return session.refuseFrame(id, "seq needs a producer: name one in connect first");
  const route = isReserved(channel) ? undefined : session.context.channels.routeOf(channel);
  if (route === undefined)
    return session.sendError(id, "refused", `There is no channel "${channel}" to publish to.`);
  const { options } = route.rule;
  const { publish: hook } = options;
  if (hook === false)
    return session.sendError(id, "refused", "Only the app publishes to this channel.");
  if (hook === undefined) {
    forward(session, message, route, data);
    return undefined;
  }
  return callHook(
    session,
    { name: "publish", channel },
    () => hook.call(options, session.view, data, route.params),
    (returned: unknown) => {
      if (returned === undefined) return session.sendError(id, "refused", NOTHING_RETURNED);
      if (returned === false) return session.sendError(id, "refused");
      return forward(session, message, route, returned === true ? data : returned);
    },
    (error) => {
      if (error instanceof HookTimeout) holdBack(session, channel, seq);
      sendFailure(session, id, error);
    },
  );
}

/** Publishes; the client is answered when the relay has answered. */
function forward(
  session: RequestingSession,
  message: ClientMessageOf<"publish">,
  route: Route,
  data: unknown,
): void {
  const { id, channel: name, seq } = message;
  const { channels, limits } = session.context;
  const payload = encoder.encode(jsonOf(data));
  if (payload.length > limits.told.dataBytes) return session.sendError(id, "too_large");
  if (seq !== undefined && !session.publishWindow.mayPass(name, seq, channels.nowMs()))
    return session.sendError(id, "busy");
  const channel = channels.open(name, route, false);
  const publication = channel && new Publication(session, id, channel, seq);
  if (
    publication === undefined ||
    !channel?.publish(identityOf(session, message), payload, publication)
  ) {
    holdBack(session, name, seq);
    return session.sendError(id, "busy");
  }
  session.publishWindow.inFlight++;
  return undefined;
}

/** What the relay recognizes a repeat by. */
function identityOf(
  { producer, context, user }: RequestingSession,
  { channel, seq, key }: ClientMessageOf<"publish">,
) {
  if (key !== undefined)
    return { producer: context.identify("key", user, `${channel}\n${key}`), seq: 1 };
  return producer !== undefined && seq !== undefined ? { producer, seq } : undefined;
}

/** One publication of a client on its way to a relay. */
class Publication implements Publisher {
  readonly #session: RequestingSession;
  readonly #id: RequestId | undefined;
  readonly #channel: Channel;
  readonly #seq: number | undefined;

  constructor(
    session: RequestingSession,
    id: RequestId | undefined,
    channel: Channel,
    seq: number | undefined,
  ) {
    this.#session = session;
    this.#id = id;
    this.#channel = channel;
    this.#seq = seq;
  }

  published(result: PublishResult): void {
    const session = this.#session;
    const id = this.#id;
    const { name, nameText, epoch } = this.#channel;
    session.publishWindow.inFlight--;
    if (typeof result !== "number") {
      holdBack(session, name, this.#seq);
      session.sendError(id, result);
    } else if (id !== undefined) {
      session.sendLater(encodePublishOk(id, nameText, epoch, result));
    }
    session.resume();
  }
}

/** A publication was refused for now: later ones must not overtake its repeat. */
export function holdBack(
  session: RequestingSession,
  channel: string,
  seq: number | undefined,
): void {
  if (seq !== undefined)
    session.publishWindow.holdBack(channel, seq, session.context.channels.nowMs());
}
