// This node's clients in one channel, as they are and as the relay was told. Changes are told at a
// pace: a client that came and went in between is not told at all. Pure.

import { TokenBucket } from "../../runtime/token-bucket.ts";

/** After a change of a client was told, its next one waits this long, ms. */
const CHANGE_MS = 1000;
/** Changes in one channel that are told at once; the others wait for `settle`. */
const CHANGES_PER_SECOND = 50;

type OwnMember = {
  /** Undefined: it has left. */
  info: Uint8Array | undefined;
  /** Whether the relay takes it for present. */
  isTold: boolean;
  toldAtMs: number;
};

/** `info` undefined: the client has left. */
type Change = { readonly client: string; readonly info: Uint8Array | undefined };

export class OwnMembers {
  readonly #members = new Map<string, OwnMember>();
  /** Those whose change waits, or who have left. */
  readonly #unsettled = new Set<string>();
  readonly #pace: TokenBucket;

  constructor(nowMs: number) {
    this.#pace = new TokenBucket(CHANGES_PER_SECOND, nowMs);
  }

  /** Whether `settle` has something left to do. */
  get isUnsettled(): boolean {
    return this.#unsettled.size > 0;
  }

  *present(): Generator<[client: string, info: Uint8Array], void> {
    for (const [client, { info }] of this.#members) if (info !== undefined) yield [client, info];
  }

  /** True: the relay has to be told now. */
  enter(client: string, info: Uint8Array, nowMs: number): boolean {
    const known = this.#members.get(client);
    if (known !== undefined) {
      // It has left a moment ago, and `settle` looks at what has become of it.
      known.info ??= info;
      return false;
    }
    const isTold = this.#pace.take(nowMs);
    const toldAtMs = isTold ? nowMs : Number.NEGATIVE_INFINITY;
    this.#members.set(client, { info, isTold, toldAtMs });
    if (!isTold) this.#unsettled.add(client);
    return isTold;
  }

  /** True: the relay has to be told now. */
  leave(client: string, nowMs: number): boolean {
    const member = this.#members.get(client);
    if (member?.info === undefined) return false;
    member.info = undefined;
    this.#unsettled.add(client);
    if (!member.isTold || wasToldLately(member, nowMs) || !this.#pace.take(nowMs)) return false;
    member.isTold = false;
    member.toldAtMs = nowMs;
    return true;
  }

  /** About once a second: the changes that have waited, to be told now. */
  settle(nowMs: number): Change[] {
    const changes: Change[] = [];
    for (const client of this.#unsettled) {
      const member = this.#members.get(client);
      if (member === undefined || wasToldLately(member, nowMs)) continue;
      const { info } = member;
      const isPresent = info !== undefined;
      if (isPresent !== member.isTold) {
        member.isTold = isPresent;
        member.toldAtMs = nowMs;
        changes.push({ client, info });
      } else if (!isPresent) {
        this.#members.delete(client);
      }
      if (isPresent || !this.#members.has(client)) this.#unsettled.delete(client);
    }
    return changes;
  }

  /** The relay knows of none of them: gives all who are present, to be told now. */
  repeatAll(nowMs: number): [client: string, info: Uint8Array][] {
    for (const member of this.#members.values()) {
      member.isTold = member.info !== undefined;
      if (member.isTold) member.toldAtMs = nowMs;
    }
    return [...this.present()];
  }
}

/** In the future: the clock was set back. */
function wasToldLately({ toldAtMs }: OwnMember, nowMs: number): boolean {
  return toldAtMs <= nowMs && nowMs - toldAtMs < CHANGE_MS;
}
