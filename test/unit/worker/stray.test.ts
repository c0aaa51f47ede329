import { describe, expect, test } from "bun:test";
import type { HostContainer } from "../../../src/containers/host.ts";
import { processIdentity } from "../../../src/containers/process-identity.ts";
import type { WorkerId } from "../../../src/core/ids.ts";
import type { StrayHistory } from "../../../src/worker/stray.ts";
import { AGAIN_MS, againMs, isNamed, LONG_AGAIN_MS, PASS_MS } from "../../../src/worker/stray.ts";

const ALIVE = processIdentity();
const DEAD = ALIVE.replace(/:\d+:/, ":99999999:");
const ELSEWHERE = "1:1:1";

interface Kind {
  readonly process?: string;
  readonly workerId?: string;
  readonly isCluster?: boolean;
  readonly gpuIds?: readonly string[];
}

function stray({ process = DEAD, workerId = "other", isCluster = false, gpuIds = [] }: Kind) {
  const owner = { executionId: "1", commandId: "2", attempt: 1, workerId, process };
  return { id: "a", name: "a", owner, runtime: { isCluster }, gpuIds } as unknown as HostContainer;
}

function again(kind: Kind, history: Partial<StrayHistory> = {}): number {
  const known = { workerId: "me" as WorkerId, count: 1, passCount: 1, strayCount: 1 };
  return againMs(stray(kind), { ...known, ...history });
}

describe("a container that nobody here holds is asked about", () => {
  test("every second at first while its worker is dead or not known, then less often", () => {
    expect(again({})).toBe(AGAIN_MS);
    expect(again({ process: ELSEWHERE })).toBe(AGAIN_MS);
    expect(again({}, { count: 16 })).toBe(LONG_AGAIN_MS);
    expect(again({ process: ELSEWHERE }, { count: 16 })).toBe(PASS_MS);
  });

  test("with the next pass while its worker lives; sooner when GPUs wait for its end", () => {
    expect(again({ process: ALIVE })).toBe(PASS_MS);
    expect(again({ process: ALIVE, gpuIds: ["GPU-1"] })).toBe(LONG_AGAIN_MS);
  });

  test("at once when this worker itself let go of it", () => {
    expect(again({ process: ALIVE, workerId: "me" })).toBe(AGAIN_MS);
  });

  test("not again when it is decided", () => {
    expect(again({}, { count: undefined })).toBe(PASS_MS);
  });

  test("in a cluster before a lease is over, unless there are very many", () => {
    expect(again({ isCluster: true })).toBe(AGAIN_MS);
    expect(again({ isCluster: true }, { passCount: 16 })).toBe(LONG_AGAIN_MS);
    expect(again({ isCluster: true }, { passCount: 16, strayCount: 500 })).toBe(PASS_MS);
  });
});

test("labels that somebody else has written name nobody", () => {
  const { owner } = stray({});
  const ids = { executionId: "7300000000000000001", commandId: "7300000000000000002" };
  expect(isNamed({ ...owner, ...ids })).toBe(true);
  expect(isNamed({ ...owner, ...ids, attempt: Number.NaN })).toBe(false);
  expect(isNamed({ ...owner, ...ids, commandId: "x" })).toBe(false);
  expect(isNamed({ ...owner, ...ids, workerId: "" })).toBe(false);
});
