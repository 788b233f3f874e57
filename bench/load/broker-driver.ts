// The load of question "broker", and the interface of a broker's driver.

export const CHANNELS = 100;
export const SUBSCRIBERS = 4;
export const PAYLOAD_BYTES = 100;
/** Publications in flight to the slowest subscriber. */
export const WINDOW = 1000;
/** The history size of every channel, if the broker keeps history. */
export const HISTORY = 1000;

/** The data of every publication: JSON text. */
export const PAYLOAD = JSON.stringify("x".repeat(PAYLOAD_BYTES - 2));

export type Driver = {
  /** Sends `count` publications; the first is number `first` of the run. */
  publish(first: number, count: number): void;
};
/** Total publications acknowledged, and total publications that a subscriber has received. */
export type Progress = {
  acknowledged(total: number): void;
  received(subscriber: number, total: number): void;
};
export type Connect = (at: { port: number; secret: string }, progress: Progress) => Promise<Driver>;

export const channelNames = Array.from({ length: CHANNELS }, (_, i) => `channel-${i}`);
