// Who is present in a channel: clients that a node's link vouches for, forgotten with the link.
// Never journaled: after a restart of the relay the nodes say it again.

import { encodeRelayMessage } from "../wire/relay-messages.ts";
import type { Channel, Receiver } from "./channel.ts";

/** Clients beyond this many in one channel are not shown; they take part in everything else. */
const MEMBERS_MAX = 10_000;

export class Presence {
  /** The link wants to know who is there: it gets everyone now, and what changes later. */
  addObserver(link: Receiver, channel: Channel): void {
    for (const [client, { info }] of channel.members)
      link.send(encodeRelayMessage({ type: "entered", id: channel.id, client, info }));
    channel.observers.push(link);
  }

  clientEntered(link: Receiver, channel: Channel, client: string, info: Uint8Array): void {
    if (channel.members.size >= MEMBERS_MAX && !channel.members.has(client)) return;
    channel.members.set(client, { link, info: info.slice() });
    this.#sendToObservers(
      channel,
      encodeRelayMessage({ type: "entered", id: channel.id, client, info }),
    );
  }

  clientLeft(link: Receiver, channel: Channel, client: string): void {
    if (channel.members.get(client)?.link !== link) return;
    channel.members.delete(client);
    this.#sendToObservers(channel, encodeRelayMessage({ type: "left", id: channel.id, client }));
  }

  /** The link has closed the channel, or is gone: so are the clients it vouched for. */
  linkClosed(link: Receiver, channel: Channel): void {
    for (const [client, member] of channel.members)
      if (member.link === link) this.clientLeft(link, channel, client);
  }

  #sendToObservers(channel: Channel, frame: Uint8Array): void {
    for (const observer of channel.observers) observer.send(frame);
  }
}
