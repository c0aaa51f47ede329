/**
 * The bytes of a value on their way to a store and back: cut into frames of 1 MiB, each compressed by
 * itself. One frame at a time is in memory.
 */
import { AppError } from "../core/errors.ts";
import { isJsonType } from "../engine/result.ts";
import type { ResultRef } from "../template/scope.ts";

export type ByteSource = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Bytes of the value in one frame; the last one has less. */
export const FRAME_BYTES = 1024 * 1024;
const COMPRESSION_LEVEL = 3;

/**
 * The same bytes in pieces of exactly {@link FRAME_BYTES}, the last one excepted. Two buffers take
 * turns: a piece is good until the one after the next is asked for.
 *
 * @param sizeHint bytes of all, if that is known: a small value needs no whole buffer.
 */
export async function* inFrames(
  source: ByteSource,
  sizeHint: number = FRAME_BYTES,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let buffer = new Uint8Array(Math.min(FRAME_BYTES, Math.max(1, sizeHint)));
  let spare: Uint8Array<ArrayBuffer> | undefined;
  let filled = 0;
  for await (const chunk of source) {
    for (let offset = 0; offset < chunk.length; ) {
      buffer = filled === buffer.length ? grown(buffer) : buffer;
      const part = chunk.subarray(offset, offset + buffer.length - filled);
      buffer.set(part, filled);
      filled += part.length;
      offset += part.length;
      if (filled === FRAME_BYTES) {
        yield buffer;
        [buffer, spare] = [spare ?? new Uint8Array(FRAME_BYTES), buffer];
        filled = 0;
      }
    }
  }
  if (filled > 0) {
    yield buffer.subarray(0, filled);
  }
}

function grown(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(FRAME_BYTES);
  larger.set(bytes);
  return larger;
}

export async function packFrame(frame: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return await Bun.zstdCompress(frame, { level: COMPRESSION_LEVEL });
}

/** A range of bytes; `end` is behind the last one. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * The bytes of a range, in pieces of at most one frame.
 *
 * @param packed the frames from the one that holds the first byte on.
 */
export async function* unpackFrames(
  packed: AsyncIterable<Uint8Array>,
  { begin, end }: ByteRange,
): AsyncGenerator<Uint8Array> {
  let position = begin - (begin % FRAME_BYTES);
  for await (const frame of packed) {
    if (position >= end) {
      return;
    }
    const bytes = await Bun.zstdDecompress(Buffer.from(frame));
    const part = bytes.subarray(Math.max(0, begin - position), end - position);
    position += bytes.length;
    if (part.length > 0) {
      yield part;
    }
  }
}

/** Counts and hashes what passes. */
export class Meter {
  readonly #hasher = new Bun.CryptoHasher("sha256");
  readonly #limit: (bytes: number) => void;
  byteCount = 0;

  /** @param limit throws when there are too many. */
  constructor(limit: (bytes: number) => void) {
    this.#limit = limit;
  }

  add(bytes: Uint8Array): void {
    this.byteCount += bytes.length;
    this.#limit(this.byteCount);
    this.#hasher.update(bytes);
  }

  /** Once, at the end: SHA-256 of all, hex. */
  digest(): string {
    return this.#hasher.digest("hex");
  }
}

/** @throws AppError invalid RESULT_CORRUPT when what came is not what was announced. */
export function checkAnnounced(
  announced: { readonly sha256?: string | undefined; readonly size?: number | undefined },
  found: { readonly sha256: string; readonly size: number },
): void {
  const { sha256 = found.sha256, size = found.size } = announced;
  if (sha256 !== found.sha256 || size !== found.size) {
    const message = `A value of ${size} bytes was announced, ${found.size} bytes came${
      sha256 === found.sha256 ? "" : " and their SHA-256 differs"
    }: nothing was stored`;
    throw new AppError("invalid", "RESULT_CORRUPT", message);
  }
}

/** First character of a JSON text -> type of its value. Digits and `-` are numbers. */
const TYPES: Readonly<Record<string, ResultRef["type"]>> = {
  "{": "object",
  "[": "array",
  '"': "string",
  t: "boolean",
  f: "boolean",
  n: "null",
};

/** Type of a value by its first bytes. */
export function typeOfBytes(contentType: string, first: Uint8Array): ResultRef["type"] {
  if (!isJsonType(contentType)) {
    return "binary";
  }
  const text = new TextDecoder().decode(first.subarray(0, 64)).trimStart();
  return TYPES[text[0] ?? ""] ?? "number";
}
