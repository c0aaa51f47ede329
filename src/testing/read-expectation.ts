/** Reads what a test expects. */
import type { Json } from "../core/json.ts";
import { Fields } from "../dsl/report.ts";
import { PATTERN_KEYS, readPattern } from "./read-stub.ts";
import { refuseOthers } from "./strict-fields.ts";
import type { CallExpectation, Expectation, Expected, StepExpectation } from "./test-case.ts";

const KEYS = [
  "status",
  "result",
  "steps",
  "visited",
  "not_visited",
  "ctx",
  "error",
  "calls",
  "that",
];
const STEP_KEYS = ["status", "result", "error", "visits", "calls"];
const STATUSES = ["COMPLETED", "FAILED", "CANCELLED", "RUNNING"] as const;

export function readExpectation(test: Fields): Expectation {
  if (!test.has("expect")) {
    test.error("EXPECT_MISSING", "expect", 'a test says what it expects, for example "status"');
  }
  const fields = test.fields("expect");
  refuseOthers(fields, KEYS);
  const error = expected(fields, "error");
  return {
    status: readStatus(fields) ?? (error === undefined ? "COMPLETED" : "FAILED"),
    result: expected(fields, "result"),
    steps: readSteps(fields),
    visited: fields.has("visited") ? fields.textList("visited") : undefined,
    notVisited: fields.textList("not_visited"),
    ctx: fields.has("ctx") ? fields.fields("ctx").map : undefined,
    error,
    calls: readCalls(fields),
    that:
      typeof fields.get("that") === "string"
        ? [String(fields.get("that"))]
        : fields.textList("that"),
  };
}

/** In any case: `completed` too. */
function readStatus(fields: Fields): string | undefined {
  const text = fields.text("status")?.toUpperCase();
  const status = STATUSES.find((each) => each === text);
  if (text !== undefined && status === undefined) {
    fields.error("STATUS_UNKNOWN", "status", `status must be one of ${STATUSES.join(", ")}`);
  }
  return status;
}

/** A null that is written counts. */
function expected(fields: Fields, key: string): Expected | undefined {
  return Object.hasOwn(fields.map, key) ? { value: fields.map[key] ?? null } : undefined;
}

function readSteps(fields: Fields): Readonly<Record<string, StepExpectation>> {
  const steps = fields.fields("steps");
  return Object.fromEntries(
    Object.entries(steps.map).map(([name, value]) => [name, readStep(steps, name, value)]),
  );
}

/** A text alone is the status of the step. */
function readStep(steps: Fields, name: string, value: Json): StepExpectation {
  if (typeof value === "string") {
    return { status: value.toLowerCase() };
  }
  const fields = Fields.of(steps.report, value, steps.at(name));
  refuseOthers(fields, STEP_KEYS);
  const status = fields.text("status")?.toLowerCase();
  const result = expected(fields, "result");
  const error = expected(fields, "error");
  const visits = fields.integer("visits", 0);
  const calls = fields.integer("calls", 0);
  return {
    ...(status === undefined ? {} : { status }),
    ...(result === undefined ? {} : { result }),
    ...(error === undefined ? {} : { error }),
    ...(visits === undefined ? {} : { visits }),
    ...(calls === undefined ? {} : { calls }),
  };
}

function readCalls(fields: Fields): readonly CallExpectation[] {
  return fields.list("calls").map((item, index) => {
    const call = Fields.of(fields.report, item, `${fields.at("calls")}[${index}]`);
    refuseOthers(call, [...PATTERN_KEYS, "count"]);
    const count = call.integer("count", 0);
    return { ...readPattern(call), ...(count === undefined ? {} : { count }) };
  });
}
