/** Reads one object of an S3-compatible store. */

import { errorMessage } from "../../core/errors.ts";
import type { JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { Layers } from "../layers.ts";
import { findText, loadAuth } from "../layers.ts";
import { stoppedFailure } from "../stopped.ts";
import { thrownFailure, unlessStopped } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";

const FIELDS = {
  accessKeyId: ["access_key_id", "aws_access_key_id", "access_key", "key_id"],
  secretAccessKey: ["secret_access_key", "aws_secret_access_key", "secret_key", "secret"],
  sessionToken: ["session_token", "aws_session_token"],
  endpoint: ["endpoint", "endpoint_url", "url"],
  region: ["region", "aws_region", "region_name"],
} as const;

/** @param uri `s3://bucket/key` */
export async function readObject(
  uri: string,
  fields: JsonObject,
  bytesMax: number,
  context: ToolContext,
): Promise<string | Failure> {
  try {
    const layers = [fields, ...(await loadAuth(fields["auth"], context))];
    const client = createClient(uri, layers);
    if (client === undefined) {
      const message = `reading ${uri} needs \`auth\` with an s3 credential: access_key_id, secret_access_key`;
      return failure("auth", message, { code: "S3_CREDENTIAL_MISSING" });
    }
    const read = readText(client.file(keyOf(uri)).stream(), bytesMax);
    const text = await unlessStopped(read, context.signal);
    return text ?? failure("limit", `${uri} is larger than ${bytesMax} bytes`);
  } catch (error) {
    if (context.signal.aborted) {
      return stoppedFailure(context.signal);
    }
    return thrownFailure(error) ?? s3Failure(uri, error);
  }
}

function createClient(uri: string, layers: Layers): Bun.S3Client | undefined {
  const accessKeyId = findText(layers, FIELDS.accessKeyId);
  const secretAccessKey = findText(layers, FIELDS.secretAccessKey);
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    return undefined;
  }
  const endpoint = findText(layers, FIELDS.endpoint);
  const sessionToken = findText(layers, FIELDS.sessionToken);
  return new Bun.S3Client({
    accessKeyId,
    secretAccessKey,
    bucket: new URL(uri).host,
    region: findText(layers, FIELDS.region) ?? "us-east-1",
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(sessionToken === undefined ? {} : { sessionToken }),
  });
}

function keyOf(uri: string): string {
  return uri.replace(/^s3:\/\/[^/]+\//, "");
}

/** Undefined past `bytesMax`. */
async function readText(
  stream: ReadableStream<Uint8Array>,
  bytesMax: number,
): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size > bytesMax) {
      return undefined;
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function s3Failure(uri: string, error: unknown): Failure {
  const code = isJsonObject(error) || error instanceof Error ? Reflect.get(error, "code") : "";
  const name = typeof code === "string" ? code : "";
  return failure(kindOf(name), `cannot read ${uri}: ${errorMessage(error)}`, {
    code: name === "" ? "S3_ERROR" : name,
  });
}

function kindOf(code: string): FailureKind {
  switch (code) {
    case "NoSuchKey":
    case "NoSuchBucket":
    case "ERR_S3_FILE_NOT_FOUND":
      return "not_found";
    case "AccessDenied":
    case "SignatureDoesNotMatch":
    case "InvalidAccessKeyId":
    case "ExpiredToken":
      return "auth";
    case "SlowDown":
      return "rate_limit";
    case "InternalError":
    case "ServiceUnavailable":
      return "server_error";
    default:
      return "connection";
  }
}
