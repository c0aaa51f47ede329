import { describe, expect, test } from "bun:test";
import type { Circumstances } from "../../../src/gpu/assess.ts";
import { assess, usesMuchMemory } from "../../../src/gpu/assess.ts";
import type { SeenGpu } from "../../../src/gpu/reading.ts";

const SEEN: SeenGpu = {
  id: "GPU-a",
  index: "0",
  name: "NVIDIA H100 80GB HBM3",
  memoryMib: 81_559,
  memoryUsedMib: 4,
  pciAddress: "0000:41:00",
  hasDisplay: false,
  isCut: false,
};
const QUIET: Circumstances = {
  processes: [],
  leased: new Set(),
  leasedParents: new Set(),
  heldBack: new Map(),
  hidden: new Set(),
  faultOf: () => undefined,
  foreign: "refuse",
};
const BUSY = [{ gpuId: "GPU-a", pid: 4711, name: "python3", memoryMib: 40_960 }];

describe("a GPU", () => {
  test("that is proven free is ready, and shows nothing of how it was read", () => {
    const { pciAddress: _a, hasDisplay: _d, isCut: _c, ...gpu } = SEEN;
    expect(assess(SEEN, QUIET)).toEqual({ ...gpu, state: "ready" });
  });

  test("with a process that no lease explains is unclean, and the process is named", () => {
    expect(assess(SEEN, { ...QUIET, processes: BUSY })).toMatchObject({
      state: "unclean",
      reason: expect.stringContaining(
        "Process 4711 (python3, 40,960 MiB) is on it without a lease",
      ),
    });
  });

  test("names five of many processes", () => {
    const processes = [1, 2, 3, 4, 5, 6, 7].map((pid) => ({ gpuId: "GPU-a", pid, name: "x" }));
    expect(assess(SEEN, { ...QUIET, processes }).reason).toContain("5 (x) and 2 more are on it");
  });

  test("that is leased is ready: what runs there belongs there", () => {
    const circumstances = { ...QUIET, processes: BUSY, leased: new Set(["GPU-a"]) };
    expect(assess(SEEN, circumstances).state).toBe("ready");
  });

  test("of a machine that is shared on purpose is ready whoever is on it", () => {
    expect(assess(SEEN, { ...QUIET, processes: BUSY, foreign: "allow" }).state).toBe("ready");
  });

  test("is not ready when nobody can say who is on it", () => {
    const circumstances = { ...QUIET, processes: undefined, problem: "Driver mismatch" };
    expect(assess(SEEN, circumstances)).toMatchObject({
      state: "unclean",
      reason: expect.stringContaining("Driver mismatch"),
    });
  });

  test("that is held back is unclean for that reason, also while it is leased", () => {
    const heldBack = new Map([["GPU-a", "A container is not cleared."]]);
    const circumstances = { ...QUIET, heldBack, leased: new Set(["GPU-a"]) };
    expect(assess(SEEN, circumstances)).toMatchObject({
      state: "unclean",
      reason: "A container is not cleared.",
    });
    expect(assess({ ...SEEN, id: "GPU-b" }, circumstances).state).toBe("ready");
    expect(assess(SEEN, { ...QUIET, allHeldBack: "Not listed yet." }).reason).toBe(
      "Not listed yet.",
    );
  });

  test("that is broken is out of service, whatever else is true of it", () => {
    const circumstances = { ...QUIET, processes: BUSY, foreign: "allow" as const };
    expect(assess({ ...SEEN, fault: "It is lost." }, circumstances)).toMatchObject({
      state: "out_of_service",
      reason: "It is lost.",
    });
    expect(assess(SEEN, { ...circumstances, faultOf: () => "XID 79" }).reason).toBe("XID 79");
  });

  test("with much memory in use by nobody is unclean", () => {
    const full = { ...SEEN, memoryUsedMib: 40_000 };
    expect(usesMuchMemory(full)).toBe(true);
    expect(usesMuchMemory({ ...full, hasDisplay: true })).toBe(false);
    expect(usesMuchMemory({ ...SEEN, memoryUsedMib: 600 })).toBe(false);
    expect(assess(full, { ...QUIET, hidden: new Set(["GPU-a"]) }).reason).toContain("--pid=host");
  });
});

describe("a slice", () => {
  const slice = { ...SEEN, id: "MIG-a", parentId: "GPU-a", migProfile: "1g.5gb" };

  test("is unclean by a process of which only the GPU is known, unless a task has another slice of it", () => {
    expect(assess(slice, { ...QUIET, processes: BUSY }).state).toBe("unclean");
    const circumstances = { ...QUIET, processes: BUSY, leasedParents: new Set(["GPU-a"]) };
    expect(assess(slice, circumstances).state).toBe("ready");
  });
});
