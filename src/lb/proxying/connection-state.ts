// What an HTTP connection of a client is doing: reading a request, or at one stage of an exchange.

import type { Exchange } from "./exchange.ts";
import type { Upstream } from "./upstream.ts";

type Queued = { readonly kind: "queued"; readonly exchange: Exchange };
export type Dialing = {
  readonly kind: "dialing";
  readonly exchange: Exchange;
  readonly upstream: Upstream;
};
/** The request is on its way, and so may its answer be. */
export type Sending = {
  readonly kind: "sending";
  readonly exchange: Exchange;
  readonly upstream: Upstream;
  /** The connection to the node has served an exchange before. */
  readonly isReused: boolean;
};
/**
 * The answer has been read to its end, the request's body has not: its rest still goes to the node,
 * or nowhere once the node's connection is given up.
 */
export type Draining = {
  readonly kind: "draining";
  readonly exchange: Exchange;
  readonly upstream: Upstream | undefined;
};
export type Exchanging = Queued | Dialing | Sending | Draining;
export type State =
  /** `kept`: the connection to a node that the last exchange left. */
  | { readonly kind: "reading"; readonly kept: Upstream | undefined }
  | Exchanging
  /** The socket is being reset, or is another's. */
  | { readonly kind: "closed" };

export const READING: State = { kind: "reading", kept: undefined };
export const CLOSED: State = { kind: "closed" };

export const exchangingIn = (state: State): Exchanging | undefined =>
  state.kind === "reading" || state.kind === "closed" ? undefined : state;
/** A state in which the request's body is read. */
export const bodyReadingIn = (state: State): Sending | Draining | undefined =>
  state.kind === "sending" || state.kind === "draining" ? state : undefined;
