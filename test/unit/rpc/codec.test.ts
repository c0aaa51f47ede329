import { describe, expect, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type {
  CommandOutcome,
  CommandPayload,
  CommandReport,
  Directive,
  Heartbeat,
  LogLine,
  WorkerRegistration,
} from "../../../src/engine/command.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import { failure } from "../../../src/engine/failure.ts";
import {
  decodeClaimOutcome,
  decodeDirective,
  decodeHeartbeat,
  decodeHeld,
  decodeLogLine,
  decodePermitDemand,
  decodeRegistration,
  decodeReport,
  encodeClaimOutcome,
  encodeDirective,
  encodeHeartbeat,
  encodeHeld,
  encodeLogLine,
  encodeRegistration,
  encodeReport,
} from "../../../src/rpc/codec.ts";

const WORKER = "w1" as WorkerId;
const HELD = {
  executionId: "9007199254740993" as ExecutionId,
  commandId: "9007199254740995" as CommandId,
  attempt: 2,
};

function report(outcome: CommandOutcome): CommandReport {
  return { ...HELD, workerId: WORKER, startedAtMs: 1_700_000_000_000, outcome };
}

describe("codec", () => {
  test("registrations come back", () => {
    const registration: WorkerRegistration = {
      workerId: WORKER,
      name: "host-1",
      pool: "cpu",
      slots: 4,
      hostname: "host",
      pid: 7,
      version: "1",
      tools: ["noop"],
      labels: { zone: "a" },
      metricsUrl: "http://x",
    };
    expect(decodeRegistration(encodeRegistration(registration))).toEqual(registration);
    const { metricsUrl: _, ...without } = registration;
    expect(decodeRegistration(encodeRegistration(without))).toEqual(without);
  });

  test("heartbeats come back", () => {
    const heartbeat: Heartbeat = {
      workerId: WORKER,
      held: [HELD],
      freeSlots: 3,
      pullAgeMs: 12,
      eventLoopLagMs: 1.5,
      rssBytes: 123_456_789_012,
      cpuPercent: 12.5,
      isDraining: true,
    };
    expect(decodeHeartbeat(encodeHeartbeat(heartbeat))).toEqual(heartbeat);
    const leaving: Heartbeat = { ...heartbeat, leaveMs: 120_000 };
    expect(decodeHeartbeat(encodeHeartbeat(leaving))).toEqual(leaving);
  });

  test("directives come back", () => {
    const { commandId, attempt } = HELD;
    const directives: Directive[] = [
      { kind: "cancel", commandId, attempt },
      { kind: "lost", commandId, attempt },
      { kind: "drain" },
      { kind: "register" },
    ];
    expect(directives.map(encodeDirective).map(decodeDirective)).toEqual(directives);
    expect(decodeDirective({ kind: undefined })).toBeUndefined();
  });

  test("a more urgent command than the one asked for keeps its own id", () => {
    const other = "9007199254740997" as CommandId;
    const payload = '{"step":{"tasks":[]},"pipeline":{"position":0},"scope":{}}';
    const command = { ...HELD, commandId: other, payload, claimedAtMs: 5 };
    const outcome = { commandId: HELD.commandId, status: "claimed", command } as const;
    expect(decodeClaimOutcome(encodeClaimOutcome(outcome))).toMatchObject({
      commandId: HELD.commandId,
      status: "claimed",
      command: { commandId: other, attempt: HELD.attempt },
    });
  });

  test("a command comes with the GPUs that are leased to it", () => {
    const payload = '{"step":{"tasks":[]},"pipeline":{"position":0},"scope":{}}';
    const gpus = [{ id: "GPU-1", name: "NVIDIA L4", memoryMib: 23_034, isShared: false }];
    const command = { ...HELD, payload, claimedAtMs: 5, gpus };
    const outcome = { commandId: HELD.commandId, status: "claimed", command } as const;
    expect(decodeClaimOutcome(encodeClaimOutcome(outcome))).toMatchObject({ command: { gpus } });
  });

  test("demands for permits are checked", () => {
    const demand = { key: "api", perSecond: 0.5, burst: 1, isPromised: true };
    expect(decodePermitDemand(demand)).toEqual(demand);
    const bad = [{ key: "" }, { perSecond: 0 }, { perSecond: Number.NaN }, { burst: 0 }];
    for (const fault of bad) {
      expect(() => decodePermitDemand({ ...demand, ...fault })).toThrow("Invalid message");
    }
  });

  test("claim outcomes come back, long integers in payloads as text", () => {
    const { commandId } = HELD;
    const payload = {
      step: { name: "s", tasks: [], isPipeline: false, input: {}, outputSelect: [] },
      pipeline: PIPELINE_START,
      scope: {
        executionId: HELD.executionId,
        path: "a",
        version: 1,
        workload: { id: "9007199254740993", text: "ä" },
        ctx: {},
        steps: {},
      },
    } satisfies CommandPayload;
    const outcomes = <Payload>(given: Payload) => [
      {
        commandId,
        status: "claimed" as const,
        command: { ...HELD, payload: given, claimedAtMs: 5 },
      },
      { commandId, status: "gone" as const },
      { commandId, status: "later" as const, delayMs: 250 },
    ];
    const encoded = outcomes(JSON.stringify(payload)).map(encodeClaimOutcome);
    expect(encoded.map(decodeClaimOutcome)).toEqual(outcomes(payload));
  });

  test("reports come back with every kind of outcome", () => {
    const outcomes: CommandOutcome[] = [
      { status: "ok", value: { a: [1, null, "x"] }, ctx: { n: 1 } },
      { status: "error", error: failure("timeout", "too slow"), value: null, ctx: {} },
      { status: "yielded", pipeline: { ...PIPELINE_START, position: 1 }, delayMs: 5000 },
      { status: "ok", value: 1, ctx: {}, retries: { count: 2, last: failure("timeout", "x") } },
      {
        status: "error",
        error: failure("limit", "x"),
        value: null,
        ctx: {},
        retries: { count: 1 },
      },
      { status: "yielded", pipeline: { ...PIPELINE_START, retries: { count: 1 } }, delayMs: 1 },
      { status: "cancelled" },
      { status: "released", reason: "shutdown" },
    ];
    for (const outcome of outcomes) {
      expect(decodeReport(WORKER, encodeReport(report(outcome)))).toEqual(report(outcome));
    }
  });

  test("log lines come back with and without an index", () => {
    const line: LogLine = {
      ...HELD,
      step: "s",
      index: 0,
      task: "t",
      stream: "stderr",
      timeMs: 5,
      text: "ä",
    };
    const { index: _, ...without } = line;
    expect(decodeLogLine(encodeLogLine(line))).toEqual(line);
    expect(decodeLogLine(encodeLogLine(without))).toEqual(without);
  });

  test("what does not fit is refused", () => {
    const held = encodeHeld(HELD);
    expect(() => decodeHeld(undefined)).toThrow("command is missing");
    expect(() => decodeHeld({ ...held, executionId: "x" })).toThrow("execution_id");
    expect(() => decodeHeld({ ...held, attempt: 0 })).toThrow("attempt");

    const wire = encodeReport(report({ status: "cancelled" }));
    const outcomes = [
      "not json",
      "[]",
      '{"status":"great"}',
      '{"status":"ok","value":1}',
      '{"status":"error","error":{"kind":"strange","code":"X","message":"m","retryable":true},"ctx":{}}',
      '{"status":"yielded","delayMs":1,"pipeline":{"position":0}}',
      '{"status":"released"}',
      '{"status":"ok","value":1,"ctx":{},"retries":3}',
      '{"status":"ok","value":1,"ctx":{},"retries":{"count":1,"last":"broken"}}',
    ];
    for (const outcome of outcomes) {
      expect(() => decodeReport(WORKER, { ...wire, outcome: Buffer.from(outcome) })).toThrow(
        "Invalid message",
      );
    }
  });
});
