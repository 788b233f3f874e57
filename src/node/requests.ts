// What each request of a client does: the app is asked where it has a say, then the hub does it.

import { EVERYONE, isReserved } from "../wire/channel-name.ts";
import type { ClientMessage, ClientMessageOf, RequestId } from "../wire/client-messages.ts";
import { admit, isThenable } from "./admission.ts";
import { isRefused, NotPublished } from "./app.ts";
import type { Channel } from "./channel.ts";
import { OPEN_CALLS_MAX } from "./limits.ts";
import type { Publisher, PublishResult } from "./outbox.ts";
import { DEFAULT_ROUTE, type Route } from "./rules.ts";
import type { ClientSession } from "./session.ts";
import { Subscription } from "./subscription.ts";

/** How long a reader, or who asks for history, waits for a relay, ms. */
const RELAY_MS = 10_000;
const HISTORY_LIMIT = 100;

/** Where it is a promise, the session's next request has to wait for it. It never rejects. */
type Answered = Promise<void> | undefined;

const encoder = new TextEncoder();

export function answer(session: ClientSession, message: ClientMessage): Answered {
  if (!session.isConnected && message.type !== "connect") return session.sendError(message.id, "not_connected");
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

/** A publication of this client was not taken now: those behind it must not overtake its repeat. */
export function postponed(session: ClientSession, { channel, seq }: ClientMessageOf<"publish">): void {
  if (seq !== undefined) session.window.postponed(channel, seq, session.desk.hub.nowMs());
}

function connect(session: ClientSession, { id, token, producer }: ClientMessageOf<"connect">): Answered {
  const { request, address, desk } = session;
  const accept = () => {
    session.hasSaidConnect = true;
    if (producer !== undefined) session.producer = desk.identify("producer", session.user, producer);
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
    (identity) => {
      session.connected(identity);
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
  const { subscriptions, view } = session;
  if (since !== undefined && last !== undefined)
    return session.refuseFrame(id, "subscribe takes since or last, not both");
  if (!subscriptions.has(channel) && subscriptions.size >= session.desk.limits.told.subscriptions)
    return session.sendError(id, "limit");
  const route = channel === EVERYONE ? DEFAULT_ROUTE : routeOf(session, channel);
  if (route === undefined) return sendNoChannel(session, id, channel);
  return ask(
    session,
    () => route.rule.options.subscribe?.(view, route.params),
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
  const subscription = new Subscription(session, channel, id, since ?? last ?? 0, hub.nowMs() + RELAY_MS);
  session.subscriptions.set(name, subscription);
  channel.subscribe(subscription);
}

function endSubscription(session: ClientSession, channel: string): void {
  session.subscriptions.get(channel)?.cancel();
  session.subscriptions.delete(channel);
}

function unsubscribe(session: ClientSession, { id, channel }: ClientMessageOf<"unsubscribe">): Answered {
  if (channel === EVERYONE) return session.sendError(id, "refused", "Every connection hears this channel.");
  endSubscription(session, channel);
  return session.sendOk(id);
}

function publish(session: ClientSession, message: ClientMessageOf<"publish">): Answered {
  const { id, channel, data, seq, key } = message;
  const { view } = session;
  if (seq !== undefined && key !== undefined) return session.refuseFrame(id, "publish takes seq or key, not both");
  if (seq !== undefined && session.producer === undefined)
    return session.refuseFrame(id, "seq needs a producer: name one in connect first");
  const route = routeOf(session, channel);
  if (route === undefined) return sendNoChannel(session, id, channel);
  const { options } = route.rule;
  const { publish: hook } = options;
  if (hook === false) return session.sendError(id, "refused", "Only the app publishes to this channel.");
  if (hook === undefined) {
    forward(session, message, route, data);
    return undefined;
  }
  return ask(
    session,
    () => hook.call(options, view, data, route.params),
    (changed) => forward(session, message, route, changed === undefined ? data : changed),
    (error) => sendFailure(session, id, error),
  );
}

/** Hands a publication to the hub; the client is answered when the relay has it. */
function forward(session: ClientSession, message: ClientMessageOf<"publish">, route: Route, data: unknown): void {
  const { id, channel: name, seq } = message;
  const { hub, limits } = session.desk;
  const payload = encoder.encode(jsonOf(data));
  if (payload.length > limits.told.dataBytes) return session.sendError(id, "too_large");
  if (seq !== undefined && !session.window.mayPass(name, seq, hub.nowMs())) return session.sendError(id, "busy");
  const channel = hub.open(name, route, false);
  const publication = channel && new Publication(session, message, channel);
  if (publication === undefined || !channel?.publish(identityOf(session, message), payload, publication)) {
    postponed(session, message);
    return session.sendError(id, "busy");
  }
  session.window.inFlight++;
  return undefined;
}

/** Who publishes, for the relay to know a repeat by. */
function identityOf({ producer, desk, user }: ClientSession, { channel, seq, key }: ClientMessageOf<"publish">) {
  if (key !== undefined) return { producer: desk.identify("key", user, `${channel}\n${key}`), seq: 1 };
  return producer !== undefined && seq !== undefined ? { producer, seq } : undefined;
}

/** One publication of a client on its way to a relay. */
class Publication implements Publisher {
  readonly #session: ClientSession;
  readonly #message: ClientMessageOf<"publish">;
  readonly #channel: Channel;

  constructor(session: ClientSession, message: ClientMessageOf<"publish">, channel: Channel) {
    this.#session = session;
    this.#message = message;
    this.#channel = channel;
  }

  published(result: PublishResult): void {
    const session = this.#session;
    const { id } = this.#message;
    session.window.inFlight--;
    if (typeof result !== "number") {
      postponed(session, this.#message);
      session.sendError(id, result);
    } else if (id !== undefined) {
      const position = result === 0 ? "" : `,"position":${positionText(this.#channel.epoch, result)}`;
      session.sendLater(`{"type":"ok","id":${JSON.stringify(id)}${position}}`);
    }
    session.resume();
  }
}

const positionText = (epoch: string, offset: number) => `{"epoch":${JSON.stringify(epoch)},"offset":${offset}}`;

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
    else session.sendAsked(`{"type":"ok",${idText(id)}"channel":${JSON.stringify(name)},${found}}`);
  };
  channel.lookups.add({ since, limit, reverse }, onLookup, hub.nowMs() + RELAY_MS);
  return undefined;
}

function presence(session: ClientSession, { id, channel: name }: ClientMessageOf<"presence">): Answered {
  const channel = readableChannel(session, name);
  if (channel === undefined) return session.sendError(id, "not_subscribed");
  if (channel.attendance === undefined) return session.sendError(id, "refused", "Presence is off for this channel.");
  if (session.openCalls >= OPEN_CALLS_MAX) return session.sendError(id, "limit");
  session.openCalls++;
  const onList = (listText: string | undefined) => {
    session.openCalls--;
    if (listText === undefined || !session.hasRoom) session.sendError(id, "busy");
    else session.sendAsked(`{"type":"ok",${idText(id)}"channel":${JSON.stringify(name)},"data":${listText}}`);
  };
  channel.attendance.ask(onList, session.desk.hub.nowMs() + RELAY_MS);
  return undefined;
}

/** Only those who may read a channel may ask about it: they are subscribed to it, or hear it anyway. */
function readableChannel(session: ClientSession, name: string): Channel | undefined {
  const subscribed = session.subscriptions.get(name)?.channel;
  return subscribed ?? (name === EVERYONE ? session.desk.hub.open(EVERYONE, DEFAULT_ROUTE, true) : undefined);
}

/** Calls are begun in order; what takes its time holds nobody up. */
function call(session: ClientSession, { id, method: name, params }: ClientMessageOf<"call">): Answered {
  const { app, limits } = session.desk;
  const method = app.methods !== undefined && Object.hasOwn(app.methods, name) ? app.methods[name] : undefined;
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

const idText = (id: RequestId | undefined) => (id === undefined ? "" : `"id":${JSON.stringify(id)},`);

/** Throws where JSON has no word for the value. */
function jsonOf(data: unknown): string {
  const json: string | undefined = JSON.stringify(data);
  if (json === undefined) throw new TypeError("what the app returned is not JSON");
  return json;
}

function routeOf(session: ClientSession, channel: string): Route | undefined {
  return isReserved(channel) ? undefined : session.desk.hub.routeOf(channel);
}

const sendNoChannel = (session: ClientSession, id: RequestId | undefined, channel: string) =>
  session.sendError(id, "refused", `There is no channel "${channel}".`);

/** Runs a function of the app, then goes on with what it returns, unless the client has left meanwhile. */
function ask<T>(
  session: ClientSession,
  run: () => T | PromiseLike<T>,
  then: (result: T) => void,
  failed: (error: unknown) => void,
): Answered {
  const goOn = (result: T) => {
    if (session.isOpen) then(result);
  };
  try {
    const result = run();
    if (isThenable(result)) return Promise.resolve(result).then(goOn).catch(failed);
    goOn(result);
  } catch (error) {
    failed(error);
  }
  return undefined;
}

/** Answers with what the app (or we) threw: its words where it means them for the client, else only that it failed. */
function sendFailure(session: ClientSession, id: RequestId | undefined, error: unknown, where = "the app"): void {
  if (isRefused(error)) return session.sendError(id, "refused", error.message);
  if (error instanceof NotPublished) return session.sendError(id, error.code, error.message);
  session.desk.failed(where, error, session.id);
  return session.sendError(id, "internal");
}
