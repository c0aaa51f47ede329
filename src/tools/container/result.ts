/** What a container's program gives: its result, and the facts of its run beside it. */
import { errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { taskError } from "../task-error.ts";
import { findJsonProblem } from "./json-position.ts";

/** Where the facts of the run stand in the result. */
export const FACTS = "_container";

/**
 * The content of result.json.
 *
 * @throws TaskError of kind `parse` that says where it is wrong.
 */
export function readResult(bytes: Uint8Array): Json {
  const text = decode(bytes);
  try {
    return parseJson(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const problem = findJsonProblem(text);
    const place =
      problem === undefined
        ? `: ${errorMessage(error)}`
        : `: line ${problem.line}, column ${problem.column}, at ${problem.found}`;
    throw taskError("parse", "RESULT_INVALID", `/noetl/result.json is no JSON${place}`);
  }
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    const message = `/noetl/result.json is no UTF-8 text: ${errorMessage(error)}`;
    throw taskError("parse", "RESULT_INVALID", message);
  }
}

/** Longer lines are data, not a result. */
const LINE_CHARS_MAX = 1024 * 1024;

/** The last line of stdout that is a JSON map or list. */
export class LastJsonLine {
  #line: string | undefined;

  line(text: string): void {
    const trimmed = text.trim();
    const isAlike = /^\{.*\}$|^\[.*\]$/s.test(trimmed) && trimmed.length <= LINE_CHARS_MAX;
    if (isAlike && parseLine(trimmed) !== undefined) {
      this.#line = trimmed;
    }
  }

  value(): Json | undefined {
    return this.#line === undefined ? undefined : parseLine(this.#line);
  }
}

function parseLine(text: string): Json | undefined {
  try {
    return parseJson(text);
  } catch {
    // Looks like JSON and is none: a line of the log.
    return undefined;
  }
}

/** A map is the value itself; anything else is its `result`. */
export function withFacts(result: Json | undefined, facts: JsonObject): JsonObject {
  if (isJsonObject(result)) {
    return { ...result, [FACTS]: facts };
  }
  return { ...(result === undefined ? {} : { result }), [FACTS]: facts };
}
