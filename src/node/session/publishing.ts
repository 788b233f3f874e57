// What a client's publish does: the app may change or refuse it, the hub takes it, and the relay's
// word is the answer.

import { isReserved } from "../../wire/channel-name.ts";
import type { ClientMessageOf, RequestId } from "../../wire/client-messages.ts";
import type { Route } from "../app/rules.ts";
import type { Channel } from "../channels/channel.ts";
import type { Publisher, PublishResult } from "../uplink/outbox.ts";
import { type Answered, ask, jsonOf, sendFailure } from "./app-calls.ts";
import type { ClientSession } from "./session.ts";

const encoder = new TextEncoder();

export function publish(session: ClientSession, message: ClientMessageOf<"publish">): Answered {
  const { id, channel, data, seq, key } = message;
  if (seq !== undefined && key !== undefined)
    return session.refuseFrame(id, "publish takes seq or key, not both");
  if (seq !== undefined && session.producer === undefined)
    return session.refuseFrame(id, "seq needs a producer: name one in connect first");
  const route = isReserved(channel) ? undefined : session.desk.hub.routeOf(channel);
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
  return ask(
    session,
    () => hook.call(options, session.view, data, route.params),
    (changed) => forward(session, message, route, changed === undefined ? data : changed),
    (error) => sendFailure(session, id, error),
  );
}

/** Hands a publication to the hub; the client is answered when the relay has it. */
function forward(
  session: ClientSession,
  message: ClientMessageOf<"publish">,
  route: Route,
  data: unknown,
): void {
  const { id, channel: name, seq } = message;
  const { hub, limits } = session.desk;
  const payload = encoder.encode(jsonOf(data));
  if (payload.length > limits.told.dataBytes) return session.sendError(id, "too_large");
  if (seq !== undefined && !session.window.mayPass(name, seq, hub.nowMs()))
    return session.sendError(id, "busy");
  const channel = hub.open(name, route, false);
  const publication = channel && new Publication(session, id, channel, seq);
  if (
    publication === undefined ||
    !channel?.publish(identityOf(session, message), payload, publication)
  ) {
    postponed(session, name, seq);
    return session.sendError(id, "busy");
  }
  session.window.inFlight++;
  return undefined;
}

/** Who publishes, for the relay to know a repeat by. */
function identityOf(
  { producer, desk, user }: ClientSession,
  { channel, seq, key }: ClientMessageOf<"publish">,
) {
  if (key !== undefined)
    return { producer: desk.identify("key", user, `${channel}\n${key}`), seq: 1 };
  return producer !== undefined && seq !== undefined ? { producer, seq } : undefined;
}

/** One publication of a client on its way to a relay. */
class Publication implements Publisher {
  readonly #session: ClientSession;
  readonly #id: RequestId | undefined;
  readonly #channel: Channel;
  readonly #seq: number | undefined;

  constructor(
    session: ClientSession,
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
    session.window.inFlight--;
    if (typeof result !== "number") {
      postponed(session, name, this.#seq);
      session.sendError(id, result);
    } else if (id !== undefined) {
      const position =
        result === 0 ? "" : `,"position":{"epoch":${JSON.stringify(epoch)},"offset":${result}}`;
      session.sendLater(
        `{"type":"ok","id":${JSON.stringify(id)},"channel":${nameText}${position}}`,
      );
    }
    session.resume();
  }
}

/** A publication of this client was not taken now: those behind it must not overtake its repeat. */
export function postponed(session: ClientSession, channel: string, seq: number | undefined): void {
  if (seq !== undefined) session.window.postponed(channel, seq, session.desk.hub.nowMs());
}
