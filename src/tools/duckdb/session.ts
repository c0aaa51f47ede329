/** A task's connection to a DuckDB database. */
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { TextRow } from "../copy-text.ts";
import { decodeCopy, encodeCopy } from "../copy-text.ts";
import { stoppedFailure } from "../stopped.ts";
import { TaskError } from "../task-error.ts";
import type { CloseAnswer, FetchAnswer, Request, RunAnswer, SelectAnswer } from "./protocol.ts";
import type { RunnerProcess } from "./runner-process.ts";

/** Between two tries to interrupt: one that comes before its statement starts has no effect. */
const INTERRUPT_EVERY_MS = 50;
/** What has not ended so long after it was interrupted is killed, with its process. */
const INTERRUPT_GRACE_MS = 2000;
const CLOSE_GRACE_MS = 5000;

export type RunOptions = Omit<Extract<Request, { readonly type: "run" }>, "type" | "sql">;

export interface SessionOptions {
  readonly signal: AbortSignal;
  /**
   * Called once, at the end, with what closes the session at the runner; that gives true when DuckDB
   * has let go of the database, or need not.
   */
  readonly leave: (close: () => Promise<boolean>) => Promise<void>;
}

export class DuckdbSession {
  readonly #runner: RunnerProcess;
  readonly #number: number;
  readonly #options: SessionOptions;

  constructor(runner: RunnerProcess, options: SessionOptions) {
    this.#runner = runner;
    this.#number = runner.newSession();
    this.#options = options;
  }

  /** Before everything else. @param path of the file; undefined: in memory. */
  async open(path: string | undefined, settings: Readonly<Record<string, string>>): Promise<void> {
    await this.#request({ type: "open", settings, ...(path === undefined ? {} : { path }) });
  }

  /** @throws TaskError when the process is lost or the task was stopped. */
  async run(sql: string, options: RunOptions): Promise<RunAnswer> {
    return (await this.#request({ type: "run", sql, ...options })) as unknown as RunAnswer;
  }

  /** Begins to read the rows of one query as text. */
  async select(sql: string): Promise<SelectAnswer["columns"]> {
    return ((await this.#request({ type: "select", sql })) as unknown as SelectAnswer).columns;
  }

  /** The next rows, none at the end. */
  async fetch(rowCountMax: number): Promise<readonly TextRow[]> {
    const answer = await this.#request({ type: "fetch", rowCountMax });
    return decodeCopy((answer as unknown as FetchAnswer).text);
  }

  /** Adds to a temporary table whose columns are all text; there for sure after {@link flush}. */
  async append(table: string, rows: readonly TextRow[]): Promise<void> {
    await this.#request({ type: "append", table, text: encodeCopy(rows) });
  }

  async flush(): Promise<void> {
    await this.#request({ type: "flush" });
  }

  /** Undoes what was not committed and gives the connection back. Never throws. */
  async close(): Promise<void> {
    await this.#options.leave(async () => {
      const timer = setTimeout(() => this.#runner.kill(stuckFailure()), CLOSE_GRACE_MS);
      try {
        const answer = await this.#runner.request(this.#number, { type: "close" });
        return (answer as unknown as CloseAnswer).isReleased;
      } catch {
        // The process is gone, and the connection with it.
        return false;
      } finally {
        clearTimeout(timer);
      }
    });
  }

  async #request(request: Request): Promise<unknown> {
    this.#throwIfStopped();
    let timer: ReturnType<typeof setInterval> | undefined;
    const stop = (): void => {
      const stoppedMs = performance.now();
      this.#runner.interrupt(this.#number);
      timer = setInterval(() => {
        if (performance.now() - stoppedMs < INTERRUPT_GRACE_MS) {
          this.#runner.interrupt(this.#number);
        } else {
          this.#runner.kill(stuckFailure());
        }
      }, INTERRUPT_EVERY_MS);
    };
    this.#options.signal.addEventListener("abort", stop, { once: true });
    try {
      const answer = await this.#runner.request(this.#number, request);
      this.#throwIfStopped();
      return answer;
    } catch (error) {
      this.#throwIfStopped();
      throw error;
    } finally {
      this.#options.signal.removeEventListener("abort", stop);
      clearInterval(timer);
    }
  }

  #throwIfStopped(): void {
    if (this.#options.signal.aborted) {
      throw new TaskError(stoppedFailure(this.#options.signal));
    }
  }
}

/** What other tasks on the same database see. */
function stuckFailure(): Failure {
  const message = "DuckDB did not stop another task on the same database, so its process was ended";
  return failure("db_connection", message, { code: "DUCKDB_STUCK" });
}
