/** The few calls of the platform's HTTP API that a load needs. Talks to it as any client would. */
import { sleep } from "../../src/core/clock.ts";

export interface Execution {
  readonly status: string;
  /** Milliseconds since 1970, by the platform's clock; NaN while not known. */
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly error: unknown;
}

export interface StepView {
  readonly step: string;
  readonly status: string;
  readonly result: unknown;
}

const TERMINAL: ReadonlySet<string> = new Set(["COMPLETED", "FAILED", "CANCELLED"]);
const END_MS = 120_000;

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;

  constructor(status: number, text: string) {
    super(`HTTP ${status}: ${text.slice(0, 500)}`);
    this.status = status;
  }
}

export class Api {
  readonly #base: string;

  /** @param base for example `http://127.0.0.1:8082`. */
  constructor(base: string) {
    this.#base = base;
  }

  async register(content: string): Promise<void> {
    await this.call("POST", "/api/catalog/register", { content });
  }

  /** Gives the execution's id. */
  async execute(path: string, request: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const answer = await this.call("POST", "/api/execute", { path, ...request });
    return String(Object(answer).execution_id);
  }

  async execution(id: string): Promise<Execution> {
    const answer = Object(await this.call("GET", `/api/executions/${id}`));
    return {
      status: String(answer.status),
      startedAtMs: Date.parse(String(answer.started_at)),
      endedAtMs: Date.parse(String(answer.completed_at)),
      error: answer.error,
    };
  }

  async steps(id: string): Promise<readonly StepView[]> {
    const answer = Object(await this.call("GET", `/api/executions/${id}/steps`));
    return answer.steps;
  }

  async status(id: string): Promise<string> {
    return String(Object(await this.call("GET", `/api/executions/${id}/status`)).status);
  }

  /** Waits for the end and demands `COMPLETED`. */
  async completed(id: string, pollMs: number, endMs = END_MS): Promise<Execution> {
    const end = await this.ended(id, pollMs, endMs);
    if (end.status !== "COMPLETED") {
      throw new Error(`Execution ${id} ended ${end.status}: ${JSON.stringify(end.error)}`);
    }
    return end;
  }

  async ended(id: string, pollMs: number, endMs = END_MS): Promise<Execution> {
    const deadline = performance.now() + endMs;
    while (!TERMINAL.has(await this.status(id))) {
      if (performance.now() > deadline) {
        throw new Error(`Execution ${id} has not ended after ${endMs} ms`);
      }
      await sleep(pollMs);
    }
    return this.execution(id);
  }

  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<unknown> {
    const response = await fetch(`${this.#base}${path}`, {
      method,
      signal: AbortSignal.timeout(10_000),
      ...(body === undefined
        ? { headers }
        : {
            body: JSON.stringify(body),
            headers: { "content-type": "application/json", ...headers },
          }),
    });
    const text = await response.text();
    if (!response.ok) {
      throw new ApiError(response.status, text);
    }
    return text === "" ? undefined : JSON.parse(text);
  }

  async text(path: string): Promise<string> {
    const response = await fetch(`${this.#base}${path}`, { signal: AbortSignal.timeout(10_000) });
    return response.text();
  }
}
