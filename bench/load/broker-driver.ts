// What the load of question "broker" is made of, and what a broker's driver must do.

export const CHANNELS = 100;
export const SUBSCRIBERS = 4;
export const PAYLOAD_BYTES = 100;
/** Publications on their way to the slowest subscriber at a time. */
export const WINDOW = 1000;
/** What every channel remembers, where the broker remembers anything. */
export const HISTORY = 1000;

/** The data of every publication: JSON text. */
export const PAYLOAD = JSON.stringify("x".repeat(PAYLOAD_BYTES - 2));

export type Driver = {
  /** Sends that many publications, the first of which is the `first`-th in all. */
  publish(first: number, count: number): void;
};
/**
 * What a driver tells: how many publications are acknowledged, and how many a subscriber has had,
 * in all.
 */
export type Progress = {
  acknowledged(total: number): void;
  received(subscriber: number, total: number): void;
};
export type Connect = (at: { port: number; secret: string }, progress: Progress) => Promise<Driver>;

export const channelNames = Array.from({ length: CHANNELS }, (_, i) => `channel-${i}`);
