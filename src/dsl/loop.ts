/** `loop`: over a collection, or over frames that a cursor claims. */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { isTemplate } from "../template/lexer.ts";
import { readCursor } from "./cursor.ts";
import { checkTemplates } from "./expression.ts";
import type { Loop, LoopFailure } from "./playbook.ts";
import type { Fields } from "./report.ts";
import type { ToolDescriptions } from "./tool-description.ts";

const LOOP_KEYS = ["in", "iterator", "spec", "cursor", "mode"];
const MODES = ["sequential", "parallel", "cursor"] as const;
const PARALLEL_IN_FLIGHT_DEFAULT = 16;

/** @param knownTools kinds of tools that workers may have: cursors run as tools. */
export function readLoop(step: Fields, knownTools: ToolDescriptions): Loop | undefined {
  if (!step.has("loop")) {
    return undefined;
  }
  const loop = step.fields("loop");
  loop.checkKeys(LOOP_KEYS, ["done", "element"]);
  const spec = loop.fields("spec");
  spec.checkKeys(["mode", "max_in_flight", "policy", "frame"]);
  const mode = readMode(loop, spec);
  const source = readSource(loop, mode, knownTools);
  return {
    iterator: readIterator(loop),
    mode,
    maxInFlight: readMaxInFlight(spec, mode),
    failure: readFailure(spec),
    ...source,
  };
}

function readMode(loop: Fields, spec: Fields): Loop["mode"] {
  if (loop.has("mode")) {
    loop.legacy("mode", 'write "mode" below loop.spec');
  }
  const owner = loop.has("mode") && !spec.has("mode") ? loop : spec;
  const mode = owner.choice("mode", MODES, "LOOP_MODE_UNKNOWN");
  return mode ?? (loop.has("cursor") ? "cursor" : "sequential");
}

function readIterator(loop: Fields): string {
  const iterator = loop.text("iterator")?.trim() ?? "";
  if (iterator === "") {
    loop.report.error(
      "LOOP_ITERATOR_MISSING",
      loop.path,
      'a loop needs an "iterator", the name of its item',
    );
  }
  return iterator;
}

function readSource(
  loop: Fields,
  mode: Loop["mode"],
  knownTools: ToolDescriptions,
): Pick<Loop, "in" | "cursor"> {
  const items = loop.get("in");
  if (items !== undefined && loop.has("cursor")) {
    loop.error("LOOP_SOURCE_INVALID", "cursor", 'a loop has either "in" or "cursor"');
  }
  if (mode === "cursor") {
    return readCursorSource(loop, knownTools);
  }
  if (items === undefined) {
    const message = loop.has("cursor") ? 'a cursor needs "mode: cursor"' : 'a loop needs "in"';
    loop.report.error("LOOP_SOURCE_INVALID", loop.path, message);
    return {};
  }
  checkTemplates(loop.report, items, loop.at("in"));
  return { in: items };
}

function readCursorSource(loop: Fields, knownTools: ToolDescriptions): Pick<Loop, "cursor"> {
  if (!loop.has("cursor")) {
    loop.report.error("LOOP_SOURCE_INVALID", loop.path, 'a loop in cursor mode needs "cursor"');
    return {};
  }
  return { cursor: readCursor(loop, knownTools) };
}

function readMaxInFlight(spec: Fields, mode: Loop["mode"]): number | string {
  const value = spec.get("max_in_flight");
  if (typeof value === "string" && isTemplate(value)) {
    checkTemplates(spec.report, value, spec.at("max_in_flight"));
    return mode === "sequential" ? 1 : value;
  }
  const limit = spec.integer("max_in_flight", 1);
  if (mode === "sequential") {
    if (limit !== undefined && limit > 1) {
      spec.warn("FIELD_IGNORED", "max_in_flight", "a sequential loop runs one item at a time");
    }
    return 1;
  }
  return limit ?? (mode === "parallel" ? PARALLEL_IN_FLIGHT_DEFAULT : 1);
}

/** `policy.failure: fail_fast | continue | {max_failures: n}`, or `policy.max_failures: n`. */
function readFailure(spec: Fields): LoopFailure {
  const policy = spec.fields("policy");
  policy.checkKeys(["exec", "failure", "max_failures"]);
  policy.choice("exec", ["local", "distributed"], "LOOP_POLICY_INVALID");
  const failure: Json | undefined = policy.get("failure");
  const owner = isJsonObject(failure) ? policy.fields("failure") : policy;
  const maxFailures = owner.integer("max_failures", 0);
  if (maxFailures !== undefined) {
    return { maxFailures };
  }
  const key = isJsonObject(failure) ? "mode" : "failure";
  if (owner.get(key) === "best_effort") {
    return "continue";
  }
  return (
    owner.choice(key, ["fail_fast", "continue"] as const, "LOOP_POLICY_INVALID") ?? "fail_fast"
  );
}
