/** Single values on the wire: ids, integers, JSON as UTF-8 text. */
import { AppError } from "../core/errors.ts";
import type { WorkerId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";

const WORKER_ID_CHARS_MAX = 200;

export function invalid(problem: string): AppError {
  return new AppError("invalid", "MESSAGE_INVALID", `Invalid message: ${problem}`);
}

/** @throws AppError `invalid`. */
export function toId<Id extends string>(field: string, text: string): Id {
  if (isId(text)) {
    return text as string as Id;
  }
  throw invalid(`${field} is not a decimal id`);
}

/** @throws AppError `invalid`. */
export function toWorkerId(text: string): WorkerId {
  if (text === "" || text.length > WORKER_ID_CHARS_MAX) {
    throw invalid(`worker_id must have 1 to ${WORKER_ID_CHARS_MAX} characters`);
  }
  return text as WorkerId;
}

/** @throws AppError `invalid`. */
export function integer(field: string, value: number, min: number): number {
  if (!Number.isInteger(value) || value < min) {
    throw invalid(`${field} ${value} is not an integer of at least ${min}`);
  }
  return value;
}

export function encodeJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value) ?? "null");
}

/** @throws AppError `invalid`, without the text: it may hold secrets. */
export function decodeJson(field: string, bytes: Buffer): Json {
  const value = tryParse(bytes.toString());
  if (value === undefined) {
    throw invalid(`${field} is not JSON`);
  }
  return value;
}

function tryParse(text: string): Json | undefined {
  try {
    return parseJson(text);
  } catch {
    // The caller says which field it was.
    return undefined;
  }
}

/** An empty field counts as an empty object. @throws AppError `invalid`. */
export function decodeJsonObject(field: string, bytes: Buffer): JsonObject {
  const value = bytes.length === 0 ? {} : decodeJson(field, bytes);
  if (!isJsonObject(value)) {
    throw invalid(`${field} is not a JSON object`);
  }
  return value;
}
