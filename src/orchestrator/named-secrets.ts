/**
 * Which secrets a command names: a worker gets those and no others.
 *
 * A credential is named by a text of the step that is its name, or by a template that renders to it
 * from the data that the command carries. Where a template reads what only the running tasks know (an
 * earlier task of the same pipeline), the server cannot render it; then any credential may be meant.
 */
import { AppError } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { CommandPayload } from "../engine/command.ts";
import type { PipelineRun } from "../engine/pipeline.ts";
import { taskScope } from "../engine/pipeline.ts";
import { withNames } from "../engine/scope.ts";
import { isTemplate } from "../template/lexer.ts";
import { mentionedPaths } from "../template/mentions.ts";
import { renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { RefNeededError } from "../template/scope.ts";

/** Longer texts are code or SQL, not names. */
const NAME_LENGTH_MAX = 1000;
/** Fields below which a name may come from a running task. */
const NAMING_FIELD = /auth|credential|connection|secret/i;

/** True if one of the step's texts, not a template, is the name. */
export function isNamedLiterally(step: Json, name: string): boolean {
  if (typeof step === "string") {
    return step === name;
  }
  return (
    typeof step === "object" &&
    step !== null &&
    Object.values(step).some((child: Json) => isNamedLiterally(child, name))
  );
}

/** True if a template of the step reads `keychain.<alias>`, or an entry whose name it computes. */
export function isAliasRead(step: Json, alias: string): boolean {
  return mentionedPaths(step).some(
    ({ root, steps }) => root === "keychain" && (steps[0] === undefined || steps[0] === alias),
  );
}

/** `named`, `open` (only the worker can know it), or `no`. */
export type Naming = "named" | "open" | "no";

export function findNaming(payload: CommandPayload, name: string): Naming {
  const { step, pipeline, scope: data } = payload;
  const run: PipelineRun = { step, pipeline, data, options: { nowMs: Date.now() } };
  const templates = templatesOf(step as unknown as Json, false);
  const scope = scopeOf(run);
  const later = namesOfRun(payload);
  let isOpen = false;
  for (const { text, isNaming } of templates) {
    const outcome = renderName(text, scope);
    if (outcome === name) {
      return "named";
    }
    isOpen ||= isNaming && (outcome instanceof RefNeededError || readsAny(text, later));
  }
  return isOpen ? "open" : "no";
}

interface TemplateText {
  readonly text: string;
  /** It stands where credentials are named. */
  readonly isNaming: boolean;
}

function templatesOf(value: Json, isNaming: boolean): readonly TemplateText[] {
  if (typeof value === "string") {
    return value.length <= NAME_LENGTH_MAX && isTemplate(value) ? [{ text: value, isNaming }] : [];
  }
  if (Array.isArray(value)) {
    return value.flatMap((item: Json) => templatesOf(item, isNaming));
  }
  return isJsonObject(value)
    ? Object.entries(value).flatMap(([key, inner]) =>
        templatesOf(inner, isNaming || NAMING_FIELD.test(key)),
      )
    : [];
}

/** With the inputs of the tasks by name, as their configurations see them. */
function scopeOf(run: PipelineRun): Scope {
  const scope = taskScope(run);
  const inputs = { ...run.step.input, ...Object.assign({}, ...run.step.tasks.map((t) => t.input)) };
  const rendered = Object.entries(inputs as Record<string, Json>).flatMap(([key, value]) => {
    const text = typeof value === "string" ? renderName(value, scope) : undefined;
    return typeof text === "string" ? [[key, text] as const] : [];
  });
  const input = Object.fromEntries(rendered);
  return withNames(scope, { ...input, input });
}

function renderName(text: string, scope: Scope): Json | RefNeededError | undefined {
  try {
    return renderValue(text, scope);
  } catch (error) {
    if (error instanceof RefNeededError) {
      return error;
    }
    if (error instanceof AppError) {
      return undefined;
    }
    throw error;
  }
}

/** First names of paths whose values appear or change while the tasks run. */
function namesOfRun({ step }: CommandPayload): ReadonlySet<string> {
  const targets = step.tasks.flatMap((task) =>
    [...task.set, ...(task.policy?.rules ?? []).flatMap((rule) => rule.set)].map(
      ({ target }) => target.split(".")[0] ?? "",
    ),
  );
  const labels = step.isPipeline ? [...step.tasks.map(({ label }) => label), "results"] : [];
  const inputs = step.tasks.flatMap(({ input }) =>
    Object.entries(input).flatMap(([key, value]) =>
      readsAny(value, new Set([...targets, ...labels, "_prev"])) ? [key, "input"] : [],
    ),
  );
  return new Set([...targets, ...labels, ...inputs, "_prev"]);
}

function readsAny(value: Json, names: ReadonlySet<string>): boolean {
  return mentionedPaths(value).some(({ root }) => names.has(root));
}
