/** Runs SQL on Snowflake by its SQL REST API. Each task is a session of its own. */
import type { Json, JsonObject } from "../core/json.ts";
import { loadLayers, onlyGiven } from "./layers.ts";
import { SNOWFLAKE } from "./snowflake/description.ts";
import { snowflakeTarget } from "./snowflake/login.ts";
import type { StatementRequest, StatementResult } from "./snowflake/session.ts";
import { SnowflakeSession } from "./snowflake/session.ts";
import { encodeBindings } from "./snowflake/values.ts";
import { stoppedFailure } from "./stopped.ts";
import { taskError, thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface SnowflakeToolOptions {
  /** Largest result, bytes of its JSON. */
  readonly maxOutputBytes: number;
}

export const snowflakeModule: ToolModule = {
  descriptions: [SNOWFLAKE],
  create: (parts) => [createSnowflakeTool(parts)],
};

export function createSnowflakeTool(options: SnowflakeToolOptions): Tool {
  return {
    description: SNOWFLAKE,
    run: (call, context) => runStatements(call.config, options, context),
  };
}

/** What a session needs of its task. */
export type SessionContext = Pick<ToolContext, "signal" | "timeoutMs" | "credential">;

/**
 * A session for the account that a task's fields and credentials name.
 *
 * @throws TaskError, CredentialError
 */
export async function openSnowflake(
  config: JsonObject,
  context: SessionContext,
): Promise<SnowflakeSession> {
  return new SnowflakeSession(snowflakeTarget(await loadLayers(config, context)), context);
}

function textsOf(config: JsonObject): readonly string[] {
  const encoded = config["command_b64"];
  const source =
    config["command"] ??
    config["commands"] ??
    config["query"] ??
    config["sql"] ??
    config["script"] ??
    (typeof encoded === "string" ? Buffer.from(encoded, "base64").toString("utf8") : "");
  const list: readonly Json[] = Array.isArray(source) ? source : [source];
  return list
    .map((item) => (typeof item === "string" ? item : ""))
    .filter((text) => text.trim() !== "");
}

/** One after another; the first that fails ends the task. */
async function runStatements(
  config: JsonObject,
  options: SnowflakeToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  const done: JsonObject[] = [];
  try {
    const session = await openSnowflake(config, context);
    const bindings = encodeBindings(config["params"] ?? config["parameters"] ?? config["bindings"]);
    const reader = new ResultReader(options.maxOutputBytes);
    for (const text of textsOf(config)) {
      const request: StatementRequest = { text, bindings };
      for (const result of await session.run(request)) {
        done.push(await reader.read(result));
      }
    }
    return { ok: true, value: taskValue(done) };
  } catch (error) {
    const failure = context.signal.aborted ? stoppedFailure(context.signal) : thrownFailure(error);
    if (failure === undefined) {
      throw error;
    }
    const where = done.length > 0 ? `statement ${done.length + 1}: ` : "";
    return {
      ok: false,
      failure: { ...failure, message: where + failure.message },
      ...(done.length > 0 ? { value: taskValue(done) } : {}),
    };
  }
}

/** Reads whole results, as long as all of a task together are not too large. */
class ResultReader {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  async read(result: StatementResult): Promise<JsonObject> {
    const rows: JsonObject[] = [];
    for await (const chunk of result.chunks()) {
      this.#bytes += JSON.stringify(chunk).length;
      if (this.#bytes > this.#bytesMax) {
        const message = `the result is larger than ${this.#bytesMax} bytes; use transfer, or ask for less`;
        throw taskError("limit", "RESULT_TOO_LARGE", message);
      }
      for (const row of chunk) {
        rows.push(row);
      }
    }
    return onlyGiven({
      status: "success",
      rows,
      result: rows,
      columns: result.columns.map(({ name }) => name),
      row_count: rows.length,
      affected_rows: result.affectedRows,
      error: null,
    });
  }
}

/** The last statement's result on top, each as `command_N`. */
function taskValue(results: readonly JsonObject[]): JsonObject {
  const { rows = [], columns = [], row_count = 0, affected_rows } = results.at(-1) ?? {};
  const each = results.map((result, index) => [`command_${index}`, result] as const);
  return {
    ...onlyGiven({ status: "success", rows, columns, row_count, affected_rows }),
    ...Object.fromEntries(each),
  };
}
