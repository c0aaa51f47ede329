/**
 * Statements by Snowflake's SQL REST API, `/api/v2/statements`.
 *
 * Each is sent to run by itself and then asked for, so that its handle is known from the start: a
 * stopped task cancels it. A submit that may have been lost on its way is repeated under the same
 * request id, which Snowflake runs once.
 */
import { randomUUID } from "node:crypto";
import { retry } from "../../core/backoff.ts";
import { sleep } from "../../core/clock.ts";
import { errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { onlyGiven } from "../layers.ts";
import { TaskError, taskError } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";
import { answerFailure } from "./failure.ts";
import type { SnowflakeTarget } from "./login.ts";
import { loginHeaders } from "./login.ts";
import type { Column } from "./values.ts";
import { decodeValue } from "./values.ts";

export interface StatementRequest {
  readonly text: string;
  /** Of `?` in the text; with them it must be one statement. */
  readonly bindings?: JsonObject | undefined;
}

/** What one statement gave; its rows are still at the server, but for the first part. */
export interface StatementResult {
  readonly columns: readonly Column[];
  /** As the server says. */
  readonly rowCount: number;
  /** Of INSERT, UPDATE, DELETE, MERGE. */
  readonly affectedRows: number | undefined;
  /** The rows part by part, each fetched when asked for. @throws TaskError */
  chunks(): AsyncGenerator<readonly JsonObject[]>;
}

const ATTEMPTS_MAX = 4;
const RETRY_BACKOFF = { minMs: 200, maxMs: 3000 };
const POLL_MIN_MS = 50;
const POLL_MAX_MS = 2000;
const POLL_GROWTH = 1.5;
const REQUEST_MS = 60_000;
const CANCEL_MS = 2000;
/** A statement that is still running. */
const RUNNING = 202;
const PASSING: ReadonlySet<number> = new Set([429, 502, 503, 504]);

type Row = readonly (string | null)[];

interface Answer {
  readonly status: number;
  readonly body: JsonObject;
}

export class SnowflakeSession {
  readonly #target: SnowflakeTarget;
  readonly #context: Pick<ToolContext, "signal" | "timeoutMs">;

  constructor(target: SnowflakeTarget, context: Pick<ToolContext, "signal" | "timeoutMs">) {
    this.#target = target;
    this.#context = context;
  }

  /**
   * Runs a text of one or more statements; gives the result of each.
   *
   * @throws TaskError
   */
  async run(statement: StatementRequest): Promise<readonly StatementResult[]> {
    const query = `requestId=${randomUUID()}&async=true`;
    const submitted = await this.#request("POST", query, this.#bodyOf(statement));
    const handle = String(submitted.body["statementHandle"] ?? "");
    const answer = await this.#cancelling(handle, () => this.#finished(handle, submitted));
    const handles = answer.body["statementHandles"];
    if (!Array.isArray(handles)) {
      return [this.#resultOf(handle, answer.body)];
    }
    const results: StatementResult[] = [];
    for (const each of handles.map(String)) {
      const part = await this.#finished(each, await this.#get(each));
      results.push(this.#resultOf(each, part.body));
    }
    return results;
  }

  #bodyOf({ text, bindings }: StatementRequest): JsonObject {
    const { database, schema, warehouse, role } = this.#target;
    const { timeoutMs } = this.#context;
    return onlyGiven({
      statement: text,
      timeout: timeoutMs === undefined ? undefined : Math.ceil(timeoutMs / 1000),
      database,
      schema,
      warehouse,
      role,
      bindings,
      // As many statements as the text has. With bindings it must be one.
      parameters: bindings === undefined ? { MULTI_STATEMENT_COUNT: "0" } : undefined,
    });
  }

  /** Asks until the statement is done. */
  async #finished(handle: string, first: Answer): Promise<Answer> {
    let answer = first;
    for (let delayMs = POLL_MIN_MS; answer.status === RUNNING; delayMs *= POLL_GROWTH) {
      await sleep(Math.min(delayMs, POLL_MAX_MS), this.#context.signal);
      answer = await this.#get(handle);
    }
    return answer;
  }

  async #cancelling<T>(handle: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.#context.signal.aborted && handle !== "") {
        await this.#cancel(handle);
      }
      throw error;
    }
  }

  async #cancel(handle: string): Promise<void> {
    try {
      await fetch(`${this.#address(handle)}/cancel`, {
        method: "POST",
        headers: this.#headers(),
        signal: AbortSignal.timeout(CANCEL_MS),
      });
    } catch {
      // It ends at its own time limit.
    }
  }

  #resultOf(handle: string, body: JsonObject): StatementResult {
    const meta = isJsonObject(body["resultSetMetaData"]) ? body["resultSetMetaData"] : {};
    const columns = columnsOf(meta["rowType"]);
    const parts: readonly Json[] = Array.isArray(meta["partitionInfo"])
      ? meta["partitionInfo"]
      : [];
    const first = rowsOf(body["data"]);
    const get = async (index: number): Promise<readonly Row[]> =>
      rowsOf((await this.#get(handle, `partition=${index}`)).body["data"]);
    return {
      columns,
      rowCount: typeof meta["numRows"] === "number" ? meta["numRows"] : first.length,
      affectedRows: affectedRows(body["stats"]),
      chunks: async function* () {
        yield first.map((row) => objectOf(row, columns));
        for (let index = 1; index < parts.length; index++) {
          yield (await get(index)).map((row) => objectOf(row, columns));
        }
      },
    };
  }

  #get(handle: string, query = ""): Promise<Answer> {
    return this.#request("GET", query, undefined, handle);
  }

  /** @throws TaskError for everything but a result or "still running". */
  async #request(
    method: "GET" | "POST",
    query: string,
    body: JsonObject | undefined,
    handle = "",
  ): Promise<Answer> {
    let attempt = 0;
    const request = (): Promise<Answer> => {
      const more = attempt++ > 0 && method === "POST" ? "&retry=true" : "";
      return this.#send(`${this.#address(handle)}?${query}${more}`, method, body);
    };
    return await retry(request, {
      ...RETRY_BACKOFF,
      signal: this.#context.signal,
      isRetryable: (error) => attempt < ATTEMPTS_MAX && isPassing(error),
    });
  }

  async #send(url: string, method: string, body: JsonObject | undefined): Promise<Answer> {
    const { signal } = this.#context;
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, {
        method,
        headers: this.#headers(),
        signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch (error) {
      signal.throwIfAborted();
      const message = `cannot reach ${this.#target.url}: ${errorMessage(error)}`;
      throw taskError("connection", "SNOWFLAKE_UNREACHABLE", message);
    }
    const answer = { status: response.status, body: parseBody(text) };
    if (response.status !== 200 && response.status !== RUNNING) {
      throw new TaskError(answerFailure(answer, text, response.headers.get("retry-after")));
    }
    return answer;
  }

  #address(handle: string): string {
    const base = `${this.#target.url}/api/v2/statements`;
    return handle === "" ? base : `${base}/${encodeURIComponent(handle)}`;
  }

  #headers(): Readonly<Record<string, string>> {
    return {
      ...loginHeaders(this.#target.login, Date.now()),
      "content-type": "application/json",
      accept: "application/json",
      "user-agent": "noetl/1",
    };
  }
}

function isPassing(error: unknown): boolean {
  return (
    error instanceof TaskError &&
    (error.failure.kind === "connection" || PASSING.has(error.failure.status ?? 0))
  );
}

/** Values are texts: no digits can be lost here. */
function parseBody(text: string): JsonObject {
  try {
    const body: unknown = JSON.parse(text);
    return isJsonObject(body) ? body : {};
  } catch {
    return {};
  }
}

function columnsOf(rowType: Json | undefined): readonly Column[] {
  const list: readonly Json[] = Array.isArray(rowType) ? rowType : [];
  return list.map((item) => {
    const { name = "", type = "text", scale = 0 } = isJsonObject(item) ? item : {};
    return { name: String(name), type: String(type).toLowerCase(), scale: Number(scale ?? 0) };
  });
}

function rowsOf(data: Json | undefined): readonly Row[] {
  const list: readonly Json[] = Array.isArray(data) ? data : [];
  return list.map((row) =>
    Array.isArray(row) ? row.map((value: Json) => (value === null ? null : String(value))) : [],
  );
}

function objectOf(row: Row, columns: readonly Column[]): JsonObject {
  return Object.fromEntries(
    columns.map((column, index) => [column.name, decodeValue(row[index] ?? null, column)]),
  );
}

function affectedRows(stats: Json | undefined): number | undefined {
  if (!isJsonObject(stats)) {
    return undefined;
  }
  const names = ["numRowsInserted", "numRowsUpdated", "numRowsDeleted"];
  return names.reduce((sum, name) => sum + Number(stats[name] ?? 0), 0);
}
