/** Values over the inline limit, by reference: `noetl://execution/<id>/result/<name>/<sha256>`. */
import { createHash } from "node:crypto";
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { Pool } from "../store/pool.ts";
import { loadResult, saveResult } from "../store/result.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { ResultRef } from "../template/scope.ts";

export interface NewResult {
  readonly executionId: ExecutionId;
  /** For people: the step or variable that it belongs to. */
  readonly name: string;
  /** JSON text of the value. */
  readonly text: string;
}

const RESULT_BYTES_MAX = 256 * 1024 * 1024;
const REF = /^noetl:\/\/execution\/(\d+)\/result\/[^/]*\/([0-9a-f]{64})$/;

/** First character of a JSON text -> type of its value. Digits and `-` are numbers. */
const TYPES: Readonly<Record<string, ResultRef["type"]>> = {
  "{": "object",
  "[": "array",
  '"': "string",
  t: "boolean",
  f: "boolean",
  n: "null",
};

/**
 * Stores the value; durable when it resolves. The same value again gives the same reference.
 *
 * @throws AppError invalid RESULT_TOO_LARGE
 */
export async function putResult(pool: Pool, result: NewResult): Promise<ResultRef> {
  const { executionId, name, text } = result;
  const data = new TextEncoder().encode(text);
  if (data.length > RESULT_BYTES_MAX) {
    const message = `A result has ${data.length} bytes, the limit is ${RESULT_BYTES_MAX}`;
    throw new AppError("invalid", "RESULT_TOO_LARGE", message);
  }
  const sha256 = createHash("sha256").update(data).digest("hex");
  try {
    await saveResult(pool, { executionId, sha256, name, data });
  } catch (error) {
    throw databaseError(error);
  }
  return {
    $ref: `noetl://execution/${executionId}/result/${encodeURIComponent(name)}/${sha256}`,
    size: data.length,
    type: TYPES[text.trimStart()[0] ?? ""] ?? "number",
  };
}

/**
 * The JSON text of a stored value.
 *
 * @throws AppError invalid REF_INVALID, not_found RESULT_NOT_FOUND
 */
export async function getResult(pool: Pool, ref: string): Promise<string> {
  const [, executionId, sha256] = REF.exec(ref) ?? [];
  if (!isId(executionId) || sha256 === undefined) {
    throw new AppError("invalid", "REF_INVALID", `Not a reference to a result: ${ref}`);
  }
  try {
    const data = await loadResult(pool, executionId as ExecutionId, sha256);
    if (data !== undefined) {
      return new TextDecoder().decode(data);
    }
  } catch (error) {
    throw databaseError(error);
  }
  throw new AppError("not_found", "RESULT_NOT_FOUND", `There is no result ${ref}`);
}
