/** One step of the workflow. */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { readAssignments, readGuard } from "./expression.ts";
import { readLoop } from "./loop.ts";
import type { PlacedNext } from "./next.ts";
import { readNext } from "./next.ts";
import type { AdmitRule, Step } from "./playbook.ts";
import { readDuration } from "./policy.ts";
import { Fields } from "./report.ts";
import type { TaskContext } from "./task.ts";
import { readInput, readOutputSelect, readTool } from "./task.ts";

const STEP_KEYS = [
  "step",
  "desc",
  "description",
  "spec",
  "input",
  "args",
  "loop",
  "tool",
  "output",
  "output_select",
  "set",
  "next",
  "pool",
  "timeout",
  "case",
  "when",
];
const SPEC_KEYS = ["policy", "timeout", "join", "pool", "next_mode"];
const FAILURES = ["drain", "fail_fast", "best_effort"] as const;
const JOINS = ["auto", "all", "any"] as const;

/** A step whose arcs are not checked against the other steps yet. */
export interface PlacedStep {
  readonly step: Omit<Step, "next">;
  readonly next: PlacedNext;
  readonly path: string;
}

export function readStep(fields: Fields, context: Omit<TaskContext, "step">): PlacedStep {
  fields.checkKeys(STEP_KEYS, ["sink", "vars", "retry", "type"]);
  rejectKeys(fields);
  const name = readName(fields);
  const spec = fields.fields("spec");
  spec.checkKeys(SPEC_KEYS, ["on_error"]);
  const { tasks, isPipeline, outputSelect } = readTool(fields, { ...context, step: name });
  const loop = readLoop(fields, context.knownTools);
  const step = {
    name,
    tasks,
    isPipeline,
    input: readStepInput(fields),
    set: readAssignments(fields, "set"),
    join: spec.choice("join", JOINS, "JOIN_UNKNOWN") ?? ("auto" as const),
    outputSelect: [...new Set([...readOutputSelect(fields), ...outputSelect])],
    ...readStepPolicy(spec),
    ...readOptions(fields, spec),
    ...(loop === undefined ? {} : { loop }),
  };
  return { step, next: readNext(fields, spec), path: fields.path };
}

function readName(fields: Fields): string {
  const name = fields.text("step")?.trim() ?? "";
  if (name === "") {
    fields.report.error("STEP_NAME_MISSING", fields.path, 'a step needs "step", its name');
  }
  return name;
}

function rejectKeys(fields: Fields): void {
  if (fields.has("case")) {
    fields.error(
      "FIELD_REJECTED",
      "case",
      '"case" is no longer read; write the conditions on next.arcs',
    );
  }
  if (fields.has("when")) {
    const message =
      "a step has no condition; put it on the arcs that lead here, or in spec.policy.admit";
    fields.error("FIELD_REJECTED", "when", message);
  }
}

function readStepInput(fields: Fields): Step["input"] {
  if (fields.has("input")) {
    fields.legacy("input", 'write "input" below the tool');
  }
  return readInput(fields);
}

/** `spec.timeout`; also `policy.lifecycle.timeout_s` and `deadline_s`, the shorter one counts. */
function readStepTimeout(fields: Fields, spec: Fields): number | undefined {
  const timeoutMs = readDuration(spec.has("timeout") ? spec : fields, "timeout");
  const lifecycle = spec.fields("policy").fields("lifecycle");
  lifecycle.checkKeys(["timeout_s", "deadline_s"]);
  const limits = [
    timeoutMs,
    readDuration(lifecycle, "timeout_s"),
    readDuration(lifecycle, "deadline_s"),
  ].filter((limit) => limit !== undefined);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

function readOptions(
  fields: Fields,
  spec: Fields,
): Pick<Step, "description" | "timeoutMs" | "pool"> {
  const description = fields.text(fields.firstOf(["desc", "description"]) ?? "desc");
  const timeoutMs = readStepTimeout(fields, spec);
  const pool = fields.text("pool") ?? spec.text("pool");
  return {
    ...(description === undefined ? {} : { description }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(pool === undefined ? {} : { pool }),
  };
}

function readStepPolicy(spec: Fields): Pick<Step, "admit" | "failure"> {
  const policy = spec.fields("policy");
  policy.checkKeys(["admit", "failure", "lifecycle"], ["emit"]);
  const owner = isJsonObject(policy.get("failure")) ? policy.fields("failure") : policy;
  if (owner !== policy) {
    owner.checkKeys(["mode"]);
  }
  const key = owner === policy ? "failure" : "mode";
  return {
    admit: readAdmit(policy),
    failure: owner.choice(key, FAILURES, "FAILURE_UNKNOWN") ?? "drain",
  };
}

/** Rules, or a guard alone: admitted if it holds. */
function readAdmit(policy: Fields): readonly AdmitRule[] {
  const value: Json | undefined = policy.get("admit");
  if (value === undefined) {
    return [];
  }
  if (!isJsonObject(value)) {
    const when = readGuard(policy, "admit");
    return when === undefined ? [] : [{ when, isAllowed: true }, { isAllowed: false }];
  }
  const admit = policy.fields("admit");
  admit.checkKeys(["mode", "rules"]);
  if (admit.choice("mode", ["exclusive", "inclusive"], "POLICY_INVALID") === "inclusive") {
    admit.warn("FIELD_IGNORED", "mode", "the first rule that matches decides, whatever the mode");
  }
  return admit.list("rules").flatMap((item, index) => {
    const rule = Fields.of(admit.report, item, `${admit.at("rules")}[${index}]`);
    return readAdmitRule(rule) ?? [];
  });
}

function readAdmitRule(rule: Fields): AdmitRule | undefined {
  rule.checkKeys(["when", "then", "else"]);
  const otherwise = rule.has("else") ? rule.fields("else") : undefined;
  const holder = otherwise?.has("then") === true ? otherwise : rule;
  const then = holder.has("then") ? holder.fields("then") : (otherwise ?? rule);
  const isAllowed = then.flag("allow");
  if (isAllowed === undefined) {
    rule.report.error(
      "RULE_INVALID",
      rule.path,
      "an admit rule needs then: {allow: true or false}",
    );
    return undefined;
  }
  const when = Object.hasOwn(rule.map, "else") ? undefined : readGuard(rule, "when");
  return { isAllowed, ...(when === undefined ? {} : { when }) };
}
