import { describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import type { PipelineRun } from "../../../src/engine/pipeline.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import { rawFieldsOf } from "../../../src/worker/code-fields.ts";
import { describeTool } from "../../support/tools.ts";

function run(kind: string, code: string): PipelineRun {
  const task = {
    label: "t",
    kind,
    config: { code },
    input: { url: "x" },
    set: [],
    isIdempotent: true,
  };
  return {
    step: { name: "s", tasks: [task], isPipeline: false, input: {}, outputSelect: [] },
    pipeline: PIPELINE_START,
    data: {
      executionId: "1" as ExecutionId,
      path: "a",
      version: 1,
      workload: { n: 1 },
      ctx: {},
      steps: {},
    },
    options: { nowMs: 0 },
  };
}

function isRaw(kind: string, code: string): boolean {
  const description = KNOWN_TOOL_KINDS.get(kind) ?? describeTool(kind);
  return rawFieldsOf(run(kind, code), description).has("code");
}

describe("rawFieldsOf()", () => {
  test("renders code whose templates read what exists", () => {
    expect(isRaw("python", "x = {{ workload.n }}")).toBe(false);
    expect(isRaw("python", "x = '{{ url }}' + '{{ execution_id }}'")).toBe(false);
    expect(isRaw("python", "x = 1")).toBe(false);
  });

  test("leaves braces alone that are the code's own", () => {
    expect(isRaw("python", 'print(f"{{{x}}}")')).toBe(true);
    expect(isRaw("python", 'print(f"{{x}}")')).toBe(true);
    expect(isRaw("javascript", "const f = () => ({{ a: 1 }})")).toBe(true);
  });

  test("is about code only", () => {
    expect(isRaw("shell", "echo {{ unknown }}")).toBe(false);
  });
});
