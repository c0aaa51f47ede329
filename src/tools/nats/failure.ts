/** What NATS answers when it does not do what it was asked, as a task's failure. */
import type { ApiError } from "nats";
import { NatsError } from "nats";
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { taskError } from "../task-error.ts";

/** Error code of JetStream: the stream does not exist. */
const STREAM_NOT_FOUND = 10_059;
/** The expected revision is not the last one. */
const WRONG_REVISION = 10_071;

/** @throws anything that NATS did not say: a bug. */
export function natsFailure(error: unknown): Failure {
  if (!(error instanceof NatsError)) {
    if (error instanceof Error && /^(invalid|illegal|bad) /i.test(error.message)) {
      return failure("schema", error.message, { code: "NATS_ARGUMENT" });
    }
    throw error;
  }
  return error.api_error === undefined ? clientFailure(error) : apiFailure(error.api_error);
}

function apiFailure({ code, err_code, description }: ApiError): Failure {
  const name = `NATS_${err_code ?? code}`;
  if (err_code === WRONG_REVISION) {
    const message = `the revision is not the expected one: ${description}`;
    return failure("client_error", message, { code: "REVISION_CONFLICT" });
  }
  return failure(kindOfCode(code), description, { code: name });
}

function kindOfCode(code: number): FailureKind {
  switch (code) {
    case 401:
    case 403:
      return "auth";
    case 404:
      return "not_found";
    case 408:
      return "timeout";
    default:
      return code >= 500 ? "server_error" : "client_error";
  }
}

function clientFailure(error: NatsError): Failure {
  const { code, message } = error;
  switch (code) {
    case "TIMEOUT":
      return failure("timeout", "NATS did not answer in time", { code: "NATS_TIMEOUT" });
    case "503":
      return failure(
        "connection",
        "no JetStream answers: the subject belongs to no stream, or JetStream is off there",
        { code: "NATS_NO_RESPONDERS" },
      );
    case "PERMISSIONS_VIOLATION":
    case "AUTHORIZATION_VIOLATION":
      return failure("auth", message, { code: "NATS_PERMISSION" });
    case "MAX_PAYLOAD_EXCEEDED":
      return failure("limit", "the data is larger than the NATS server takes in one message", {
        code: "NATS_PAYLOAD_TOO_LARGE",
      });
    case "BAD_SUBJECT":
    case "INVALID_OPTION":
      return failure("schema", message, { code: `NATS_${code}` });
    default:
      return failure("connection", `the connection to NATS was lost: ${message}`, {
        code: `NATS_${code}`,
      });
  }
}

export function isStreamMissing(error: unknown): boolean {
  return error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND;
}

export function isNotFound(error: unknown): boolean {
  return error instanceof NatsError && error.code === "404" && !isStreamMissing(error);
}

/** Gives the error of an absent bucket a name that its user knows. */
export async function withBucket<T>(bucket: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw isStreamMissing(error) ? bucketMissing(bucket) : error;
  }
}

export function bucketMissing(bucket: string) {
  const message = `there is no bucket "${bucket}"; \`create: true\` makes it`;
  return taskError("not_found", "BUCKET_NOT_FOUND", message);
}
