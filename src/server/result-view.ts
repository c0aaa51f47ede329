/** Stored values as the API shows them, and in the answers that contain them. */
import { AppError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ResultInfo } from "../engine/result.ts";
import { parseAddress, placeUri } from "../engine/result.ts";
import type { OpenResult } from "./backend.ts";
import { isoTime } from "./event-view.ts";

/** In NoETL's words, and some of ours. */
export function viewResultInfo(info: ResultInfo): Readonly<Record<string, unknown>> {
  const { executionId, name, step, scope, contentType, sha256, size, storedSize, store } = info;
  return {
    ref: info.ref.$ref,
    uri: placeUri(executionId, name),
    execution_id: executionId,
    name,
    source_step: step ?? null,
    scope,
    store: store === "postgres" ? "db" : store,
    content_type: contentType,
    type: info.ref.type,
    bytes: size,
    stored_bytes: storedSize,
    sha256,
    created_at: isoTime(info.createdAtMs),
    expires_at: info.expiresAtMs === undefined ? null : isoTime(info.expiresAtMs),
  };
}

/**
 * A step's result as clients read it: where a reference stands for it, with its selected fields on top
 * and what they need to get the whole.
 */
export function viewStored(value: Json): Json {
  if (!isRef(value)) {
    return value;
  }
  const { $ref, size, type, length, preview, fields } = value;
  const uri = uriOf(String($ref), value["index"]);
  return {
    ...shownFields(fields),
    _ref: $ref ?? null,
    _uri: uri,
    _size: size ?? null,
    _type: type ?? null,
    ...(length === undefined ? {} : { _length: length }),
    _preview: preview ?? null,
    $ref: $ref ?? null,
    size: size ?? null,
  };
}

/** What NoETL calls the reference of a result; undefined for values that are there. */
export function viewReference(value: Json | undefined): JsonObject | undefined {
  if (value === undefined || !isRef(value)) {
    return undefined;
  }
  const { $ref, size, fields } = value;
  return {
    kind: "result_ref",
    ref: $ref ?? null,
    uri: uriOf(String($ref), value["index"]),
    meta: { bytes: size ?? null, content_type: "application/json" },
    extracted: shownFields(fields),
  };
}

/** A part that is itself a reference is shown by its type and length only. */
function shownFields(fields: Json | undefined): JsonObject {
  if (fields === undefined || !isJsonObject(fields)) {
    return {};
  }
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, shown(value)]));
}

function shown(value: Json): Json {
  if (!isRef(value)) {
    return value;
  }
  const { $ref, type, length, fields } = value;
  return {
    _ref: $ref ?? null,
    _type: type ?? null,
    ...(length === undefined ? {} : { _length: length }),
    ...shownFields(fields),
  };
}

function isRef(value: Json): value is JsonObject {
  return (
    isJsonObject(value) &&
    typeof value["$ref"] === "string" &&
    parseAddress(value["$ref"]) !== undefined
  );
}

function uriOf(ref: string, index: Json | undefined): string {
  const address = parseAddress(ref);
  if (address?.kind !== "content" || address.pointer.length > 0) {
    return ref;
  }
  return placeUri(address.executionId, address.name, typeof index === "number" ? index : 0);
}

/**
 * A stored value as the body of an answer: streamed, with length, ETag and ranges.
 *
 * @throws AppError invalid RANGE_INVALID.
 */
export function answerResult(request: Request, { info, read }: OpenResult): Response {
  const etag = `"${info.sha256}"`;
  const headers = {
    etag,
    "accept-ranges": "bytes",
    "content-type": contentTypeOf(info),
    "x-noetl-ref": info.ref.$ref,
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox",
  };
  if (request.headers.get("if-none-match")?.includes(etag) === true) {
    return new Response(null, { status: 304, headers });
  }
  const range = readRange(request, info.size, etag);
  const { begin, end } = range ?? { begin: 0, end: info.size };
  return new Response(streamOf(read({ begin, end })), {
    status: range === undefined ? 200 : 206,
    headers: {
      ...headers,
      "content-length": String(end - begin),
      ...(range === undefined ? {} : { "content-range": `bytes ${begin}-${end - 1}/${info.size}` }),
    },
  });
}

function contentTypeOf({ contentType }: ResultInfo): string {
  return contentType === "application/json" ? "application/json; charset=utf-8" : contentType;
}

/** One range of bytes, as RFC 9110 section 14 has it; several, or none that is understood: the whole. */
function readRange(
  request: Request,
  size: number,
  etag: string,
): { readonly begin: number; readonly end: number } | undefined {
  const header = request.headers.get("range") ?? "";
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(header) ?? [];
  const condition = request.headers.get("if-range") ?? etag;
  if ((first === "" && last === "") || condition !== etag) {
    return undefined;
  }
  const begin = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  if (begin >= end) {
    const message = `The value has ${size} bytes: there is no range ${header}`;
    throw new AppError("invalid", "RANGE_INVALID", message, { details: { size } });
  }
  return { begin, end };
}

/** Pulls one piece at a time, as fast as the client reads. */
function streamOf(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const pieces = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await pieces.next();
        if (done === true) {
          controller.close();
        } else {
          controller.enqueue(value);
        }
      },
      cancel: async () => {
        await pieces.return?.(undefined);
      },
    },
    { highWaterMark: 1 },
  );
}
