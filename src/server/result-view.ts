/** Stored values as the API shows them, and in the answers that contain them. */
import { AppError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ResultInfo } from "../engine/result.ts";
import { JSON_TYPE, parseAddress, placeUri } from "../engine/result.ts";
import { isList, lastRef } from "../engine/value.ts";
import type { ResultRef } from "../template/scope.ts";
import { isResultRef } from "../template/scope.ts";
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

/** Levels of maps and lists in which references are looked for: a loop's pipelines have theirs in the third. */
const DEPTH_MAX = 4;

/**
 * A step's result as clients read it: where a reference stands for it, or for a part of it, with the
 * fields that are at hand and what they need to get the whole.
 */
export function viewStored(value: Json): Json {
  const seen = new Map<Json, Json>();
  const shown = view(value, 0, seen);
  const ref = lastRef(value);
  return ref === undefined || !isJsonObject(shown) ? shown : { ...shown, ...refFields(ref) };
}

/** `seen`: a loop has its list under two names. */
function view(value: Json, depth: number, seen: Map<Json, Json>): Json {
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) {
    return value;
  }
  const known = seen.get(value);
  if (known !== undefined) {
    return known;
  }
  const shown = viewNew(value, depth, seen);
  seen.set(value, shown);
  return shown;
}

function viewNew(value: JsonObject | readonly Json[], depth: number, seen: Map<Json, Json>): Json {
  if (isResultRef(value)) {
    return { ...shownFields(value.fields), ...refFields(value) };
  }
  if (isList(value)) {
    const items = value.map((item) => view(item, depth + 1, seen));
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  const entries = Object.entries(value).map(
    ([name, inner]) => [name, view(inner, depth + 1, seen), inner] as const,
  );
  return entries.some(([, mapped, inner]) => mapped !== inner)
    ? Object.fromEntries(entries)
    : value;
}

function refFields(ref: ResultRef): JsonObject {
  const { $ref, size, type, length, preview } = ref;
  return {
    _ref: $ref,
    _uri: uriOf(ref),
    _size: size,
    _type: type,
    ...(length === undefined ? {} : { _length: length }),
    ...(preview === undefined ? {} : { _preview: preview }),
  };
}

/** What NoETL calls the reference of a result; undefined for values that are there. */
export function viewReference(value: Json | undefined): JsonObject | undefined {
  const ref = isResultRef(value) ? value : lastRef(value);
  return ref === undefined
    ? undefined
    : {
        kind: "result_ref",
        ref: ref.$ref,
        uri: uriOf(ref),
        meta: { bytes: ref.size, content_type: JSON_TYPE },
        extracted: shownFields(ref.fields),
      };
}

/** A part that is itself a reference is shown by its type and length only. */
function shownFields(fields: JsonObject | undefined): JsonObject {
  return Object.fromEntries(
    Object.entries(fields ?? {}).map(([name, value]) => [name, shownField(value)]),
  );
}

function shownField(value: Json): Json {
  if (!isResultRef(value)) {
    return value;
  }
  const { $ref, type, length, fields } = value;
  const base = { _ref: $ref, _type: type, ...(length === undefined ? {} : { _length: length }) };
  return { ...base, ...shownFields(fields) };
}

function uriOf({ $ref, index }: ResultRef): string {
  const address = parseAddress($ref);
  return address?.kind === "content" && address.pointer.length === 0
    ? placeUri(address.executionId, address.name, index)
    : $ref;
}

/** Answers that are not larger are made in one piece. */
const WHOLE_BYTES_MAX = 1024 * 1024;

/**
 * A stored value as the body of an answer: streamed, with ETag and ranges. Streamed answers say their
 * length in `x-noetl-size` and `content-range` only, because Bun sends streams in chunks.
 *
 * @throws AppError invalid RANGE_INVALID.
 */
export async function answerResult(
  request: Request,
  { info, read }: OpenResult,
): Promise<Response> {
  const etag = `"${info.sha256}"`;
  const headers = {
    etag,
    "accept-ranges": "bytes",
    "content-type": contentTypeOf(info),
    "x-noetl-ref": info.ref.$ref,
    "x-noetl-size": String(info.size),
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox",
  };
  if (request.headers.get("if-none-match")?.includes(etag) === true) {
    return new Response(null, { status: 304, headers });
  }
  const range = readRange(request, info.size, etag);
  const { begin, end } = range ?? { begin: 0, end: info.size };
  const source = read({ begin, end });
  const body = end - begin > WHOLE_BYTES_MAX ? streamOf(source) : await readAll(source);
  return new Response(body, {
    status: range === undefined ? 200 : 206,
    headers: {
      ...headers,
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

async function readAll(source: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  for await (const part of source) {
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
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
