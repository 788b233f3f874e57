// Who is present in a channel: this node's own clients, and all members as the relay names them.
// Pure.

import { encodeNodeMessage, encodePresent } from "../../wire/client-messages.ts";
import { OwnMembers } from "./own-members.ts";

/** How long after a new link the relay may take to name a member again before it is gone, ms. */
const GRACE_MS = 5000;

const decoder = new TextDecoder();

/** `info`: JSON text; undefined: it has none. */
type Member = { readonly info: string | undefined; isConfirmed: boolean };
/** Gets the members, as the JSON text of a list. Undefined: they were not known in time. */
export type OnMembers = (listText: string | undefined) => void;

export class Presence {
  readonly #channel: string;
  /** This node's clients. */
  readonly #own: OwnMembers;
  readonly #members = new Map<string, Member>();
  /**
   * Members that the relay has yet to name before all are known; undefined: the channel is not
   * open yet.
   */
  #unnamed: number | undefined;
  #requests: { readonly onMembers: OnMembers; readonly deadlineMs: number }[] = [];
  #doubtedAtMs: number | undefined;
  #listText: string | undefined;

  constructor(channel: string, nowMs: number) {
    this.#channel = channel;
    this.#own = new OwnMembers(nowMs);
  }

  /** Whether there is something that `expire` or `settle` will have to end. */
  get isWaiting(): boolean {
    return this.#requests.length > 0 || this.#doubtedAtMs !== undefined || this.#own.isUnsettled;
  }

  /** A client of this node is present. True: the relay has to be told now. */
  addOwn(client: string, info: Uint8Array, nowMs: number): boolean {
    this.#listText = undefined;
    return this.#own.enter(client, info, nowMs);
  }

  /** A client of this node has left. True: the relay has to be told now. */
  removeOwn(client: string, nowMs: number): boolean {
    this.#listText = undefined;
    return this.#own.leave(client, nowMs);
  }

  /** About once a second: our own clients' changes that the relay has to be told now. */
  settleOwn(nowMs: number): ReturnType<OwnMembers["settle"]> {
    return this.#own.settle(nowMs);
  }

  /**
   * The relay has opened the channel, and will name so many members. Those that it named on an
   * earlier link it has to name again. Returns our own, which it has to be told.
   */
  channelOpened(members: number, nowMs: number): ReturnType<OwnMembers["repeatAll"]> {
    for (const member of this.#members.values()) member.isConfirmed = false;
    if (this.#members.size > 0) this.#doubtedAtMs = nowMs;
    if (this.#unnamed !== 0) this.#unnamed = members;
    this.#answer();
    return this.#own.repeatAll(nowMs);
  }

  /**
   * The relay names a member. Returns the message for readers, if it is news: those who were there
   * when the channel was opened are what `presence` lists.
   */
  memberEntered(client: string, info: Uint8Array): string | undefined {
    const text = textOf(info);
    const wasThere = this.#unnamed !== undefined && this.#unnamed > 0;
    const known = this.#members.get(client);
    const isNews = !wasThere && (known === undefined || known.info !== text);
    this.#members.set(client, { info: text, isConfirmed: true });
    this.#listText = undefined;
    if (this.#unnamed !== undefined && this.#unnamed > 0 && --this.#unnamed === 0) this.#answer();
    return isNews ? this.#eventOf("join", client, text) : undefined;
  }

  /** The relay says that a member has left. Returns the message for readers. */
  memberLeft(client: string): string | undefined {
    const member = this.#members.get(client);
    if (member === undefined) return undefined;
    this.#members.delete(client);
    this.#listText = undefined;
    return this.#eventOf("leave", client, member.info);
  }

  /** Gives the list as soon as all members are known. */
  listMembers(onMembers: OnMembers, deadlineMs: number): void {
    this.#requests.push({ onMembers, deadlineMs });
    this.#answer();
  }

  /**
   * Gives up requests that have waited too long. Returns the messages about members that were not
   * named again in time.
   */
  expire(nowMs: number): string[] {
    while (this.#requests.length > 0 && this.#requests[0].deadlineMs < nowMs)
      this.#requests.shift()?.onMembers(undefined);
    if (this.#doubtedAtMs === undefined || nowMs - this.#doubtedAtMs < GRACE_MS) return [];
    this.#doubtedAtMs = undefined;
    const gone = [...this.#members]
      .filter(([, { isConfirmed }]) => !isConfirmed)
      .map(([client]) => client);
    return gone.map((client) => this.memberLeft(client)).filter((text) => text !== undefined);
  }

  #answer(): void {
    if (this.#unnamed !== 0 || this.#requests.length === 0) return;
    this.#listText ??= `[${[...this.#everybody()].join(",")}]`;
    for (const { onMembers } of this.#requests.splice(0)) onMembers(this.#listText);
  }

  /** Our own are present before the relay has named them. */
  *#everybody(): Generator<string, void> {
    for (const [client, { info }] of this.#members) yield encodePresent(client, info);
    for (const [client, info] of this.#own.present())
      if (!this.#members.has(client)) yield encodePresent(client, textOf(info));
  }

  #eventOf(type: "join" | "leave", client: string, info: string | undefined): string {
    return encodeNodeMessage({ type, channel: this.#channel, client, info });
  }
}

const textOf = (info: Uint8Array) => (info.length === 0 ? undefined : decoder.decode(info));
