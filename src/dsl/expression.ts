/** Guards and templates inside a document: checked when it is read, so that none fails later. */
import type { Json } from "../core/json.ts";
import { checkTemplate, compile } from "../template/compile.ts";
import { TemplateError } from "../template/error.ts";
import { isTemplate } from "../template/lexer.ts";
import type { Assignment } from "./playbook.ts";
import type { Fields, Report } from "./report.ts";
import { joinPath } from "./yaml.ts";

const SCOPES = new Set(["ctx", "iter", "step"]);

/**
 * The guard in its full form: a bare expression gets its braces.
 *
 * Reports GUARD_EMPTY, GUARD_INVALID and TEMPLATE_SYNTAX.
 */
export function readGuard(fields: Fields, key: string): Json | undefined {
  const value = fields.get(key);
  if (value === undefined || typeof value === "boolean" || typeof value === "number") {
    return value;
  }
  if (typeof value !== "string") {
    fields.error("GUARD_INVALID", key, `${key} must be an expression`);
    return undefined;
  }
  return readGuardText(fields, key, value);
}

function readGuardText(fields: Fields, key: string, text: string): string | undefined {
  if (text.trim() === "") {
    fields.error("GUARD_EMPTY", key, `${key} is empty; leave it out if it always holds`);
    return undefined;
  }
  if (!isTemplate(text) && text.includes("{")) {
    fields.error("GUARD_INVALID", key, `${key} has "{" without "{{"`);
    return undefined;
  }
  const guard = isTemplate(text) ? text : `{{ ${text.trim()} }}`;
  const isFine = checkText(fields.report, guard, fields.at(key));
  if (isFine && compile(guard).kind === "mixed") {
    const message = `text beside the braces makes ${key} true always; put all of it inside {{ }}`;
    fields.warn("GUARD_IS_TEXT", key, message);
  }
  return guard;
}

/** Reports TEMPLATE_SYNTAX for every template inside the value that cannot be read. */
export function checkTemplates(report: Report, value: Json | undefined, path: string): void {
  if (typeof value === "string") {
    checkText(report, value, path);
  } else if (Array.isArray(value)) {
    for (const [index, item] of (value as readonly Json[]).entries()) {
      checkTemplates(report, item, `${path}[${index}]`);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [key, child] of Object.entries(value)) {
      checkTemplates(report, child, joinPath(path, key));
    }
  }
}

function checkText(report: Report, text: string, path: string): boolean {
  try {
    checkTemplate(text);
    return true;
  } catch (error) {
    if (error instanceof TemplateError) {
      report.error("TEMPLATE_SYNTAX", path, error.message.replace("Cannot render", "cannot read"));
      return false;
    }
    throw error;
  }
}

/** A `set` map in its order. Reports SET_TARGET_INVALID. */
export function readAssignments(fields: Fields, key: string): readonly Assignment[] {
  const set = fields.fields(key);
  checkTemplates(fields.report, set.map, set.path);
  return Object.entries(set.map).map(([target, value]) => {
    const [scope, name] = target.split(".", 2);
    if (scope === "" || name === "") {
      set.error("SET_TARGET_INVALID", target, `"${target}" names nothing to set`);
    } else if (name !== undefined && !SCOPES.has(scope ?? "")) {
      const message = `"${target}" sets ctx.${target}; the scopes are ctx., iter. and step.`;
      set.warn("SET_TARGET_UNKNOWN", target, message);
    }
    return { target, value };
  });
}
