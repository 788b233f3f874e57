// Round robin over the values of a map, which may change meanwhile. Pure.

export class RoundRobin<T> {
  readonly #map: ReadonlyMap<unknown, T>;
  #values: Iterator<T>;

  constructor(map: ReadonlyMap<unknown, T>) {
    this.#map = map;
    this.#values = map.values();
  }

  /** The next value; undefined when the map is empty. */
  next(): T | undefined {
    let turn = this.#values.next();
    if (turn.done === true) {
      this.#values = this.#map.values();
      turn = this.#values.next();
    }
    return turn.done === true ? undefined : turn.value;
  }
}
