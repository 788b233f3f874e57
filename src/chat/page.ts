// The chat's page: says and hears lines through the client SDK, and tells what happens to the
// connection under them.

import { connect, type TuttiError } from "tutti/client";
import { type LineNote, Log } from "./log.ts";
import type { Draft, Line, Name, Serving } from "./messages.ts";
import { People } from "./people.ts";
import { storyOfLoss } from "./story.ts";
import { element, showServing, showStatus } from "./view.ts";
import { nameOfWindow, rememberName } from "./who.ts";

const LOOK_BACK = 50;

const client = connect(location.origin);
const chat = client.channel<Line>("chat");
const names = client.channel<Name>("names");
const log = new Log();
const people = new People();
const nameInput = element("name", HTMLInputElement);

let node = "the node";
/** Which process serves this page; undefined where it was lost before it could say so. */
let serving: Promise<Serving | undefined> = Promise.resolve(undefined);
/**
 * What happened to the connection, from when it was lost until all that was said meanwhile is here.
 */
let loss:
  | {
      before: typeof serving;
      saidGoodbye: boolean;
      at: number;
      missed: number;
      note: (words: string, isLoss: boolean) => void;
    }
  | undefined;
let saidGoodbye = false;

client.on("connected", async (connected) => {
  node = connected.node;
  saidGoodbye = false;
  showStatus("connected", `connected to ${node}`);
  introduce();
  // Where it is lost again already, the next connection asks anew.
  serving = client.call<Serving>("who-serves").catch(() => undefined);
  const known = await serving;
  if (known !== undefined) showServing(known);
});

client.on("goodbye", () => {
  saidGoodbye = true;
});

client.on("disconnected", ({ wasConnected, reconnectInMs, reason }) => {
  if (reconnectInMs === undefined) return showStatus("closed", `disconnected: ${reason}`);
  showStatus("waiting", "connecting again");
  if (!wasConnected || loss !== undefined) return;
  const story = saidGoodbye ? `${node} went away` : `the connection to ${node} was lost`;
  const note = log.event(story, true);
  loss = { before: serving, saidGoodbye, at: performance.now(), missed: 0, note };
  showServing(undefined);
});

chat.on("subscribed", async () => {
  try {
    // The answer to anything that is asked now comes after all that was missed.
    people.replace(await chat.presence(), client.session);
  } catch {
    return;
  }
  if (loss === undefined) return;
  const { before, at, missed, note } = loss;
  const tookMs = Math.round(performance.now() - at);
  const wasTold = loss.saidGoodbye;
  loss = undefined;
  const story = storyOfLoss(await before, await serving, wasTold);
  const recovered =
    missed === 0
      ? "nothing missed"
      : `${missed} missed message${missed === 1 ? "" : "s"} recovered`;
  note(`${story} — reconnected to ${node} in ${tookMs} ms, ${recovered}`, false);
});

chat.on("message", (message) => {
  const isMine = message.data.id.startsWith(ourPrefix);
  const wasMissed = loss !== undefined && !isMine;
  if (loss !== undefined && wasMissed) loss.missed++;
  unplaced.get(message.data.id)?.placed();
  unplaced.delete(message.data.id);
  log.message(message, isMine, wasMissed);
});
chat.on("gap", ({ from, to }) => {
  log.event(`what was said at #${from} to #${to} is not remembered any more`, true);
});
chat.on("join", ({ client }) => people.join(client));
chat.on("leave", ({ client }) => people.leave(client));
names.on("message", ({ data }) => people.call(data));

/**
 * Lines of ours that have no place yet, by id. All our ids begin with a word that no other page
 * uses.
 */
const unplaced = new Map<string, LineNote>();
const ourPrefix = Math.random().toString(36).slice(2, 10);
let saidCount = 0;

function say(text: string): void {
  const id = `${ourPrefix}-${++saidCount}`;
  const name = nameInput.value;
  const line = log.pending(name, text);
  unplaced.set(id, line);
  client
    .channel<Draft>("chat")
    .publish({ id, name, text })
    .catch(({ message }: TuttiError) => {
      unplaced.delete(id);
      line.refused(message);
    });
}

function introduce(): void {
  client
    .channel<Pick<Name, "name">>("names")
    .publish({ name: nameInput.value })
    .catch(({ message }: TuttiError) => log.event(message, true));
}

element("composer", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const input = element("text", HTMLInputElement);
  const text = input.value.trim();
  if (text !== "") say(text);
  input.value = "";
  input.focus();
});

nameInput.value = nameOfWindow();
nameInput.addEventListener("change", () => {
  nameInput.value = nameInput.value.trim() || nameOfWindow();
  rememberName(nameInput.value);
  introduce();
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
chat.subscribe({ last: LOOK_BACK }).catch(refused);
