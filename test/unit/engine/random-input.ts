/** Inputs to the engine by chance: as data that fast-check can print and shrink. */
import fc from "fast-check";
import type { CommandId, ExecutionId, TimerId, WorkerId } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import type { CommandOutcome } from "../../../src/engine/command.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import type { ChildEnd, EngineInput } from "../../../src/engine/decision.ts";
import { FAILURE_KINDS, failure } from "../../../src/engine/failure.ts";
import type { Driver } from "./harness.ts";
import { SIGNALS } from "./random-playbook.ts";

/** `at` says which of the open commands, timers or children it is about. */
export type Happening =
  | {
      readonly of: "report";
      readonly at: number;
      readonly late: number;
      readonly outcome: CommandOutcome;
    }
  | { readonly of: "lease"; readonly at: number; readonly late: number }
  | { readonly of: "timer"; readonly at: number; readonly ms: number }
  | {
      readonly of: "child";
      readonly at: number;
      readonly status: ChildEnd["status"];
      readonly value: Json;
    }
  | { readonly of: "other"; readonly input: EngineInput };

const json: fc.Arbitrary<Json> = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
  fc.constantFrom<Json>(
    JSON.parse('{"__proto__": 1, "constructor": 2, "length": 3}'),
    { status: "error", message: "no" },
    { status_code: 200, data: { a: 1 } },
    { $ref: "somewhere", size: 5, type: "object" },
    { results: [1], stats: {} },
    { items: [1, 2], rowCount: 2 },
    "{{ x }}",
    1e308,
  ),
);
const NAMES = ["n", "x", "list", "ctx", "s0", "output", "iter", "workload", "", "__proto__", "a.b"];

/** Maps with names that mean something, or should not. */
export const map = fc.dictionary(fc.constantFrom(...NAMES), json, {
  maxKeys: 3,
}) as fc.Arbitrary<JsonObject>;

const outcome: fc.Arbitrary<CommandOutcome> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ status: fc.constant("ok" as const), value: json, ctx: map }),
  },
  fc.record({
    status: fc.constant("error" as const),
    error: fc.constantFrom(...FAILURE_KINDS).map((kind) => failure(kind, "by chance")),
    value: json,
    ctx: map,
  }),
  fc.record({
    status: fc.constant("yielded" as const),
    pipeline: fc
      .record({ results: map, locals: map, iter: map, ctx: map })
      .map((more) => ({ ...PIPELINE_START, ...more })),
    delayMs: fc.nat(10_000),
  }),
  fc.constantFrom<CommandOutcome>({ status: "cancelled" }, { status: "released", reason: "" }),
);

const other: fc.Arbitrary<EngineInput> = fc.oneof(
  fc.record({
    kind: fc.constant("signal" as const),
    signal: fc.record({
      name: fc.constantFrom(...SIGNALS, "", "x".repeat(300)),
      payload: json,
      isBroadcast: fc.boolean(),
      dedupKey: fc.string(),
    }),
  }),
  fc.record({
    kind: fc.constant("variables" as const),
    values: map,
    removed: fc.array(fc.constantFrom(...NAMES), { maxLength: 3 }),
  }),
  fc.record({
    kind: fc.constant("retry" as const),
    steps: fc.array(fc.constantFrom("s0", "s1", "nothing"), { maxLength: 2 }),
  }),
  fc.constant<EngineInput>({ kind: "retry" }),
  fc.constant<EngineInput>({ kind: "cancel", reason: "" }),
  fc.record({
    kind: fc.constant("finalize" as const),
    status: fc.constantFrom("completed" as const, "failed" as const),
    reason: fc.constant(""),
  }),
  map.map((payload) => ({ kind: "start" as const, start: startOf(payload) })),
);

function startOf(payload: JsonObject) {
  return { executionId: "1" as ExecutionId, path: "p", version: 1, payload };
}

const at = fc.nat(20);

export const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ of: fc.constant("report" as const), at, late: fc.nat(3), outcome }),
  },
  fc.record({ of: fc.constant("lease" as const), at, late: fc.nat(1) }),
  {
    weight: 3,
    arbitrary: fc.record({ of: fc.constant("timer" as const), at, ms: fc.nat(100_000) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      of: fc.constant("child" as const),
      at,
      status: fc.constantFrom("completed" as const, "failed" as const, "cancelled" as const),
      value: json,
    }),
  },
  { weight: 3, arbitrary: fc.record({ of: fc.constant("other" as const), input: other }) },
);

/** What happens, to the execution as it is now. */
export function inputOf(driver: Driver, what: Happening): EngineInput {
  switch (what.of) {
    case "report": {
      const command = nth(driver.commands.values(), what.at);
      const { commandId = "0" as CommandId, attempt = 1 } = command ?? {};
      const late = Math.max(0, what.late - 2);
      const who = { executionId: "1" as ExecutionId, workerId: "w" as WorkerId, startedAtMs: 0 };
      const report = { ...who, commandId, attempt: attempt - late, outcome: what.outcome };
      return { kind: "report", report };
    }
    case "lease": {
      const command = nth(driver.commands.values(), what.at);
      const { commandId = "0" as CommandId, attempt = 1 } = command ?? {};
      return { kind: "lease_expired", commandId, attempt: attempt - what.late };
    }
    case "timer": {
      driver.nowMs += what.ms;
      const { timerId = "0" as TimerId, purpose = { kind: "cancel_deadline" as const } } =
        nth(driver.timers.values(), what.at) ?? {};
      driver.timers.delete(timerId);
      return { kind: "timer", timerId, purpose };
    }
    case "child": {
      const childId = nth(driver.children.keys(), what.at) ?? ("0" as ExecutionId);
      driver.children.delete(childId);
      return { kind: "child_done", child: { childId, status: what.status, value: what.value } };
    }
    case "other":
      return what.input;
  }
}

function nth<T>(items: Iterable<T>, index: number): T | undefined {
  const list = [...items];
  return list[index % Math.max(1, list.length)];
}
