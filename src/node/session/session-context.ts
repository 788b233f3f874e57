// What sessions need of the node around them, and what answering a request needs of its session.

import type { RequestId } from "../../wire/client-messages.ts";
import type { CloseName, ErrorCode } from "../../wire/codes.ts";
import type { Admitted } from "../app/authentication.ts";
import type { Hook } from "../app/hooks.ts";
import type { AppOptions, Cluster, Session } from "../app/index.ts";
import type { NodeLimits } from "../app/limits.ts";
import type { Channels } from "../channels/channels.ts";
import type { Subscription } from "../channels/readers.ts";
import type { Subscriber } from "../channels/subscriber.ts";
import type { Identities } from "../uplink/identity.ts";
import type { Uplink } from "../uplink/uplink.ts";
import type { Backlog } from "./backlog.ts";
import type { Budget, Budgets } from "./budget.ts";
import type { PublishWindow } from "./publish-window.ts";

/**
 * Why a client was not served. `code`: of the protocol, of a WebSocket's end, or of HTTP.
 * `session`: empty where there is none yet.
 */
export type Refusal = {
  readonly code: ErrorCode | number;
  readonly reason: string;
  readonly session: string;
  readonly user: string | undefined;
};

export type SessionContext = {
  readonly node: string;
  readonly pingMs: number;
  /** How long a client may take to connect with its token, ms. */
  readonly connectMs: number;
  readonly app: AppOptions<string>;
  readonly limits: NodeLimits;
  readonly budgets: Budgets;
  readonly backlog: Backlog;
  readonly channels: Channels;
  readonly cluster: Cluster;
  /** The link to the relay that owns a channel. */
  uplinkOf(channel: string): Pick<Uplink, "isUp">;
  /** What relays recognize repeats by. */
  readonly identities: Identities;
  readonly monotonicMs: () => number;
  /** Ends the slowest clients where too much waits for all of them. */
  relieve(): void;
  /** For the log: a client is closed by this node. */
  closing(ended: Refusal & { readonly durationMs: number }): void;
  /** For the log: a request or a handshake is refused. */
  refused(refusal: Refusal): void;
  /** Calls the session's `resume` a little later. */
  resumeLater(session: Resumable): void;
  /** For the log: a function of the app has not answered in time. */
  hookTimedOut(hook: Hook, session: string): void;
  /** For the log: the app, or this node, threw. */
  failed(what: string, error: unknown, session: string): void;
};

export interface Resumable {
  resume(): void;
}

/**
 * `awaitingToken`: the client has to send `connect` with a token before the deadline;
 * `isAuthenticating`: the app is looking at it. `refused`: the app does not let the client in,
 * which is all it is told. `closed`: nothing more is sent or answered.
 */
export type SessionState =
  | {
      readonly name: "awaitingToken";
      readonly request: Request;
      readonly deadlineMs: number;
      readonly isAuthenticating: boolean;
    }
  | {
      readonly name: "connected";
      readonly client: Admitted;
      readonly hasSaidConnect: boolean;
      readonly producer: string | undefined;
    }
  | { readonly name: "refused"; readonly message: string }
  | { readonly name: "closed" };

/** The app does not accept the client: the message that it is closed with. */
export type NotAdmitted = { readonly refusal: string };

/** A session, as the requests of its client see it. */
export interface RequestingSession extends Subscriber, Resumable {
  readonly context: SessionContext;
  readonly address: string;
  readonly state: SessionState;
  readonly isOpen: boolean;
  readonly user: string | undefined;
  readonly producer: string | undefined;
  /** The session as the app's functions see it. */
  readonly view: Session;
  readonly subscriptions: Map<string, Readonly<Subscription>>;
  readonly publishWindow: PublishWindow;
  readonly budget: Budget;
  /** Calls and questions that are not answered yet. */
  openCalls: number;
  /** The app looks at the client's token. */
  authenticationStarted(): void;
  authenticated(client: Admitted): void;
  /** The client has said `connect`, and is let in. `producer`: its name for itself. */
  connectReceived(producer: string | undefined): void;
  /** Whether the session gets the channel of everyone without a subscription. */
  listenToEveryone(listens: boolean): void;
  /** The same promise; it rejects with HookTimeout where the app does not answer in time. */
  awaitHook<T>(hook: Hook, result: PromiseLike<T>): Promise<T>;
  /** `retry`: as the code says, where it is not given. */
  sendError(
    id: RequestId | undefined,
    code: ErrorCode,
    message?: string,
    retry?: boolean,
  ): undefined;
  /** Answers a request that has an id. */
  sendOk(id: RequestId | undefined): undefined;
  /** Sends what was asked for and has been charged to the client's budget. */
  sendAnswer(json: string): void;
  /** Sends together with the other replies of this turn. */
  sendLater(json: string): void;
  /** Answers a frame that is not one of the protocol. */
  refuseFrame(id: RequestId | undefined, message: string): undefined;
  close(name: CloseName): void;
}
