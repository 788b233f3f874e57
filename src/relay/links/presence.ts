// The presence of clients in channels, as the nodes' links report it; removed with the link. Never
// journaled: after a restart of the relay the nodes report it again.

import { encodeRelayMessage } from "../../wire/relay-messages.ts";
import type { Channel, Receiver } from "../channels/channel.ts";

/** Clients beyond this many in one channel are not listed as present. */
const MEMBERS_MAX = 10_000;

export class Presence {
  /** Sends the link everyone who is present now, and every change from now on. */
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

  /** The link has closed the channel, or is gone: removes the clients that it reported. */
  linkClosed(link: Receiver, channel: Channel): void {
    for (const [client, member] of channel.members)
      if (member.link === link) this.clientLeft(link, channel, client);
  }

  #sendToObservers(channel: Channel, frame: Uint8Array): void {
    for (const observer of channel.observers) observer.send(frame);
  }
}
