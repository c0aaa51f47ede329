/**
 * Stored values in a bucket of an S3-compatible store: one object each, `PREFIX/EXECUTION/BODY`, which
 * holds the frames one behind the other. Written as a multipart upload, read by ranges. PostgreSQL
 * still decides what there is: an object without a row is loose and gets removed.
 *
 * A writer that is aborted leaves parts of an upload that was never completed; buckets expire those by
 * a lifecycle rule (AbortIncompleteMultipartUpload), which no request of ours could do better.
 */
import { S3Client } from "bun";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Secret } from "../core/secret.ts";
import type { BodyKey, ResultStore } from "./result-store.ts";
import { bytesLost } from "./result-store.ts";

export interface S3Options {
  readonly bucket: string;
  /** Undefined: Amazon's own of the region. */
  readonly endpoint: string | undefined;
  readonly region: string;
  readonly accessKey: string;
  readonly secretKey: Secret;
  /** Before all keys, without a slash at its end; empty: none. */
  readonly prefix: string;
}

/** Smallest part that S3 takes, but for the last. */
const PART_BYTES = 5 * 1024 * 1024;
const PARTS_IN_FLIGHT = 1;
const TRIES = 3;
/** Bytes fetched by one request: several frames. */
const READ_BYTES = 4 * 1024 * 1024;

export function createS3ResultStore(options: S3Options): ResultStore {
  const { bucket, endpoint, region, accessKey, secretKey, prefix } = options;
  const client = new S3Client({
    bucket,
    region,
    accessKeyId: accessKey,
    secretAccessKey: secretKey.reveal(),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
  const fileOf = ({ executionId, bodyId }: BodyKey) =>
    client.file(`${prefix === "" ? "" : `${prefix}/`}${executionId}/${bodyId}`);
  const guard = async <T>(call: () => Promise<T> | T): Promise<T> => {
    try {
      return await call();
    } catch (error) {
      throw s3Error(options, error);
    }
  };
  return {
    kind: "s3",
    createBody: (key) => {
      const writer = fileOf(key).writer({
        partSize: PART_BYTES,
        queueSize: PARTS_IN_FLIGHT,
        retry: TRIES,
        type: "application/zstd",
      });
      return {
        write: (frame) =>
          guard(async () => {
            await writer.write(frame);
            await writer.flush();
          }),
        end: () =>
          guard(async () => {
            await writer.end();
          }),
        abort: async () => {
          // Nothing is left to tell: the object never came to be.
          await Promise.resolve(writer.end(new Error("given up"))).catch(() => undefined);
        },
      };
    },
    readFrames: async function* ({ frames, ...key }, first) {
      const file = fileOf(key);
      for (const range of ranges(frames, first)) {
        const bytes = await guard(() => file.slice(range.begin, range.end).bytes());
        if (bytes.length !== range.end - range.begin) {
          throw bytesLost(key.bodyId, range.position);
        }
        let offset = 0;
        for (const length of range.frames) {
          yield bytes.subarray(offset, offset + length);
          offset += length;
        }
      }
    },
    removeBodies: async (keys) => {
      // Housekeeping has time, and a store that is away should hear of it once.
      for (const key of keys) {
        await guard(() => fileOf(key).delete());
      }
    },
  };
}

interface Range {
  readonly begin: number;
  readonly end: number;
  /** Of the first frame. */
  readonly position: number;
  readonly frames: readonly number[];
}

/** Groups of frames to be fetched together. */
export function* ranges(frames: readonly number[], first: number): Generator<Range> {
  let begin = frames.slice(0, first).reduce((sum, bytes) => sum + bytes, 0);
  for (let position = first; position < frames.length; ) {
    const group: number[] = [];
    let end = begin;
    do {
      const length = frames[position + group.length] ?? 0;
      group.push(length);
      end += length;
    } while (position + group.length < frames.length && end - begin < READ_BYTES);
    yield { begin, end, position, frames: group };
    position += group.length;
    begin = end;
  }
}

/** Codes that say that the store, the bucket or the key is not what it should be. */
const CAUSES: Readonly<Record<string, string>> = {
  NoSuchBucket: "there is no such bucket: make it, or set NOETL_S3_BUCKET",
  AccessDenied: "the key may not do that: check NOETL_S3_ACCESS_KEY and the bucket's policy",
  InvalidAccessKeyId: "the key is unknown: check NOETL_S3_ACCESS_KEY",
  SignatureDoesNotMatch: "the secret is wrong: check NOETL_S3_SECRET_KEY",
  ConnectionRefused: "nothing answers there: check NOETL_S3_ENDPOINT",
  ConnectionClosed: "the connection broke",
};

/** All but a missing object may pass: an operator has to mend it, no playbook has to change. */
function s3Error({ bucket, endpoint }: S3Options, error: unknown): AppError {
  if (error instanceof AppError) {
    return error;
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  const place = `s3://${bucket}${endpoint === undefined ? "" : ` at ${endpoint}`}`;
  if (code === "NoSuchKey") {
    const message = `An object of ${place} that a stored value needs is gone`;
    return new AppError("not_found", "RESULT_BYTES_LOST", message, { cause: error });
  }
  const reason = CAUSES[code] ?? errorMessage(error);
  const message = `The result store ${place} cannot be used: ${reason} (${code})`;
  return new AppError("unavailable", "RESULT_STORE_UNAVAILABLE", message, { cause: error });
}
