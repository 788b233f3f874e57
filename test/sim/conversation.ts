// What a node may say on one connection, watched at the node's end: behind the ok of a subscribe,
// every message is the next one, and a gap begins where the reader stands. The SDK forgives more.

import type { Position } from "../../src/wire/position.ts";

const MESSAGE = /^\{"type":"message","channel":"([^"]*)","offset":(\d+)/;
const RECOVERED = /^\{"type":"ok","id":"[^"]*","channel":"[^"]*","position":\{[^}]*\},"recovered":/;

type Subscribe = { readonly id: string; readonly since?: Position };
type Gap = { readonly from: number; readonly to: number };
type Subscribed = {
  readonly id: string;
  readonly channel: string;
  readonly position: Position;
  readonly recovered: boolean;
  readonly gap?: Gap;
};

export class Conversation {
  readonly #node: string;
  /** By the id of the subscribe: where the client asked to go on. */
  readonly #asked = new Map<string, Position | undefined>();
  /** By channel: where the reader stands. */
  readonly #offsets = new Map<string, number>();

  constructor(node: string) {
    this.#node = node;
  }

  received(text: string): void {
    if (!text.startsWith('{"type":"subscribe"')) return;
    const { id, since }: Subscribe = JSON.parse(text);
    this.#asked.set(id, since);
  }

  sent(text: string): void {
    const message = MESSAGE.exec(text);
    if (message !== null) this.#message(message[1], Number(message[2]));
    else if (text.startsWith('{"type":"gap"')) this.#gap(JSON.parse(text));
    else if (RECOVERED.test(text)) this.#subscribed(JSON.parse(text));
  }

  #message(channel: string, offset: number): void {
    const at = this.#offsets.get(channel);
    if (at === undefined) return;
    if (offset !== at + 1) this.#wrong(`sends ${offset} of ${channel} to a reader at ${at}`);
    this.#offsets.set(channel, offset);
  }

  #subscribed({ id, channel, position, recovered, gap }: Subscribed): void {
    const since = this.#asked.get(id);
    this.#asked.delete(id);
    this.#offsets.set(channel, position.offset);
    if (recovered !== (gap === undefined)) this.#wrong("tells of a gap, and of none");
    if (since === undefined) return;
    if (gap !== undefined) this.#checkGap(channel, since.offset, gap, position);
    else if (since.epoch !== position.epoch || since.offset !== position.offset)
      this.#wrong(`puts a reader of ${channel} from ${since.offset} to ${position.offset}`);
  }

  #gap(gap: Gap & { readonly channel: string; readonly position: Position }): void {
    const at = this.#offsets.get(gap.channel);
    if (at !== undefined) this.#checkGap(gap.channel, at, gap, gap.position);
    this.#offsets.set(gap.channel, gap.position.offset);
  }

  #checkGap(channel: string, at: number, { from, to }: Gap, { offset }: Position): void {
    if (from !== at + 1 || to !== offset)
      this.#wrong(`tells of a gap from ${from} to ${to} from ${at} to ${offset} of ${channel}`);
  }

  #wrong(what: string): never {
    throw new Error(`${this.#node} ${what}`);
  }
}
