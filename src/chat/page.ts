// The chat's page: sends and shows messages through the client SDK, and reports what happens to the
// connection.

import { connect, type TuttiError } from "tutti/client";
import { MessageList, type PendingLine } from "./message-list.ts";
import type { Draft, Line, Name, Serving } from "./messages.ts";
import { People } from "./people.ts";
import { storyOfLoss } from "./story.ts";
import { nameOfWindow, rememberName } from "./user-name.ts";
import { element, showServing, showStatus } from "./view.ts";

const HISTORY_SHOWN = 50;

const client = connect(location.origin);
const chat = client.channel<Line, Draft>("chat");
const names = client.channel<Name, Pick<Name, "name">>("names");
const list = new MessageList();
const people = new People();
const nameInput = element("name", HTMLInputElement);

let node = "the node";
/** The process that serves this page; undefined where it was lost before it could say so. */
let serving: Promise<Serving | undefined> = Promise.resolve(undefined);
/** The current interruption: from the loss of the connection until all missed messages are here. */
let interruption:
  | {
      before: typeof serving;
      hadGoodbye: boolean;
      atMs: number;
      missed: number;
      note: (text: string, isLoss: boolean) => void;
    }
  | undefined;
let isGoodbyeReceived = false;

client.on("connected", async (connected) => {
  node = connected.node;
  isGoodbyeReceived = false;
  showStatus("connected", `connected to ${node}`);
  publishName();
  // If the connection is lost again already, the next one asks again.
  serving = client.call<Serving>("who-serves").catch(() => undefined);
  const known = await serving;
  if (known !== undefined) showServing(known);
});

client.on("goodbye", () => {
  isGoodbyeReceived = true;
});

client.on("disconnected", ({ wasConnected, reconnectInMs, reason }) => {
  if (reconnectInMs === undefined) return showStatus("closed", `disconnected: ${reason}`);
  showStatus("waiting", "reconnecting");
  if (!wasConnected || interruption !== undefined) return;
  const cause = isGoodbyeReceived ? `${node} shut down` : `the connection to ${node} was lost`;
  interruption = {
    before: serving,
    hadGoodbye: isGoodbyeReceived,
    atMs: performance.now(),
    missed: 0,
    note: list.addEvent(cause, true),
  };
  showServing(undefined);
});

chat.on("subscribed", async () => {
  try {
    // The answer to a request that is sent now arrives after all missed messages.
    people.setPresent(await chat.presence(), client.session);
  } catch {
    return;
  }
  if (interruption === undefined) return;
  const { before, hadGoodbye, atMs, missed, note } = interruption;
  const tookMs = Math.round(performance.now() - atMs);
  interruption = undefined;
  const story = storyOfLoss(await before, await serving, hadGoodbye);
  const recovered =
    missed === 0
      ? "nothing missed"
      : `${missed} missed message${missed === 1 ? "" : "s"} recovered`;
  note(`${story} — reconnected to ${node} in ${tookMs} ms, ${recovered}`, false);
});

chat.on("message", (message) => {
  const isMine = message.data.id.startsWith(ourPrefix);
  const wasMissed = interruption !== undefined && !isMine;
  if (interruption !== undefined && wasMissed) interruption.missed++;
  pending.get(message.data.id)?.published();
  pending.delete(message.data.id);
  list.addMessage(message, isMine, wasMissed);
});
chat.on("gap", ({ from, to }) => {
  list.addEvent(`messages #${from} to #${to} are no longer in the history`, true);
});
chat.on("join", ({ client }) => people.clientJoined(client));
chat.on("leave", ({ client }) => people.clientLeft(client));
names.on("message", ({ data }) => people.nameReceived(data));

/** Messages of this page that have no offset yet, by id. */
const pending = new Map<string, PendingLine>();
/** All ids of this page begin with it, and no other page's do. */
const ourPrefix = Math.random().toString(36).slice(2, 10);
let sentCount = 0;

function send(text: string): void {
  const id = `${ourPrefix}-${++sentCount}`;
  const name = nameInput.value;
  const line = list.addPending(name, text);
  pending.set(id, line);
  chat.publish({ id, name, text }).catch(({ message }: TuttiError) => {
    pending.delete(id);
    line.refused(message);
  });
}

function publishName(): void {
  names
    .publish({ name: nameInput.value })
    .catch(({ message }: TuttiError) => list.addEvent(message, true));
}

element("composer", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const input = element("text", HTMLInputElement);
  const text = input.value.trim();
  if (text !== "") send(text);
  input.value = "";
  input.focus();
});

nameInput.value = nameOfWindow();
nameInput.addEventListener("change", () => {
  nameInput.value = nameInput.value.trim() || nameOfWindow();
  rememberName(nameInput.value);
  publishName();
});

element("copy", HTMLButtonElement).addEventListener("click", async ({ currentTarget }) => {
  const { textContent } = element("command", HTMLElement);
  try {
    await navigator.clipboard.writeText(textContent ?? "");
    if (currentTarget instanceof HTMLElement) currentTarget.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(element("command", HTMLElement));
  }
});

const refused = ({ message }: TuttiError) => showStatus("closed", message);
names.subscribe({ last: 500 }).catch(refused);
chat.subscribe({ last: HISTORY_SHOWN }).catch(refused);
