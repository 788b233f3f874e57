// What a client's publish does: the app may change or refuse it, its channel sends it to the relay,
// and the relay's outcome is the answer.

import { isReserved } from "../../wire/channel-name.ts";
import {
  type ClientMessageOf,
  encodePublishOk,
  type RequestId,
} from "../../wire/client-messages.ts";
import { ERRORS, type ErrorCode } from "../../wire/codes.ts";
import { HookTimeout } from "../app/hooks.ts";
import { NotPublished } from "../app/index.ts";
import type { Route } from "../app/rules.ts";
import type { Channel } from "../channels/channel.ts";
import { type Identity, NOBODY } from "../uplink/broker.ts";
import type { Publisher, PublishResult } from "../uplink/outbox.ts";
import { type Answered, callHook, jsonOf, sendFailure } from "./app-calls.ts";
import type { PublishedChannel, RelayWindow } from "./publish-window.ts";
import type { RequestingSession } from "./session-context.ts";

const encoder = new TextEncoder();
/** For the app's author: a hook that returns nothing has decided nothing. */
const NOTHING_RETURNED =
  "The app's publish function returned nothing: it has to return the data to publish, or true.";

type Publish = ClientMessageOf<"publish">;

/** `impliedAfter`: where the client does not say what is before; see PublishWindow. */
export function publish(
  session: RequestingSession,
  message: Publish,
  impliedAfter: number | undefined,
): Answered {
  const { id, channel, data, seq, key } = message;
  if (seq !== undefined && session.producer === undefined)
    return session.refuseFrame(id, "seq needs a producer: name one in connect first");
  if (key !== undefined && !session.publishWindow.takeKey(session.context.channels.nowMs()))
    return session.sendError(id, "rate");
  const route = isReserved(channel) ? undefined : session.context.channels.routeOf(channel);
  if (route === undefined) {
    const text = `There is no channel "${channel}" to publish to.`;
    return refuse(session, message, impliedAfter, "refused", text);
  }
  const { options } = route.rule;
  const { publish: hook } = options;
  if (hook === false) {
    const text = "Only the app publishes to this channel.";
    return refuse(session, message, impliedAfter, "refused", text);
  }
  if (hook === undefined) return forward(session, message, impliedAfter, route, data);
  return callHook(
    session,
    { name: "publish", channel },
    () => hook.call(options, session.view, data, route.params),
    (returned: unknown) => {
      if (returned === undefined)
        return refuse(session, message, impliedAfter, "refused", NOTHING_RETURNED);
      if (returned === false) return refuse(session, message, impliedAfter, "refused");
      return forward(session, message, impliedAfter, route, returned === true ? data : returned);
    },
    (error) => {
      const mayRetry =
        error instanceof HookTimeout || (error instanceof NotPublished && ERRORS[error.code].retry);
      if (!mayRetry) giveUp(session, message, impliedAfter);
      sendFailure(session, id, error, `the app's publish for ${JSON.stringify(channel)}`);
    },
  );
}

function refuse(
  session: RequestingSession,
  message: Publish,
  impliedAfter: number | undefined,
  code: ErrorCode,
  text?: string,
): undefined {
  if (!ERRORS[code].retry) giveUp(session, message, impliedAfter);
  return session.sendError(message.id, code, text);
}

/** A publication is refused for good. */
function giveUp(
  session: RequestingSession,
  { channel, seq }: Publish,
  impliedAfter: number | undefined,
): void {
  if (seq !== undefined && impliedAfter !== undefined)
    session.publishWindow.publicationRefused(channel, seq, impliedAfter);
}

function forward(
  session: RequestingSession,
  message: Publish,
  impliedAfter: number | undefined,
  route: Route,
  data: unknown,
): undefined {
  const payload = encoder.encode(jsonOf(data));
  if (payload.length > session.context.limits.told.dataBytes)
    return refuse(session, message, impliedAfter, "too_large");
  if (!send(session, message, impliedAfter, route, payload))
    return session.sendError(message.id, "busy");
  return undefined;
}

/** Publishes; the client is answered when the relay has answered. False: not now. */
function send(
  session: RequestingSession,
  message: Publish,
  impliedAfter: number | undefined,
  route: Route,
  payload: Uint8Array,
): boolean {
  const { context, publishWindow: window } = session;
  const published = window.channel(message.channel);
  if (!window.hasRoom(published.relay)) return false;
  const channel = context.channels.open(message.channel, route, false);
  if (channel === undefined) return false;
  const isNamed = message.after !== undefined;
  const publication = new Publication(session, message.id, channel, published.relay, isNamed);
  const identity = identityOf(session, message, published, impliedAfter);
  if (!channel.publish(identity, payload, publication)) return false;
  window.publicationSent(published.relay);
  return true;
}

/** What the relay recognizes a repeat by, and its place. Undefined: nobody repeats it. */
function identityOf(
  { context, user, producer: name }: RequestingSession,
  { channel, seq, key, after, age: ageMs = 0 }: Publish,
  published: PublishedChannel,
  impliedAfter: number | undefined,
): Identity | undefined {
  const { identities } = context;
  const keyed = key === undefined ? undefined : identities.key(user, channel, key);
  if (seq === undefined || name === undefined)
    return keyed && { producer: keyed, isOwn: false, order: NOBODY, seq: 1, after: 0, ageMs };
  // Seqs are counted in each channel by itself.
  published.producer ??= identities.producer(user, name, channel);
  const order = published.producer;
  const before = after ?? impliedAfter ?? 0;
  return { producer: keyed ?? order, isOwn: false, order, seq, after: before, ageMs };
}

/** One publication of a client on its way to a relay. */
class Publication implements Publisher {
  readonly #session: RequestingSession;
  readonly #id: RequestId | undefined;
  readonly #channel: Channel;
  readonly #relay: RelayWindow;
  readonly #isNamed: boolean;

  /** `isNamed`: the client has said what is before it. */
  constructor(
    session: RequestingSession,
    id: RequestId | undefined,
    channel: Channel,
    relay: RelayWindow,
    isNamed: boolean,
  ) {
    this.#session = session;
    this.#id = id;
    this.#channel = channel;
    this.#relay = relay;
    this.#isNamed = isNamed;
  }

  published(result: PublishResult): void {
    const session = this.#session;
    const id = this.#id;
    const { nameText, epoch } = this.#channel;
    session.publishWindow.publicationAnswered(this.#relay);
    if (typeof result !== "number")
      session.sendError(id, result === "order" && !this.#isNamed ? "busy" : result);
    else if (id !== undefined) session.sendLater(encodePublishOk(id, nameText, epoch, result));
    session.resume();
  }
}
