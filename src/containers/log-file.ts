/**
 * Reads the file that podman's monitor writes a container's output to, as it grows. Its command line would
 * look at that file four times a second, and give parts of lines with a time in between.
 */
import type { Stats } from "node:fs";
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { sleep } from "../core/clock.ts";
import type { LogPiece } from "./log-lines.ts";
import { parseStamp } from "./log-lines.ts";

const CHUNK_BYTES = 256 * 1024;
/** Of a quiet file; a busy one is read on at once. */
const POLL_MS_MIN = 10;
const POLL_MS_MAX = 100;

export interface FollowOptions {
  /** Aborted when nothing is written any more: what is there is still read. */
  readonly ended: AbortSignal;
  /** Aborted: stops at once. */
  readonly signal: AbortSignal;
}

/** Resolves when all of an ended container's output was handed on. */
export async function followLogFile(
  path: string,
  { ended, signal }: FollowOptions,
  onPiece: (piece: LogPiece) => void,
): Promise<void> {
  const file = new GrowingFile(path);
  const lines = createPieceReader(onPiece);
  let pauseMs = POLL_MS_MIN;
  try {
    while (!signal.aborted) {
      const isLast = ended.aborted;
      const bytes = file.read();
      if (bytes !== undefined) {
        lines.push(bytes);
        pauseMs = POLL_MS_MIN;
        // Lets others work while a large file is read.
        await sleep(0);
      } else if (isLast) {
        return;
      } else {
        await sleep(pauseMs, AbortSignal.any([ended, signal]));
        pauseMs = Math.min(POLL_MS_MAX, pauseMs * 1.5);
      }
    }
  } finally {
    file.close();
  }
}

/** A file that others append to, and replace with a new one when it has grown large. */
class GrowingFile {
  readonly #path: string;
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #file: number | undefined;
  #position = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined: nothing new. Valid until the next call. */
  read(): Uint8Array | undefined {
    this.#file ??= this.#open();
    if (this.#file === undefined) {
      return undefined;
    }
    const count = readSync(this.#file, this.#buffer, 0, CHUNK_BYTES, this.#position);
    if (count > 0) {
      this.#position += count;
      return this.#buffer.subarray(0, count);
    }
    return this.#isReplaced() ? this.#reopen() : undefined;
  }

  close(): void {
    if (this.#file !== undefined) {
      closeSync(this.#file);
      this.#file = undefined;
    }
  }

  #open(): number | undefined {
    this.#position = 0;
    return found(() => openSync(this.#path, "r"));
  }

  #isReplaced(): boolean {
    const file = this.#file;
    const own: Stats | undefined = file === undefined ? undefined : fstatSync(file);
    const current = found(() => statSync(this.#path));
    return current !== undefined && current.ino !== own?.ino;
  }

  #reopen(): Uint8Array | undefined {
    this.close();
    return this.read();
  }
}

/** Undefined when there is no such file. */
function found<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return undefined;
    }
    throw error;
  }
}

/** Splits the file's bytes: `<time> <stream> <P or F> <bytes>` and a newline each. */
export function createPieceReader(onPiece: (piece: LogPiece) => void): {
  push(bytes: Uint8Array): void;
} {
  let rest: Buffer = Buffer.alloc(0);
  return {
    push: (bytes) => {
      const all = Buffer.concat([rest, bytes]);
      let start = 0;
      for (let end = all.indexOf(10); end >= 0; end = all.indexOf(10, start)) {
        const piece = parsePiece(all.subarray(start, end));
        if (piece !== undefined) {
          onPiece(piece);
        }
        start = end + 1;
      }
      rest = Buffer.from(all.subarray(start));
    },
  };
}

const HEADER_BYTES_MAX = 64;

/** Undefined: half a line that its writer was killed over. */
function parsePiece(line: Buffer): LogPiece | undefined {
  const head = line.subarray(0, HEADER_BYTES_MAX).toString("latin1");
  const [all, stamp = "", stream, tag] = /^(\S+) (stdout|stderr) ([PF]) /.exec(head) ?? [];
  const timeMs = parseStamp(stamp);
  if (all === undefined || timeMs === undefined) {
    return undefined;
  }
  return {
    stream: stream === "stderr" ? "stderr" : "stdout",
    timeMs,
    isPartial: tag === "P",
    bytes: line.subarray(all.length),
  };
}
