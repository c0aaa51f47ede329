/** What a cursor loop is worth: like any loop, but of its results only the newest are there. */
import type { Json } from "../core/json.ts";
import type { LoopStats } from "./event.ts";
import type { CursorProgress } from "./record.ts";

/** `omitted`: results before the first one in `results`; absent when all are there. */
export function cursorValue(cursor: CursorProgress): Json {
  const { results, omitted } = cursor;
  const errors = cursor.errors.map(({ index, error }) => ({ index, error: { ...error } }));
  return {
    results,
    stats: { ...cursorStats(cursor) },
    ...(omitted === 0 ? {} : { omitted }),
    ...(errors.length === 0 ? {} : { errors }),
  };
}

export function cursorStats({ total, succeeded, failed, frameCount }: CursorProgress): LoopStats {
  return { total, succeeded, failed, frames: frameCount };
}
