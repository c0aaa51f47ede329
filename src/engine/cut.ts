/**
 * Cuts an execution's data down to the names that a step's templates mention: what the worker gets
 * with a command, and what guards and `set` see. Parts are shared with the state, never copied.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Arc, Step, Task } from "../dsl/playbook.ts";
import { mentionedPaths } from "../template/mentions.ts";
import { parseTarget } from "./assign.ts";
import type { LoopItem, ScopeData, StepValue } from "./command.ts";
import type { ExecutionState } from "./state.ts";
import { startOf } from "./state.ts";

/** Names, and `workload.x` for one name of a map. `all`: code that asks for `context` may read anything. */
type Mentions = ReadonlySet<string> | "all";

interface StepMentions {
  /** By the step's tasks. */
  readonly tasks: Mentions;
  /** By what the engine evaluates: loop, admit rules, `set`, arcs. */
  readonly routing: Mentions;
  /** By the tasks of its cursor. */
  readonly cursor: Mentions;
}

interface Cut {
  readonly revision: number;
  readonly data: ScopeData;
}

const CODE_KINDS = new Set(["python", "javascript", "typescript", "script"]);
const ASKS_FOR_ALL = /\b(context|variables)\b/;

const mentions = new WeakMap<Step, StepMentions>();
const cuts = new WeakMap<ExecutionState, Map<string, Cut>>();

/** True for code that may read `context`: it names it, or stands in a file that nobody has read. */
export function readsContext(task: Task): boolean {
  const code = task.config["code"];
  return CODE_KINDS.has(task.kind) && (typeof code !== "string" || ASKS_FOR_ALL.test(code));
}

/** What the templates of the step's tasks may read, for one run of them. */
export function taskData(state: ExecutionState, step: Step, loop: LoopItem | undefined): ScopeData {
  const data = cached(state, `${step.name}#tasks`, () => mentionsOf(step).tasks);
  return loop === undefined ? data : { ...data, loop };
}

/** What the templates of the step's cursor may read. */
export function cursorData(state: ExecutionState, step: Step): ScopeData {
  return cached(state, `${step.name}#cursor`, () => mentionsOf(step).cursor);
}

/** What the step's loop, admit rules, `set` and arcs may read. */
export function routingData(state: ExecutionState, step: Step): ScopeData {
  return cached(state, `${step.name}#routing`, () => mentionsOf(step).routing);
}

function cached(state: ExecutionState, key: string, names: () => Mentions): ScopeData {
  const known = cuts.get(state) ?? new Map<string, Cut>();
  cuts.set(state, known);
  const cut = known.get(key);
  if (cut?.revision === state.revision) {
    return cut.data;
  }
  const data = cutData(state, names());
  known.set(key, { revision: state.revision, data });
  return data;
}

function cutData(state: ExecutionState, names: Mentions): ScopeData {
  const { executionId, path, version, workload, parent } = startOf(state);
  return {
    executionId,
    path,
    version,
    workload: pick(workload, names, "workload"),
    ctx: pick(state.ctx, names, "ctx"),
    steps: pickSteps(state, names),
    ...(parent === undefined ? {} : { parentExecutionId: parent.executionId }),
  };
}

function pick(map: JsonObject, names: Mentions, whole: string): JsonObject {
  if (names === "all" || names.has(whole)) {
    return map;
  }
  const picked: [string, Json][] = [];
  const prefix = `${whole}.`;
  for (const mention of names) {
    const name = mention.startsWith(prefix) ? mention.slice(prefix.length) : mention;
    const value = Object.hasOwn(map, name) ? map[name] : undefined;
    if (value !== undefined) {
      picked.push([name, value]);
    }
  }
  return Object.fromEntries(picked);
}

function pickSteps(state: ExecutionState, names: Mentions): Readonly<Record<string, StepValue>> {
  const isWhole = names === "all" || names.has("steps");
  const picked: [string, StepValue][] = [];
  for (const mention of isWhole ? state.steps.keys() : names) {
    const name = !isWhole && mention.startsWith("steps.") ? mention.slice(6) : mention;
    const value = state.steps.get(name)?.value;
    if (value !== undefined) {
      picked.push([name, value]);
    }
  }
  return Object.fromEntries(picked);
}

function mentionsOf(step: Step): StepMentions {
  const known = mentions.get(step) ?? {
    tasks: taskMentions(step),
    routing: routingMentions(step),
    cursor: cursorMentions(step),
  };
  mentions.set(step, known);
  return known;
}

function taskMentions(step: Step): Mentions {
  const names = new Set<string>();
  collect(step.input, names);
  for (const task of step.tasks) {
    if (readsContext(task)) {
      return "all";
    }
    collect(task, names);
    for (const { target } of [
      ...task.set,
      ...(task.policy?.rules ?? []).flatMap(({ set }) => set),
    ]) {
      collectTarget(target, names);
    }
  }
  return names;
}

/** Writing a part of a value of ctx needs the rest of it. */
function collectTarget(target: string, names: Set<string>): void {
  const { space, names: path } = parseTarget(target);
  if (space === "ctx" && path.length > 1) {
    names.add(`ctx.${path[0]}`);
  }
}

function routingMentions(step: Step): Mentions {
  const names = new Set<string>();
  collect({ in: step.loop?.in, most: step.loop?.maxInFlight }, names);
  collect(step.set, names);
  collect(step.next.arcs, names);
  collect(step.admit, names);
  return names;
}

function cursorMentions(step: Step): Mentions {
  const names = new Set<string>();
  collect(step.loop?.cursor, names);
  return names;
}

/** Adds the names that templates inside the value read. `when` is a template without braces too. */
function collect(value: unknown, names: Set<string>, key = ""): void {
  if (typeof value === "string") {
    const isBare = key === "when" && !value.includes("{{") && !value.includes("{%");
    for (const name of namesIn(isBare ? `{{ ${value} }}` : value)) {
      names.add(name);
    }
  } else if (Array.isArray(value)) {
    for (const item of value) {
      collect(item, names);
    }
  } else if (isJsonObject(value)) {
    for (const [name, inner] of Object.entries(value)) {
      collect(inner, names, name);
    }
  }
}

/** Maps of which only the mentioned names are taken. */
const MAPS = new Set(["ctx", "steps", "workload"]);

/** First names of paths; `workload.x` where only that is read of a map. */
function namesIn(template: string): ReadonlySet<string> {
  return new Set(
    mentionedPaths(template).map(({ root, steps: [first] }) =>
      MAPS.has(root) && typeof first === "string" ? `${root}.${first}` : root,
    ),
  );
}

const errorGuards = new WeakMap<Arc, boolean>();

/** True if the arc's guard looks at the step's error: only such an arc can handle one. */
export function looksAtError(step: Step, arc: Arc): boolean {
  const known = errorGuards.get(arc) ?? isErrorGuard(step.name, arc.when);
  errorGuards.set(arc, known);
  return known;
}

const ERROR_GUARD =
  /call\.error|\bevent\s*\.\s*name\b|\boutput\s*(\.\s*|\[\s*['"])(status|error|http)\b|(^|[^.\w'"])error\b/;

function isErrorGuard(step: string, when: Json | undefined): boolean {
  if (typeof when !== "string") {
    return false;
  }
  const own = new RegExp(`\\b${step.replaceAll(/\W/g, "\\$&")}\\s*\\.\\s*(status|error)\\b`);
  return ERROR_GUARD.test(when) || own.test(when);
}
