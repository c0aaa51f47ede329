import { describe, expect, test } from "bun:test";
import type { Json } from "../../../src/core/json.ts";
import { readDemand } from "../../../src/dsl/gpu.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { ToolDescription } from "../../../src/dsl/tool-description.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";

const CUDA: ToolDescription = {
  kind: "cuda",
  summary: "runs on a GPU",
  runsOn: "worker",
  gpuDefault: 1,
  fields: { timeouts: { type: "map", about: "limits" } },
  result: "nothing",
  example: "kind: cuda",
};

function parse(tool: string) {
  const text = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {path: tests/gpu}
workflow:
- step: a
  tool: ${tool}`;
  return parsePlaybook(text, { knownTools: new Map([...KNOWN_TOOL_KINDS, ["cuda", CUDA]]) });
}

function taskOf(tool: string) {
  const { playbook, diagnostics } = parse(tool);
  expect(diagnostics).toEqual([]);
  return playbook?.steps[0]?.tasks[0];
}

describe("the wish of a task", () => {
  test.each<[string, Json | undefined]>([
    ["{kind: noop, gpu: 1}", 1],
    ["{kind: noop, gpu: true}", true],
    ["{kind: noop, gpus: 2}", 2],
    ["{kind: noop, gpu: '{{ n }}'}", "{{ n }}"],
    ["{kind: noop, gpu: {count: '{{ n }}', type: L4}}", { count: "{{ n }}", type: "L4" }],
    [
      "{kind: noop, gpu: {shared: true, memory_min: '{{ m }}'}}",
      { shared: true, memory_min: "{{ m }}" },
    ],
    ["{kind: noop, resources: {gpu: {count: 2}}}", { count: 2 }],
    ["{kind: noop, resources: {gpus: 3}}", 3],
    ["{kind: noop, resources: {limits: {nvidia.com/gpu: 1}}}", 1],
    [
      "{kind: noop, resources: {limits: {nvidia.com/mig-1g.5gb: 2}}}",
      { count: 2, mig_profile: "1g.5gb" },
    ],
    ["{kind: noop, resources: '{{ r }}'}", undefined],
    ["{kind: noop, gpu: 0}", undefined],
    ["{kind: noop, gpu: false}", undefined],
    ["{kind: noop, gpu: {count: 0}}", undefined],
    ["{kind: noop}", undefined],
    ["{kind: cuda}", 1],
    ["{kind: cuda, gpu: 2}", 2],
    ["{kind: cuda, gpu: 0}", undefined],
  ])("%s", (tool, expected) => {
    expect(taskOf(tool)?.gpu).toEqual(expected as never);
  });

  test("what is wrong is said where it stands", () => {
    const { diagnostics } = parse(
      "{kind: noop, gpu: {count: 1.5, type: [1], memory_min: big, mig_profile: x}}",
    );
    expect(diagnostics.map(({ code, path, line }) => [code, path, line])).toEqual([
      ["GPU_INVALID", "workflow[0].tool.gpu.count", 6],
      ["GPU_INVALID", "workflow[0].tool.gpu.type", 6],
      ["GPU_INVALID", "workflow[0].tool.gpu.memory_min", 6],
      ["GPU_INVALID", "workflow[0].tool.gpu.mig_profile", 6],
    ]);
  });

  test.each([
    ["{kind: noop, gpu: many}", "GPU_INVALID"],
    ["{kind: noop, gpu: -1}", "GPU_INVALID"],
    ["{kind: noop, gpu: [1]}", "GPU_INVALID"],
    ["{kind: noop, gpu: 65}", "GPU_INVALID"],
    ["{kind: noop, resources: {limits: {nvidia.com/gpu: x}}}", "GPU_INVALID"],
    ["{kind: noop, resources: {limits: {nvidia.com/mig-9: 1}}}", "GPU_INVALID"],
    ["{kind: noop, gpu: {shared: true}}", "GPU_INVALID"],
    ["{kind: noop, gpu: {counts: 1}}", "FIELD_UNKNOWN"],
    ["{kind: noop, gpu: 1, gpus: 2}", "FIELD_IGNORED"],
    ["{kind: noop, gpu: '{{ n'}", "TEMPLATE_SYNTAX"],
  ])("%s is %s", (tool, code) => {
    expect(parse(tool).diagnostics.map((diagnostic) => diagnostic.code)).toEqual([code]);
  });
});

test("timeouts.queue is a duration", () => {
  expect(taskOf("{kind: noop, timeouts: {queue: 30m}}")?.queueTimeoutMs).toBe(1_800_000);
  expect(taskOf("{kind: cuda, timeouts: {queue: 5, run: 1h}}")?.queueTimeoutMs).toBe(5000);
  expect(taskOf("{kind: noop, timeouts: '{{ t }}'}")?.queueTimeoutMs).toBeUndefined();
  const codes = (tool: string) => parse(tool).diagnostics.map(({ code }) => code);
  expect(codes("{kind: noop, timeouts: {queue: soon}}")).toEqual(["DURATION_INVALID"]);
  expect(codes("{kind: noop, timeouts: {run: 1}}")).toEqual(["FIELD_UNKNOWN"]);
});

describe("the demand of a wish", () => {
  const ONE = { count: 1, types: [], isShared: false };
  test.each<[Json, object | undefined]>([
    [1, ONE],
    [true, ONE],
    ["2", { ...ONE, count: 2 }],
    [{}, ONE],
    [{ count: null, type: "" }, ONE],
    [{ type: "H100" }, { ...ONE, types: ["H100"] }],
    [{ type: ["H100", "A100"] }, { ...ONE, types: ["H100", "A100"] }],
    [{ memory_min: 1000 }, { ...ONE, memoryMinMib: 1000 }],
    [{ memory_min: "40Gi" }, { ...ONE, memoryMinMib: 40_960 }],
    [{ memory_min: "16 GiB" }, { ...ONE, memoryMinMib: 16_384 }],
    [{ memory_min: "1G" }, { ...ONE, memoryMinMib: 954 }],
    [{ memory_min: "512" }, { ...ONE, memoryMinMib: 512 }],
    [{ mig_profile: "1G.5GB" }, { ...ONE, migProfile: "1g.5gb" }],
    [{ mig: "3g.20gb+me" }, { ...ONE, migProfile: "3g.20gb+me" }],
    [
      { shared: "true", memory_min: "1Gi" },
      { ...ONE, isShared: true, memoryMinMib: 1024 },
    ],
    [null, undefined],
    ["", undefined],
    [false, undefined],
    [0, undefined],
  ])("%j", (wish, expected) => {
    expect(readDemand(wish)).toEqual({
      ...(expected === undefined ? {} : { demand: expected as never }),
      problems: [],
    });
  });

  test("is not there when the wish makes no sense", () => {
    for (const wish of ["x", 1.5, { memory_min: 0 }, { memory_min: "9 ells" }, { shared: 2 }]) {
      const { demand, problems } = readDemand(wish);
      expect(demand).toBeUndefined();
      expect(problems).toHaveLength(1);
    }
  });
});
