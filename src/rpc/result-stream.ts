/** Stored values in chunks, so that no single message nears the limit and no server holds a value. */

import { once } from "node:events";
import type { Writable } from "node:stream";
import { AppError } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import type { NewResult, ResultInfo } from "../engine/result.ts";
import { JSON_TYPE, toScope } from "../engine/result.ts";
import { decodeExecutionId } from "./control-codec.ts";
import type { ResultChunk } from "./generated/noetl/v1/worker.ts";
import type { OpenResult } from "./handlers.ts";
import { decodeJsonObject, encodeJson, invalid } from "./wire-value.ts";

const CHUNK_BYTES = 1024 * 1024;
const EMPTY = Buffer.alloc(0);

type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Chunks of a value to be stored: a head, then the bytes. */
export async function* encodePut(result: NewResult, source: Bytes): AsyncGenerator<ResultChunk> {
  const { executionId, name, ...rest } = result;
  yield { executionId, name, data: EMPTY, head: encodeJson(rest) };
  for await (const bytes of source) {
    for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
      yield chunk(bytes.subarray(offset, offset + CHUNK_BYTES));
    }
  }
}

function chunk(bytes: Uint8Array): ResultChunk {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { executionId: "", name: "", data, head: EMPTY };
}

/** Reads the head; the bytes come while {@link PutStream.source} is read. @throws AppError `invalid`. */
export async function decodePut(chunks: AsyncIterable<ResultChunk>): Promise<{
  readonly result: NewResult;
  readonly source: AsyncIterable<Uint8Array>;
}> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) {
    throw invalid("a stream of a value has no chunk");
  }
  const { executionId, name, head, data } = first.value;
  const id = decodeExecutionId(executionId);
  const result = { ...decodeHead(decodeJsonObject("head", head)), executionId: id, name };
  return { result, source: bytesOf(data, iterator) };
}

async function* bytesOf(
  first: Uint8Array,
  rest: AsyncIterator<ResultChunk>,
): AsyncGenerator<Uint8Array> {
  yield first;
  for (let next = await nextOf(rest); next.done !== true; next = await nextOf(rest)) {
    yield next.value.data;
  }
}

/** @throws AppError unavailable UPLOAD_BROKEN when the other side is gone. */
async function nextOf(chunks: AsyncIterator<ResultChunk>): Promise<IteratorResult<ResultChunk>> {
  try {
    return await chunks.next();
  } catch (error) {
    throw brokenUpload(error);
  }
}

function brokenUpload(cause: unknown): AppError {
  return new AppError("unavailable", "UPLOAD_BROKEN", "The stream of the value broke off", {
    cause,
  });
}

/** What is not understood is left out: the server then decides by itself. */
function decodeHead(head: Readonly<Record<string, unknown>>) {
  const { step, scope, ttlMs, contentType, sha256, size } = head;
  return {
    ...(typeof step === "string" ? { step } : {}),
    ...(toScope(scope) === undefined ? {} : { scope: toScope(scope) }),
    ...(typeof ttlMs === "number" && ttlMs > 0 ? { ttlMs } : {}),
    ...(typeof contentType === "string" ? { contentType } : {}),
    ...(typeof sha256 === "string" ? { sha256 } : {}),
    ...(typeof size === "number" ? { size } : {}),
  };
}

/** Chunks of a stored value: its head, then the bytes. */
export async function* encodeGet({ info, read }: OpenResult): AsyncGenerator<ResultChunk> {
  yield { executionId: "", name: "", data: EMPTY, head: encodeInfo(info) };
  for await (const bytes of read()) {
    yield chunk(bytes);
  }
}

export function encodeInfo(info: ResultInfo): Buffer {
  return encodeJson(info);
}

/** @throws AppError `invalid`. */
export function decodeInfo(bytes: Buffer): ResultInfo {
  const info = decodeJsonObject("info", bytes);
  const { ref, size, sha256 } = info;
  const isRef = isJsonObject(ref) && typeof ref["$ref"] === "string";
  if (!isRef || typeof size !== "number" || typeof sha256 !== "string") {
    throw invalid("info does not describe a stored value");
  }
  return { contentType: JSON_TYPE, ...info } as unknown as ResultInfo;
}

/**
 * Writes all chunks as fast as the other side reads; ends early when the stream is closed, or upon `signal`. The
 * source is let go of in any case, so that files that it has opened are closed.
 */
export async function writeChunks(
  stream: Writable,
  chunks: AsyncIterable<ResultChunk>,
  signal?: AbortSignal,
): Promise<void> {
  const closed = new AbortController();
  const close = (): void => closed.abort();
  stream.once("close", close);
  stream.once("error", close);
  signal?.addEventListener("abort", close, { once: true });
  try {
    for await (const one of chunks) {
      if (stream.destroyed || closed.signal.aborted) {
        return;
      }
      if (!stream.write(one)) {
        await once(stream, "drain", { signal: closed.signal });
      }
    }
  } finally {
    stream.off("close", close);
    stream.off("error", close);
    signal?.removeEventListener("abort", close);
  }
}
