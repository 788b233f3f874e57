// What each request of a client does. Where the app has a function for it, that decides first.

import { EVERYONE } from "../../wire/channel-name.ts";
import {
  type ClientMessage,
  type ClientMessageOf,
  encodeNodeMessage,
  type OutgoingMessage,
  type RequestId,
} from "../../wire/client-messages.ts";
import { admit } from "../app/authentication.ts";
import { isRefused } from "../app/index.ts";
import { OPEN_CALLS_MAX } from "../app/limits.ts";
import type { Route } from "../app/rules.ts";
import type { Channel } from "../channels/channel.ts";
import type { HistoryAnswer } from "../channels/history-requests.ts";
import { Subscription } from "../channels/readers.ts";
import { type Answered, callApp, callHook, jsonOf, sendFailure } from "./app-calls.ts";
import { publish } from "./publishing.ts";
import type { RequestingSession } from "./session-context.ts";

/** How long a client that needs the relay for its answer waits for it, ms. */
const RELAY_MS = 10_000;
const HISTORY_LIMIT = 100;

/** `impliedAfter`: of a publish; see PublishWindow. */
export function answerRequest(
  session: RequestingSession,
  message: ClientMessage,
  impliedAfter?: number,
): Answered {
  if (session.state.name !== "connected" && message.type !== "connect")
    return session.sendError(message.id, "not_connected");
  switch (message.type) {
    case "connect":
      return connect(session, message);
    case "subscribe":
      return subscribe(session, message);
    case "unsubscribe":
      return unsubscribe(session, message);
    case "publish":
      return publish(session, message, impliedAfter);
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

function connect(session: RequestingSession, message: ClientMessageOf<"connect">): Answered {
  const { id, token, producer } = message;
  const { state, address, context } = session;
  const accept = () => {
    session.connectReceived(producer);
    session.sendOk(id);
  };
  if (state.name === "closed" || state.name === "refused") return undefined;
  if (state.name === "connected" ? state.hasSaidConnect : state.isAuthenticating)
    return session.sendError(id, "already_connected");
  if (state.name === "connected") {
    accept();
    return undefined;
  }
  if (token === undefined) return session.refuseFrame(id, "connect needs a token");
  const { request } = state;
  session.authenticationStarted();
  return callHook(
    session,
    { name: "connect" },
    () => admit(context.app, { request, token, address }),
    (admitted) => {
      session.authenticated(admitted);
      accept();
    },
    (error) => {
      sendFailure(session, id, error, "the app's connect", true);
      session.close(isRefused(error) ? "refused" : "internal");
    },
  );
}

function subscribe(session: RequestingSession, message: ClientMessageOf<"subscribe">): Answered {
  const { id, channel, since, last } = message;
  const { subscriptions } = session;
  if (since !== undefined && last !== undefined)
    return session.refuseFrame(id, "subscribe takes since or last, not both");
  if (
    !subscriptions.has(channel) &&
    subscriptions.size >= session.context.limits.told.subscriptions
  )
    return session.sendError(id, "limit");
  const route = session.context.channels.routeOf(channel);
  if (route === undefined)
    return session.sendError(id, "refused", `There is no channel "${channel}".`);
  return callHook(
    session,
    { name: "subscribe", channel },
    () => route.rule.options.subscribe?.(session.view, route.params),
    (allowed) => {
      if (allowed !== false) return begin(session, message, route);
      endSubscription(session, channel);
      session.sendError(id, "refused");
    },
    (error) => {
      endSubscription(session, channel);
      sendFailure(session, id, error, `the app's subscribe for ${JSON.stringify(channel)}`, true);
    },
  );
}

function begin(
  session: RequestingSession,
  message: ClientMessageOf<"subscribe">,
  route: Route,
): void {
  const { id, channel: name, since, last } = message;
  const { channels } = session.context;
  const channel = channels.open(name, route, true);
  if (channel === undefined) return session.sendError(id, "busy");
  endCurrent(session, name, true);
  if (name === EVERYONE) session.listenToEveryone(false);
  const subscription = new Subscription(
    session,
    channel,
    id,
    since ?? last ?? 0,
    channels.nowMs() + RELAY_MS,
  );
  session.subscriptions.set(name, subscription);
  channel.subscribe(subscription);
}

/** `isResubscribing`: the client subscribes again in this turn. */
function endCurrent(session: RequestingSession, channel: string, isResubscribing: boolean): void {
  const subscription = session.subscriptions.get(channel);
  subscription?.channel.unsubscribe(subscription, isResubscribing);
}

function endSubscription(session: RequestingSession, channel: string): void {
  endCurrent(session, channel, false);
  session.subscriptions.delete(channel);
}

function unsubscribe(
  session: RequestingSession,
  { id, channel }: ClientMessageOf<"unsubscribe">,
): Answered {
  if (channel === EVERYONE)
    return session.sendError(id, "refused", "Every connection hears this channel.");
  endSubscription(session, channel);
  return session.sendOk(id);
}

function history(session: RequestingSession, message: ClientMessageOf<"history">): Answered {
  const { id, channel: name, since = null, limit = HISTORY_LIMIT, reverse = false } = message;
  const channel = readableChannel(session, name);
  if (channel === undefined) return session.sendError(id, "not_subscribed");
  const query = { since, limit, reverse };
  return ask(session, id, (answered, deadlineMs) => {
    const onHistory = (answer: HistoryAnswer | undefined) => {
      if (answer === undefined) return answered(undefined);
      const { position, more, gap, data } = answer;
      const lost = gap === null ? {} : { gap };
      return answered({ channel: name, position, more, ...lost, data });
    };
    channel.readHistory(query, onHistory, deadlineMs);
  });
}

function presence(
  session: RequestingSession,
  { id, channel: name }: ClientMessageOf<"presence">,
): Answered {
  const channel = readableChannel(session, name);
  if (channel === undefined) return session.sendError(id, "not_subscribed");
  if (!channel.presence)
    return session.sendError(id, "refused", "Presence is off for this channel.");
  return ask(session, id, (answered, deadlineMs) => {
    const onMembers = (listText: string | undefined) =>
      answered(listText === undefined ? undefined : { channel: name, data: listText });
    channel.listMembers(onMembers, deadlineMs);
  });
}

/** The fields of an `ok` with data, as JSON text. */
type Found = Omit<Extract<OutgoingMessage, { type: "ok" }>, "type" | "id"> & {
  readonly data: string;
};

/** Asks the relay, which has until `deadlineMs`; without an answer, `answered` gets undefined. */
function ask(
  session: RequestingSession,
  id: RequestId | undefined,
  start: (answered: (found: Found | undefined) => void, deadlineMs: number) => void,
): Answered {
  if (session.openCalls >= OPEN_CALLS_MAX) return session.sendError(id, "limit");
  if (!session.hasRoom) return session.sendError(id, "busy");
  // The session may end before the answer comes.
  const { budget } = session;
  const reservedBytes = budget.reserveAnswer();
  session.openCalls++;
  const answered = (found: Found | undefined) => {
    session.openCalls--;
    budget.answerArrived(reservedBytes, found?.data.length ?? 0);
    if (found === undefined || !session.hasRoom) return session.sendError(id, "busy");
    return session.sendAnswer(encodeNodeMessage({ type: "ok", id, ...found }));
  };
  start(answered, session.context.channels.nowMs() + RELAY_MS);
  return undefined;
}

/** The channel, if the client may ask about it: it is subscribed to it, or gets it anyway. */
function readableChannel(session: RequestingSession, name: string): Channel | undefined {
  const mayRead = session.subscriptions.has(name) || name === EVERYONE;
  return mayRead ? session.context.channels.find(name) : undefined;
}

/** Calls start in order; the next request does not wait for the answer. */
function call(
  session: RequestingSession,
  { id, method: name, params }: ClientMessageOf<"call">,
): Answered {
  const { app, limits } = session.context;
  const method =
    app.methods !== undefined && Object.hasOwn(app.methods, name) ? app.methods[name] : undefined;
  if (method === undefined) return session.sendError(id, "no_method");
  if (session.openCalls >= OPEN_CALLS_MAX) return session.sendError(id, "limit");
  session.openCalls++;
  const answered = callApp(
    session,
    () => method(session.view, params),
    (result) => {
      if (result === undefined) return session.sendOk(id);
      const json = jsonOf(result);
      if (json.length > limits.bufferedBytes)
        throw new Error(`the answer is longer than ${limits.bufferedBytes} bytes`);
      return session.sendRequested(encodeNodeMessage({ type: "ok", id, data: json }));
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
