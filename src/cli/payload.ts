/** The payload of an execution, from `--payload`, `--input` and `--set`. */
import { errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { UsageError } from "./context.ts";

export interface PayloadFlags {
  /** JSON text of an object. */
  readonly payload?: string | undefined;
  /** File with such a text. */
  readonly input?: string | undefined;
  /** `key=value`, `a.b=value`; JSON values are read as such, anything else is text. */
  readonly set?: readonly string[] | undefined;
}

/** `--input`, over it `--payload`, over it each `--set`. @throws UsageError. */
export async function readPayload(flags: PayloadFlags): Promise<JsonObject> {
  const fromFile =
    flags.input === undefined ? {} : parseObject(await readText(flags.input), "--input");
  const given = flags.payload === undefined ? {} : parseObject(flags.payload, "--payload");
  let payload: JsonObject = { ...fromFile, ...given };
  for (const assignment of flags.set ?? []) {
    const [, key, value] = /^([^=]+)=(.*)$/s.exec(assignment) ?? [];
    if (key === undefined || value === undefined) {
      throw new UsageError(`--set must be key=value, not ${JSON.stringify(assignment)}`);
    }
    payload = assign(payload, key.split("."), parseValue(value));
  }
  return payload;
}

/** @throws UsageError naming the file. */
export async function readText(path: string): Promise<string> {
  try {
    return await Bun.file(path).text();
  } catch (error) {
    throw new UsageError(`Cannot read ${path}: ${errorMessage(error)}`, { cause: error });
  }
}

function parseObject(text: string, name: string): JsonObject {
  let value: Json;
  try {
    value = parseJson(text);
  } catch (error) {
    throw new UsageError(`${name} must be JSON: ${errorMessage(error)}`, { cause: error });
  }
  if (isJsonObject(value)) {
    return value;
  }
  throw new UsageError(`${name} must be a JSON object, such as '{"name": "value"}'`);
}

function parseValue(text: string): Json {
  try {
    return parseJson(text);
  } catch {
    // Plain text, the usual case.
    return text;
  }
}

function assign(
  target: JsonObject,
  [head = "", ...rest]: readonly string[],
  value: Json,
): JsonObject {
  const inner = target[head];
  return {
    ...target,
    [head]: rest.length === 0 ? value : assign(isJsonObject(inner) ? inner : {}, rest, value),
  };
}
