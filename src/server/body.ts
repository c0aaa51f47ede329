/** Reads request bodies: JSON whatever the content type says, long integers kept as decimal texts. */
import { AppError, errorMessage } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";

/**
 * An empty body is `{}`.
 *
 * @throws AppError invalid REQUEST_MALFORMED.
 */
async function readBody(request: Request): Promise<Json> {
  const text = await readText(request);
  if (text === "") {
    return {};
  }
  try {
    return parseJson(text);
  } catch (error) {
    throw malformed(error);
  }
}

/** Playbooks and payloads: far above what is sensible, far below what hurts. */
export const BODY_BYTES_MAX = 16 * 1024 * 1024;

/** A body that does not say its length is counted. */
async function readText(request: Request): Promise<string> {
  if (request.body === null || request.headers.has("content-length")) {
    return await request.text();
  }
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of request.body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > BODY_BYTES_MAX) {
      const message = `The body has more than ${BODY_BYTES_MAX} bytes`;
      throw new AppError("invalid", "REQUEST_TOO_LARGE", message);
    }
  }
  return text + decoder.decode();
}

function malformed(cause: unknown): AppError {
  const message = `Cannot read the body as JSON: ${errorMessage(cause)}`;
  return new AppError("invalid", "REQUEST_MALFORMED", message, { cause });
}

/** {@link readBody} as Elysia calls it. */
async function parseJsonBody({ request }: { readonly request: Request }): Promise<Json> {
  return await readBody(request);
}

async function parseOptionalBody({ request }: { readonly request: Request }): Promise<Json> {
  const text = await readText(request);
  if (text.trim() === "") {
    return { value: null };
  }
  try {
    return { value: parseJson(text) };
  } catch (error) {
    throw malformed(error);
  }
}

/** For bodies that may be any JSON or missing: gives `{value}`, which is null without a body. */
export const OPTIONAL_JSON_BODY: [typeof parseOptionalBody, "json"] = [parseOptionalBody, "json"];

/**
 * The `parse` hook of each route with a body. The first always answers; the second is there for the
 * OpenAPI document, which cannot know what a function reads.
 */
export const JSON_BODY: [typeof parseJsonBody, "json"] = [parseJsonBody, "json"];
