// Who is present in a channel: this node's own clients, for which it vouches, and everybody as the
// relay says it. Pure.

/**
 * How long after a new link those who were there may take to be named again, before they count as
 * gone, ms.
 */
const GRACE_MS = 5000;

const decoder = new TextDecoder();

type Member = {
  /** JSON text; "": it shows nothing. */ readonly info: string;
  isConfirmed: boolean;
};
/** Who wants the list; undefined: it could not be had in time. */
export type OnList = (listText: string | undefined) => void;

export class Presence {
  readonly #channel: string;
  /** This node's clients, and what they show of themselves. */
  readonly #own = new Map<string, Uint8Array>();
  readonly #members = new Map<string, Member>();
  /**
   * Members that the relay has yet to name before we know all; undefined: the channel is not open
   * yet.
   */
  #unnamed: number | undefined;
  #askers: { readonly onList: OnList; readonly deadlineMs: number }[] = [];
  #doubtedAtMs: number | undefined;
  #listText: string | undefined;

  constructor(channel: string) {
    this.#channel = channel;
  }

  get own(): ReadonlyMap<string, Uint8Array> {
    return this.#own;
  }

  /** Whether there is something that `expire` will have to end. */
  get isWaiting(): boolean {
    return this.#askers.length > 0 || this.#doubtedAtMs !== undefined;
  }

  /** A client of this node is there. True: the relay has to be told. */
  attend(client: string, info: Uint8Array): boolean {
    if (this.#own.has(client)) return false;
    this.#own.set(client, info);
    this.#listText = undefined;
    return true;
  }

  /** A client of this node has left. True: the relay has to be told. */
  depart(client: string): boolean {
    this.#listText = undefined;
    return this.#own.delete(client);
  }

  /**
   * The relay has opened the channel, and will name so many members. Those it named on an earlier
   * link it has to name again.
   */
  opened(members: number, nowMs: number): void {
    for (const member of this.#members.values()) member.isConfirmed = false;
    if (this.#members.size > 0) this.#doubtedAtMs = nowMs;
    this.#unnamed ??= members;
    this.#answer();
  }

  /** The relay says that a client is there. Returns the frame that tells readers, if it is news. */
  entered(client: string, info: Uint8Array): string | undefined {
    const text = decoder.decode(info);
    const isNews = this.#members.get(client)?.info !== text;
    this.#members.set(client, { info: text, isConfirmed: true });
    this.#listText = undefined;
    if (this.#unnamed !== undefined && this.#unnamed > 0 && --this.#unnamed === 0) this.#answer();
    return isNews ? eventText("join", this.#channel, client, text) : undefined;
  }

  /** The relay says that a client has left. */
  left(client: string): string | undefined {
    const member = this.#members.get(client);
    if (member === undefined) return undefined;
    this.#members.delete(client);
    this.#listText = undefined;
    return eventText("leave", this.#channel, client, member.info);
  }

  /** Gives `onList` everybody, as the JSON text of a list, as soon as all are known. */
  ask(onList: OnList, deadlineMs: number): void {
    this.#askers.push({ onList, deadlineMs });
    this.#answer();
  }

  /**
   * Ends what has waited too long. Returns the frames that tell of clients that were not named
   * again in time.
   */
  expire(nowMs: number): string[] {
    while (this.#askers.length > 0 && this.#askers[0].deadlineMs < nowMs)
      this.#askers.shift()?.onList(undefined);
    if (this.#doubtedAtMs === undefined || nowMs - this.#doubtedAtMs < GRACE_MS) return [];
    this.#doubtedAtMs = undefined;
    const gone = [...this.#members]
      .filter(([, { isConfirmed }]) => !isConfirmed)
      .map(([client]) => client);
    return gone.map((client) => this.left(client)).filter((text) => text !== undefined);
  }

  #answer(): void {
    if (this.#unnamed !== 0 || this.#askers.length === 0) return;
    this.#listText ??= `[${[...this.#everybody()].join(",")}]`;
    for (const { onList } of this.#askers.splice(0)) onList(this.#listText);
  }

  /** Our own are there before the relay has said so. */
  *#everybody(): Generator<string, void> {
    for (const [client, { info }] of this.#members) yield memberText(client, info);
    for (const [client, info] of this.#own)
      if (!this.#members.has(client)) yield memberText(client, decoder.decode(info));
  }
}

const infoText = (info: string) => (info === "" ? "" : `,"info":${info}`);

const memberText = (client: string, info: string) =>
  `{"client":${JSON.stringify(client)}${infoText(info)}}`;

function eventText(type: "join" | "leave", channel: string, client: string, info: string): string {
  return `{"type":"${type}","channel":${JSON.stringify(channel)},"client":${JSON.stringify(client)}${infoText(info)}}`;
}
