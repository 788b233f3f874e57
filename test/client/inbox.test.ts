import { expect, test } from "bun:test";
import { INBOX_CHARACTERS_MAX, INBOX_MESSAGES_MAX, Inbox } from "../../src/client/inbox.ts";

test("gives what came in, in order, whether it is waited for or not", async () => {
  const inbox = new Inbox<number>();
  const first = inbox.nextResult();
  const second = inbox.nextResult();
  for (const value of [1, 2, 3]) inbox.pushMessage(value, 1);
  const results = await Promise.all([first, second, inbox.nextResult()]);
  expect(results.map(({ value }) => value)).toEqual([1, 2, 3]);
});

test("is full by count or by characters, and low when half is read", () => {
  const inbox = new Inbox<number>();
  for (let i = 0; i < INBOX_MESSAGES_MAX; i++) {
    expect(inbox.isFull).toBe(false);
    inbox.pushMessage(i, 1);
  }
  expect(inbox.isFull).toBe(true);
  for (let i = 0; i < INBOX_MESSAGES_MAX / 2; i++) {
    expect(inbox.isLow).toBe(false);
    expect(inbox.takeMessage()?.value).toBe(i);
  }
  expect(inbox.isLow).toBe(true);

  const heavy = new Inbox<string>();
  heavy.pushMessage("big", INBOX_CHARACTERS_MAX);
  expect(heavy.isFull).toBe(true);
  heavy.takeMessage();
  expect(heavy.isLow).toBe(true);
});

test("keeps its order and its count through many rounds of filling and reading", () => {
  const inbox = new Inbox<number>();
  let pushed = 0;
  let taken = 0;
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 90; i++) inbox.pushMessage(pushed++, 2);
    for (let i = 0; i < 80; i++) expect(inbox.takeMessage()?.value).toBe(taken++);
    expect(inbox.size).toBe(pushed - taken);
  }
  while (inbox.size > 0) expect(inbox.takeMessage()?.value).toBe(taken++);
  expect(taken).toBe(pushed);
  expect(inbox.takeMessage()).toBeUndefined();
});

test("ends after what is in it; an error is told once", async () => {
  const inbox = new Inbox<number>();
  inbox.pushMessage(1, 1);
  inbox.endWith(new Error("over"));
  inbox.pushMessage(2, 1);
  expect(await inbox.nextResult()).toEqual({ done: false, value: 1 });
  expect(inbox.nextResult()).rejects.toThrow("over");
  expect(await inbox.nextResult()).toEqual({ done: true, value: undefined });

  const waited = new Inbox<number>();
  const waiting = [waited.nextResult(), waited.nextResult()];
  waited.endWith(undefined);
  expect(await Promise.all(waiting)).toEqual([1, 2].map(() => ({ done: true, value: undefined })));
});
