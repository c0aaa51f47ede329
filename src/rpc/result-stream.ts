/** Large values in chunks, so that no single message nears the limit. */

import { once } from "node:events";
import type { Writable } from "node:stream";
import { AppError } from "../core/errors.ts";
import { decodeExecutionId } from "./control-codec.ts";
import type { ResultChunk } from "./generated/noetl/v1/worker.ts";
import type { NewResult } from "./handlers.ts";

const CHUNK_BYTES = 1024 * 1024;
/** Above what any server accepts as a value: protects memory, the limit that users see is smaller. */
const RESULT_BYTES_MAX = 512 * 1024 * 1024;

/** Chunks of `bytes`; the first carries the header. */
export function* chunked(
  bytes: Buffer,
  header: { readonly executionId: string; readonly name: string },
): Generator<ResultChunk, void, undefined> {
  let offset = 0;
  do {
    const data = bytes.subarray(offset, offset + CHUNK_BYTES);
    yield offset === 0 ? { ...header, data } : { executionId: "", name: "", data };
    offset += CHUNK_BYTES;
  } while (offset < bytes.length);
}

/** Writes all chunks as fast as the other side reads. */
export async function writeChunks(stream: Writable, chunks: Iterable<ResultChunk>): Promise<void> {
  for (const chunk of chunks) {
    if (!stream.write(chunk)) {
      await once(stream, "drain");
    }
  }
}

/** @throws AppError `invalid`: `RESULT_TOO_LARGE`. */
export async function readChunks(chunks: AsyncIterable<ResultChunk>): Promise<NewResult> {
  const parts: Buffer[] = [];
  let header: ResultChunk | undefined;
  let byteCount = 0;
  for await (const chunk of chunks) {
    header ??= chunk;
    byteCount += chunk.data.length;
    if (byteCount > RESULT_BYTES_MAX) {
      throw new AppError(
        "invalid",
        "RESULT_TOO_LARGE",
        `A stored result may have at most ${RESULT_BYTES_MAX} bytes`,
      );
    }
    parts.push(chunk.data);
  }
  return {
    executionId: decodeExecutionId(header?.executionId ?? ""),
    name: header?.name ?? "",
    text: Buffer.concat(parts).toString(),
  };
}
