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
import type { ReadPath } from "../engine/outline.ts";
import { follow, withOutline } from "../engine/outline.ts";
import { briefRetried } from "../engine/pipeline.ts";
import type { WorkerClient } from "../rpc/client.ts";
import type { ResultRef } from "../template/scope.ts";
import type { WorkerLimits } from "./options.ts";
import { resultRetry } from "./result-retry.ts";

const PREVIEW_CHARS = 200;
const NAME_CHARS_MAX = 200;
/** For parts of a value that nobody asked for, in its reference; less for items of loops. */
const SPARE_BYTES = 4096;
const SPARE_ITEM_BYTES = 1024;

export interface LimitContext {
  readonly client: Pick<WorkerClient, "putResult">;
  readonly limits: Pick<WorkerLimits, "ctxBytes" | "inlineBytes" | "resultBytes">;
  readonly executionId: ExecutionId;
  readonly step: string;
  /** Of a loop item. */
  readonly index: number | undefined;
  readonly isPipeline: boolean;
  /** Fields to keep beside the reference. */
  readonly outputSelect: readonly string[];
  /** Parts that the server's templates read. */
  readonly reads: readonly ReadPath[];
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
      const code = isRefused(error) ? error.code : "RESULT_TOO_LARGE";
      const more = { code, step: context.step };
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
      const value =
        context.isPipeline && isJsonObject(outcome.value)
          ? await limitPipeline(context, outcome.value)
          : await limitValue(context, context.step, outcome.value);
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

/** Keeps the map of a pipeline and stores its tasks' data apart, the largest first. */
async function limitPipeline(context: LimitContext, results: JsonObject): Promise<JsonObject> {
  const { inlineBytes } = context.limits;
  const sizes = Object.entries(results).map(([label, value]) => ({
    label,
    bytes: Buffer.byteLength(JSON.stringify(value)),
  }));
  let total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
  const limited: Record<string, Json> = { ...results };
  for (const { label, bytes } of sizes.sort((a, b) => b.bytes - a.bytes)) {
    if (total <= inlineBytes) {
      break;
    }
    const part = { ...context, ...partsOf(context, results, label) };
    const name = sizes.length === 1 ? context.step : `${context.step}.${label}`;
    limited[label] = await limitValue(part, name, results[label] ?? null, 0);
    total -= bytes;
  }
  return limited;
}

/** What is asked of the step's value, as far as it lies in one task's data. */
function partsOf(
  { reads, outputSelect }: LimitContext,
  results: JsonObject,
  label: string,
): Pick<LimitContext, "reads" | "outputSelect"> {
  const inside = (path: ReadPath): readonly ReadPath[] => {
    const [first, ...rest] = follow(results, path, true) ?? [];
    return first === label && rest.length > 0 ? [rest] : [];
  };
  return {
    reads: reads.flatMap(inside),
    outputSelect: outputSelect.flatMap((text) =>
      inside(text.split(".")).map((path) => path.join(".")),
    ),
  };
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
  const part = { ...context, outputSelect: [], reads: [] };
  const entries = names.map(async (name): Promise<[string, Json]> => {
    return [name, await limitValue(part, `${prefix}.${name}`, fields[name] ?? null)];
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** @param inlineBytes values that are not larger stay where they are. */
async function limitValue(
  context: LimitContext,
  name: string,
  value: Json,
  inlineBytes = context.limits.inlineBytes,
): Promise<Json> {
  if (typeof value !== "object" && typeof value !== "string") {
    return value;
  }
  const text = JSON.stringify(value);
  // A character has at most three bytes: short texts need no counting.
  if (text.length * 3 <= inlineBytes || Buffer.byteLength(text) <= inlineBytes) {
    return value;
  }
  const bytes = Buffer.from(text);
  checkSize(context, name, bytes.length);
  const ref: ResultRef = {
    preview: text.slice(0, PREVIEW_CHARS),
    ...(await store(context, name, bytes)),
    ...(context.index === undefined ? {} : { index: context.index }),
  };
  return withOutline(value, {
    ref,
    reads: context.reads,
    select: context.outputSelect,
    spareBytes: context.index === undefined ? SPARE_BYTES : SPARE_ITEM_BYTES,
  });
}

function checkSize({ limits }: LimitContext, name: string, byteCount: number): void {
  const isCtx = name.startsWith("ctx.");
  const limit = isCtx ? limits.ctxBytes : limits.resultBytes;
  if (byteCount > limit) {
    const [what, setting] = isCtx
      ? ["a value of ctx", "NOETL_CTX_BYTES"]
      : ["a result", "NOETL_RESULT_BYTES"];
    throw new ResultTooLargeError(
      `${name} has ${byteCount} bytes of JSON, ${what} may have ${limit} (${setting})`,
    );
  }
}

async function store(context: LimitContext, name: string, bytes: Buffer): Promise<ResultRef> {
  const { client, executionId, step, signal } = context;
  const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  const size = bytes.length;
  const result = { executionId, name: name.slice(0, NAME_CHARS_MAX), step, sha256, size };
  const { ref } = await retry(() => client.putResult(result, () => [bytes]), resultRetry(signal));
  return ref;
}

/** Codes of a server that refuses a value for its size. */
const LIMIT_CODES = new Set(["RESULT_TOO_LARGE", "RESULT_QUOTA"]);

function isRefused(error: unknown): error is AppError {
  return error instanceof AppError && LIMIT_CODES.has(error.code);
}
