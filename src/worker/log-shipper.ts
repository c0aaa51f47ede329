/**
 * Brings log lines to the server in batches. Best effort: what does not fit into the buffer while
 * servers are away is dropped, oldest first, and counted.
 */
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { LogLine } from "../engine/command.ts";
import type { WorkerOptions } from "./options.ts";

/** Lines are watched by people: this is at once. */
const SHIP_DELAY_MS = 100;
const RETRY_DELAY_MS = 1000;
const BATCH_LINES_MAX = 500;
const BATCH_CHARS_MAX = 2 * 1024 * 1024;
const BUFFER_CHARS_MAX = 32 * 1024 * 1024;

export type LogShipperOptions = Pick<WorkerOptions, "client" | "log" | "metrics" | "workerId">;

export class LogShipper {
  readonly #options: LogShipperOptions;
  readonly #stopped = new AbortController();
  #lines: LogLine[] = [];
  #chars = 0;
  #shipping: Promise<void> | undefined;

  constructor(options: LogShipperOptions) {
    this.#options = options;
  }

  /** Never blocks. */
  push(line: LogLine): void {
    this.#lines.push(line);
    this.#chars += line.text.length;
    if (this.#chars > BUFFER_CHARS_MAX) {
      this.#dropOldest();
    }
    this.#shipping ??= this.#ship().finally(() => {
      this.#shipping = undefined;
    });
  }

  /** Sends what is there, if a server takes it at once. */
  async close(): Promise<void> {
    this.#stopped.abort();
    await this.#shipping;
  }

  #dropOldest(): void {
    const dropped = this.#lines.splice(0, Math.ceil(this.#lines.length / 2));
    this.#chars -= countChars(dropped);
    this.#options.metrics.logLines.add(dropped.length, "dropped");
  }

  async #ship(): Promise<void> {
    await sleep(SHIP_DELAY_MS, this.#stopped.signal);
    while (this.#lines.length > 0) {
      const batch = this.#takeBatch();
      const isSent = await this.#send(batch);
      if (!isSent && this.#stopped.signal.aborted) {
        return;
      }
      await sleep(isSent ? SHIP_DELAY_MS : RETRY_DELAY_MS, this.#stopped.signal);
    }
  }

  #takeBatch(): LogLine[] {
    let count = 0;
    for (let chars = 0; count < Math.min(this.#lines.length, BATCH_LINES_MAX); count++) {
      chars += this.#lines[count]?.text.length ?? 0;
      if (chars > BATCH_CHARS_MAX && count > 0) {
        break;
      }
    }
    const batch = this.#lines.splice(0, count);
    this.#chars -= countChars(batch);
    return batch;
  }

  /** Puts the batch back when no server took it. */
  async #send(batch: LogLine[]): Promise<boolean> {
    const { client, workerId, metrics, log } = this.#options;
    try {
      const droppedCount = await client.appendLogs(workerId, batch);
      metrics.logLines.add(droppedCount, "dropped");
      metrics.logLines.add(batch.length - droppedCount, "sent");
      return true;
    } catch (error) {
      log.debug("Cannot ship log lines yet", { count: batch.length, error: errorMessage(error) });
      this.#lines = [...batch, ...this.#lines];
      this.#chars += countChars(batch);
      return false;
    }
  }
}

function countChars(lines: readonly LogLine[]): number {
  return lines.reduce((sum, { text }) => sum + text.length, 0);
}
