/** `next`: the arcs that lead on from a step. */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { readAssignments, readGuard } from "./expression.ts";
import type { Arc, Next } from "./playbook.ts";
import { Fields } from "./report.ts";

/** An arc and where it stands, for reports about its target. */
export interface PlacedArc {
  readonly arc: Arc;
  readonly path: string;
}

export interface PlacedNext {
  readonly mode: Next["mode"];
  readonly onNoMatch: Next["onNoMatch"];
  readonly arcs: readonly PlacedArc[];
  /** False when the step says nothing about what follows. */
  readonly isWritten: boolean;
}

const MODES = ["exclusive", "inclusive"] as const;

export function readNext(step: Fields, spec: Fields): PlacedNext {
  const value = step.get("next");
  const fallback = readFallbackMode(spec);
  if (value === undefined) {
    return { mode: fallback ?? "exclusive", onNoMatch: "complete", arcs: [], isWritten: false };
  }
  if (isJsonObject(value) && !Object.hasOwn(value, "step")) {
    return readRouter(step.fields("next"), fallback);
  }
  step.legacy("next", "write next: {arcs: [{step: name}]}");
  return readList(step, value, fallback);
}

function readFallbackMode(spec: Fields): Next["mode"] | undefined {
  if (spec.has("next_mode")) {
    spec.legacy("next_mode", 'write "mode" below next.spec');
  }
  return spec.choice("next_mode", MODES, "NEXT_MODE_UNKNOWN");
}

function readRouter(next: Fields, fallback: Next["mode"] | undefined): PlacedNext {
  next.checkKeys(["spec", "arcs"]);
  const spec = next.fields("spec");
  spec.checkKeys(["mode", "on_no_match"], ["policy"]);
  if (!next.has("arcs")) {
    next.report.error("NEXT_INVALID", next.path, '"next" needs "arcs", a list of {step, when}');
  }
  const arcs = next.list("arcs").flatMap((item, index) => {
    const path = `${next.at("arcs")}[${index}]`;
    return typeof item === "string"
      ? readName(next, item, path)
      : readArc(Fields.of(next.report, item, path));
  });
  const onNoMatch = spec.choice("on_no_match", ["complete", "fail", "quiet"], "NEXT_INVALID");
  const mode = spec.choice("mode", MODES, "NEXT_MODE_UNKNOWN") ?? fallback ?? "exclusive";
  return { mode, onNoMatch: onNoMatch ?? "complete", arcs, isWritten: true };
}

function readName(next: Fields, name: string, path: string): readonly PlacedArc[] {
  next.report.warn("LEGACY_FORM", path, `write {step: ${name}}`);
  return [{ arc: { step: name, set: [] }, path }];
}

function readArc(arc: Fields): readonly PlacedArc[] {
  arc.checkKeys(["step", "when", "set", "desc", "description"], ["spec", "cond", "args"]);
  const step = arc.text("step");
  if (step === undefined) {
    arc.report.error(
      "ARC_INVALID",
      arc.path,
      'an arc needs "step", the name of the step it leads to',
    );
    return [];
  }
  const when = readGuard(arc, "when");
  const set = readAssignments(arc, "set");
  const path = arc.at("step");
  return [{ arc: { step, set, ...(when === undefined ? {} : { when }) }, path }];
}

/** A name, a map, or a list of them. Without any condition all of them fire. */
function readList(step: Fields, value: Json, fallback: Next["mode"] | undefined): PlacedNext {
  const isList = Array.isArray(value);
  const items: readonly Json[] = isList ? value : [value];
  const arcs = items.flatMap((item, index) =>
    readItem(step, item, isList ? `${step.at("next")}[${index}]` : step.at("next")),
  );
  const hasGuards = arcs.some(({ arc }) => arc.when !== undefined);
  const mode = fallback ?? (hasGuards ? "exclusive" : "inclusive");
  return { mode, onNoMatch: "complete", arcs, isWritten: true };
}

function readItem(step: Fields, item: Json, path: string): readonly PlacedArc[] {
  if (!isJsonObject(item)) {
    return [{ arc: { step: String(item), set: [] }, path }];
  }
  const fields = new Fields(step.report, item, path);
  if (!fields.has("then") && !fields.has("else")) {
    return readArc(fields);
  }
  fields.checkKeys(["when", "then", "else", "step"]);
  if (fields.has("step")) {
    fields.error(
      "ARC_INVALID",
      "step",
      'an item of "next" has either "step", or "then" and "else"',
    );
  }
  const when = readGuard(fields, "when");
  const targets = readThenTargets(step, fields, "then");
  const guarded = when === undefined ? targets : targets.map((target) => withGuard(target, when));
  return [...guarded, ...readThenTargets(step, fields, "else")];
}

/** `then: name`, `then: {step: name}`, or a list of them. */
function readThenTargets(step: Fields, fields: Fields, key: string): readonly PlacedArc[] {
  const value = fields.get(key);
  if (value === undefined) {
    return [];
  }
  const items: readonly Json[] = Array.isArray(value) ? value : [value];
  return items.flatMap((item) => readItem(step, item, fields.at(key)));
}

function withGuard(placed: PlacedArc, when: Json): PlacedArc {
  return placed.arc.when === undefined ? { ...placed, arc: { ...placed.arc, when } } : placed;
}
