/**
 * Whether braces in a task's code are templates or the code's own.
 *
 * Code is a template like everything else, yet `f"{{{x}}}"` or `{{ 'a': 1 }}` are ordinary code. So
 * it is rendered only if all that its templates read exists; otherwise it runs as it is written.
 */
import type { ToolDescription } from "../dsl/tool-description.ts";
import { fieldsThatHold } from "../dsl/tool-description.ts";
import type { PipelineRun } from "../engine/pipeline.ts";
import { currentTask, taskScope } from "../engine/pipeline.ts";
import { hasTemplate, mentionedNames } from "../template/render.ts";

const NONE: ReadonlySet<string> = new Set();
/** Jinja's own functions. */
const GLOBALS: ReadonlySet<string> = new Set(["range", "dict", "now", "namespace", "loop"]);

/** Fields of the current task's configuration that must not be rendered. */
export function rawFieldsOf(
  run: PipelineRun,
  description: Pick<ToolDescription, "fields">,
): ReadonlySet<string> {
  const task = currentTask(run);
  const templated = fieldsThatHold(description, "code").filter((field) => {
    const value = task.config[field];
    return value !== undefined && hasTemplate(value);
  });
  return templated.length === 0
    ? NONE
    : new Set(templated.filter((field) => !isRenderable(run, field)));
}

function isRenderable(run: PipelineRun, field: string): boolean {
  const task = currentTask(run);
  const scope = taskScope(run).names;
  const input = { ...run.step.input, ...task.input };
  const isKnown = (name: string): boolean =>
    name in scope || Object.hasOwn(input, name) || name === "input" || GLOBALS.has(name);
  try {
    return [...mentionedNames(task.config[field] ?? null)].every(isKnown);
  } catch {
    // Not a template at all: the code's own braces.
    return false;
  }
}
