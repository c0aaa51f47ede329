/** Output of a container by its runtime's `logs --timestamps`, which gives each stream by itself. */

import type { CliEnvironment } from "./cli-process.ts";
import { killGroup, spawnCli } from "./cli-process.ts";
import type { LogPiece, LogStream } from "./log-lines.ts";
import { parseStamp } from "./log-lines.ts";

/** Docker writes longer lines in pieces of that size, each with its time, and nothing in between. */
const PIECE_BYTES = 16 * 1024;
/** Bytes in which a time and the blank behind it must lie. */
const STAMP_BYTES_MAX = 40;
/** Pieces that come within it are put in order over both streams. */
const ORDER_MS = 15;
/** Output of a call that fails before there is any. */
const ERROR_LENGTH_MAX = 2000;

export interface LogCall {
  readonly words: readonly string[];
  readonly env: CliEnvironment;
  readonly signal: AbortSignal;
}

/**
 * Resolves when the call has ended, by itself or by the signal, with what it said that was no output.
 *
 * @throws ContainerError when it cannot be started.
 */
export async function readLogCall(
  { words, env, signal }: LogCall,
  onPiece: (piece: LogPiece) => void,
): Promise<{ readonly exitCode: number; readonly error: string }> {
  const child = spawnCli(words, env);
  const abort = (): void => killGroup(child.pid);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) {
    abort();
  }
  const order = createOrder(onPiece);
  let error = "";
  const streams = (["stdout", "stderr"] as const).map((stream) =>
    readStream(
      child[stream],
      createStampReader(stream, order.push, (text) => (error += text)),
    ),
  );
  await Promise.all(streams);
  const exitCode = await child.exited;
  signal.removeEventListener("abort", abort);
  order.flush();
  return { exitCode, error: error.slice(0, ERROR_LENGTH_MAX) };
}

async function readStream(
  stream: ReadableStream<Uint8Array>,
  reader: ReturnType<typeof createStampReader>,
): Promise<void> {
  for await (const bytes of stream) {
    reader.push(bytes);
  }
  reader.end();
}

/** Splits the bytes of one stream into pieces; what has no time is handed to `onOther`. */
export function createStampReader(
  stream: LogStream,
  onPiece: (piece: LogPiece) => void,
  onOther: (text: string) => void,
): { push(bytes: Uint8Array): void; end(): void } {
  let rest: Buffer = Buffer.alloc(0);
  let timeMs: number | undefined;
  const take = (isEnd: boolean): void => {
    let start = 0;
    for (;;) {
      if (timeMs === undefined) {
        const stamp = stampAt(rest, start);
        if (stamp !== undefined) {
          timeMs = stamp.timeMs;
          start = stamp.end;
        } else if (!isEnd && rest.length - start < STAMP_BYTES_MAX && rest.indexOf(10, start) < 0) {
          break;
        }
      }
      const piece = nextPiece(rest, start, isEnd);
      if (piece === undefined) {
        break;
      }
      const bytes = rest.subarray(start, piece.end);
      if (timeMs === undefined) {
        onOther(`${bytes.toString("utf8")}\n`);
      } else {
        onPiece({ stream, timeMs, bytes, isPartial: piece.isPartial });
      }
      timeMs = piece.isContinued ? timeMs : undefined;
      start = piece.next;
    }
    rest = Buffer.from(rest.subarray(start));
  };
  return {
    push: (bytes) => {
      rest = Buffer.concat([rest, bytes]);
      take(false);
    },
    end: () => take(true),
  };
}

interface Cut {
  readonly end: number;
  readonly next: number;
  readonly isPartial: boolean;
  /** What follows has no time of its own. */
  readonly isContinued: boolean;
}

function nextPiece(bytes: Buffer, start: number, isEnd: boolean): Cut | undefined {
  const newline = bytes.indexOf(10, start);
  const boundary = start + PIECE_BYTES;
  if (newline >= 0 && newline <= boundary) {
    return { end: newline, next: newline + 1, isPartial: false, isContinued: false };
  }
  if (bytes.length >= boundary && stampAt(bytes, boundary) !== undefined) {
    return { end: boundary, next: boundary, isPartial: true, isContinued: false };
  }
  if (newline >= 0) {
    return { end: newline, next: newline + 1, isPartial: false, isContinued: false };
  }
  if (isEnd) {
    return start < bytes.length
      ? { end: bytes.length, next: bytes.length, isPartial: true, isContinued: false }
      : undefined;
  }
  // No time where docker would have written one: another runtime, whose line is just long.
  return bytes.length > boundary + STAMP_BYTES_MAX
    ? { end: bytes.length, next: bytes.length, isPartial: true, isContinued: true }
    : undefined;
}

function stampAt(
  bytes: Buffer,
  start: number,
): { readonly timeMs: number; readonly end: number } | undefined {
  const blank = bytes.subarray(start, start + STAMP_BYTES_MAX).indexOf(32);
  const timeMs =
    blank < 0 ? undefined : parseStamp(bytes.subarray(start, start + blank).toString("latin1"));
  return timeMs === undefined ? undefined : { timeMs, end: start + blank + 1 };
}

/** Two pipes say nothing about which came first, the times do. */
function createOrder(onPiece: (piece: LogPiece) => void): {
  push(piece: LogPiece): void;
  flush(): void;
} {
  let waiting: LogPiece[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const pieces = waiting.sort((a, b) => a.timeMs - b.timeMs);
    waiting = [];
    for (const piece of pieces) {
      onPiece(piece);
    }
  };
  return {
    push: (piece) => {
      waiting.push({ ...piece, bytes: Buffer.from(piece.bytes) });
      timer ??= setTimeout(flush, ORDER_MS);
    },
    flush,
  };
}
