/**
 * Names that templates see, built the same way on server and worker. Later names win over earlier:
 * `path` and `version` < workload keys < steps < ctx keys < fixed names < loop names < pipeline.
 */
import type { JsonObject } from "../core/json.ts";
import { TemplateFault } from "../template/error.ts";
import type { Resolved, Scope } from "../template/scope.ts";
import { Aliased } from "../template/scope.ts";
import type { LoopItem, PipelineState, ScopeData } from "./command.ts";
import type { OkWord } from "./value.ts";
import { labelsAliased, presentValue, stepAliased, taskAliased } from "./value.ts";

export interface ScopeOptions {
  /** What `now()` gives. */
  readonly nowMs: number;
  /** Stored results that are at hand, by `$ref`; default none. */
  readonly resolved?: Resolved;
  /** `env.*`; default empty. */
  readonly env?: Readonly<Record<string, string>>;
  /** `keychain.*`: what workers know; default {@link NO_KEYCHAIN}. */
  readonly keychain?: Aliased;
  /** How `.status` of a step says that it went well; default `ok`. See {@link okWord}. */
  readonly okWord?: OkWord;
  /** Where the pipeline stands: sibling labels, `results`, `iter.*`, bare names, its `ctx.*`. */
  readonly pipeline?: PipelineState;
  /** Names that win over all others: `output`, `error`, `event`, a task's input. */
  readonly names?: Readonly<Record<string, unknown>>;
}

const NOTHING: Resolved = new Map();

/** Fails whoever reads from it: secrets neither decide a route nor enter what is stored. */
export const NO_KEYCHAIN: Aliased = new Aliased(
  {},
  (name) => {
    throw new TemplateFault(
      `keychain.${name} is known to workers alone, in the fields of a task: not in loop, set, next or when, nor in the payload of a playbook`,
    );
  },
  {},
  true,
);

export function buildScope(data: ScopeData, options: ScopeOptions): Scope {
  const { pipeline, nowMs, okWord = "ok", resolved = NOTHING } = options;
  const names: Record<string, unknown> = Object.create(null);
  names["path"] = data.path;
  names["version"] = data.version;
  Object.assign(names, data.workload);
  const steps = stepNames(data, okWord, resolved);
  const ctx = pipeline === undefined ? data.ctx : { ...data.ctx, ...pipeline.ctx };
  Object.assign(names, steps, ctx, fixedNames(data, ctx, steps, options));
  addLoop(names, data.loop, pipeline);
  if (pipeline !== undefined) {
    addPipeline(names, pipeline, resolved);
  }
  Object.assign(names, options.names);
  return { names, resolved, nowMs };
}

/** The same scope with names that win over those it has. */
export function withNames(scope: Scope, names: Readonly<Record<string, unknown>>): Scope {
  const merged: Record<string, unknown> = Object.create(null);
  return { ...scope, names: Object.assign(merged, scope.names, names) };
}

/** Plain data for code that asks for `context`: workload, earlier results and ctx by name. */
export function plainContext(data: ScopeData, pipeline?: PipelineState): JsonObject {
  const steps = Object.fromEntries(
    Object.entries(data.steps).map(([name, value]) => [name, presentValue(value)]),
  );
  const ctx = { ...data.ctx, ...pipeline?.ctx };
  return {
    ...data.workload,
    ...steps,
    ...ctx,
    execution_id: data.executionId,
    workload: data.workload,
    ctx,
    steps,
    ...pipeline?.results,
    ...pipeline?.locals,
  };
}

/** Loop names as plain data, for tools that hand them to code; empty outside loops. */
export function loopNames(loop: LoopItem | undefined): JsonObject {
  if (loop === undefined) {
    return {};
  }
  const { iterator, item, index, total } = loop;
  return { loop_index: index, _index: index, _total: total, [iterator]: item };
}

function stepNames(data: ScopeData, word: OkWord, resolved: Resolved): Record<string, Aliased> {
  const names: Record<string, Aliased> = {};
  for (const [name, value] of Object.entries(data.steps)) {
    names[name] = stepAliased(value, word, resolved);
  }
  return names;
}

function fixedNames(
  data: ScopeData,
  ctx: JsonObject,
  steps: Readonly<Record<string, Aliased>>,
  options: ScopeOptions,
): Record<string, unknown> {
  const id = data.executionId;
  return {
    execution_id: id,
    job: { uuid: id, id, execution_id: id },
    workload: data.workload,
    ctx,
    steps: stepsAliased(data, steps),
    env: options.env ?? {},
    keychain: options.keychain ?? NO_KEYCHAIN,
    ...(data.parentExecutionId === undefined
      ? {}
      : { parent_execution_id: data.workload["parent_execution_id"] ?? data.parentExecutionId }),
  };
}

/** `steps.<name>`: the same as the bare name, also where another name hides that. */
function stepsAliased(data: ScopeData, steps: Readonly<Record<string, Aliased>>): Aliased {
  const value = Object.fromEntries(
    Object.entries(data.steps).map(([name, stored]) => [name, presentValue(stored)]),
  );
  const alias = (name: string): unknown => (Object.hasOwn(steps, name) ? steps[name] : undefined);
  return new Aliased(value, alias, value, true);
}

function addLoop(
  names: Record<string, unknown>,
  loop: LoopItem | undefined,
  pipeline: PipelineState | undefined,
): void {
  if (loop === undefined) {
    names["iter"] = pipeline?.iter ?? {};
    return;
  }
  const { iterator, item, index, total } = loop;
  const first = index === 0;
  const last = index === total - 1;
  Object.assign(names, loopNames(loop));
  names["loop"] = { index, index0: index, length: total, total, first, last, done: false };
  names["iter"] = {
    index,
    first,
    last,
    total,
    _index: index,
    _first: first,
    _last: last,
    _total: total,
    [iterator]: item,
    ...pipeline?.iter,
  };
}

function addPipeline(
  names: Record<string, unknown>,
  { results, locals }: PipelineState,
  resolved: Resolved,
): void {
  for (const [label, value] of Object.entries(results)) {
    names[label] = taskAliased(value, resolved);
  }
  names["results"] = labelsAliased(results, resolved);
  Object.assign(names, locals);
}
