/**
 * Keeps reports small: a value over the inline limit goes to the result store and a reference takes
 * its place; one over the hard limit fails the task, and the failure names the limit.
 */
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { CommandOutcome } from "../engine/command.ts";
import { failure } from "../engine/failure.ts";
import { briefRetried } from "../engine/pipeline.ts";
import type { WorkerClient } from "../rpc/client.ts";
import type { WorkerLimits } from "./options.ts";

const RETRY_BACKOFF = { minMs: 200, maxMs: 3000 };
const PREVIEW_CHARS = 200;

export interface LimitContext {
  readonly client: Pick<WorkerClient, "putResult">;
  readonly limits: Pick<WorkerLimits, "inlineBytes" | "resultBytes">;
  readonly executionId: ExecutionId;
  readonly step: string;
  /** Fields to keep beside the reference. */
  readonly outputSelect: readonly string[];
  /** Aborted when the outcome is not wanted any more. */
  readonly signal: AbortSignal;
}

/** Thrown when a value is over the hard limit. */
class ResultTooLargeError extends Error {
  override readonly name = "ResultTooLargeError";
}

/** The same outcome with its large values by reference, or a failure. Never rejects. */
export async function limitOutcome(
  context: LimitContext,
  outcome: CommandOutcome,
): Promise<CommandOutcome> {
  try {
    return await byReference(context, outcome);
  } catch (error) {
    if (error instanceof ResultTooLargeError || isRefused(error)) {
      const more = { code: "RESULT_TOO_LARGE", step: context.step };
      const tooLarge = failure("limit", error.message, more);
      return { status: "error", error: tooLarge, value: null, ctx: {} };
    }
    const message = `The result of step ${context.step} cannot be stored: ${errorMessage(error)}`;
    const lost = failure("connection", message, { code: "RESULT_NOT_STORED", step: context.step });
    return { status: "error", error: lost, value: null, ctx: {} };
  }
}

async function byReference(
  context: LimitContext,
  outcome: CommandOutcome,
): Promise<CommandOutcome> {
  switch (outcome.status) {
    case "ok":
    case "error": {
      const value = await limitValue(context, context.step, outcome.value);
      const ctx = await limitFields(context, "ctx", outcome.ctx);
      return { ...outcome, value, ctx, ...briefRetried(outcome) };
    }
    case "yielded": {
      const { pipeline } = outcome;
      const results = await limitFields(context, context.step, pipeline.results);
      const locals = await limitFields(context, context.step, pipeline.locals);
      const iter = await limitFields(context, "iter", pipeline.iter);
      const ctx = await limitFields(context, "ctx", pipeline.ctx);
      const retried = briefRetried(pipeline);
      return { ...outcome, pipeline: { ...pipeline, results, locals, iter, ctx, ...retried } };
    }
    case "cancelled":
    case "released":
      return outcome;
  }
}

async function limitFields(
  context: LimitContext,
  prefix: string,
  fields: JsonObject,
): Promise<JsonObject> {
  const names = Object.keys(fields);
  if (names.length === 0) {
    return fields;
  }
  const entries = names.map(async (name): Promise<[string, Json]> => {
    const label = `${prefix}.${name}`;
    return [name, await limitValue({ ...context, outputSelect: [] }, label, fields[name] ?? null)];
  });
  return Object.fromEntries(await Promise.all(entries));
}

async function limitValue(context: LimitContext, name: string, value: Json): Promise<Json> {
  if (typeof value !== "object" && typeof value !== "string") {
    return value;
  }
  const text = JSON.stringify(value);
  const { inlineBytes, resultBytes } = context.limits;
  // A character has at most three bytes: short texts need no counting.
  if (text.length * 3 <= inlineBytes || Buffer.byteLength(text) <= inlineBytes) {
    return value;
  }
  const byteCount = Buffer.byteLength(text);
  if (byteCount > resultBytes) {
    throw new ResultTooLargeError(
      `${name} has ${byteCount} bytes of JSON, the limit for a result is ${resultBytes} bytes`,
    );
  }
  const ref = await store(context, name, text);
  const fields = selectFields(value, context.outputSelect);
  return {
    preview: text.slice(0, PREVIEW_CHARS),
    ...ref,
    ...(Object.keys(fields).length === 0 ? {} : { fields }),
  };
}

async function store(context: LimitContext, name: string, text: string): Promise<JsonObject> {
  const { client, executionId, signal } = context;
  return await retry(() => client.putResult({ executionId, name, text }), {
    ...RETRY_BACKOFF,
    signal,
    isRetryable: (error) => error instanceof AppError && error.isRetryable,
  });
}

function isRefused(error: unknown): error is AppError {
  return error instanceof AppError && error.code === "RESULT_TOO_LARGE";
}

/** Fields by their last name; of a pipeline's map the fields of the tasks' data, later ones first. */
function selectFields(value: Json, paths: readonly string[]): JsonObject {
  const entries = paths.flatMap((path): [string, Json][] => {
    const names = path.replace(/^(data|result)\./, "").split(".");
    const found = findField(value, names);
    return found === undefined ? [] : [[names.at(-1) ?? path, found]];
  });
  return Object.fromEntries(entries);
}

function findField(value: Json, names: readonly string[]): Json | undefined {
  const direct = walk(value, names);
  if (direct !== undefined || !isJsonObject(value)) {
    return direct;
  }
  return Object.values(value)
    .map((inner) => walk(inner, names))
    .findLast((found) => found !== undefined);
}

function walk(value: Json, names: readonly string[]): Json | undefined {
  let current: Json | undefined = value;
  for (const name of names) {
    current = isJsonObject(current) && Object.hasOwn(current, name) ? current[name] : undefined;
  }
  return current;
}
