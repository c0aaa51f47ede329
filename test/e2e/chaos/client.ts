/** A client of the HTTP API that asks one server after another until it is answered. */
import { sleep } from "../../../src/core/clock.ts";
import type { Api, StepView } from "../../bench/api.ts";
import { ApiError } from "../../bench/api.ts";

const RETRY_MS = 200;
const POLL_MS = 400;
/** No server is away for so long. */
const LIMIT_MS = 60_000;
/** An execution that takes longer is reported as stuck, if it still is so in the end. */
const END_MS = 120_000;
const TERMINAL = /^(COMPLETED|FAILED|CANCELLED)$/;

export class Client {
  readonly #apis: readonly Api[];

  constructor(apis: readonly Api[]) {
    this.#apis = apis;
  }

  /** The dedup key makes it one execution; gives its id. */
  async start(
    path: string,
    dedupKey: string,
    payload: Readonly<Record<string, unknown>>,
  ): Promise<string> {
    const dedup = { key: dedupKey, window_secs: 3600 };
    return await this.ask((api) => api.execute(path, { payload, dedup }));
  }

  /**
   * @param isFine status codes that are as good as success, such as a conflict with what an earlier
   * try has done, whose answer was lost.
   */
  async call(
    method: string,
    path: string,
    body?: unknown,
    isFine: readonly number[] = [],
  ): Promise<unknown> {
    return await this.ask(async (api) => {
      try {
        return await api.call(method, path, body);
      } catch (error) {
        if (error instanceof ApiError && isFine.includes(error.status)) {
          return undefined;
        }
        throw error;
      }
    });
  }

  async steps(executionId: string): Promise<readonly StepView[]> {
    return await this.ask((api) => api.steps(executionId));
  }

  async status(executionId: string): Promise<string> {
    return await this.ask((api) => api.status(executionId));
  }

  /** Its status at the end, or the one it has after two minutes. */
  async ended(executionId: string, limitMs = END_MS): Promise<string> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const status = await this.status(executionId);
      if (TERMINAL.test(status) || performance.now() > deadline) {
        return status;
      }
      await sleep(POLL_MS);
    }
  }

  /** @throws ApiError when the answer says that the request itself is wrong. */
  async ask<T>(question: (api: Api) => Promise<T>): Promise<T> {
    const deadline = performance.now() + LIMIT_MS;
    for (let turn = 0; ; turn++) {
      const api = this.#apis[turn % this.#apis.length];
      if (api === undefined) {
        throw new Error("There is no server to ask");
      }
      try {
        return await question(api);
      } catch (error) {
        if (isRefusal(error) || performance.now() > deadline) {
          throw error;
        }
        await sleep(RETRY_MS);
      }
    }
  }
}

function isRefusal(error: unknown): boolean {
  return (
    error instanceof ApiError &&
    error.status >= 400 &&
    error.status < 500 &&
    error.status !== 408 &&
    error.status !== 429
  );
}
