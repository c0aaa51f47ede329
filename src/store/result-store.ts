/**
 * Where the bytes of stored values lie: as numbered zstd frames, written and read one by one, so that
 * nobody needs to hold a whole value. Which frames exist and who may see them is in result.ts.
 */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Fragment, Sql, Store } from "./pool.ts";

export type StoreKind = "postgres" | "s3";

/** Names the bytes of one value in a store. */
export interface BodyKey {
  readonly executionId: ExecutionId;
  readonly bodyId: string;
}

/** All methods reject with AppError `unavailable` where repeating may help. */
export interface ResultStore {
  readonly kind: StoreKind;
  /** Writes nothing yet. Several bodies may be written at a time. */
  createBody(key: BodyKey): BodyWriter;
  /** The frames from `first` on, in order. @throws AppError not_found RESULT_BYTES_LOST */
  readFrames(
    body: BodyKey & { readonly frames: readonly number[] },
    first: number,
  ): AsyncIterable<Uint8Array>;
  /** Idempotent. */
  removeBodies(keys: readonly BodyKey[]): Promise<void>;
}

export interface BodyWriter {
  /** The next frame. Resolves when the store has room for another. */
  write(frame: Uint8Array): Promise<void>;
  /** All frames are there, durable at the latest with the next durable commit. */
  end(): Promise<void>;
  /** Gives up; what was written is removed by {@link ResultStore.removeBodies}. */
  abort(): Promise<void>;
}

/** Frames as rows. They are durable with the commit that makes the value readable. */
export function createPostgresResultStore(store: Pick<Store, "quick" | "durable">): ResultStore {
  return {
    kind: "postgres",
    createBody: ({ bodyId }) => {
      let position = 0;
      return {
        write: async (frame) => {
          await store.quick`
            INSERT INTO noetl.result_chunk (body_id, position, data)
            VALUES (${bodyId}, ${position++}, ${asBytea(store.quick, frame)})`;
        },
        end: () => Promise.resolve(),
        abort: () => Promise.resolve(),
      };
    },
    readFrames: async function* ({ bodyId, frames }, first) {
      for (let position = first; position < frames.length; position++) {
        const [chunk] = await store.durable<{ data: Uint8Array }[]>`
          SELECT data
          FROM noetl.result_chunk
          WHERE body_id = ${bodyId} AND position = ${position}`;
        if (chunk === undefined) {
          throw bytesLost(bodyId, position);
        }
        yield chunk.data;
      }
    },
    removeBodies: async (keys) => {
      await store.quick`
        DELETE FROM noetl.result_chunk
        WHERE body_id = ANY (${keys.map(({ bodyId }) => bodyId)}::bigint[])`;
    },
  };
}

/** As a parameter: base64 is a third of the text, and of the garbage, that hexadecimal digits make. */
export function asBytea(sql: Sql, bytes: Uint8Array): Fragment {
  return sql`decode(${bytes.toBase64()}, 'base64')`;
}

/** The value was removed while it was read, or the store lost a part of it. */
export function bytesLost(bodyId: string, position: number): AppError {
  const message = `Part ${position} of stored value ${bodyId} is not there any more`;
  return new AppError("not_found", "RESULT_BYTES_LOST", message);
}
