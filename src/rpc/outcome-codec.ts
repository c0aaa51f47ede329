/** Checks the outcome of a command as a worker reports it: the one document that workers write. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { CommandOutcome, PipelineState, Retries } from "../engine/command.ts";
import type { Failure, FailureKind } from "../engine/failure.ts";
import { FAILURE_KINDS } from "../engine/failure.ts";
import { invalid } from "./wire-value.ts";

const KINDS: ReadonlySet<string> = new Set(FAILURE_KINDS);

/** @throws AppError `invalid`. */
export function decodeOutcome(json: Json): CommandOutcome {
  const fields = object("outcome", json);
  switch (fields["status"]) {
    case "ok":
      return {
        status: "ok",
        value: fields["value"] ?? null,
        ctx: object("ctx", fields["ctx"]),
        ...decodeRetries(fields["retries"]),
      };
    case "error":
      return {
        status: "error",
        error: decodeFailure(fields["error"]),
        value: fields["value"] ?? null,
        ctx: object("ctx", fields["ctx"]),
        ...decodeRetries(fields["retries"]),
      };
    case "yielded":
      return {
        status: "yielded",
        pipeline: decodePipeline(fields["pipeline"]),
        delayMs: number("delayMs", fields["delayMs"]),
      };
    case "cancelled":
      return { status: "cancelled" };
    case "released":
      return { status: "released", reason: text("reason", fields["reason"]) };
    default:
      throw invalid("outcome has an unknown status");
  }
}

function decodeFailure(json: Json | undefined): Failure {
  const fields = object("error", json);
  const { kind, code, message, retryable } = fields;
  if (!isFailureKind(kind) || typeof retryable !== "boolean") {
    throw invalid("error has an unknown kind or lacks retryable");
  }
  return {
    ...fields,
    kind,
    code: text("code", code),
    message: text("message", message),
    retryable,
  };
}

function isFailureKind(value: Json | undefined): value is FailureKind {
  return typeof value === "string" && KINDS.has(value);
}

function decodePipeline(json: Json | undefined): PipelineState {
  const fields = object("pipeline", json);
  return {
    position: number("position", fields["position"]),
    tries: number("tries", fields["tries"]),
    results: object("results", fields["results"]),
    locals: object("locals", fields["locals"]),
    iter: object("iter", fields["iter"]),
    ctx: object("ctx", fields["ctx"]),
    taskCount: number("taskCount", fields["taskCount"]),
    ...decodeRetries(fields["retries"]),
    ...decodePermitKey(fields["permitKey"]),
  };
}

function decodePermitKey(json: Json | undefined): { readonly permitKey?: string } {
  return json === undefined ? {} : { permitKey: text("permitKey", json) };
}

/** Nothing for those of workers and payloads that know of none. */
function decodeRetries(json: Json | undefined): { readonly retries?: Retries } {
  if (json === undefined) {
    return {};
  }
  const { count, last } = object("retries", json);
  const failure = last === undefined ? {} : { last: decodeFailure(last) };
  return { retries: { count: number("count", count), ...failure } };
}

function object(field: string, value: Json | undefined): JsonObject {
  if (!isJsonObject(value)) {
    throw invalid(`${field} is not an object`);
  }
  return value;
}

function number(field: string, value: Json | undefined): number {
  if (typeof value !== "number" || value < 0) {
    throw invalid(`${field} is not a number of at least 0`);
  }
  return value;
}

function text(field: string, value: Json | undefined): string {
  if (typeof value !== "string") {
    throw invalid(`${field} is not text`);
  }
  return value;
}
