/** Bytes of messages, keys and objects as JSON values and back. */
import { Buffer } from "node:buffer";
import type { Json, JsonObject } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import { taskError } from "./task-error.ts";

/** Texts go as they are, or decoded if `encoding` is `base64`; everything else as JSON. */
export function encodePayload(value: Json, encoding: Json | undefined): Uint8Array {
  if (typeof value !== "string") {
    return new TextEncoder().encode(JSON.stringify(value));
  }
  return encoding === "base64" ? Buffer.from(value, "base64") : new TextEncoder().encode(value);
}

export interface Decoded {
  readonly value: Json;
  /** What `value` is: `json` is parsed, `base64` is text of bytes that are no UTF-8. */
  readonly encoding: "json" | "text" | "base64";
}

/**
 * Without `encoding`: text, or base64 if it is no UTF-8; with `isJsonWanted` parsed if it is JSON.
 *
 * @throws TaskError if `encoding` says json and it is none.
 */
export function decodePayload(
  bytes: Uint8Array,
  encoding: Json | undefined,
  isJsonWanted = true,
): Decoded {
  if (encoding === "base64") {
    return { value: Buffer.from(bytes).toString("base64"), encoding };
  }
  const text = decodeText(bytes);
  if (text === undefined) {
    return { value: Buffer.from(bytes).toString("base64"), encoding: "base64" };
  }
  if (encoding === "text" || encoding === "utf8" || (encoding !== "json" && !isJsonWanted)) {
    return { value: text, encoding: "text" };
  }
  return decodeJson(text, encoding === "json");
}

function decodeJson(text: string, isDemanded: boolean): Decoded {
  try {
    return { value: parseJson(text), encoding: "json" };
  } catch (error) {
    if (isDemanded) {
      throw taskError("parse", "JSON_INVALID", `the data is no JSON: ${String(error)}`);
    }
    return { value: text, encoding: "text" };
  }
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** `value`, `data`, `payload` or `message`: whichever is there. */
export function payloadOf(config: JsonObject): Json {
  const names = ["value", "data", "payload", "message"];
  return names.map((name) => config[name]).find((value) => value !== undefined) ?? null;
}
