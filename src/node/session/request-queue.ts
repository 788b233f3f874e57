// One session's requests in the order they came: the next one starts when the one before it is
// answered, and no faster than the client's budget allows. Pure.

import { WAITING_REQUESTS_MAX } from "../app/limits.ts";

export type RequestQueueOptions<Request> = {
  /**
   * Answers a request. Where it returns a promise (which must not reject) the next one waits for
   * it.
   */
  answer(request: Request): Promise<void> | undefined;
  /**
   * Whether there is room for what the request needs. When that changes, `resume` has to be called.
   */
  isReady(request: Request): boolean;
  /** Takes what the request costs of the client's budget. False: it has to wait. */
  take(request: Request): boolean;
  /** Bytes that the requests that wait may hold. */
  readonly bytesMax: number;
};

export class RequestQueue<Request extends { readonly bytes: number }> {
  readonly #options: RequestQueueOptions<Request>;
  #waiting: Request[] = [];
  #waitingBytes = 0;
  #isAnswering = false;
  #isPaced = false;

  constructor(options: RequestQueueOptions<Request>) {
    this.#options = options;
  }

  /** Only the client's budget holds the next request back: `resume` has to be called later. */
  get isPaced(): boolean {
    return this.#isPaced;
  }

  /** Adds a request, or starts it. False: too many wait already. */
  offer(request: Request): boolean {
    if (this.#waiting.length === 0 && this.#mayStart(request)) {
      this.#start(request);
      return true;
    }
    const bytes = this.#waitingBytes + request.bytes;
    if (this.#waiting.length >= WAITING_REQUESTS_MAX || bytes > this.#options.bytesMax)
      return false;
    this.#waiting.push(request);
    this.#waitingBytes = bytes;
    return true;
  }

  /** Starts as many requests as is possible now. */
  resume(): void {
    this.#isPaced = false;
    while (this.#waiting.length > 0 && this.#mayStart(this.#waiting[0])) {
      const [request] = this.#waiting.splice(0, 1);
      this.#waitingBytes -= request.bytes;
      this.#start(request);
    }
  }

  /** Drops what waits. */
  clear(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#isPaced = false;
  }

  #mayStart(request: Request): boolean {
    if (this.#isAnswering || !this.#options.isReady(request)) return false;
    this.#isPaced = !this.#options.take(request);
    return !this.#isPaced;
  }

  #start(request: Request): void {
    const answered = this.#options.answer(request);
    if (answered === undefined) return;
    this.#isAnswering = true;
    answered.finally(() => {
      this.#isAnswering = false;
      this.resume();
    });
  }
}
