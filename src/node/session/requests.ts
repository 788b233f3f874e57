// What each request of a client does: the app is asked where it has a say, then the hub does it.

import { EVERYONE } from "../../wire/channel-name.ts";
import type { ClientMessage, ClientMessageOf, RequestId } from "../../wire/client-messages.ts";
import { admit } from "../app/authentication.ts";
import { isRefused } from "../app/index.ts";
import { OPEN_CALLS_MAX } from "../app/limits.ts";
import type { Route } from "../app/rules.ts";
import type { Channel } from "../channels/channel.ts";
import { Subscription } from "../channels/subscription.ts";
import { type Answered, ask, jsonOf, sendFailure } from "./app-calls.ts";
import { publish } from "./publishing.ts";
import type { ClientSession } from "./session.ts";

/** How long a reader, or who asks for history, waits for a relay, ms. */
const RELAY_MS = 10_000;
const HISTORY_LIMIT = 100;

export function answer(session: ClientSession, message: ClientMessage): Answered {
  if (!session.isConnected && message.type !== "connect")
    return session.sendError(message.id, "not_connected");
  switch (message.type) {
    case "connect":
      return connect(session, message);
    case "subscribe":
      return subscribe(session, message);
    case "unsubscribe":
      return unsubscribe(session, message);
    case "publish":
      return publish(session, message);
    case "history":
      return history(session, message);
    case "presence":
      return presence(session, message);
    case "call":
      return call(session, message);
    case "ping":
      return undefined;
    default:
      return message satisfies never;
  }
}

function connect(
  session: ClientSession,
  { id, token, producer }: ClientMessageOf<"connect">,
): Answered {
  const { request, address, desk } = session;
  const accept = () => {
    session.hasSaidConnect = true;
    if (producer !== undefined)
      session.producer = desk.identify("producer", session.user, producer);
    session.sendOk(id);
  };
  if (session.hasSaidConnect) return session.sendError(id, "already_connected");
  if (request === undefined) {
    accept();
    return undefined;
  }
  if (token === undefined) return session.refuseFrame(id, "connect needs a token");
  session.hasSaidConnect = true;
  return ask(
    session,
    () => admit(desk.app, { request, token, address }),
    (admitted) => {
      session.connected(admitted);
      accept();
    },
    (error) => {
      sendFailure(session, id, error);
      session.close(isRefused(error) ? "refused" : "internal");
    },
  );
}

function subscribe(session: ClientSession, message: ClientMessageOf<"subscribe">): Answered {
  const { id, channel, since, last } = message;
  const { subscriptions } = session;
  if (since !== undefined && last !== undefined)
    return session.refuseFrame(id, "subscribe takes since or last, not both");
  if (!subscriptions.has(channel) && subscriptions.size >= session.desk.limits.told.subscriptions)
    return session.sendError(id, "limit");
  const route = session.desk.hub.routeOf(channel);
  if (route === undefined)
    return session.sendError(id, "refused", `There is no channel "${channel}".`);
  return ask(
    session,
    () => route.rule.options.subscribe?.(session.view, route.params),
    (allowed) => {
      if (allowed !== false) return begin(session, message, route);
      endSubscription(session, channel);
      session.sendError(id, "refused");
    },
    (error) => {
      endSubscription(session, channel);
      sendFailure(session, id, error);
    },
  );
}

function begin(session: ClientSession, message: ClientMessageOf<"subscribe">, route: Route): void {
  const { id, channel: name, since, last } = message;
  const { hub } = session.desk;
  const channel = hub.open(name, route, true);
  if (channel === undefined) return session.sendError(id, "busy");
  session.subscriptions.get(name)?.cancel(true);
  if (name === EVERYONE) session.hearEveryone(false);
  const subscription = new Subscription(
    session,
    channel,
    id,
    since ?? last ?? 0,
    hub.nowMs() + RELAY_MS,
  );
  session.subscriptions.set(name, subscription);
  channel.subscribe(subscription);
}

function endSubscription(session: ClientSession, channel: string): void {
  session.subscriptions.get(channel)?.cancel();
  session.subscriptions.delete(channel);
}

function unsubscribe(
  session: ClientSession,
  { id, channel }: ClientMessageOf<"unsubscribe">,
): Answered {
  if (channel === EVERYONE)
    return session.sendError(id, "refused", "Every connection hears this channel.");
  endSubscription(session, channel);
  return session.sendOk(id);
}

function history(session: ClientSession, message: ClientMessageOf<"history">): Answered {
  const { id, channel: name, since = null, limit = HISTORY_LIMIT, reverse = false } = message;
  const { hub } = session.desk;
  const channel = readableChannel(session, name);
  if (channel === undefined) return session.sendError(id, "not_subscribed");
  if (session.openCalls >= OPEN_CALLS_MAX) return session.sendError(id, "limit");
  session.openCalls++;
  const onLookup = (found: string | undefined) => {
    session.openCalls--;
    if (found === undefined || !session.hasRoom) session.sendError(id, "busy");
    else session.sendAsked(`{"type":"ok",${idText(id)}"channel":${channel.nameText},${found}}`);
  };
  channel.lookUp({ since, limit, reverse }, onLookup, hub.nowMs() + RELAY_MS);
  return undefined;
}

function presence(
  session: ClientSession,
  { id, channel: name }: ClientMessageOf<"presence">,
): Answered {
  const channel = readableChannel(session, name);
  if (channel === undefined) return session.sendError(id, "not_subscribed");
  if (!channel.presence)
    return session.sendError(id, "refused", "Presence is off for this channel.");
  if (session.openCalls >= OPEN_CALLS_MAX) return session.sendError(id, "limit");
  session.openCalls++;
  const onList = (listText: string | undefined) => {
    session.openCalls--;
    if (listText === undefined || !session.hasRoom) session.sendError(id, "busy");
    else
      session.sendAsked(
        `{"type":"ok",${idText(id)}"channel":${channel.nameText},"data":${listText}}`,
      );
  };
  channel.list(onList, session.desk.hub.nowMs() + RELAY_MS);
  return undefined;
}

/**
 * Only those who may read a channel may ask about it: they are subscribed to it, or hear it anyway.
 */
function readableChannel(session: ClientSession, name: string): Channel | undefined {
  const mayRead = session.subscriptions.has(name) || name === EVERYONE;
  return mayRead ? session.desk.hub.find(name) : undefined;
}

/** Calls are begun in order; what takes its time holds nobody up. */
function call(
  session: ClientSession,
  { id, method: name, params }: ClientMessageOf<"call">,
): Answered {
  const { app, limits } = session.desk;
  const method =
    app.methods !== undefined && Object.hasOwn(app.methods, name) ? app.methods[name] : undefined;
  if (method === undefined) return session.sendError(id, "no_method");
  if (session.openCalls >= OPEN_CALLS_MAX) return session.sendError(id, "limit");
  session.openCalls++;
  const answered = ask(
    session,
    () => method(session.view, params),
    (result) => {
      if (result === undefined) return session.sendOk(id);
      const json = jsonOf(result);
      if (json.length > limits.bufferedBytes)
        throw new Error(`the answer is longer than ${limits.bufferedBytes} bytes`);
      return session.sendAsked(`{"type":"ok",${idText(id)}"data":${json}}`);
    },
    (error) => sendFailure(session, id, error, `method ${name}`),
  );
  const done = () => {
    session.openCalls--;
  };
  if (answered === undefined) done();
  else answered.finally(done);
  return undefined;
}

const idText = (id: RequestId | undefined) =>
  id === undefined ? "" : `"id":${JSON.stringify(id)},`;
