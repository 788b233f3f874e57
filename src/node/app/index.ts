// The public API, imported as "tutti": the options that an app's author writes, and what tutti
// gives to the author's functions.

import type { ErrorCode } from "../../wire/codes.ts";
import type { Position } from "../../wire/position.ts";
import type { LimitOptions } from "./limits.ts";
import type { ParamsOf } from "./patterns.ts";
import type { HistoryOptions } from "./policy.ts";

export type { Position } from "../../wire/position.ts";
export type { LimitOptions } from "./limits.ts";
export type { HistoryOptions } from "./policy.ts";

/**
 * Throw it in any of your functions to refuse a client: the client gets the message.
 */
export class Refused extends Error {
  override name = "Refused";
  constructor(message = "The app does not allow this.") {
    super(message);
  }
}

/**
 * A publication that the cluster did not take. `code` is one of the protocol's; "busy" and
 * "storage" may succeed later.
 */
export class NotPublished extends Error {
  override name = "NotPublished";
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * The whole cluster, from inside one of its nodes. Your hooks do not run for what you publish.
 */
export type Cluster = {
  /** The id of the node that this runs in. */
  readonly node: string;
  /**
   * Publishes to a channel. Resolves once the publication is safe, with its position (undefined
   * where `key` was used before and its offset is no longer known). Rejects with NotPublished.
   * `key`: publications of one channel with the same key are one.
   */
  publish(
    channel: string,
    data: unknown,
    options?: { readonly key?: string },
  ): Promise<Position | undefined>;
  /**
   * Publishes to every client of every node, subscribed to anything or not. It arrives in the
   * channel "$everyone".
   */
  broadcast(data: unknown): Promise<Position | undefined>;
};

/** One client's connection, as your functions see it. */
export type Session = {
  /** Unguessable, unique to the connection; it is the client's id in presence. */
  readonly id: string;
  /** The id of the node that serves it. */
  readonly node: string;
  /** Who it is, as your `connect` said; undefined for anyone. */
  readonly user: string | undefined;
  /** What presence shows of it, as your `connect` said. */
  readonly info: unknown;
  /** Any other data from your `connect`. */
  readonly data: unknown;
  /** The client's network address. */
  readonly address: string;
  readonly cluster: Cluster;
};

/** A client that connects. `token` is there with `auth: "token"` only. */
export type Attempt = {
  readonly request: Request;
  readonly token: string | undefined;
  readonly address: string;
};

/**
 * Who a client is. `user`: its identity, which also keeps its publications apart from everybody
 * else's. `info`: what presence shows others, at most 1024 bytes of JSON. `data`: for your own
 * functions; it never leaves the node. `expiresAtMs`: when its authorization
 * expires, such as a token's, in ms since 1970: then, or within a second, the connection is closed,
 * and the client connects again.
 */
export type Connected = {
  readonly user?: string | undefined;
  readonly info?: unknown;
  readonly data?: unknown;
  readonly expiresAtMs?: number | undefined;
};

type Awaitable<T> = T | Promise<T>;
// biome-ignore lint/suspicious/noConfusingVoidType: what most functions return
type Nothing = void;

/**
 * How channels of one pattern behave. Methods, not arrow properties, so that each pattern's params
 * have their own type.
 */
export interface ChannelOptions<Params> {
  /** How much is remembered for clients that come back. */
  readonly history?: HistoryOptions;
  /** Subscribers can list the members, and get `join` and `leave` messages. */
  readonly presence?: boolean;
  /**
   * How long a publication may wait so that several go out together, ms (default 40; 0: never),
   * give or take the 5 ms between two looks. Only one in a busy channel waits: after a publication
   * has gone to n clients of a node, the channel's next one waits n ms at most.
   */
  readonly batchMs?: number;
  /**
   * Whether a client may read the channel; asked for every subscribe and every resume. `false` and
   * Refused refuse it.
   */
  subscribe?(session: Session, params: Params): Awaitable<boolean | Nothing>;
  /**
   * Whether and what a client may publish. Return the data to publish, or `true` to publish what
   * came; `false`, undefined and Refused refuse it. `false` instead of a function: only the app
   * publishes here.
   */
  publish?: false | PublishHook<Params>["publish"];
}

interface PublishHook<Params> {
  publish(
    session: Session,
    data: unknown,
    params: Params,
  ): Awaitable<NonNullable<unknown> | null | undefined>;
}

/**
 * Answers a client's call. What it returns (or resolves to) is the answer; undefined is no answer,
 * unless the client asked for one.
 */
export type Method = (session: Session, params: unknown) => unknown;

/** `params`: the values of the ":name" parts of the route's path. */
export type RoutedRequest = Request & { readonly params: Readonly<Record<string, string>> };
export type RouteHandler = (request: RoutedRequest, cluster: Cluster) => Awaitable<Response>;
/**
 * A value of `routes`: a function, an answer, an imported HTML page, or functions and answers by
 * HTTP method.
 */
export type RouteOptions =
  | RouteHandler
  | Response
  | { readonly index: string }
  | Readonly<Record<string, RouteHandler | Response>>;

export interface AppOptions<Pattern extends string> {
  /**
   * "token": `connect` is called with the token of the client's first frame. Without it `connect`
   * is called before the connection is accepted, with the request's headers and cookies.
   */
  readonly auth?: "token";
  /**
   * Authenticates a client. Throw Refused to refuse it. Without it every client may
   * connect.
   */
  connect?(attempt: Attempt): Awaitable<Connected | Nothing>;
  /**
   * Web pages that may connect, such as ["https://example.com"]; "*": all. Default: with a
   * `connect` that uses the request, pages of the same host; else all. It does not restrict
   * programs that are not browsers.
   */
  readonly origins?: "*" | readonly string[];
  /**
   * Channels by pattern; the first that matches a name is used, and other names are refused.
   * Without any, every name is allowed.
   */
  readonly channels?: { readonly [P in Pattern]: ChannelOptions<ParamsOf<P>> };
  /**
   * Answers `{"type":"call","method":"name","params":…}`, and `{"type":"name",…}` with the whole
   * frame as params.
   */
  readonly methods?: Readonly<Record<string, Method>>;
  /** Runs once in every node, when it is linked to the cluster and before it serves. */
  start?(cluster: Cluster): Awaitable<Nothing>;
  /**
   * Answers HTTP requests that are not WebSockets. The second argument makes `hono.fetch` fit: it
   * is Hono's `env`.
   */
  fetch?(request: Request, cluster: Cluster): Awaitable<Response>;
  /** HTTP answers by path, as Bun.serve's `routes`. WebSockets are accepted on these paths too. */
  readonly routes?: Readonly<Record<string, RouteOptions>>;
  readonly limits?: LimitOptions;
}

const brand = Symbol.for("tutti.app");

/** What `app()` makes. Export it as the default of your app file. */
export type App = { readonly [brand]: AppOptions<string> };

/** Defines an app. Its options are checked when a node starts with it. */
export function app<const Pattern extends string = never>(options: AppOptions<Pattern>): App;
export function app(options: AppOptions<string>): App {
  return { [brand]: options };
}

/** The options of what `app()` has made; undefined for any other value. */
export function appOptions(value: unknown): AppOptions<string> | undefined {
  return isApp(value) ? value[brand] : undefined;
}

function isApp(value: unknown): value is App {
  return typeof value === "object" && value !== null && Object.hasOwn(value, brand);
}

/**
 * Whether an error is Refused, also where the app's file has loaded its own copy of this one.
 */
export function isRefused(error: unknown): error is Error {
  return error instanceof Error && error.name === "Refused";
}
