import { describe, expect, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { AdoptionAnswer, GrantedCommand, RuntimeFacts } from "../../../src/engine/command.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import type { Gpu } from "../../../src/engine/gpu.ts";
import {
  decodeAnswer,
  decodeQuestions,
  encodeAnswer,
  encodeQuestion,
  QUESTIONS_MAX,
} from "../../../src/rpc/adoption-codec.ts";
import {
  decodeGpus,
  decodeRuntimes,
  encodeGpu,
  encodeRuntime,
} from "../../../src/rpc/gpu-codec.ts";

const BARE: Gpu = { id: "GPU-1", index: "0", name: "L4", memoryMib: 23_034, state: "ready" };
const SLICE: Gpu = {
  ...{ id: "MIG-1", index: "0:1", name: "H100", memoryMib: 9856, memoryUsedMib: 12 },
  ...{ utilizationPercent: 0.5, temperatureC: 41, powerW: 71.25, eccErrors: 0 },
  ...{ migProfile: "1g.10gb", parentId: "GPU-2", state: "unclean", reason: "pid 7 is on it" },
};
const HELD = {
  executionId: "9007199254740993" as ExecutionId,
  commandId: "9007199254740995" as CommandId,
  attempt: 2,
};

describe("GPUs", () => {
  test("come back with all that is known of them, and nothing else", () => {
    expect(decodeGpus([BARE, SLICE].map(encodeGpu))).toEqual({ gpus: [BARE, SLICE] });
    expect(decodeGpus([])).toEqual({});
  });

  test("in a state that nobody knows are not to be leased", () => {
    expect(decodeGpus([{ ...encodeGpu(BARE), state: "odd" }]).gpus?.[0]?.state).toBe(
      "out_of_service",
    );
  });

  test("without an id, twice, too many, or with endless text are refused", () => {
    const gpu = encodeGpu(BARE);
    const many = Array.from({ length: 1001 }, (_, n) => ({ ...gpu, id: `GPU-${n}` }));
    for (const gpus of [[{ ...gpu, id: "" }], [gpu, gpu], many, [{ ...gpu, memoryMib: -1 }]]) {
      expect(() => decodeGpus(gpus)).toThrow("Invalid message");
    }
    expect(() => decodeGpus([{ ...gpu, reason: "x".repeat(5000) }])).toThrow("reason");
  });
});

test("container runtimes come back, with why they cannot be used", () => {
  const facts: readonly RuntimeFacts[] = [
    { name: "podman", version: "5.4", isUsable: true, gpus: "cdi" },
    { name: "docker", version: "", isUsable: false, problem: "no daemon", gpus: "none" },
  ];
  expect(decodeRuntimes(facts.map(encodeRuntime))).toEqual({ runtimes: facts });
  expect(() => decodeRuntimes(Array(21).fill(encodeRuntime(facts[0] as RuntimeFacts)))).toThrow(
    "at most 20",
  );
});

describe("adoption", () => {
  const question = { held: HELD, ownerId: "w0" as WorkerId, isOwnerDead: true, isReusable: true };

  test("questions come back; too many and broken ones are refused", () => {
    const wire = encodeQuestion(question);
    expect(decodeQuestions([wire])).toEqual([question]);
    expect(() => decodeQuestions(Array(QUESTIONS_MAX + 1).fill(wire))).toThrow("500");
    expect(() => decodeQuestions([{ ...wire, ownerId: "" }])).toThrow("worker_id");
    expect(() => decodeQuestions([{ ...wire, command: undefined }])).toThrow("missing");
  });

  test("answers come back, with the command, its GPUs and where its log ends", () => {
    const payload = {
      step: { name: "s", tasks: [], isPipeline: false, input: {}, outputSelect: [] },
      pipeline: PIPELINE_START,
      scope: { executionId: "1", path: "p", version: 1, workload: {}, ctx: {}, steps: {} },
    };
    const gpus = [{ id: "GPU-1", name: "L4", memoryMib: 1, isShared: true }];
    const more = { claimedAtMs: 5, gpus, loggedUntilMs: 1_700_000_000_001 };
    const command: GrantedCommand = { ...HELD, payload: JSON.stringify(payload), ...more };
    const adopted: AdoptionAnswer<GrantedCommand> = { status: "adopted", command };
    expect(decodeAnswer(HELD, encodeAnswer(adopted))).toEqual({
      status: "adopted",
      command: { ...HELD, payload, ...more },
    } as never);
    for (const status of ["disowned", "later"] as const) {
      expect(decodeAnswer(HELD, encodeAnswer({ status }))).toEqual({ status });
    }
    expect(decodeAnswer(HELD, { answer: undefined })).toEqual({ status: "later" });
  });
});
