/** Under which key an execution is to run, and how many may at once. */
import { AppError } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import type { Concurrency, Playbook } from "../dsl/playbook.ts";
import { renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { RefNeededError } from "../template/scope.ts";
import { toText } from "../template/value.ts";
import type { ExecutionStart } from "./decision.ts";
import { buildScope } from "./scope.ts";
import type { StartScope } from "./workload.ts";
import { startData, startWorkload } from "./workload.ts";

export interface ConcurrencyClaim {
  /** 1 to {@link KEY_CHARS_MAX} characters. */
  readonly key: string;
  /** 1 to {@link LIMIT_MAX}. */
  readonly limit: number;
  readonly onLimit: Concurrency["onLimit"];
}

const KEY_CHARS_MAX = 500;
const LIMIT_MAX = 10_000;

/**
 * Rendered with the workload and `payload`. Undefined if the playbook limits nothing.
 *
 * @throws AppError invalid CONCURRENCY_KEY_INVALID, CONCURRENCY_LIMIT_INVALID or TEMPLATE_ERROR.
 */
export function concurrencyOf(
  playbook: Playbook,
  start: ExecutionStart,
  options: StartScope,
): ConcurrencyClaim | undefined {
  const { concurrency } = playbook.executor;
  if (concurrency === undefined) {
    return undefined;
  }
  try {
    return render(concurrency, playbook, start, options);
  } catch (error) {
    throw error instanceof RefNeededError ? unreadable(error) : error;
  }
}

function unreadable(cause: RefNeededError): AppError {
  const message = "A concurrency key or limit cannot look into a stored result";
  return new AppError("invalid", "CONCURRENCY_KEY_INVALID", message, { cause });
}

function render(
  { key, limit, onLimit }: Concurrency,
  playbook: Playbook,
  start: ExecutionStart,
  options: StartScope,
): ConcurrencyClaim {
  const workload = startWorkload(playbook, start, options);
  const names = { payload: start.payload };
  const scope = buildScope(startData(start, workload), { ...options, names });
  return {
    key: key === undefined ? playbook.path : readKey(key, renderValue(key, scope)),
    limit: readLimit(limit, scope),
    onLimit,
  };
}

/** Without a key nothing would be limited, and nobody would notice. */
function readKey(template: string, value: Json): string {
  const key = value === null ? "" : toText(value).trim();
  if (key === "" || key.length > KEY_CHARS_MAX || key.includes("\0")) {
    const message = `The concurrency key ${template} must give a text of 1 to ${KEY_CHARS_MAX} characters, not ${JSON.stringify(value).slice(0, 100)}`;
    throw new AppError("invalid", "CONCURRENCY_KEY_INVALID", message);
  }
  return key;
}

function readLimit(limit: number | string, scope: Scope): number {
  const value = typeof limit === "number" ? limit : renderValue(limit, scope);
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isInteger(number) && number > 0 && number <= LIMIT_MAX) {
    return number;
  }
  const message = `The concurrency limit ${limit} must give a whole number from 1 to ${LIMIT_MAX}, not ${JSON.stringify(value)}`;
  throw new AppError("invalid", "CONCURRENCY_LIMIT_INVALID", message);
}
