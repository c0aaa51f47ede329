/** What an execution starts with: the playbook's defaults, rendered, and the request's payload. */
import type { Json, JsonObject } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import { hasTemplate, renderValue } from "../template/render.ts";
import { mergeDeep } from "./assign.ts";
import type { ScopeData } from "./command.ts";
import type { ExecutionStart } from "./decision.ts";
import type { ScopeOptions } from "./scope.ts";
import { buildScope } from "./scope.ts";

/** What templates of the playbook itself see before anything has run. */
export type StartScope = Pick<ScopeOptions, "nowMs" | "resolved" | "env">;

/**
 * The playbook's own defaults may hold templates; what a request brings is never evaluated.
 *
 * @throws TemplateError, RefNeededError
 */
export function startWorkload(
  { workload }: Playbook,
  start: ExecutionStart,
  options: StartScope,
): JsonObject {
  return mergeDeep(renderDefaults(workload, start, options), start.payload);
}

function renderDefaults(
  workload: JsonObject,
  start: ExecutionStart,
  options: StartScope,
): JsonObject {
  if (!hasTemplate(workload)) {
    return workload;
  }
  const { payload } = start;
  const scope = buildScope(startData(start, mergeDeep(workload, payload)), options);
  const entries = Object.entries(workload).map(([key, value]): [string, Json] => [
    key,
    Object.hasOwn(payload, key) && !hasTemplate(value) ? value : renderValue(value, scope),
  ]);
  return Object.fromEntries(entries);
}

/** Scope data of an execution before its first step. */
export function startData(
  { executionId, path, version }: ExecutionStart,
  workload: JsonObject,
): ScopeData {
  return { executionId, path, version, workload, ctx: {}, steps: {} };
}
