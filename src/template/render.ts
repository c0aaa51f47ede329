/**
 * Renders templates: Jinja, evaluated by MiniJinja in WebAssembly over data that never leaves
 * plain JSON.
 *
 * A lone `{{ expression }}` keeps its native type; undefined alone is null. Everything else is
 * text, in which null and undefined print nothing, booleans `true` or `false`, lists and maps JSON.
 * Numbers are JavaScript's: `4 / 2` prints `2`. Data is never evaluated, whatever it holds.
 *
 * Every function throws TemplateError on a template that cannot be rendered, and RefNeededError
 * where a value is needed that is stored apart and not at hand.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { Expression, Template } from "./compile.ts";
import { compile, readNeeds, toTemplateError } from "./compile.ts";
import { TemplateFault } from "./error.ts";
import type { Chain, Operand } from "./expression.ts";
import { TEXT_LENGTH_MAX } from "./filter.ts";
import { isTemplate } from "./lexer.ts";
import type { Program, ProgramResult } from "./machine.ts";
import { MACHINE } from "./machine.ts";
import type { Needs } from "./names.ts";
import { NOW_VARIABLE } from "./names.ts";
import type { Path } from "./path.ts";
import { lookUp, probe, toDeepOperand, toOperand } from "./path.ts";
import { outlinedLength } from "./ref.ts";
import type { Scope } from "./scope.ts";
import { Aliased } from "./scope.ts";
import { isGuardTrue, toJson, toText } from "./value.ts";

/**
 * Renders every template inside the value; keys of maps stay as they are. Parts without templates
 * are returned as they are, not copied.
 */
export function renderValue(template: Json, scope: Scope): Json {
  if (typeof template === "string") {
    return isTemplate(template) ? renderTemplate(template, scope) : template;
  }
  if (Array.isArray(template)) {
    return renderList(template, scope);
  }
  return isJsonObject(template) ? renderMap(template, scope) : template;
}

/** Renders to text, a lone expression too. */
export function renderText(text: string, scope: Scope): string {
  return isTemplate(text) ? toText(toDeepOperand(renderTemplate(text, scope), scope)) : text;
}

/**
 * True if the guard holds: Python's truth, and texts such as `false`, `off` or `0` are false. A
 * text without braces is an expression.
 */
export function evaluateGuard(template: Json, scope: Scope): boolean {
  if (typeof template !== "string") {
    return isGuardTrue(template);
  }
  const text = isTemplate(template) ? template : `{{ ${template} }}`;
  return template.trim() !== "" && isGuardTrue(renderTemplate(text, scope));
}

/** True if a template is anywhere inside the value. */
export function hasTemplate(value: Json): boolean {
  if (typeof value === "string") {
    return isTemplate(value);
  }
  return typeof value === "object" && value !== null && Object.values(value).some(hasTemplate);
}

/** First names of all paths that templates inside the value read from outside. */
export function mentionedNames(value: Json): ReadonlySet<string> {
  const names = new Set<string>();
  collectNames(value, names);
  return names;
}

function collectNames(value: Json, names: Set<string>): void {
  if (typeof value === "string") {
    for (const needs of isTemplate(value) ? readNeeds(compile(value)) : []) {
      for (const name of [...needs.variables.map(({ path }) => path.root), ...needs.wholes]) {
        names.add(name);
      }
    }
  } else if (typeof value === "object" && value !== null) {
    for (const child of Object.values(value)) {
      collectNames(child, names);
    }
  }
}

function renderList(template: readonly Json[], scope: Scope): Json {
  const items = template.map((item) => renderValue(item, scope));
  return items.some((item, index) => item !== template[index]) ? items : template;
}

function renderMap(template: JsonObject, scope: Scope): Json {
  let hasChanged = false;
  const entries = Object.entries(template).map(([key, child]) => {
    const rendered = renderValue(child, scope);
    hasChanged ||= rendered !== child;
    return [key, rendered] as const;
  });
  return hasChanged ? Object.fromEntries(entries) : template;
}

function renderTemplate(text: string, scope: Scope): Json {
  const template = compile(text);
  try {
    return renderCompiled(template, scope);
  } catch (error) {
    throw toTemplateError(text, error);
  }
}

function renderCompiled(template: Template, scope: Scope): Json {
  switch (template.kind) {
    case "lone":
      return evaluate(template.expression, scope);
    case "mixed":
      return limited(template.parts.map((part) => renderPart(part, scope)).join(""));
    case "program":
      return limited(readText(runProgram(template, scope)));
  }
}

function renderPart(part: string | Expression, scope: Scope): string {
  return typeof part === "string" ? part : toText(toDeepOperand(evaluate(part, scope), scope));
}

function evaluate(expression: Expression, scope: Scope): Json {
  return expression.chain === undefined
    ? readValue(runProgram(expression, scope))
    : runChain(expression.chain, scope);
}

function runChain(chain: Chain, scope: Scope): Json {
  let value = readOperand(chain.base, scope);
  for (const { filter, arguments: operands } of chain.calls) {
    if (filter.isTransparent && operands.length === 1 && isPresent(value)) {
      continue;
    }
    const length = filter.isLength ? knownLength(value, scope) : undefined;
    if (length !== undefined) {
      value = length;
      continue;
    }
    const target = filter.isDeep ? toDeepOperand(value, scope) : toOperand(value, scope);
    const values = operands.map((operand) => toDeepOperand(readOperand(operand, scope), scope));
    value = filter.run(target, values, {});
  }
  if (value instanceof Aliased) {
    return value.value;
  }
  return chain.calls.length === 0 ? ((value ?? null) as Json) : toJson(value);
}

function knownLength(value: unknown, scope: Scope): number | undefined {
  return outlinedLength(value instanceof Aliased ? value.operand : value, scope.resolved);
}

function isPresent(value: unknown): boolean {
  return value instanceof Aliased
    ? value.value !== null
    : typeof value === "object" && value !== null;
}

function readOperand(operand: Operand, scope: Scope): unknown {
  return operand.kind === "literal" ? operand.value : lookUp(operand.path, scope);
}

function runProgram(
  source: { readonly program: Program; readonly needs: Needs },
  scope: Scope,
): ProgramResult {
  return MACHINE.run(source.program, buildContext(source.needs, scope));
}

/** Undefined variables are left out, so that `is defined` says no. */
function buildContext(needs: Needs, scope: Scope): object {
  const entries: [string, unknown][] = [];
  for (const { name, path } of needs.variables) {
    entries.push([name, readVariable(path, scope)]);
  }
  for (const name of needs.wholes) {
    entries.push([name, toDeepOperand(lookUp({ root: name, steps: [] }, scope), scope)]);
  }
  if (needs.hasNow) {
    entries.push([NOW_VARIABLE, new Date(scope.nowMs).toISOString()]);
  }
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function readVariable(path: Path, scope: Scope): unknown {
  const value = lookUp(path, scope);
  return probe(path, value, scope) ?? toDeepOperand(value, scope);
}

function readText(result: ProgramResult): string {
  return result.kind === "value" ? toText(result.value) : result.text;
}

/** The value of an expression's program. */
function readValue(result: ProgramResult): Json {
  if (result.kind !== "value") {
    return parseJson(result.text);
  }
  if (typeof result.value === "number" && !Number.isFinite(result.value)) {
    throw new TemplateFault("the result is no finite number");
  }
  return toJson(result.value);
}

function limited(text: string): string {
  if (text.length > TEXT_LENGTH_MAX) {
    throw new TemplateFault(`the result is longer than ${TEXT_LENGTH_MAX} characters`);
  }
  return text;
}
