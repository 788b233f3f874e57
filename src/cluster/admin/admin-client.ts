// The client of a running cluster's admin socket, which is in its data folder.

import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { RELAY_PROTOCOL_VERSION } from "../../wire/relay-messages";
import { isRecord } from "../../wire/shape";
import { layout, readPid } from "../files/data-folder";
import { Refusal } from "../files/refusal";
import { type ClusterStatus, clusterStatus } from "../report/status";

const QUICK_TIMEOUT_MS = 5000;
/** A rolling restart of many nodes takes long. */
const OPERATION_TIMEOUT_MS = 60 * 60 * 1000;

export class AdminClient {
  readonly #folder: string;
  readonly #socket: string;
  readonly #pidFile: string;

  /** `data`: the data folder of the cluster. */
  constructor(data: string) {
    this.#folder = realFolder(data);
    const { adminSocket, pidFile } = layout(this.#folder);
    this.#socket = adminSocket;
    this.#pidFile = pidFile;
  }

  async status(): Promise<ClusterStatus> {
    const response = await this.#fetch("/status", undefined, QUICK_TIMEOUT_MS);
    return clusterStatus(await response.json(), "status");
  }

  /**
   * Rejects with a Refusal where a process that is started now could not join the cluster: its
   * program has been replaced since by one of another release.
   */
  async assertSameRelease(): Promise<void> {
    const { relayProtocol = 1 } = await this.status();
    if (relayProtocol === RELAY_PROTOCOL_VERSION) return;
    throw new Refusal(
      `The running cluster is of another release (relay protocol ${relayProtocol}, ` +
        `not ${RELAY_PROTOCOL_VERSION}), and nothing was changed. Stop it with ` +
        '"bun run cluster stop" and start it again: clients resume, and its journal goes on.',
    );
  }

  /**
   * Runs an operation; resolves to its message when it is done. Rejects with a Refusal when it
   * cannot be done.
   */
  async run(command: "scale" | "drain" | "undrain" | "restart", body: object): Promise<string> {
    const response = await this.#fetch(`/${command}`, JSON.stringify(body), OPERATION_TIMEOUT_MS);
    const answer: unknown = await response.json();
    if (isRecord(answer) && typeof answer.message === "string") return answer.message;
    throw new Refusal(
      isRecord(answer) && typeof answer.error === "string" ? answer.error : "The operation failed.",
    );
  }

  /** Stops the cluster; resolves when its supervisor has exited. */
  async stop(): Promise<void> {
    const response = await this.#fetch("/stop", "", OPERATION_TIMEOUT_MS);
    // The response ends when the supervisor exits, and so with an error.
    await response.text().catch(() => {});
  }

  async #fetch(path: string, body: string | undefined, timeoutMs: number): Promise<Response> {
    try {
      return await fetch(`http://cluster${path}`, {
        unix: this.#socket,
        method: body === undefined ? "GET" : "POST",
        body,
        signal: AbortSignal.timeout(timeoutMs),
      });
    } catch (error) {
      throw new Refusal(this.#explain(error));
    }
  }

  #explain(error: unknown): string {
    if (error instanceof Error && error.name === "TimeoutError")
      return (
        `The cluster on ${this.#folder} does not answer: ` +
        `check its supervisor (pid ${readPid(this.#pidFile) ?? "unknown"}).`
      );
    if (
      error instanceof Error &&
      "code" in error &&
      (error.code === "ENOENT" ||
        error.code === "ECONNREFUSED" ||
        error.code === "FailedToOpenSocket")
    )
      return (
        `No cluster is running on ${this.#folder}: ` +
        'start one with "bun run cluster", or say which one with --data.'
      );
    const reason = error instanceof Error ? error.message : error;
    return `The cluster on ${this.#folder} cannot be reached (${reason}).`;
  }
}

function realFolder(data: string): string {
  try {
    return realpathSync(data);
  } catch {
    return resolve(data);
  }
}
