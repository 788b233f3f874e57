// The node's HTTP and WebSocket server: binds Bun.serve to the app's routes and to sessions, and
// decides which handshakes are accepted. What throws in a callback ends one connection at most.

import type { Server, ServerWebSocket } from "bun";
import type { Address } from "../runtime/arguments.ts";
import { SUBPROTOCOL_MSGPACK } from "../wire/client-messages.ts";
import { type Admitted, ANYONE, admit } from "./app/authentication.ts";
import { HookTimeout } from "./app/hooks.ts";
import { isRefused, type RouteHandler, type RouteOptions } from "./app/index.ts";
import { isOriginAllowed } from "./app/origin.ts";
import { chooseSubprotocol } from "./codec/encoding.ts";
import { ClientSession } from "./session/session.ts";
import type { NotAdmitted, SessionContext } from "./session/session-context.ts";
import type { Sessions } from "./session/sessions.ts";

/** How far beyond a slow reader's budget Bun itself closes it, where much is sent in one turn. */
const BACKPRESSURE_SPARE_BYTES = 4 * 1024 * 1024;
/** What Bun says of a message over maxPayloadLength: to the client 1009, to us 1006. */
const TOO_LARGE = "Received too big message";
const NOT_NOW = { status: 503, headers: { "Retry-After": "1" } };

const AND_CLOSE = { status: 503, headers: { ...NOT_NOW.headers, Connection: "close" } };

export type WebServerOptions = {
  readonly address: Address;
  readonly context: SessionContext;
  readonly sessions: Sessions;
  readonly connectionsMax: number;
  /** Hosts that pages connect to; none: whatever the Host header says. */
  readonly publicHosts: readonly string[];
  /** An unguessable id. */
  createId(): string;
  /** Whether new clients are accepted. */
  isOpen(): boolean;
  /** Whether no file descriptors are left, so that no connection may be kept. */
  isOutOfFiles(): boolean;
  /** What /healthz answers. */
  health(): Response;
};

type Answer = Response | undefined;
type ServedRoute = Bun.Serve.RoutesWithUpgrade<ClientSession, string>[string];

export class WebServer {
  readonly #options: WebServerOptions;
  readonly #server: Server<ClientSession>;
  readonly #isUnix: boolean;

  /** Listens at once. Throws what Bun.serve throws where it cannot. */
  constructor(options: WebServerOptions) {
    const { address, context, sessions } = options;
    this.#options = options;
    this.#isUnix = "unix" in address;
    const routes = Object.entries(context.app.routes ?? {}).map(
      ([path, route]) => [path, this.#route(route)] as const,
    );
    this.#server = Bun.serve<ClientSession, string>({
      ...("unix" in address
        ? { unix: address.unix }
        : { hostname: address.host, port: address.port }),
      development: false,
      // Last, so that no route of the app replaces it.
      routes: { ...Object.fromEntries(routes), "/healthz": this.#route(() => options.health()) },
      fetch: (request) => this.#fetch(request),
      error: (error) => this.#failedToAnswer(error),
      websocket: {
        idleTimeout: 0,
        sendPings: false,
        maxPayloadLength: context.limits.told.frameBytes,
        backpressureLimit: context.limits.bufferedBytes + BACKPRESSURE_SPARE_BYTES,
        closeOnBackpressureLimit: true,
        open: (socket) => this.#guard(socket, () => socket.data.socketOpened(socket)),
        message: (socket, frame) => this.#guard(socket, () => socket.data.frameReceived(frame)),
        drain: (socket) => this.#guard(socket, () => socket.data.socketDrained()),
        ping: (socket) => socket.data.heard(),
        pong: (socket) => socket.data.heard(),
        close: (socket, code, reason) => {
          sessions.delete(socket.data);
          const isTooLarge = reason === TOO_LARGE;
          this.#guard(socket, () => socket.data.socketClosed(isTooLarge ? "too_large" : code));
        },
      },
    });
  }

  get port(): number | undefined {
    return this.#server.port;
  }

  /** Sends a frame to every socket that has joined a native topic. */
  publish(topic: string, frame: string | Uint8Array): void {
    this.#server.publish(topic, frame, false);
  }

  /** Stops listening, and closes the remaining connections. */
  async stop(): Promise<void> {
    await this.#server.stop(true);
  }

  /** Ends a connection whose callback threw: a bug of ours, which must not touch the others. */
  #guard(socket: ServerWebSocket<ClientSession>, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#options.context.failed("session", error, socket.data.id);
      socket.data.close("internal");
    }
  }

  /** The route as Bun takes it; WebSockets are accepted on its path too. */
  #route(route: RouteOptions): ServedRoute {
    if (typeof route === "function") return this.#handler(route);
    if (route instanceof Response) return this.#handler(() => route.clone());
    if (isPage(route)) return route;
    const entries = Object.entries(route).map(([method, answer]) => [
      method,
      this.#handler(typeof answer === "function" ? answer : () => answer.clone()),
    ]);
    return Object.fromEntries(entries);
  }

  #handler(handler: RouteHandler) {
    const { cluster } = this.#options.context;
    return (request: Bun.BunRequest) => {
      if (this.#options.isOutOfFiles()) return this.#refuse("This node is full.", AND_CLOSE);
      return isUpgrade(request) ? this.#upgrade(request) : handler(request, cluster);
    };
  }

  #fetch(request: Request): Answer | Promise<Answer> {
    const { context } = this.#options;
    if (this.#options.isOutOfFiles()) return this.#refuse("This node is full.", AND_CLOSE);
    if (isUpgrade(request)) return this.#upgrade(request);
    return (
      context.app.fetch?.(request, context.cluster) ?? new Response("Not found.\n", { status: 404 })
    );
  }

  #upgrade(request: Request): Answer | Promise<Answer> {
    const { app, limits } = this.#options.context;
    const unavailable = this.#unavailable();
    if (unavailable !== undefined) return unavailable;
    const address = this.#addressOf(request);
    const isByRequest = app.connect !== undefined && app.auth !== "token";
    const origins = app.origins ?? (isByRequest ? "same" : "*");
    const destination = {
      host: request.headers.get("host"),
      // The lb says it, and no page can.
      isSecure: request.headers.get("x-forwarded-proto") === "https",
      publicHosts: this.#options.publicHosts,
    };
    if (!isOriginAllowed(request.headers.get("origin"), destination, origins))
      return this.#turnAway(request, address, 403, "Pages of this origin may not connect.");
    if (!isByRequest)
      return this.#accept(request, address, app.auth === "token" ? request : ANYONE);
    try {
      const admitted = admit(app, { request, token: undefined, address });
      if (!(admitted instanceof Promise)) return this.#accept(request, address, admitted);
      return withinMs(admitted, limits.hookTimeoutMs)
        .then((each) => this.#unavailable() ?? this.#accept(request, address, each))
        .catch((error) => this.#connectFailed(request, address, error));
    } catch (error) {
      return this.#connectFailed(request, address, error);
    }
  }

  /** Why no client can be taken now; asked again after the app was, which may take its time. */
  #unavailable(): Answer {
    const { sessions, connectionsMax, isOpen } = this.#options;
    if (!isOpen()) return new Response("This node takes no new connections now.\n", NOT_NOW);
    if (sessions.size >= connectionsMax) return new Response("This node is full.\n", NOT_NOW);
    return undefined;
  }

  #accept(request: Request, address: string, admitted: Admitted | Request | NotAdmitted): Answer {
    const { context, sessions, createId } = this.#options;
    const subprotocol = chooseSubprotocol(request.headers.get("sec-websocket-protocol"));
    const encoding = subprotocol === SUBPROTOCOL_MSGPACK ? "msgpack" : "json";
    const session = new ClientSession(context, createId(), encoding, address, admitted);
    // Without the header Bun would accept the first subprotocol that the client named.
    const headers = { "Sec-WebSocket-Protocol": subprotocol ?? "" };
    sessions.add(session);
    if (this.#server.upgrade(request, { data: session, headers })) return undefined;
    sessions.delete(session);
    return this.#refuse("This is not a WebSocket handshake.", { status: 400 });
  }

  #refuse(reason: string, init: ResponseInit & { readonly status: number }): Response {
    this.#options.context.refused({ code: init.status, reason, session: "", user: undefined });
    return new Response(`${reason}\n`, init);
  }

  #connectFailed(request: Request, address: string, error: unknown): Answer {
    if (isRefused(error)) return this.#turnAway(request, address, 401, error.message);
    if (!(error instanceof HookTimeout)) return this.#failedToAnswer(error);
    this.#options.context.hookTimedOut(error.hook, "");
    return this.#refuse("The app has not answered in time.", NOT_NOW);
  }

  /**
   * Tells a client that it may not connect. A WebSocket's client is not told an HTTP status: one
   * that offers a subprotocol of ours gets its WebSocket, and that is closed with the message.
   */
  #turnAway(request: Request, address: string, status: number, message: string): Answer {
    const subprotocol = chooseSubprotocol(request.headers.get("sec-websocket-protocol"));
    if (subprotocol === undefined) return this.#refuse(message, { status });
    this.#options.context.refused({ code: status, reason: message, session: "", user: undefined });
    return this.#accept(request, address, { refusal: message });
  }

  #failedToAnswer(error: unknown): Response {
    this.#options.context.failed("http", error, "");
    return new Response("The app failed to answer.\n", { status: 500 });
  }

  /**
   * Over a unix socket only the lb connects, and its X-Real-IP is the address it decided on. Over
   * TCP anyone could send that header.
   */
  #addressOf(request: Request): string {
    if (!this.#isUnix) return this.#server.requestIP(request)?.address ?? "";
    // An lb of an earlier release sends the other one alone.
    const { headers } = request;
    return (
      headers.get("x-real-ip") ?? headers.get("x-forwarded-for")?.split(",").at(-1)?.trim() ?? ""
    );
  }
}

const isUpgrade = (request: Request) =>
  request.headers.get("upgrade")?.toLowerCase() === "websocket";

const isPage = (route: object): route is Bun.HTMLBundle =>
  "index" in route && typeof route.index === "string";

/** The same promise; it rejects with HookTimeout where the app's connect takes longer. */
function withinMs<T>(admitted: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new HookTimeout({ name: "connect" })), timeoutMs);
    admitted.finally(() => clearTimeout(timer)).then(resolve, reject);
  });
}
